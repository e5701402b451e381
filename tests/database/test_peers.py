"""What the README says of the SDK's own sessions in SQL: what they do when things go wrong."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from agents import SQLiteSession
from agents.extensions.memory import SQLAlchemySession
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from tests.contract import numbered, user
from tests.database.proxy import Fault, PostgresProxy, Request

if TYPE_CHECKING:
    from pathlib import Path

BROKEN = "INSERT INTO agent_messages (session_id, message_data) VALUES ('s', '{torn')"


async def test_a_commit_whose_answer_is_lost(postgres_url: str) -> None:
    """``SQLAlchemySession`` raises, though the items are stored, and though one is popped."""
    lost = False

    def choose(request: Request) -> Fault | None:
        return "lose answer" if lost and request.commits else None

    async with PostgresProxy(postgres_url, choose) as proxy:
        engine = create_async_engine(proxy.url)
        session = SQLAlchemySession("s", engine=engine, create_tables=True)
        await session.add_items(numbered(0, 2))

        lost = True
        with pytest.raises((DBAPIError, OSError)):
            await session.add_items(numbered(2, 3))
        lost = False
        assert await session.get_items() == numbered(0, 3)

        lost = True
        with pytest.raises((DBAPIError, OSError)):
            await session.pop_item()
        lost = False
        assert await session.get_items() == numbered(0, 2)
        await engine.dispose()


@pytest.mark.parametrize("kind", ["SQLiteSession", "SQLAlchemySession"])
async def test_popping_past_a_record_that_cannot_be_read(tmp_path: Path, kind: str) -> None:
    """Both delete it on the way."""
    file = tmp_path / "peers.db"
    engine = create_async_engine(f"sqlite+aiosqlite:///{file}")
    session: Any = (
        SQLiteSession("s", file)
        if kind == "SQLiteSession"
        else SQLAlchemySession("s", engine=engine, create_tables=True)
    )
    await session.add_items([user("read")])
    with closing(sqlite3.connect(file)) as db, db:
        db.execute(BROKEN)

    assert await session.get_items() == [user("read")]
    assert await session.pop_item() == user("read")

    with closing(sqlite3.connect(file)) as db:
        assert db.execute("SELECT count(*) FROM agent_messages").fetchall() == [(0,)]
    if kind == "SQLiteSession":
        session.close()
    await engine.dispose()
