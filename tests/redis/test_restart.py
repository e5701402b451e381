"""The server crashes and comes back with its append-only file (P3, P5, P11)."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError

from openai_agents_session import RedisSession
from tests.faults import FaultyProxy, first
from tests.redis.writer import Writer, batch_of, numbers_of
from tests.servers import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def durable_server(redis_binary: str) -> Iterator[RedisServer]:
    """A server of the test's own that answers a write when it is on disk."""
    with RedisServer(redis_binary, "--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


async def crash_and_restart(server: RedisServer) -> None:
    """In a thread: those who write must meet a server that is down."""
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)


async def test_crashes_while_writing(durable_server: RedisServer, key_prefix: str) -> None:
    """What was acknowledged is there once and in order after three crashes, none torn."""
    async with Redis.from_url(durable_server.url) as client:
        session = RedisSession("s", client, key_prefix, ttl=600)
        async with Writer(session) as writer:
            for _ in range(3):
                await writer.acknowledges(50)
                await crash_and_restart(durable_server)
            await writer.acknowledges(50)
        assert set(writer.acknowledged) <= set(numbers_of(await session.get_items()))
        # A start takes less than a write's patience, but a busy machine may take longer.
        assert all(isinstance(error, ConnectionError) for error in writer.errors)


async def test_a_write_whose_answer_a_crash_took_is_done_once(
    durable_server: RedisServer, key_prefix: str
) -> None:
    """The token outlives the crash with the write, and the restarted server finds it."""
    crash = partial(crash_and_restart, durable_server)
    async with (
        FaultyProxy(durable_server, first(1), reset=True, before_cut=crash) as proxy,
        Redis.from_url(proxy.url) as client,
    ):
        session = RedisSession("s", client, key_prefix)
        await session.add_items(batch_of(0))
        assert proxy.cuts == 1
        assert await session.get_items() == batch_of(0)

        proxy.losses = first(1)
        assert await session.pop_item() == batch_of(0)[-1]
        assert proxy.cuts == 2
        assert await session.get_items() == batch_of(0)[:-1]


async def test_a_server_that_stays_down_is_reported_and_does_no_lasting_harm(
    durable_server: RedisServer, key_prefix: str
) -> None:
    """Every operation raises redis-py's ConnectionError, and works again afterwards."""
    async with Redis.from_url(durable_server.url) as client:
        session = RedisSession("s", client, key_prefix)
        await session.add_items(batch_of(0))
        await asyncio.to_thread(durable_server.kill)

        outcomes = await asyncio.gather(
            session.add_items(batch_of(1)),
            session.pop_item(),
            session.clear_session(),
            session.replace_items(batch_of(2)),
            session.get_items(),
            return_exceptions=True,
        )
        assert [type(outcome) for outcome in outcomes] == [ConnectionError] * 5
        assert not await session.ping()

        await asyncio.to_thread(durable_server.start)
        assert await session.ping()
        assert await session.get_items() == batch_of(0)
        await session.add_items(batch_of(1))
        assert await session.get_items() == batch_of(0) + batch_of(1)
