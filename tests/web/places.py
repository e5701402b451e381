"""Stores of each backend, for the application and for the test that looks into them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from openai_agents_session import DatabaseStore, RedisStore
from openai_agents_session.database import Base
from tests.memory_store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from openai_agents_session.store import BaseStore


@dataclass
class Place:
    """Where an application keeps conversations.

    Attributes:
        source: what the application is given: a URL, or a store.
        store: a store of the same conversations, for the test.
        is_sql: whether it can search and count.
    """

    source: Any
    store: BaseStore
    is_sql: bool = False

    async def said(self, user: str, session_id: str = "mine", *texts: str) -> None:
        """Let a user have a conversation."""
        session = self.store.user(user).session(session_id, name="My own")
        contents = texts or ("a secret of mine",)
        await session.add_items([{"role": "user", "content": text} for text in contents])

    async def stored(self, user: str, session_id: str) -> list[str]:
        """What a conversation holds, in short."""
        items = await self.store.user(user).session(session_id).get_items()
        return [str(item.get("type", item.get("role"))) for item in items]


def in_memory() -> Place:
    """A place of its own in this process."""
    store = MemoryStore()
    return Place(store, store)


@asynccontextmanager
async def in_sqlite(directory: Path) -> AsyncGenerator[Place]:
    """A file with the shipped tables."""
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{directory / 'test.db'}", connect_args={"timeout": 60}
    )
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    store = DatabaseStore(async_sessionmaker(engine))
    yield Place(store, store, is_sql=True)
    await engine.dispose()


@asynccontextmanager
async def in_redis(url: str, key_prefix: str) -> AsyncGenerator[Place]:
    """Keys of one prefix on a server."""
    async with Redis.from_url(url) as client:
        store = RedisStore(client, key_prefix=key_prefix)
        yield Place(store, store)
