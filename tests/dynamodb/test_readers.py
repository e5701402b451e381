"""Who meets a writer sees one state of the conversation, old or new, and gets a turn (P2, P6)."""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest

from openai_agents_session import DynamoDBSession
from tests.dynamodb import emulators
from tests.dynamodb.proxy import behind, delay_until, on
from tests.dynamodb.writer import SMALLEST, batches_of, named_pages, names_of, pages_of, pop_all

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agents import TResponseInputItem

    from tests.dynamodb.emulators import Emulator

    Items = list[TResponseInputItem]
    Operation = Callable[[DynamoDBSession], Awaitable[Any]]

EMULATORS = emulators.servers()

PADDING = 400
OLD = batches_of("old", range(12), padding=PADDING)
NEW = batches_of("new", range(12), padding=PADDING)
POPS = 24
"""Back over two pages and into a third."""


async def pop_many(session: DynamoDBSession) -> None:
    for _ in range(POPS):
        await session.pop_item()


# What a writer does while the reader waits for the pages, and what is there afterwards.
WRITES: dict[str, tuple[Operation, Items]] = {
    "replace_items": (lambda session: session.replace_items(NEW), NEW),
    "replace_items, without pages": (lambda session: session.replace_items(NEW[:3]), NEW[:3]),
    "clear_session": (lambda session: session.clear_session(), []),
    "pop_item": (pop_many, OLD[:-POPS]),
}


@pytest.mark.parametrize("limit", [None, 20])
@pytest.mark.parametrize("name", WRITES)
async def test_pages_deleted_before_they_are_read(
    emulator: Emulator, dynamodb_client: Any, table: str, name: str, limit: int | None
) -> None:
    """A reader that knows the old pages and finds them gone reads the new state."""
    write, after = WRITES[name]
    writer = DynamoDBSession("s", dynamodb_client, table, page_bytes=SMALLEST)
    await writer.add_items(OLD)
    old_pages = set(await pages_of(dynamodb_client, table))
    written = asyncio.Event()
    plan = on(delay_until(written), "BatchGetItem", 1)
    async with behind(emulator.url, plan) as (proxy, client):
        reader = DynamoDBSession("s", client, table, page_bytes=SMALLEST)
        reading = asyncio.ensure_future(reader.get_items(limit))
        await proxy.waiting()
        await write(writer)
        assert old_pages - set(await pages_of(dynamodb_client, table))
        written.set()
        assert await reading == (after if limit is None else after[-limit:])
        assert proxy.faults == {"delay": 1}


@pytest.mark.parametrize("name", WRITES)
async def test_pages_deleted_before_a_pop_reads_them(
    emulator: Emulator, dynamodb_client: Any, table: str, name: str
) -> None:
    """A pop that reaches for a page which is gone takes the newest item of the new state."""
    write, after = WRITES[name]
    writer = DynamoDBSession("s", dynamodb_client, table, page_bytes=SMALLEST)
    await writer.add_items([*OLD, *NEW])
    while await in_item(dynamodb_client, table):
        await writer.pop_item()
    if write is pop_many:
        after = (await writer.get_items())[:-POPS]
    written = asyncio.Event()
    async with behind(emulator.url, on(delay_until(written), "BatchGetItem", 1)) as (proxy, client):
        reader = DynamoDBSession("s", client, table, page_bytes=SMALLEST)
        popping = asyncio.ensure_future(reader.pop_item())
        await proxy.waiting()
        await write(writer)
        written.set()
        assert await popping == (after[-1] if after else None)
        assert await writer.get_items() == after[:-1]


async def in_item(client: Any, table: str) -> int:
    answer = await client.get_item(TableName=table, Key={"session_id": {"S": "s"}})
    return len(answer["Item"]["items"]["L"])


async def test_readers_beside_a_writer(dynamodb_client: Any, table: str) -> None:
    """Whatever a writer does, each read is one of the states that the writer made, in turn."""
    states: list[list[str]] = [[]]
    finished = asyncio.Event()

    async def write() -> None:
        session = DynamoDBSession("s", dynamodb_client, table, page_bytes=SMALLEST)
        generation = 0
        while generation < 6 or min(reads) <= 10:  # a fast writer does not end it early
            items = batches_of(generation, range(6), padding=PADDING)
            states.append(names_of(items))
            await session.replace_items(items)
            more = batches_of(f"more-{generation}", range(4), padding=PADDING)
            states.append(names_of(items + more))
            await session.add_items(more)
            for _ in range(14):
                states.append(states[-1][:-1])
                await session.pop_item()
            if generation % 2:
                states.append([])
                await session.clear_session()
            generation += 1
        finished.set()

    async def read(reader: int, limit: int | None) -> None:
        session = DynamoDBSession("s", dynamodb_client, table, page_bytes=SMALLEST)
        at = 0
        while not finished.is_set():
            seen = names_of(await session.get_items(limit))
            # One of the states from the last one seen on: nobody goes back in time.
            at = next(
                number
                for number in range(at, len(states))
                if seen == (states[number] if limit is None else states[number][-limit:])
            )
            reads[reader] += 1

    limits = (None, 15, 15, None)
    reads = [0] * len(limits)
    await asyncio.gather(*(read(*each) for each in enumerate(limits)), write())
    assert set(await pages_of(dynamodb_client, table)) == await named_pages(
        dynamodb_client, table, "s"
    )


async def test_nobody_waits_for_a_writer_that_never_rests(dynamodb_client: Any, table: str) -> None:
    """Who was refused and has waited looks again first: what it knew, others have changed."""
    sessions = [DynamoDBSession("s", dynamodb_client, table) for _ in range(4)]
    items = batches_of("all", range(60))
    await sessions[0].add_items(items)

    shares = await asyncio.gather(*map(pop_all, sessions))
    assert all(shares)
    assert sorted(names_of(chain.from_iterable(shares))) == sorted(names_of(items))
