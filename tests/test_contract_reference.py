"""The contract on two references: the smallest backend there is, and the SDK's own SQLiteSession.

The first keeps every promise, so the suite asks for nothing that a backend of a hundred lines
cannot do. The second is not ours, so it asks for nothing that only our sessions can do.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest_asyncio
from agents import SQLiteSession

from tests.contract import SHARE, AnySession, SessionContract
from tests.memory import MemorySession, Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class TestMemory(SessionContract):
    """The in-memory backend of ``tests/memory.py``."""

    session_class = MemorySession

    @pytest_asyncio.fixture
    async def store(self) -> AsyncIterator[None]:
        """Begin with an empty dictionary."""
        self.conversations = Store()
        yield

    async def make_session(
        self, session_id: Any, *, cls: type[Any] | None = None, **options: Any
    ) -> AnySession:
        """Make a session on the test's dictionary."""
        return (cls or self.session_class)(session_id, self.conversations, **options)

    async def raw(self, session: AnySession) -> list[bytes]:
        """Return the records in the dictionary."""
        records: list[Any] = self.conversations.get(session.session_id, ([], None))[0]
        return records

    async def corrupt(self, session: AnySession, raw: bytes) -> None:
        """Append whatever it is."""
        records, until = self.conversations.get(session.session_id, ([], None))
        self.conversations[session.session_id] = [*records, raw], until

    async def expire(self, session: AnySession) -> None:
        """Let the conversation have expired a second ago."""
        await self.set_ttl_left(session, -1)

    async def ttl_left(self, session: AnySession) -> float | None:
        """Return the seconds to the moment of expiry."""
        _, until = self.conversations.get(session.session_id, ([], None))
        return None if until is None else until - time.time()

    async def set_ttl_left(self, session: AnySession, seconds: int) -> None:
        """Move the moment of expiry."""
        records, _ = self.conversations[session.session_id]
        self.conversations[session.session_id] = records, time.time() + seconds

    async def lapse(self, session: AnySession) -> None:
        """Let the lease have run out."""
        self.conversations.leases[session.session_id].until = 0.0


class TestSQLiteSession(SessionContract):
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
    leases = False

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
