"""Programs that fork with a client in use: ``python -m tests.redis.forks URL PREFIX``.

A process of its own, because a test run has threads, which do not survive a fork.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis, RedisCluster

from openai_agents_session import RedisSession, SessionBusyError
from tests.processes import ended_well, forked

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

ROUNDS = 10

_sessions: list[RedisSession] = []
"""Of a module, as a preloaded application has it: used before the fork, and after it."""


def items_of(name: str, number: int) -> list[Any]:
    return [{"role": "user", "content": f"{name} {number}"}]


async def converse(session: RedisSession, name: str, start: int = 0) -> None:
    """Add and read again and again, and pop at the end; what is read is this one's alone."""
    for number in range(start, start + ROUNDS):
        await session.add_items(items_of(name, number))
        found: list[Any] = await session.get_items()
        assert found == [item for each in range(number + 1) for item in items_of(name, each)]
    await session.add_items(items_of("popped", 0))
    assert await session.pop_item() == items_of("popped", 0)[0]


async def connection_of(session: RedisSession) -> int | None:
    """What the server calls the connection: the parent's must stay what it is."""
    client = session._clients.current()
    return await client.client_id() if isinstance(client, Redis) else None


def fork_in_the_middle(ada: RedisSession, bob: RedisSession) -> None:
    """Ada writes in the parent and Bob in the child, both at once, on one client."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(converse(ada, "Ada"))
    connection = loop.run_until_complete(connection_of(ada))
    child = forked(lambda: asyncio.run(converse(bob, "Bob")))
    loop.run_until_complete(converse(ada, "Ada", ROUNDS))
    ended_well(child)
    assert loop.run_until_complete(connection_of(ada)) == connection
    assert len(loop.run_until_complete(bob.get_items())) == ROUNDS
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def fork_inside_of_a_loop(ada: RedisSession, bob: RedisSession) -> None:
    """The same from within a coroutine, and the child goes on until its parent is done."""

    async def main() -> None:
        await converse(ada, "Ada", 2 * ROUNDS)
        child = forked(lambda: asyncio.run(converse(bob, "Bob", ROUNDS)))
        await converse(ada, "Ada", 3 * ROUNDS)
        ended_well(child)
        assert len(await bob.get_items()) == 2 * ROUNDS

    asyncio.run(main())


def work(index: int) -> int:
    """In a process of a pool: read Ada's conversation on the parent's client."""
    return len(asyncio.run(_sessions[index].get_items()))


def pools(ada: RedisSession) -> None:
    """Executor, ``multiprocessing``, and workers that a preloaded application forks."""
    _sessions[:] = [ada]
    context = multiprocessing.get_context("fork")

    async def in_a_pool() -> None:
        expected = len(await ada.get_items())
        loop = asyncio.get_running_loop()
        with ProcessPoolExecutor(2, context) as executor:
            runs = [loop.run_in_executor(executor, work, 0) for _ in range(4)]
            assert await asyncio.gather(*runs) == [expected] * 4
        assert len(await ada.get_items()) == expected

    asyncio.run(in_a_pool())
    processes = [context.Process(target=work, args=(0,)) for _ in range(2)]
    for process in processes:
        process.start()
    asyncio.run(converse(ada, "Ada", 4 * ROUNDS))
    for process in processes:
        process.join()
        assert process.exitcode == 0


def a_lease(session: RedisSession) -> None:
    """The parent holds it: the child can't have it before, and takes nothing from the parent."""

    async def look() -> None:
        assert await session.busy()
        try:
            await session.lease(0).__aenter__()
        except SessionBusyError:
            return
        raise AssertionError("two held it at once")

    async def turn(number: int) -> None:
        async with session.lease(0) as held:
            await held.add_items(items_of("turn", number))

    async def main() -> None:
        async with session.lease(0) as held:
            await held.add_items(items_of("turn", 0))
            ended_well(forked(lambda: asyncio.run(look())))
            await held.add_items(items_of("turn", 1))
        ended_well(forked(lambda: asyncio.run(turn(2))))
        await turn(3)
        found: list[Any] = await session.get_items()
        assert found == [item for number in range(4) for item in items_of("turn", number)]

    asyncio.run(main())


def all_shapes(
    make: Callable[[str], RedisSession], close: Callable[[], Coroutine[Any, Any, None]] | None
) -> None:
    ada, bob = make("ada"), make("bob")
    fork_in_the_middle(ada, bob)
    fork_inside_of_a_loop(ada, bob)
    pools(ada)
    a_lease(make("leased"))
    if close is not None:
        asyncio.run(close())


def preloaded(url: str, prefix: str) -> None:
    """The application has used its client itself, before there was any session."""
    client = Redis.from_url(url)
    asyncio.run(use(client))

    def bob() -> None:
        asyncio.run(converse(RedisSession("bob", client, f"{prefix}-preloaded"), "Bob"))

    child = forked(bob)
    asyncio.run(converse(RedisSession("ada", client, f"{prefix}-preloaded"), "Ada"))
    ended_well(child)
    asyncio.run(client.aclose())


async def use(client: Redis) -> None:
    """Leave a connection in the pool."""
    await client.ping()


def main(url: str, prefix: str) -> None:
    """Go through all shapes with each kind of client."""
    client = Redis.from_url(url)
    all_shapes(lambda name: RedisSession(name, client, f"{prefix}-given"), client.aclose)
    single = Redis.from_url(url, single_connection_client=True)
    all_shapes(lambda name: RedisSession(name, single, f"{prefix}-single"), single.aclose)
    all_shapes(lambda name: RedisSession.from_url(name, url, key_prefix=f"{prefix}-made"), None)
    preloaded(url, prefix)


def main_of_cluster(url: str, prefix: str) -> None:
    """Go through them with a cluster's client."""
    client = RedisCluster.from_url(url)
    all_shapes(lambda name: RedisSession(name, client, prefix), client.aclose)


if __name__ == "__main__":
    (main_of_cluster if sys.argv[3:] else main)(sys.argv[1], sys.argv[2])
