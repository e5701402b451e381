"""Fair medians, and Markdown tables of them."""

from __future__ import annotations

import gc
import random
from statistics import median
from time import perf_counter_ns
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    Operation = Callable[[], Awaitable[object]]


async def medians(
    contenders: Mapping[str, Operation], iterations: int, warmup: int
) -> dict[str, float]:
    """Run every contender once an iteration and return each one's median in microseconds.

    Interleaved, so that what else happens on the machine meets all of them alike; in a
    random order, so that none always runs behind the same other; without the garbage
    collector, whose runs hit whoever happens to be measured.
    """
    names = list(contenders)
    times: dict[str, list[int]] = {name: [] for name in names}
    order = random.Random(0)
    gc.collect()
    gc.disable()
    try:
        for number in range(-warmup, iterations):
            order.shuffle(names)
            for name in names:
                start = perf_counter_ns()
                await contenders[name]()
                if number >= 0:
                    times[name].append(perf_counter_ns() - start)
    finally:
        gc.enable()
    return {name: median(times[name]) / 1000 for name in contenders}


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table: the first column is text, the others are figures."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, rule, *rows])


def figure(value: float) -> str:
    """A figure with the digits that mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
