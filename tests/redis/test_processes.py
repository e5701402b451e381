"""Eight processes at work on one session (P3, P6)."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from redis.asyncio import Redis

from openai_agents_session import RedisSession
from tests.processes import check_writes_and_pops, eight_processes
from tests.servers import sweep

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.servers import Endpoint


@asynccontextmanager
async def opened(url: str, prefix: str) -> AsyncGenerator[RedisSession]:
    async with Redis.from_url(url) as client:
        yield RedisSession("shared", client, prefix, ttl=600)


async def test_eight_processes_write_and_then_pop(redis_server: Endpoint, key_prefix: str) -> None:
    """100 batches each."""
    with eight_processes("redis.asyncio", "openai_agents_session.redis") as workers:
        shared = partial(opened, redis_server.url, key_prefix)
        await check_writes_and_pops(workers, shared, batches=100)
    sweep(redis_server, key_prefix)
