"""The serializer beside the standard library's ``json``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from openai_agents_session._serializer import deserialize_all, serialize
from tests.benchmarks.conversation import conversation
from tests.benchmarks.measure import medians, table

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ITEMS = 2_000


async def run(iterations: int) -> str:
    """Write and read a long conversation both ways and return a table of medians."""
    items = conversation(ITEMS)
    texts = serialize(items)
    write = await medians(
        {
            "ours": _asynchronous(lambda: serialize(items)),
            "json": _asynchronous(lambda: [json.dumps(item).encode() for item in items]),
        },
        iterations,
        warmup=2,
    )
    read = await medians(
        {
            "ours": _asynchronous(lambda: deserialize_all(texts)),
            "json": _asynchronous(lambda: [json.loads(text) for text in texts]),
        },
        iterations,
        warmup=2,
    )
    rows = [
        [
            f"{name} {ITEMS:,} items",
            f"{time['ours'] / 1000:.2f} ms",
            f"{time['json'] / 1000:.2f} ms",
            f"{time['ours'] / time['json']:.2f}",
        ]
        for name, time in (("serialize", write), ("deserialize", read))
    ]
    return table(["", "this library", "json", "ratio"], rows)


def _asynchronous(function: Callable[[], object]) -> Callable[[], Awaitable[object]]:
    async def call() -> object:
        return function()

    return call
