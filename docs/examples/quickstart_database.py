"""The quick start's SQL database: a session in it, and what then lies there."""

from __future__ import annotations

import json
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine

from openai_agents_session.database import (
    AgentSession,
    Base,
    DatabaseSession,
    SessionMessage,
    User,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

AFTERWARDS = "Run this again: the conversation goes on. With --reset it begins anew."
USER = UUID(int=1)  # in an application, whoever is logged in


@asynccontextmanager
async def connect(url: str) -> AsyncGenerator[AsyncEngine]:
    """Make an engine, which is disposed of at the end."""
    engine = create_async_engine(url)
    try:
        yield engine
    finally:
        await engine.dispose()


@asynccontextmanager
async def open_session(url: str, session_id: str) -> AsyncGenerator[DatabaseSession]:
    """Open a session on an engine of its own; tables and user are made where there are none."""
    async with connect(url) as engine:
        maker = async_sessionmaker(engine, expire_on_commit=False)
        try:
            async with engine.begin() as connection:
                await connection.run_sync(Base.metadata.create_all)
            async with maker() as db, db.begin():
                await db.merge(User(id=USER))
        except (OSError, OperationalError):
            sys.exit("No database answers there. Is it running, and is DATABASE_URL right?")
        yield DatabaseSession(session_id, USER, maker, "Assistant", session_name="Quick start")


async def stored(url: str, session_id: str) -> tuple[str, int, list[str], int | None]:
    """Return what lies in the database: a row for each item, with its JSON, and no expiry."""
    async with connect(url) as engine, async_sessionmaker(engine)() as db:
        row = await db.scalar(select(AgentSession).filter_by(session_id=session_id, user_id=USER))
        assert row is not None
        messages = select(SessionMessage).where(SessionMessage.agent_session_id == row.id)
        found = (await db.scalars(messages.order_by(SessionMessage.position))).all()
    records = [json.dumps(message.extra_data, ensure_ascii=False) for message in found]
    return f"SQL now holds {len(records)} records in the table 'session_message'", 1, records, None
