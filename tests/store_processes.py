"""Eight processes at work on the conversations of one user, through whatever loses answers."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from openai_agents_session import open_store
from tests.contract.store_together import act
from tests.contract.values import user
from tests.processes import PROCESSES, work_together

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from concurrent.futures import ProcessPoolExecutor

AnyStore: TypeAlias = Any

IDS = [f"{at}" for at in range(6)]


async def check_store(
    workers: ProcessPoolExecutor,
    url: str,
    user_id: Any,
    store: AnyStore,
    agree: Callable[[AnyStore], Awaitable[None]],
    *,
    steps: int,
    **options: Any,
) -> None:
    """Let each process change the same conversations in all ways, and see that all agrees.

    Args:
        workers: the processes.
        url: of the store, as they reach it.
        user_id: whose conversations.
        store: the same one, as this process reaches it.
        agree: asserts that what is listed and what is there agree.
        steps: how many changes each process makes, and how many items it adds to a conversation
            that all of them write and nobody deletes.
        options: of ``open_store``.
    """
    opened = partial(_opened, url, options)
    await work_together(workers, opened, partial(_act, user_id), steps)

    view = store.user(user_id)
    items = await view.session("ledger").get_items()
    lines = [tuple(map(int, item["content"].split("."))) for item in items]
    for process in range(PROCESSES):
        # None is lost, none is there twice, and each process's are in order.
        assert [at for who, at in lines if who == process] == list(range(steps))
    assert len(lines) == PROCESSES * steps
    assert (await view.get("ledger")).item_count == len(lines)
    found = {each.session_id async for each in view}
    assert "ledger" in found
    assert found <= {"ledger", *IDS}
    await agree(store)


@asynccontextmanager
async def _opened(url: str, options: dict[str, Any]) -> AsyncGenerator[AnyStore]:
    async with open_store(url, **options) as store:
        yield store


async def _act(user_id: Any, store: AnyStore, process: int, steps: int) -> None:
    """In a worker: change what all change, and write to the ledger in between."""
    view = store.user(user_id)
    ledger = view.session("ledger", name="Ledger")
    for at in range(steps):
        await act(view, IDS, 1, seed=1000 * process + at)
        await ledger.add_items([user(f"{process}.{at}")])
        await asyncio.sleep(0)
