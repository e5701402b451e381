"""Conversations in SQL, owned by users: models, sessions, a service and a migration.

    agent_session      a conversation: its user, its id, its name, its agent
    session_message    an item of a conversation, at an explicit position

``DatabaseSession`` keeps a conversation for the SDK's Runner. ``DatabaseStore`` knows all of them;
``AgentSessionService`` lists, renames and deletes those of a user on an ``AsyncSession``. They use
the shipped ``AgentSession``, or an application's own class with ``AgentSessionMixin``. Needs
PostgreSQL, or SQLite from 3.38 on.
"""

from __future__ import annotations

from openai_agents_session._catalog import CursorError
from openai_agents_session._errors import explain_missing

try:
    from openai_agents_session.database._session import DatabaseSession
    from openai_agents_session.database._store import DatabaseStore
    from openai_agents_session.database.autogenerate import autogenerate_options
    from openai_agents_session.database.mixins import AgentSessionMixin, SessionMessageMixin
    from openai_agents_session.database.models import AgentSession, Base, SessionMessage, User
    from openai_agents_session.database.service import AgentSessionRepository, AgentSessionService
    from openai_agents_session.database.types import MessageRole, SessionKey
except ModuleNotFoundError as exc:
    explain_missing(exc, "DatabaseSession", "database", "sqlalchemy", "advanced_alchemy")
    raise

__all__ = [
    "AgentSession",
    "AgentSessionMixin",
    "AgentSessionRepository",
    "AgentSessionService",
    "Base",
    "CursorError",
    "DatabaseSession",
    "DatabaseStore",
    "MessageRole",
    "SessionKey",
    "SessionMessage",
    "SessionMessageMixin",
    "User",
    "autogenerate_options",
]
