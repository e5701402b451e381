"""The contract on the SDK's own SQLiteSession: the suite asks for nothing that is ours alone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest_asyncio
from agents import SQLiteSession

from tests.contract import SHARE, AnySession, SessionContract

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class TestReference(SessionContract):
    """SQLiteSession, as far as it promises the same."""

    share = SHARE
    session_class = SQLiteSession
    strict_items = False  # stores what json.dumps accepts: no models, keys made strings
    validates = False
    strict_limits = False  # a limit below zero gives all items
    replaces = False
    expires = False
    keeps_unreadable = False  # a pop drops them, without a word
    settles = False  # asyncio.run cancels what it shields
    manages_client = False  # no ping; close is not awaitable

    @pytest_asyncio.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[None]:
        """Keep the test's database in a file, so that sessions can share it."""
        self.path = tmp_path / "sessions.db"
        yield

    async def make_session(
        self, session_id: Any, *, cls: type[Any] | None = None, **options: Any
    ) -> AnySession:
        """Open the database once more."""
        return (cls or self.session_class)(session_id, self.path, **options)

    async def close_session(self, session: AnySession) -> None:
        """Close the session's connections, which this session does at once."""
        session.close()

    async def raw(self, session: AnySession) -> list[bytes]:
        """Return the rows' texts."""
        with closing(sqlite3.connect(self.path)) as connection:
            rows = connection.execute(
                "SELECT message_data FROM agent_messages WHERE session_id = ? ORDER BY id",
                (session.session_id,),
            )
            return [text.encode() for (text,) in rows]
