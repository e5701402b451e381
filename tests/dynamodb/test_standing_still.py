"""A writer that stands still between storing its pages and naming them, for however long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from openai_agents_session import DynamoDBSession
from openai_agents_session.dynamodb import remove_orphaned_pages
from tests.dynamodb import emulators
from tests.dynamodb.proxy import behind, delay_until, no_faults, on
from tests.dynamodb.store import ID, named_pages, requests_of
from tests.dynamodb.test_orphans import LONG_AGO, orphan
from tests.dynamodb.writer import SMALLEST, batch_of, batches_of

if TYPE_CHECKING:
    from tests.dynamodb.emulators import Emulator
    from tests.dynamodb.store import Store

EMULATORS = emulators.best()

PADDING = 400
"""Three batches to a page."""

MANY = batches_of("many", range(12), padding=PADDING)


@pytest.mark.parametrize("before", [0, 3], ids=["absent", "full"])
@pytest.mark.parametrize("ttl", [None, 1000])
async def test_pages_are_not_named_that_were_removed_meanwhile(
    emulator: Emulator, store: Store, before: int, ttl: int | None
) -> None:
    """The writer notices that its pages are gone, and stores them again."""
    old = batches_of("before", range(before), padding=PADDING)
    await store.session(ttl_seconds=ttl, page_bytes=SMALLEST).add_items(old)
    go = asyncio.Event()
    async with behind(emulator.url) as (proxy, client):
        session = DynamoDBSession(ID, client, store.table, ttl, page_bytes=SMALLEST)
        await session.get_items()
        # The last of its updates: where there was no item, it has made one before.
        proxy.plan = on(delay_until(go), "UpdateItem", 1 if before else 2)
        adding = asyncio.create_task(session.add_items(MANY))
        await proxy.waiting()
        proxy.plan = no_faults
        everything = await store.everything()
        pages = {key for key, item in everything.items() if "page_of" in item}
        for key in pages:
            await store.change(key, created_at=LONG_AGO)
        stored = len(pages - set(named_pages(everything, ID)))
        assert await remove_orphaned_pages(store.client, store.table, dry_run=True) == stored
        assert await remove_orphaned_pages(store.client, store.table) == stored > 0
        go.set()
        await adding

        assert await session.get_items() == old + MANY
    assert await store.session().get_items() == old + MANY
    await store.assert_whole()


async def test_a_session_is_left_alone_that_has_no_unused_pages(store: Store) -> None:
    """Only where a page is to be deleted do writers have to begin again."""
    await store.session(page_bytes=SMALLEST).add_items(MANY)
    for key in await store.page_keys():
        await store.change(key, created_at=LONG_AGO)
    before = await store.item()

    with requests_of(store.client) as sent:
        assert await remove_orphaned_pages(store.client, store.table) == 0

    assert "UpdateItem" not in [operation for operation, _ in sent]
    assert await store.item() == before


@pytest.mark.parametrize("legacy", [False, True])
async def test_a_session_goes_on_after_its_unused_pages_were_removed(
    store: Store, legacy: bool
) -> None:
    """Also one that release 0.1.0 wrote, which has had no version before."""
    old: list[Any] = batch_of("before", 0)
    if legacy:
        await store.put(conversation_data={"S": '[{"role":"user","content":"old"}]'})
        old = [{"role": "user", "content": "old"}]
    else:
        await store.session().add_items(old)
    await orphan(store, 1)
    session = store.session()
    assert await session.get_items() == old

    assert await remove_orphaned_pages(store.client, store.table) == 1
    await session.add_items(batch_of("next", 0))

    assert await store.session().get_items() == old + batch_of("next", 0)
    await store.assert_whole()
