"""DatabaseStore: all conversations in a SQL database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agents.memory.session_settings import coerce_session_settings
from sqlalchemy import inspect
from sqlalchemy.ext.asyncio import async_sessionmaker

from openai_agents_session._arguments import checked_flag
from openai_agents_session._store import BaseStore
from openai_agents_session.database._catalog import DatabaseCatalog
from openai_agents_session.database._checks import checked_user_id
from openai_agents_session.database._driver import Work
from openai_agents_session.database._urls import engine_of
from openai_agents_session.database._users import Users
from openai_agents_session.database.models import AgentSession, User

if TYPE_CHECKING:
    from uuid import UUID

    from agents import SessionSettings
    from sqlalchemy.ext.asyncio import AsyncEngine
    from typing_extensions import Self

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

    _engine: AsyncEngine | None = None
    """Made from a URL, and so the store's to close."""
    _setup = False

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
        self._use(maker, user_id, session_model, session_settings)

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """Make a store with an engine of its own, which ``async with`` closes at its end.

        Nothing is sent until the store is used.

        Args:
            url: as SQLAlchemy reads it, such as ``sqlite+aiosqlite:///app.db`` or
                ``postgresql+asyncpg://user@host:5432/app``.
            options: ``user_id``, ``session_model`` and ``session_settings`` as for the class;
                ``setup=True`` calls ``setup`` when the store is entered; and those of
                SQLAlchemy's ``create_async_engine``. ``user_id`` and ``setup`` may stand in the
                URL's query, beside the driver's options; what is passed goes before that.

        Raises:
            TypeError: the URL is no text, there is no such option, or one has the wrong type.
            ValueError: the URL cannot be read or names another database or a synchronous driver, or
                an option in it is unknown or has a wrong value.
            ModuleNotFoundError: the driver is not installed.
        """
        engine, own = engine_of(url, options)
        store = cls.__new__(cls)
        store._engine = engine
        store._setup = checked_flag("setup", own.get("setup", False))
        values = (own.get(name) for name in ("user_id", "session_model", "session_settings"))
        store._use(async_sessionmaker(engine), *values)
        return store

    def _use(
        self,
        maker: async_sessionmaker[Any],
        user_id: Any,
        session_model: type[AgentSessionMixin] | None,
        session_settings: SessionSettings | dict[str, Any] | None,
    ) -> None:
        model = session_model or AgentSession
        owner = None if user_id is None else checked_user_id(model, user_id)
        is_shipped = inspect(model).relationships["user"].mapper.class_ is User
        self._model = model
        self._work = Work(maker, model)
        self._catalog = DatabaseCatalog(
            self._work,
            model,
            Users() if is_shipped else None,
            owner,
            None if session_settings is None else coerce_session_settings(session_settings),
        )

    async def close(self) -> None:
        """Close the engine that the store has made itself; one that was passed stays open.

        The store, its views and its sessions raise ``RuntimeError`` from then on.
        """
        self._work.close()
        if self._engine:
            await self._engine.dispose()

    def __repr__(self) -> str:
        return f"DatabaseStore(session_model={self._model.__name__})"
