"""Requests that are executed late: a copy of a write that was done already changes nothing (P5).

The first request of a write goes astray, the write is done by another one, and the first
arrives at last.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from openai_agents_session import DynamoDBSession
from tests.dynamodb import emulators
from tests.dynamodb.proxy import behind, delay_until, each_of, on, strand_until
from tests.dynamodb.store import ID
from tests.dynamodb.writer import SMALLEST, batch_of, batches_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from tests.dynamodb.emulators import Emulator
    from tests.dynamodb.proxy import FaultyHTTPProxy
    from tests.dynamodb.store import Store

EMULATORS = emulators.best()

HELD = batch_of("held", 0)
PADDING = 400
"""Three batches to a page."""


@asynccontextmanager
async def late(
    emulator: Emulator, store: Store, *, again: asyncio.Event | None = None, ttl: int | None = None
) -> AsyncGenerator[tuple[DynamoDBSession, FaultyHTTPProxy, Callable[[], Awaitable[None]]]]:
    """A session whose first update goes astray, the proxy, and what lets that one arrive.

    Args:
        emulator: where the table is.
        store: the table.
        again: when the second request for the update arrives; None for at once.
        ttl: the session's time to live.
    """
    go, at_once = asyncio.Event(), asyncio.Event()
    at_once.set()
    plan = each_of(
        on(strand_until(go), "UpdateItem", 1), on(delay_until(again or at_once), "UpdateItem", 2)
    )
    async with behind(emulator.url, plan) as (proxy, client):

        async def arrive() -> None:
            assert proxy.faults["strand"] == 1
            go.set()
            await proxy.executed(proxy.requests.total())

        yield DynamoDBSession(ID, client, store.table, ttl, page_bytes=SMALLEST), proxy, arrive


WRITES: dict[str, Callable[[DynamoDBSession], Awaitable[Any]]] = {
    "add": lambda session: session.add_items(HELD),
    "replace": lambda session: session.replace_items(HELD),
    "add pages": lambda session: session.add_items(batches_of("many", range(9), padding=PADDING)),
}


@pytest.mark.parametrize("before", [[], batch_of("before", 0)], ids=["absent", "present"])
@pytest.mark.parametrize("write", WRITES)
async def test_a_cleared_conversation_stays_cleared(
    emulator: Emulator, store: Store, write: str, before: list[Any]
) -> None:
    """What is executed after the clear, although it was done before it, is not done again."""
    other = store.session(page_bytes=SMALLEST)
    await other.add_items(before)
    async with late(emulator, store) as (session, _, arrive):
        await WRITES[write](session)
        await other.clear_session()

        await arrive()

    assert await other.get_items() == []
    await other.add_items(batch_of("next", 0))
    assert await store.session().get_items() == batch_of("next", 0)
    await store.assert_whole()


async def test_a_clear_that_is_late_clears_nothing_new(emulator: Emulator, store: Store) -> None:
    """A clear that was done takes nothing from the conversation after it."""
    other = store.session(page_bytes=SMALLEST)
    await other.add_items(batch_of("before", 0))
    async with late(emulator, store) as (session, _, arrive):
        await session.clear_session()
        await other.add_items(batch_of("next", 0))

        await arrive()

    assert await other.get_items() == batch_of("next", 0)


async def test_a_write_that_became_another(emulator: Emulator, store: Store) -> None:
    """An append that had to seal is known by its first name too, whatever others do then."""
    other = store.session(page_bytes=SMALLEST)
    before = batches_of("before", range(2), padding=PADDING)
    await other.add_items(before)
    sealed = asyncio.Event()
    async with late(emulator, store, again=sealed) as (session, proxy, arrive):
        adding = asyncio.create_task(session.add_items(HELD))
        await proxy.waiting(2)
        seals = batches_of("seal", range(8), padding=PADDING)
        for start in range(0, len(seals), 3):
            await other.add_items(seals[start : start + 3])
        sealed.set()
        await adding
        everything = await other.get_items()
        assert everything[-3:] == HELD

        # Across the borders of pages: what these know of older writes is taken back.
        for expected in reversed(everything[6:]):
            assert await other.pop_item() == expected
        await arrive()

    assert await other.get_items() == everything[:6]


async def test_a_cleared_item_is_small_and_goes(store: Store) -> None:
    """It holds nothing of the conversation, expires by itself, and a new one takes its place."""
    session = store.session()
    await session.add_items(HELD)
    await session.clear_session()

    item = await store.item()
    assert set(item) == {
        "session_id",
        "cleared_at",
        "updated_at",
        "version",
        "count",
        "bytes",
        "writes",
        "writes_since",
        "ttl",
    }
    before = dict(item)
    await store.session().clear_session()
    await store.session().replace_items([])
    assert await store.session().pop_item() is None
    assert await store.item() == before

    await store.session().add_items(HELD)
    item = await store.item()
    assert "ttl" not in item
    assert "cleared_at" not in item
    assert await session.get_items() == HELD


async def test_a_session_that_was_never_written_to_leaves_nothing(store: Store) -> None:
    """Clearing what is not there makes no item."""
    await store.session().clear_session()
    await store.session().replace_items([])

    assert await store.everything() == {}
