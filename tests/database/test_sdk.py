"""Conversations through the SDK's Runner, kept in SQLite and PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from openai_agents_session import DatabaseSession
from tests.sdk import SESSION_ID, SDKRuns
from tests.shares import share_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID


class DatabaseRuns(SDKRuns):
    """The hooks, with a transaction of its own for each operation."""

    @pytest.fixture(autouse=True)
    def store(self, url: str, maker: async_sessionmaker, user_id: UUID) -> None:
        self.url, self.maker, self.user_id = url, maker, user_id

    def make_session(self, session_id: str = SESSION_ID, **options: Any) -> DatabaseSession:
        """Make a session on the test's database."""
        return DatabaseSession(session_id, self.user_id, self.maker, **options)

    async def connect(self) -> tuple[DatabaseSession, Callable[[], Awaitable[None]]]:
        """Make a session on an engine of its own."""
        engine = create_async_engine(self.url)
        maker = async_sessionmaker(engine)
        return DatabaseSession(SESSION_ID, self.user_id, maker), engine.dispose


@pytest.mark.parametrize("url", share_of(["sqlite", "postgres"], "sqlite"), indirect=True)
class TestMaker(DatabaseRuns):
    """A transaction of its own for each operation, as a server does it."""


@pytest.mark.parametrize("url", share_of(["sqlite", "postgres"], "postgres"), indirect=True)
class TestAsyncSession(DatabaseRuns):
    """One AsyncSession for all of it, as a script or a request does it."""

    @pytest.fixture(autouse=True)
    async def db_session(self, store: None, maker: async_sessionmaker) -> Any:  # noqa: ARG002 - has to come first
        async with maker() as self.db:
            yield

    def make_session(self, session_id: str = SESSION_ID, **options: Any) -> DatabaseSession:
        """Make a session on the test's AsyncSession."""
        return DatabaseSession(session_id, self.user_id, self.db, **options)
