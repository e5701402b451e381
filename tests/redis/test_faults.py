"""Answers lost on the wire: everything is done once, and nobody hears of it (P5)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any, cast

import pytest
import redis.asyncio as redis_asyncio
from agents.extensions.memory import RedisSession as SdkRedisSession
from redis.exceptions import ConnectionError, RedisError

from openai_agents_session import RedisSession
from tests.faults import FaultyProxy, first, one_in
from tests.servers import sweep
from tests.shares import share_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

    from agents import TResponseInputItem
    from agents.memory import SessionABC
    from redis.asyncio import Redis

    from tests.servers import Endpoint

BATCH_SIZE = 3
LANES = 20
"""Sessions written at once, each by one writer, through one client: before version 8 redis-py
pauses for up to a second before it sends again, and those pauses had better overlap."""


@pytest.fixture(params=["FIN", "RST"])
def reset(request: pytest.FixtureRequest) -> bool:
    return request.param == "RST"


@pytest.fixture(params=["from_url", "Redis"])
def client_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def swept(redis_server: Endpoint, key_prefix: str) -> Iterator[None]:
    """Leave no key behind; the clients here are of the tests' own making."""
    yield
    sweep(redis_server, key_prefix)


pytestmark = pytest.mark.usefixtures("swept")


def client_of(proxy: FaultyProxy, kind: str) -> Redis:
    """One of redis-py's two default clients; since 8 the first retries nothing by itself."""
    if kind == "from_url":
        return redis_asyncio.from_url(proxy.url)
    return redis_asyncio.Redis(host=proxy.host, port=proxy.port)


def item(batch: int, part: int) -> TResponseInputItem:
    return cast("TResponseInputItem", {"role": "user", "content": f"{batch}.{part}"})


def batch_of(number: int) -> list[TResponseInputItem]:
    return [item(number, part) for part in range(BATCH_SIZE)]


def batches_of(numbers: range) -> list[TResponseInputItem]:
    return [each for number in numbers for each in batch_of(number)]


async def write(session: SessionABC, batches: int) -> None:
    for number in range(batches):
        await session.add_items(batch_of(number))


async def pop(session: SessionABC, pops: int) -> list[Any]:
    return [await session.pop_item() for _ in range(pops)]


@pytest.mark.parametrize("batches", share_of([200, 1000], 200))
async def test_a_thousand_batches_and_pops_with_every_tenth_answer_lost(
    redis_server: Endpoint, key_prefix: str, client_kind: str, reset: bool, batches: int
) -> None:
    """Nothing is lost, doubled, torn or reordered, and no error reaches the caller."""
    async with (
        FaultyProxy(redis_server, one_in(10, seed=1), reset=reset) as proxy,
        client_of(proxy, client_kind) as client,
    ):
        sessions = [RedisSession(f"lane-{n}", client, key_prefix, ttl=600) for n in range(LANES)]

        await asyncio.gather(*(write(each, batches // LANES) for each in sessions))
        cuts_while_writing = proxy.cuts
        written = batches_of(range(batches // LANES))
        assert [await each.get_items() for each in sessions] == [written] * LANES

        popped = await asyncio.gather(*(pop(each, batches // LANES) for each in sessions))
        assert popped == [written[: -batches // LANES - 1 : -1]] * LANES
        rest = written[: -batches // LANES]
        assert [await each.get_items() for each in sessions] == [rest] * LANES

        assert cuts_while_writing >= batches / 20
        assert proxy.cuts - cuts_while_writing >= batches / 20
        # Each lost answer made one request go out again, and nothing else did.
        assert proxy.writes == 2 * batches + proxy.cuts


async def test_a_replacement_whose_answer_is_lost_happens_once(
    redis_server: Endpoint, key_prefix: str, client_kind: str, reset: bool
) -> None:
    """What another writer appends before the replacement is sent again survives it."""
    async with redis_asyncio.from_url(redis_server.url) as direct:
        neighbour = RedisSession("s", direct, key_prefix)

        async def append_meanwhile() -> None:
            await neighbour.add_items(batch_of(2))

        async with (
            FaultyProxy(redis_server, first(1), reset=reset, before_cut=append_meanwhile) as proxy,
            client_of(proxy, client_kind) as client,
        ):
            await neighbour.add_items(batch_of(0))
            await RedisSession("s", client, key_prefix).replace_items(batch_of(1))
            assert proxy.cuts == 1
            assert await neighbour.get_items() == batches_of(range(1, 3))


async def test_a_clear_whose_answer_is_lost_happens_once(
    redis_server: Endpoint, key_prefix: str, client_kind: str, reset: bool
) -> None:
    """What another writer appends before the clear is sent again survives it."""
    async with redis_asyncio.from_url(redis_server.url) as direct:
        neighbour = RedisSession("s", direct, key_prefix)

        async def append_meanwhile() -> None:
            await neighbour.add_items(batch_of(1))

        async with (
            FaultyProxy(redis_server, first(1), reset=reset, before_cut=append_meanwhile) as proxy,
            client_of(proxy, client_kind) as client,
        ):
            await neighbour.add_items(batch_of(0))
            await RedisSession("s", client, key_prefix).clear_session()
            assert proxy.cuts == 1
            assert await neighbour.get_items() == batch_of(1)


async def test_a_compaction_whose_answer_is_lost_happens_once(
    redis_server: Endpoint, key_prefix: str, client_kind: str, reset: bool
) -> None:
    """It says that it was done, although the list is not any more what it was to be."""
    async with (
        redis_asyncio.from_url(redis_server.url) as direct,
        FaultyProxy(redis_server, first(1), reset=reset) as proxy,
        client_of(proxy, client_kind) as client,
    ):
        await RedisSession("s", direct, key_prefix).add_items(batch_of(0))
        session = RedisSession("s", client, key_prefix)
        snapshot = await session._get_compaction_snapshot(9)
        assert snapshot is not None

        assert await snapshot.replace_suffix(0, batch_of(1)) is True

        assert proxy.cuts == 1
        assert await session.get_items() == batch_of(1)


async def test_a_record_that_is_put_back_is_put_back_once(
    redis_server: Endpoint, key_prefix: str, client_kind: str, reset: bool
) -> None:
    """A pop that took what only looks like an item puts it back, also if that answer is lost."""
    second = iter([False, True])
    async with (
        redis_asyncio.from_url(redis_server.url) as direct,
        FaultyProxy(redis_server, second, reset=reset) as proxy,
        client_of(proxy, client_kind) as client,
    ):
        await RedisSession("s", direct, key_prefix).add_items(batch_of(0))
        await direct.rpush(f"{key_prefix}:s", b"{no item}")

        assert await RedisSession("s", client, key_prefix).pop_item() == item(0, 2)

        assert proxy.cuts == 1
        records: list[Any] = await direct.lrange(f"{key_prefix}:s", 0, -1)
        assert [b"no item" in bytes(record) for record in records] == [False, False, True]


async def test_replacements_and_clears_with_every_third_answer_lost(
    redis_server: Endpoint, key_prefix: str, client_kind: str, reset: bool
) -> None:
    """Rewriting a session again and again shows each state in its turn."""
    async with (
        FaultyProxy(redis_server, one_in(3, seed=2), reset=reset) as proxy,
        client_of(proxy, client_kind) as client,
    ):

        async def rewrite(session: RedisSession) -> None:
            for number in range(5):
                await session.replace_items(batch_of(number))
                await session.add_items(batch_of(number + 1))
                assert await session.get_items() == batches_of(range(number, number + 2))
                await session.clear_session()
                assert await session.get_items() == []

        sessions = [RedisSession(f"lane-{n}", client, key_prefix) for n in range(6)]
        await asyncio.gather(*map(rewrite, sessions))
        assert proxy.cuts >= 15


async def test_several_answers_lost_in_a_row_change_nothing(
    redis_server: Endpoint, key_prefix: str, client_kind: str, reset: bool
) -> None:
    """A write and a pop outlast three losses each."""
    async with (
        FaultyProxy(redis_server, first(3), reset=reset) as proxy,
        client_of(proxy, client_kind) as client,
    ):
        session = RedisSession("s", client, key_prefix)
        await session.add_items(batch_of(0))
        proxy.losses = first(3)
        assert await session.pop_item() == item(0, 2)
        assert await session.get_items() == batch_of(0)[:2]
        assert proxy.cuts == 6


@pytest.mark.parametrize("use", ["add", "pop", "ping"])
async def test_a_connection_that_was_reset_is_opened_again(
    redis_server: Endpoint, key_prefix: str, use: str
) -> None:
    """A client of one connection, which it doesn't look at before it sends, heals likewise."""
    async with redis_asyncio.Redis.from_url(
        redis_server.url, single_connection_client=True
    ) as client:
        session = RedisSession("s", client, key_prefix)
        await session.add_items(batch_of(0))
        connection: Any = client.connection
        connection._writer.transport.abort()
        with suppress(OSError):
            await connection._writer.wait_closed()

        if use == "add":
            await session.add_items(batch_of(1))
            assert await session.get_items() == batches_of(range(2))
        elif use == "pop":
            assert await session.pop_item() == item(0, BATCH_SIZE - 1)
            assert await session.get_items() == batch_of(0)[:-1]
        else:
            assert await session.ping()
            assert await session.get_items() == batch_of(0)


async def test_losses_without_end_are_the_client_librarys_own_error(
    redis_server: Endpoint, key_prefix: str
) -> None:
    """A write that is never answered raises redis-py's ConnectionError, and was done once."""
    async with (
        FaultyProxy(redis_server, (True for _ in count())) as proxy,
        client_of(proxy, "from_url") as client,
    ):
        session = RedisSession("s", client, key_prefix)
        with pytest.raises(ConnectionError):
            await session.add_items(batch_of(0))
        assert proxy.cuts > 2
        assert await session.get_items() == batch_of(0)


async def test_the_same_faults_do_harm_where_nothing_is_done_about_them(
    redis_server: Endpoint, key_prefix: str, client_kind: str, reset: bool
) -> None:
    """The SDK's own session raises for what it wrote, and loses what it popped."""
    async with (
        FaultyProxy(redis_server, one_in(10, seed=3), reset=reset) as proxy,
        client_of(proxy, client_kind) as client,
    ):
        session = SdkRedisSession("s", redis_client=client, key_prefix=key_prefix)
        raised = sum([await fails(session.add_items(batch_of(each))) for each in range(100)])
        written = await session.get_items()
        assert written == batches_of(range(100))
        assert raised == proxy.cuts > 0  # for batches that are there, as they should be

        proxy.cuts = 0
        handed_out: list[TResponseInputItem | None] = []

        async def take() -> None:
            handed_out.append(await session.pop_item())

        raised = sum([await fails(take()) for _ in range(100)])
        known = handed_out + await session.get_items()
        lost = [each for each in written if each not in known]
        assert len(lost) == proxy.cuts > 0
        assert raised == (proxy.cuts if client_kind == "from_url" else 0)


async def fails(operation: Awaitable[object]) -> bool:
    """Whether an operation raises an error of redis-py's."""
    try:
        await operation
    except RedisError:
        return True
    return False
