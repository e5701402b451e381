"""Leases: what a fence adds to a write, what waiters ask of the store, and how turns follow."""

from __future__ import annotations

import asyncio
import os
import platform
import time
import uuid
from contextlib import AsyncExitStack, contextmanager
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any

from openai_agents_session import open_store
from tests.benchmarks.conversation import turn
from tests.benchmarks.measure import figure, medians, table

if TYPE_CHECKING:
    from collections.abc import Generator

    from openai_agents_session._store import BaseStore

HEADER = ["leases", "figure", "against"]
TURNS = 30
"""How often a lease goes from one to the next."""

COUNTED_SECONDS = 6
"""For how long the requests of waiters are counted, behind half of it for them to settle."""


async def run(url: str, iterations: int, waiters: int, scale: int = 1, **options: Any) -> str:
    """Measure on the store of a URL and return the report.

    Args:
        url: as ``open_store`` takes it.
        iterations: how often ``add_items`` is measured.
        waiters: how many wait for one lease.
        scale: divides how long their requests are counted, and how often the lease goes on.
        options: of the store.
    """
    async with open_store(url, setup=True, **options) as store:
        view = store.user(str(uuid.uuid4()))
        lines = [
            *await _writes(store, view, iterations),
            await _waiting(view.session("waiting"), waiters, COUNTED_SECONDS / scale),
            *await _turns(view.session("turns"), TURNS // scale),
        ]
        await view.erase()
    setting = (
        f"Medians, interleaved in one run; this machine ({os.cpu_count()} cores), "
        f"Python {platform.python_version()}"
    )
    return f"{setting}\n\n{table(HEADER, lines)}"


async def _writes(store: BaseStore, view: Any, iterations: int) -> list[list[str]]:
    """``add_items`` with a lease and without, of a user and, where there are such, of nobody."""
    batch = turn(0)
    kinds: dict[str, Any] = {"of a user": view.session}
    try:
        store.session("benchmark")
    except (ValueError, RuntimeError):
        pass
    else:
        kinds["of nobody"] = store.session
    lines = []
    for kind, session in kinds.items():
        free, leased = (session(f"benchmark-{uuid.uuid4()}") for _ in range(2))
        async with leased.lease(0, 3600) as held:
            took = await medians(
                {
                    "free": lambda free=free: free.add_items(batch),
                    "held": lambda held=held: held.add_items(batch),
                },
                iterations,
                warmup=max(iterations // 10, 1),
            )
        for each in (free, leased):
            await each.clear_session()
        lines.append(
            [
                f"add_items, a turn of 4, {kind}, with a lease",
                f"{figure(took['held'])} µs",
                f"{took['held'] / took['free']:.3f} of {figure(took['free'])} µs without",
            ]
        )
    return lines


async def _waiting(session: Any, waiters: int, seconds: float) -> list[str]:
    """Count what many waiters ask of the store while one holds the lease."""
    async with session.lease(0, 3600):
        with _asked(session) as asked:
            waiting = [asyncio.create_task(session.lease(600).__aenter__()) for _ in range(waiters)]
            await asyncio.sleep(seconds / 2)  # until each has found its pace
            assert len(asked) >= waiters
            before, began = len(asked), time.perf_counter()
            await asyncio.sleep(seconds)
            each_second = (len(asked) - before) / (time.perf_counter() - began)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
    return [f"{waiters} wait while one holds", f"{each_second:.1f} acquire/s", ""]


@contextmanager
def _asked(session: Any) -> Generator[list[float]]:
    """Note when any holder asks for a lease."""
    claims: Any = type(session._conversation.claim("any", 1))
    acquire, times = claims.acquire, []

    async def noted(claim: Any, comes_back_in: float) -> int:
        times.append(time.perf_counter())
        return await acquire(claim, comes_back_in)

    claims.acquire = noted
    try:
        yield times
    finally:
        claims.acquire = acquire


async def _turns(session: Any, turns: int) -> list[list[str]]:
    """How long nobody has the lease: with one who waits for it, and with a queue."""
    alone = []
    for _ in range(turns):
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(session.lease(0))
            waiting = asyncio.create_task(_turn(session))
            await asyncio.sleep(0.3)
            ends = time.perf_counter()
            await stack.aclose()
            began, _ = await waiting
            alone.append(began - ends)
    taken = sorted(await asyncio.gather(*(_turn(session) for _ in range(turns))))
    queued = [began - ended for (_, ended), (began, _) in pairwise(taken)]
    return [
        [
            f"from one to the next, {name}",
            f"{figure(1000 * median(gaps))} ms",
            f"{figure(1000 * max(gaps))} ms at most",
        ]
        for name, gaps in (("who waits alone", alone), (f"{turns} in a queue", queued))
    ]


async def _turn(session: Any) -> tuple[float, float]:
    """Take the lease and give it back; when it was had, and when it was let go."""
    async with session.lease(600):
        began = time.perf_counter()
        await asyncio.sleep(0.1)
        return began, time.perf_counter()
