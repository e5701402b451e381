"""The quick start's Redis: a session in it, and what then lies there."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import redis.asyncio as redis

from openai_agents_session import RedisSession

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

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
