"""Eight processes at work on one session (P3, P6)."""

from __future__ import annotations

import asyncio
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any, cast

import pytest
from redis.asyncio import Redis

from openai_agents_session import RedisSession
from tests.servers import sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from multiprocessing.synchronize import Barrier

    from agents import TResponseInputItem

    from tests.servers import Endpoint

PROCESSES, BATCHES, BATCH_SIZE = 8, 100, 4

_everybody: Barrier
"""In a worker: where it waits for the others, so that no process begins alone."""


def join(everybody: Barrier) -> None:
    global _everybody  # noqa: PLW0603 - how a pool's workers inherit a barrier
    _everybody = everybody


@pytest.fixture(scope="module")
def workers() -> Iterator[ProcessPoolExecutor]:
    """Eight processes, forked from one that has imported what they need."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "redis.asyncio", "openai_agents_session.redis"])
    barrier = context.Barrier(PROCESSES, timeout=60)
    with ProcessPoolExecutor(PROCESSES, context, join, (barrier,)) as pool:
        yield pool


def batch_of(process: int, number: int) -> list[TResponseInputItem]:
    contents = [f"{process}.{number}.{part}" for part in range(BATCH_SIZE)]
    batch = [{"role": "user", "content": content} for content in contents]
    return cast("list[TResponseInputItem]", batch)


def write(url: str, prefix: str, process: int) -> None:
    """In a worker: write this process's batches."""

    async def work(session: RedisSession) -> None:
        for number in range(BATCHES):
            await session.add_items(batch_of(process, number))

    asyncio.run(_with_session(url, prefix, work))


def pop(url: str, prefix: str, _process: int) -> list[Any]:
    """In a worker: pop until nothing is left."""

    async def work(session: RedisSession) -> list[Any]:
        popped = []
        while (item := await session.pop_item()) is not None:
            popped.append(item)
        return popped

    return asyncio.run(_with_session(url, prefix, work))


async def _with_session(url: str, prefix: str, work: Callable[[RedisSession], Any]) -> Any:
    async with Redis.from_url(url) as client:
        session = RedisSession("shared", client, prefix, ttl=600)
        assert await session.ping()
        _everybody.wait()
        return await work(session)


def test_eight_processes_write_and_then_pop(
    workers: ProcessPoolExecutor, redis_server: Endpoint, key_prefix: str
) -> None:
    """Batches stay whole and each process's in order; every item is popped exactly once."""
    url, everyone = redis_server.url, range(PROCESSES)

    def in_each(task: Callable[[str, str, int], Any]) -> list[Any]:
        futures = [workers.submit(task, url, key_prefix, process) for process in everyone]
        return [future.result(60) for future in futures]

    in_each(write)
    items = asyncio.run(_stored(url, key_prefix))
    batches = [items[at : at + BATCH_SIZE] for at in range(0, len(items), BATCH_SIZE)]
    sources = [tuple(map(int, batch[0]["content"].split(".")[:2])) for batch in batches]
    assert batches == [batch_of(*source) for source in sources]
    for process in everyone:
        assert [number for who, number in sources if who == process] == list(range(BATCHES))
    assert len(list(groupby(who for who, _ in sources))) > PROCESSES  # they did take turns

    popped = in_each(pop)
    assert sorted(_contents(chain.from_iterable(popped))) == sorted(_contents(items))
    assert sum(map(bool, popped)) > 1  # more than one had a share
    # Nobody wrote meanwhile, so what one process popped ran from the newest on.
    rank = {content: at for at, content in enumerate(_contents(items))}
    for share in popped:
        ranks = [rank[content] for content in _contents(share)]
        assert ranks == sorted(ranks, reverse=True)
    assert asyncio.run(_stored(url, key_prefix)) == []
    sweep(redis_server, key_prefix)


async def _stored(url: str, prefix: str) -> list[Any]:
    async with Redis.from_url(url) as client:
        return list(await RedisSession("shared", client, prefix).get_items())


def _contents(items: Iterable[Any]) -> list[str]:
    return [item["content"] for item in items]
