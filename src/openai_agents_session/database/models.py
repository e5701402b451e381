"""The models as shipped: a minimal ``user_account``, its conversations, their messages.

They have a registry and a metadata of their own, so an application's tables of the same
names do not meet them. To put the tables on the application's base, see ``mixins``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from advanced_alchemy.base import UUIDAuditBase, create_registry

from openai_agents_session.database.mixins import AgentSessionMixin, SessionMessageMixin

if TYPE_CHECKING:
    from sqlalchemy.orm import Mapped


class Base(UUIDAuditBase):
    """advanced-alchemy's audit base, apart from the application's."""

    __abstract__ = True
    registry = create_registry()
    metadata = registry.metadata


class User(Base):
    """A user: a key to own conversations by, and nothing else."""

    __tablename__ = "user_account"

    if TYPE_CHECKING:
        agent_sessions: Mapped[list[AgentSession]]


class AgentSession(AgentSessionMixin, Base):
    """A conversation of a user."""


class SessionMessage(SessionMessageMixin, Base):
    """An item of a conversation."""
