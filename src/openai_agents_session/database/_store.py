"""DatabaseStore: all conversations in a SQL database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agents.memory.session_settings import coerce_session_settings
from sqlalchemy import inspect
from sqlalchemy.ext.asyncio import async_sessionmaker

from openai_agents_session._store import BaseStore
from openai_agents_session.database._catalog import DatabaseCatalog
from openai_agents_session.database._checks import checked_user_id
from openai_agents_session.database._driver import Work
from openai_agents_session.database._users import Users
from openai_agents_session.database.models import AgentSession, User

if TYPE_CHECKING:
    from uuid import UUID

    from agents import SessionSettings

    from openai_agents_session.database.mixins import AgentSessionMixin


class DatabaseStore(BaseStore):
    """All conversations in a SQL database.

    With the shipped models, a user's row of ``user_account`` is made by the first write where
    it is missing. Users of an application's own are the application's to make.

    Args:
        maker: an ``async_sessionmaker``; each operation is a short transaction of its own.
        user_id: the key of the user whose conversations ``session`` returns. Without it, call
            ``user``.
        session_model: the application's own class with ``AgentSessionMixin``; None takes the
            shipped one.
        session_settings: the SDK's ``SessionSettings``, or a dict of its fields, for sessions that
            are given none.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: the user's id is no UUID.
    """

    def __init__(
        self,
        maker: async_sessionmaker[Any],
        *,
        user_id: UUID | str | Any = None,
        session_model: type[AgentSessionMixin] | None = None,
        session_settings: SessionSettings | dict[str, Any] | None = None,
    ) -> None:
        if not isinstance(maker, async_sessionmaker):
            raise TypeError(
                "maker must be a sqlalchemy.ext.asyncio async_sessionmaker, not "
                f"{type(maker).__module__}.{type(maker).__qualname__}; pass "
                "async_sessionmaker(engine)"
            )
        model = session_model or AgentSession
        owner = None if user_id is None else checked_user_id(model, user_id)
        is_shipped = inspect(model).relationships["user"].mapper.class_ is User
        self._work = Work(maker, model)
        self._catalog = DatabaseCatalog(
            self._work,
            model,
            Users() if is_shipped else None,
            owner,
            None if session_settings is None else coerce_session_settings(session_settings),
        )
