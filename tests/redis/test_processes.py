"""Eight processes at work on one session (P3, P6)."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis

from openai_agents_session import RedisSession
from tests.processes import check_writes_and_pops, eight_processes
from tests.servers import sweep
from tests.shares import share_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.servers import Endpoint


@asynccontextmanager
async def opened(url: str, prefix: str) -> AsyncGenerator[RedisSession]:
    async with Redis.from_url(url) as client:
        yield RedisSession("shared", client, prefix, ttl=600)


@pytest.mark.parametrize("batches", share_of([20, 100], 20))
async def test_eight_processes_write_and_then_pop(
    redis_server: Endpoint, key_prefix: str, batches: int
) -> None:
    """So many batches each."""
    with eight_processes("redis.asyncio", "openai_agents_session.redis") as workers:
        shared = partial(opened, redis_server.url, key_prefix)
        await check_writes_and_pops(workers, shared, batches=batches)
    sweep(redis_server, key_prefix)
