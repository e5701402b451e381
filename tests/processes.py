"""Several processes: eight at work on one session, as P3 and P6 ask, and a forked one."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import traceback
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterable
    from contextlib import AbstractAsyncContextManager
    from multiprocessing.synchronize import Barrier

    from agents import TResponseInputItem

    from openai_agents_session._session import BaseSession

    Open: TypeAlias = Callable[[], AbstractAsyncContextManager[Any]]
    """Opens a session or a store; sent to the processes, so a partial of a function."""
    Task: TypeAlias = Callable[[Any, int, int], Awaitable[Any]]

PROCESSES, BATCH_SIZE = 8, 4

_everybody: Barrier
"""In a worker: where it waits for the others, so that no process begins alone."""


@contextmanager
def eight_processes(*preload: str) -> Generator[ProcessPoolExecutor]:
    """Fork eight processes from one that has imported these modules."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", *preload])
    barrier = context.Barrier(PROCESSES, timeout=60)
    with ProcessPoolExecutor(PROCESSES, context, _join, (barrier,)) as pool:
        yield pool


async def check_writes_and_pops(workers: ProcessPoolExecutor, opened: Open, batches: int) -> None:
    """Batches stay whole and each process's in order; every item is popped exactly once."""
    in_each = partial(work_together, workers, opened, batches=batches)
    async with opened() as session:
        await in_each(_write)
        items = cast("list[Any]", await session.get_items())
        stored = [items[at : at + BATCH_SIZE] for at in range(0, len(items), BATCH_SIZE)]
        sources = [tuple(map(int, batch[0]["content"].split(".")[:2])) for batch in stored]
        assert stored == [_batch_of(*source) for source in sources]
        for process in range(PROCESSES):
            assert [number for who, number in sources if who == process] == list(range(batches))
        assert len(list(groupby(who for who, _ in sources))) > PROCESSES  # they did take turns

        popped = await in_each(_pop)
        assert sorted(_contents(chain.from_iterable(popped))) == sorted(_contents(items))
        assert all(popped)  # each had a share
        # Nobody wrote meanwhile, so what one process popped ran from the newest on.
        rank = {content: at for at, content in enumerate(_contents(items))}
        for share in popped:
            ranks = [rank[content] for content in _contents(share)]
            assert ranks == sorted(ranks, reverse=True)
        assert await session.get_items() == []


async def work_together(
    workers: ProcessPoolExecutor, opened: Open, task: Task, batches: int
) -> list[Any]:
    """Let each process open what there is and do a task, all at once; return what each returns."""
    submitted = [
        workers.submit(_work, opened, task, process, batches) for process in range(PROCESSES)
    ]
    return await asyncio.gather(*map(asyncio.wrap_future, submitted))


def _join(everybody: Barrier) -> None:
    global _everybody  # noqa: PLW0603 - how a pool's workers inherit a barrier
    _everybody = everybody


def _work(opened: Open, task: Task, process: int, batches: int) -> Any:
    """In a worker: begin with the others."""

    async def work() -> Any:
        async with opened() as session:
            assert await session.ping()
            _everybody.wait()
            return await task(session, process, batches)

    return asyncio.run(work())


async def _write(session: BaseSession, process: int, batches: int) -> None:
    """In a worker: write this process's batches."""
    for number in range(batches):
        if number == batches // 2:
            _everybody.wait()  # so that they take turns, however fast one of them is
        await session.add_items(_batch_of(process, number))


async def _pop(session: BaseSession, *_: int) -> list[Any]:
    """In a worker: pop until nothing is left."""
    popped = [await session.pop_item()]
    _everybody.wait()  # so that nobody finds nothing, however fast another is
    while (item := await session.pop_item()) is not None:
        popped.append(item)
    return popped


def _batch_of(process: int, number: int) -> list[TResponseInputItem]:
    contents = [f"{process}.{number}.{part}" for part in range(BATCH_SIZE)]
    batch = [{"role": "user", "content": content} for content in contents]
    return cast("list[TResponseInputItem]", batch)


def _contents(items: Iterable[Any]) -> list[str]:
    return [item["content"] for item in items]


def forked(work: Callable[[], object]) -> int:
    """Fork, and do something in the child for a minute at most; return its process id."""
    if child := os.fork():
        return child
    signal.alarm(60)  # ends the child, whatever it waits for
    code = 1
    try:
        work()
        code = 0
    except BaseException:  # noqa: BLE001 - whatever it is, the parent must not go on in here
        traceback.print_exc()
    finally:
        os._exit(code)


def ended_well(child: int) -> None:
    """Wait for a forked process."""
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def in_child(work: Callable[[], object]) -> None:
    """Do something in a forked process, and wait until it is done."""
    ended_well(forked(work))
