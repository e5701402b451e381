"""A cancelled operation leaves all or nothing, and a client that works (P10).

Each operation is cancelled after 0, 1, 2, … steps of the event loop, until it is faster
than its cancellation. A pop that was cancelled may have removed its item, which then
nobody gets, or not; it never does more, and never anything later.
"""

from __future__ import annotations

import asyncio
import uuid
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, cast

import pytest
import pytest_asyncio
from redis.asyncio import BlockingConnectionPool, Redis

from openai_agents_session import RedisSession, _settle
from tests.faults import FaultyProxy
from tests.servers import RedisServer, sweep

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from agents import TResponseInputItem

    from tests.servers import Endpoint

    Operation = Callable[[RedisSession], Awaitable[object]]

MOST_STEPS = 5000
"""Far more than an operation takes; a test that needs them all has gone wrong."""


def batch_of(number: int) -> list[TResponseInputItem]:
    batch = [{"role": "user", "content": f"{number}.{part}"} for part in range(3)]
    return cast("list[TResponseInputItem]", batch)


BEFORE = batch_of(0)
# What is done, and what the session holds when it was done.
OPERATIONS: dict[str, tuple[Operation, list[TResponseInputItem]]] = {
    "get_items": (lambda session: session.get_items(), BEFORE),
    "add_items": (lambda session: session.add_items(batch_of(1)), BEFORE + batch_of(1)),
    "pop_item": (lambda session: session.pop_item(), BEFORE[:-1]),
    "replace_items": (lambda session: session.replace_items(batch_of(2)), batch_of(2)),
    "clear_session": (lambda session: session.clear_session(), []),
}
CLIENTS = ["default", "single_connection_client", "pool_of_one", "without_scripts"]


@pytest_asyncio.fixture(params=CLIENTS)
async def client(
    request: pytest.FixtureRequest, redis_server: Endpoint, key_prefix: str
) -> AsyncIterator[Redis]:
    """A client of each kind that could be left unusable."""
    url = redis_server.url
    user = f"user-{uuid.uuid4().hex}"
    if request.param == "default":
        made = Redis.from_url(url)
    elif request.param == "single_connection_client":
        made = Redis.from_url(url, single_connection_client=True)
    elif request.param == "pool_of_one":
        pool = BlockingConnectionPool.from_url(url, max_connections=1, timeout=5)
        made = Redis.from_pool(pool)
    else:
        rules = ("on", "nopass", "allkeys", "+@all", "-eval", "-evalsha")
        redis_server.call("ACL", "SETUSER", user, *rules)
        made = Redis.from_url(url, username=user, password="any")
    async with made:
        yield made
    redis_server.call("ACL", "DELUSER", user)
    sweep(redis_server, key_prefix)


async def steps(number: int) -> None:
    """Let the event loop go round so many times."""
    for _ in range(number):
        await asyncio.sleep(0)


async def cancelled_after(number: int, operation: Awaitable[object]) -> bool:
    """Cancel an operation after so many steps; False if it was done before."""
    task = asyncio.ensure_future(operation)
    await steps(number)
    if task.done():
        task.result()
        return False
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return True


@pytest.mark.parametrize("name", OPERATIONS)
async def test_cancelled_at_every_step(
    request: pytest.FixtureRequest,
    client: Redis,
    redis_server: Endpoint,
    key_prefix: str,
    name: str,
) -> None:
    """The session holds what it held before or what it should afterwards, and stays so."""
    operation, done = OPERATIONS[name]
    left: dict[RedisSession, list[Any]] = {}
    async with Redis.from_url(redis_server.url) as observer:
        for number in range(MOST_STEPS):
            session = RedisSession(f"s-{number}", client, key_prefix, ttl=600)
            seen = RedisSession(f"s-{number}", observer, key_prefix, ttl=600)
            await seen.add_items(BEFORE)
            cancelled = await cancelled_after(number, operation(session))
            left[seen] = await seen.get_items()
            assert await session.get_items() == left[seen]  # the client still works
            if not cancelled:
                break
        else:
            pytest.fail("the operation never came to its end")

        assert number > 3
        outcomes = list(left.values())
        assert outcomes[0] == BEFORE  # cancelled before its first step
        assert outcomes[-1] == done  # not cancelled
        assert all(outcome in (BEFORE, done) for outcome in outcomes)
        if "without_scripts" not in request.node.name:
            # A write that had begun was carried to its end. (Without scripts it may be
            # found out too late that it has to be a transaction; then nothing is done.)
            assert all(outcome == done for outcome in outcomes[1:])
        # And nothing of all this was still on its way.
        assert [await seen.get_items() for seen in left] == outcomes


async def test_cancelled_while_the_answer_is_on_its_way(
    redis_server: Endpoint, redis_client: Redis, key_prefix: str
) -> None:
    """However often it is cancelled, a write is carried to its outcome and done once."""
    observer = RedisSession("s", redis_client, key_prefix)
    async with FaultyProxy(redis_server) as proxy, Redis.from_url(proxy.url) as client:
        session = RedisSession("s", client, key_prefix)
        assert await session.ping()
        for number in range(3):
            proxy.hold()
            task = asyncio.ensure_future(session.add_items(batch_of(number)))
            await proxy.an_answer_held()
            for _ in range(3):
                task.cancel()
                await steps(5)
            assert not task.done()
            proxy.release()
            with pytest.raises(asyncio.CancelledError):
                await task
        expected = batch_of(0) + batch_of(1) + batch_of(2)
        assert await session.get_items() == expected == await observer.get_items()


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("timeout", [1, None])
async def test_a_server_that_hangs_does_not_hold_a_cancelled_task(
    redis_binary: str,
    key_prefix: str,
    monkeypatch: pytest.MonkeyPatch,
    timeout: float | None,
    name: str,
) -> None:
    """Wherever it is cancelled, it ends; once the server goes on, all is well."""
    assert 1 < _settle.SETTLE_SECONDS <= 5
    monkeypatch.setattr(_settle, "SETTLE_SECONDS", 0.15)
    monkeypatch.setattr(_settle, "GIVE_UP_SECONDS", 0.1)
    operation, done = OPERATIONS[name]
    async with AsyncExitStack() as stack:
        server = stack.enter_context(RedisServer(redis_binary))
        sessions = []
        for number in range(20):
            client = await stack.enter_async_context(
                Redis.from_url(server.url, socket_timeout=timeout)
            )
            sessions.append(RedisSession(f"s-{number}", client, key_prefix))
            await sessions[-1].add_items(BEFORE)
        server.pause()
        tasks = []
        for number, session in enumerate(sessions):
            task = asyncio.ensure_future(operation(session))
            await steps(number)
            task.cancel()
            tasks.append(task)
        await asyncio.wait(tasks, timeout=4)
        held = [number for number, task in enumerate(tasks) if not task.done()]
        server.resume()
        await asyncio.wait(tasks)
        assert held == []
        assert [number for number, task in enumerate(tasks) if not task.cancelled()] == []
        for session in sessions:
            assert await session.get_items() in (BEFORE, done)
            await session.replace_items(batch_of(3))
            assert await session.get_items() == batch_of(3)
