"""The models as shipped: a minimal ``user_account``, its conversations, their messages.

They have a registry and a metadata of their own, apart from the application's tables of the same
names. To have the tables on the application's base, see ``mixins``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from advanced_alchemy.base import CommonTableAttributes, create_registry
from advanced_alchemy.mixins import AuditColumns, UUIDPrimaryKey
from sqlalchemy.ext.asyncio import AsyncAttrs
from sqlalchemy.orm import DeclarativeBase

from openai_agents_session.database.mixins import AgentSessionMixin, SessionMessageMixin

if TYPE_CHECKING:
    from sqlalchemy.orm import Mapped


class Base(CommonTableAttributes, UUIDPrimaryKey, AuditColumns, AsyncAttrs, DeclarativeBase):
    """advanced-alchemy's UUID audit base, with a registry of its own.

    ``UUIDAuditBase`` shares its registry with the application, in which ``User`` would then be
    the name of two classes.
    """

    registry = create_registry()


class User(Base):
    """A user: a key that conversations refer to, and nothing else."""

    __tablename__ = "user_account"

    if TYPE_CHECKING:
        agent_sessions: Mapped[list[AgentSession]]


class AgentSession(AgentSessionMixin, Base):
    """A conversation of a user."""


class SessionMessage(SessionMessageMixin, Base):
    """An item of a conversation."""
