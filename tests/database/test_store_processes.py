"""Eight processes change one user's conversations while answers are lost (P3, P5, P6, P16)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from sqlalchemy import select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from openai_agents_session.database import AgentSession, Base, DatabaseStore, SessionMessage
from tests.database.proxy import PostgresProxy
from tests.database.test_faults import commits, nothing
from tests.processes import eight_processes
from tests.store_processes import check_store

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

PRELOAD = ("asyncpg", "openai_agents_session.database", "tests.store_processes")


async def with_tables(url: str) -> AsyncEngine:
    """Return an engine on a database with the shipped tables."""
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    return engine


async def test_eight_processes_while_commits_are_lost(postgres_url: str) -> None:
    """The answers to one COMMIT in ten."""
    engine = await with_tables(postgres_url)
    maker = async_sessionmaker(engine)

    async def agree(_: DatabaseStore) -> None:
        async with maker() as db_session:
            keys = set(await db_session.scalars(select(AgentSession.id)))
            owners = set(await db_session.scalars(select(SessionMessage.agent_session_id)))
        assert owners <= keys

    async with PostgresProxy(postgres_url, nothing) as proxy:
        proxy.choose = commits("lose answer", every=10)
        with eight_processes(*PRELOAD) as workers:
            await check_store(
                workers, proxy.url, str(uuid4()), DatabaseStore(maker), agree, steps=12
            )
        assert proxy.faults > 12
    await engine.dispose()


async def test_eight_processes_on_a_file(sqlite_url: str) -> None:
    """SQLite has one writer at a time, and no answers to lose."""
    engine = await with_tables(sqlite_url)

    async def agree(_: DatabaseStore) -> None:
        """There is nothing else to compare."""

    store = DatabaseStore(async_sessionmaker(engine))
    with eight_processes(*PRELOAD) as workers:
        await check_store(workers, f"{sqlite_url}?timeout=60", str(uuid4()), store, agree, steps=8)
    await engine.dispose()
