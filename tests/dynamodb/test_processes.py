"""Eight processes at work on one session (P3, P6)."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any

import pytest

from openai_agents_session import DynamoDBSession, DynamoDBStore
from tests.dynamodb import emulators
from tests.dynamodb.proxy import FaultyHTTPProxy, lose_one_in
from tests.dynamodb.store import assert_agrees, temporary_table
from tests.dynamodb.writer import (
    SMALLEST,
    Child,
    assert_churned,
    item,
    named_pages,
    names_of,
    numbers_by_writer,
    pages_of,
)
from tests.shares import share_of, slow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.dynamodb.emulators import Emulator

LARGE_PAGE_BYTES = 64 * 1024
EMULATORS = emulators.servers()

PROCESSES, POPS = 8, 120
PADDING = 60
"""A batch takes some 330 bytes, so that one in twelve makes a page of the smallest size."""


@pytest.fixture(scope="module")
def children() -> Iterator[list[Child]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Child()) for _ in range(PROCESSES)]


@pytest.fixture(params=[SMALLEST, slow(LARGE_PAGE_BYTES)], ids=["small pages", "large pages"])
def page_bytes(request: pytest.FixtureRequest) -> int:
    return int(request.param)


async def in_each(children: list[Child], do: str, **order: Any) -> list[Any]:
    """Let all children begin once each is ready, and collect their answers."""

    async def answers() -> list[Any]:
        # In threads: moto, if it is that, lives in this process.
        return await asyncio.gather(*(asyncio.to_thread(child.answer) for child in children))

    order |= {"do": do, "padding": PADDING, "together": True}
    for number, child in enumerate(children):
        child.order(**order, writer=number)
    for _ in range(1 if do == "churn" else 2):  # the others meet once more in the middle
        assert await answers() == [True] * len(children)
        for child in children:
            child.order()
    return await answers()


@pytest.mark.parametrize("batches", share_of([20, 100], 20))
async def test_eight_processes_write(  # noqa: PLR0917 - fixtures
    children: list[Child],
    emulator: Emulator,
    dynamodb_client: Any,
    table: str,
    page_bytes: int,
    batches: int,
) -> None:
    """All succeed; batches stay whole, and each process's in order; no page is left over."""
    at = {"url": emulator.url, "table": table, "session_id": "s", "page_bytes": page_bytes}
    await in_each(children, "add", batches=batches, **at)

    items = await DynamoDBSession("s", dynamodb_client, table).get_items()
    expected = {str(writer): list(range(batches)) for writer in range(PROCESSES)}
    assert numbers_by_writer(items) == expected
    turns = groupby(name.split(".")[0] for name in names_of(items))
    assert len(list(turns)) > PROCESSES  # they did take turns
    pages = set(await pages_of(dynamodb_client, table))
    assert pages == await named_pages(dynamodb_client, table, "s")
    assert len(pages) > (batches * 0.3 if page_bytes == SMALLEST else 0)


@pytest.mark.parametrize("turns", share_of([40, 150], 40))
async def test_eight_processes_change_a_users_conversations(
    children: list[Child], emulator: Emulator, dynamodb_client: Any, turns: int
) -> None:
    """With every tenth answer lost, items and index agree, and each thing is done once."""
    async with (
        temporary_table(dynamodb_client, users=True) as store,
        FaultyHTTPProxy(emulator.url, lose_one_in(10, seed=turns)) as proxy,
    ):
        at = {"url": proxy.url, "table": store.table, "page_bytes": SMALLEST}
        did = await in_each(children, "churn", turns=turns, **at)
        assert proxy.lost_successes > turns / 4  # of the appends alone, in any order

        opened = DynamoDBStore(dynamodb_client, store.table)
        await assert_churned(opened, did)
        # A clear whose answer is lost was not told which pages nobody names any more.
        assert_agrees(await store.everything(), await store.indexed(), unused=True)
        await opened.user("ada").erase()
        assert await store.everything() == {}


async def test_eight_processes_pop(
    children: list[Child], emulator: Emulator, dynamodb_client: Any, table: str, page_bytes: int
) -> None:
    """Every item is popped exactly once, pages included, and each process gets its own in order."""
    session = DynamoDBSession("s", dynamodb_client, table, page_bytes=page_bytes)
    # Five pages, of which the pops reach every one.
    padding = page_bytes * 5 // POPS
    items = [item(f"0.{number}.0", padding=padding) for number in range(POPS)]
    await session.add_items(items)
    assert len(await pages_of(dynamodb_client, table)) >= 4
    at = {"url": emulator.url, "table": table, "session_id": "s", "page_bytes": page_bytes}
    shares = await in_each(children, "pop", **at)

    assert sorted(names_of(chain.from_iterable(shares))) == sorted(names_of(items))
    assert all(shares)  # each had a share
    rank = {name: number for number, name in enumerate(names_of(items))}
    for share in shares:
        ranks = [rank[name] for name in names_of(share)]
        assert ranks == sorted(ranks, reverse=True)
    assert await session.get_items() == []
    assert await pages_of(dynamodb_client, table) == {}
