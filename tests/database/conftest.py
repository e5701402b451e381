"""Databases for the tests: a SQLite file each, and a PostgreSQL that each worker starts.

With ``CI`` set, a PostgreSQL that is missing fails its tests.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from sqlalchemy import event, select
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine

from openai_agents_session import DatabaseSession
from openai_agents_session.database import AgentSession, Base, User
from tests.database.postgres import PostgresServer, find_binaries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncSession

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies under ``tests/database``, so that ``-m database`` selects it."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.database)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server; tests share it and keep to databases of their own."""
    if find_binaries() is None and "CI" not in os.environ:
        pytest.skip("no PostgreSQL on this machine")
    with PostgresServer() as server:
        yield server


@pytest_asyncio.fixture
async def sqlite_url(tmp_path: Path) -> str:
    """The URL of a file that is not there yet."""
    return f"sqlite+aiosqlite:///{tmp_path / 'test.db'}"


@pytest_asyncio.fixture
async def postgres_url(postgres: PostgresServer) -> AsyncIterator[str]:
    """The URL of an empty database."""
    url = await postgres.create_database()
    yield url
    await postgres.give_back(url)


@pytest.fixture(scope="session")
def shared_postgres_url(postgres: PostgresServer) -> str:
    """The URL of a database for tests that keep to users of their own, and are many."""
    return asyncio.run(postgres.create_database())


@pytest.fixture
def psycopg_url(postgres_url: str) -> str:
    """The same, for psycopg; ``postgres_url`` is for asyncpg."""
    return postgres_url.replace("+asyncpg:", "+psycopg:")


each_driver = pytest.mark.parametrize("url", ["sqlite", "postgres", "psycopg"], indirect=True)
"""For tests of what drivers do in ways of their own."""

on_postgres = pytest.mark.parametrize("url", ["postgres", "psycopg"], indirect=True)
"""The same, where SQLite has no such thing."""


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database of either kind."""
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found


@pytest_asyncio.fixture
async def engine(url: str) -> AsyncIterator[AsyncEngine]:
    """An engine with SQLAlchemy's defaults, on a database with the shipped tables."""
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield engine
    # The SDK cancels tasks that it does not wait for. What they had begun in the database ends
    # all the same, and an engine closes no connection that is in use.
    if others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others, timeout=60)
    await engine.dispose()


@pytest.fixture
def maker(engine: AsyncEngine) -> async_sessionmaker:
    """What a server passes to a session."""
    return async_sessionmaker(engine)


async def enforce_foreign_keys(engine: AsyncEngine) -> None:
    """Let SQLite do so, as an application should; PostgreSQL does in any case."""
    if engine.dialect.name == "sqlite":
        event.listen(
            engine.sync_engine,
            "connect",
            lambda connection, _: connection.execute("PRAGMA foreign_keys = ON"),
        )
        await engine.dispose()  # of connections that were made before


async def new_user(maker: async_sessionmaker) -> UUID:
    """Store a user and return the key."""
    async with maker() as session, session.begin():
        user = User()
        session.add(user)
        await session.flush()
        return user.id


@pytest_asyncio.fixture
async def user_id(maker: async_sessionmaker) -> UUID:
    """The key of a user."""
    return await new_user(maker)


@pytest_asyncio.fixture
async def stranger_id(maker: async_sessionmaker) -> UUID:
    """The key of another user."""
    return await new_user(maker)


@pytest.fixture
def session(maker: async_sessionmaker, user_id: UUID) -> DatabaseSession:
    """A session that opens its own transactions."""
    return DatabaseSession("s", user_id, maker)


@pytest_asyncio.fixture
async def db(maker: async_sessionmaker) -> AsyncIterator[AsyncSession]:
    """The caller's own session."""
    async with maker() as db:
        yield db


async def row_of(maker: async_sessionmaker, session_id: str = "s") -> AgentSession | None:
    """The row of a conversation."""
    async with maker() as db:
        return await db.scalar(select(AgentSession).where(AgentSession.session_id == session_id))
