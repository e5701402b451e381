"""Eight processes at work on one session of a PostgreSQL (P3, P6)."""

from __future__ import annotations

import asyncio
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any, cast

import pytest
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from openai_agents_session import DatabaseSession
from tests.database.conftest import new_user

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from multiprocessing.synchronize import Barrier
    from uuid import UUID

    from agents import TResponseInputItem
    from sqlalchemy.ext.asyncio import AsyncEngine

PROCESSES, BATCHES, BATCH_SIZE = 8, 25, 4

_everybody: Barrier
"""In a worker: where it waits for the others, so that no process begins alone."""


def join(everybody: Barrier) -> None:
    global _everybody  # noqa: PLW0603 - how a pool's workers inherit a barrier
    _everybody = everybody


@pytest.fixture(scope="module")
def workers() -> Iterator[ProcessPoolExecutor]:
    """Eight processes, forked from one that has imported what they need."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "asyncpg", "openai_agents_session.database"])
    barrier = context.Barrier(PROCESSES, timeout=60)
    with ProcessPoolExecutor(PROCESSES, context, join, (barrier,)) as pool:
        yield pool


def batch_of(process: int, number: int) -> list[TResponseInputItem]:
    contents = [f"{process}.{number}.{part}" for part in range(BATCH_SIZE)]
    batch = [{"role": "user", "content": content} for content in contents]
    return cast("list[TResponseInputItem]", batch)


def write(url: str, user_id: UUID, process: int) -> None:
    """In a worker: write this process's batches, the first of all among them."""

    async def work(session: DatabaseSession) -> None:
        for number in range(BATCHES):
            await session.add_items(batch_of(process, number))

    asyncio.run(_with_session(url, user_id, work))


def pop(url: str, user_id: UUID, _process: int) -> list[Any]:
    """In a worker: pop until nothing is left."""

    async def work(session: DatabaseSession) -> list[Any]:
        popped = []
        while (item := await session.pop_item()) is not None:
            popped.append(item)
        return popped

    return asyncio.run(_with_session(url, user_id, work))


async def _with_session(url: str, user_id: UUID, work: Callable[[DatabaseSession], Any]) -> Any:
    engine = create_async_engine(url)
    try:
        session = DatabaseSession("shared", user_id, async_sessionmaker(engine))
        assert await session.ping()
        _everybody.wait()
        return await work(session)
    finally:
        await engine.dispose()


@pytest.fixture
def url(postgres_url: str) -> str:
    return postgres_url


async def test_eight_processes_write_and_then_pop(
    workers: ProcessPoolExecutor, url: str, engine: AsyncEngine
) -> None:
    """Batches stay whole and each process's in order; every item is popped exactly once."""
    maker = async_sessionmaker(engine)
    user_id = await new_user(maker)
    session = DatabaseSession("shared", user_id, maker)

    async def in_each(task: Callable[[str, UUID, int], Any]) -> list[Any]:
        futures = [workers.submit(task, url, user_id, process) for process in range(PROCESSES)]
        return await asyncio.gather(*map(asyncio.wrap_future, futures))

    await in_each(write)
    items = cast("list[Any]", await session.get_items())
    batches = [items[at : at + BATCH_SIZE] for at in range(0, len(items), BATCH_SIZE)]
    sources = [tuple(map(int, batch[0]["content"].split(".")[:2])) for batch in batches]
    assert batches == [batch_of(*source) for source in sources]
    for process in range(PROCESSES):
        assert [number for who, number in sources if who == process] == list(range(BATCHES))
    assert len(list(groupby(who for who, _ in sources))) > PROCESSES  # they did take turns

    popped = await in_each(pop)
    assert sorted(_contents(chain.from_iterable(popped))) == sorted(_contents(items))
    assert sum(map(bool, popped)) > 1  # more than one had a share
    assert await session.get_items() == []


def _contents(items: Iterable[Any]) -> list[str]:
    return [item["content"] for item in items]
