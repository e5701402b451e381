"""Pages that nobody names: found, counted and deleted, and no others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from openai_agents_session.dynamodb import remove_orphaned_pages
from tests.dynamodb import emulators
from tests.dynamodb.store import (
    ID,
    SMALLEST,
    Store,
    named_pages,
    numbered,
    requests_of,
    sized,
)
from tests.interpreters import run_python

if TYPE_CHECKING:
    from tests.dynamodb.emulators import Emulator

EMULATORS = emulators.servers()

PAGED = [sized(1500, fill) for fill in "abcdefg"]
LONG_AGO = {"S": "2020-01-01T00:00:00.000+00:00"}


async def orphan(store: Store, number: int, size: int = 100, session_id: str = ID) -> str:
    """Store a page as a writer does that then crashes, long ago; gives its key."""
    key = f"{session_id}~orphan{number:06}"
    await store.put(
        key,
        page_of={"S": session_id},
        items={"L": [{"S": "x" * size}]},
        created_at=LONG_AGO,
        writes_since={"N": "0"},
    )
    return key


async def age(store: Store) -> None:
    """Let everything in the table be old."""
    for key in await store.everything():
        await store.change(key, created_at=LONG_AGO)


async def but_versions(store: Store) -> dict[str, Any]:
    """Return the table without the numbers that change where a page is deleted."""
    everything = await store.everything()
    for each in everything.values():
        each.pop("version", None)
    return everything


async def test_unnamed_pages_are_deleted(store: Store) -> None:
    """What no session names goes; sessions and their pages stay as they are."""
    await store.session(page_bytes=SMALLEST).add_items(PAGED)
    await store.session("other").add_items(numbered(0, 3))
    await age(store)
    before = await but_versions(store)
    orphans = [await orphan(store, number) for number in range(30)]
    orphans.append(await orphan(store, 31, session_id="other"))
    orphans.append(await orphan(store, 32, session_id="one that is not there"))

    assert await remove_orphaned_pages(store.client, store.table) == len(orphans)

    assert await but_versions(store) == before
    assert await store.session().get_items() == PAGED
    assert await remove_orphaned_pages(store.client, store.table) == 0


async def test_dry_run_counts(store: Store) -> None:
    """A dry run says how many there are, and deletes none."""
    await store.session(page_bytes=SMALLEST).add_items(PAGED)
    await age(store)
    for number in range(3):
        await orphan(store, number)
    before = await but_versions(store)

    with requests_of(store.client) as sent:
        assert await remove_orphaned_pages(store.client, store.table, dry_run=True) == 3

    assert {operation for operation, _ in sent} == {"Scan", "GetItem"}
    assert await but_versions(store) == before


async def test_young_pages_are_left_alone(store: Store) -> None:
    """A page may be about to be named: none goes that is younger than an hour, or than asked."""
    await store.session(page_bytes=SMALLEST).add_items(PAGED)
    pages = await store.page_keys()
    await store.delete(ID)  # now nobody names them

    assert await remove_orphaned_pages(store.client, store.table) == 0
    older = await remove_orphaned_pages(store.client, store.table, older_than_seconds=60)
    assert older == 0
    assert set(await store.everything()) == set(pages)
    assert await remove_orphaned_pages(store.client, store.table, older_than_seconds=0) == 3
    assert await store.everything() == {}


async def test_negative_age_is_refused(store: Store) -> None:
    """Pages of the future are not a thing."""
    with pytest.raises(ValueError, match="must not be negative; got -1"):
        await remove_orphaned_pages(store.client, store.table, older_than_seconds=-1)


async def test_table_larger_than_an_answer(store: Store) -> None:
    """A table that takes several requests to look through is looked through whole."""
    await store.session(page_bytes=SMALLEST).add_items(PAGED)
    await age(store)
    before = await but_versions(store)
    for number in range(12):
        await orphan(store, number, 300_000)

    with requests_of(store.client) as sent:
        assert await remove_orphaned_pages(store.client, store.table) == 12

    assert [operation for operation, _ in sent].count("Scan") > 2
    assert await but_versions(store) == before


async def test_expired_session_keeps_its_pages(store: Store) -> None:
    """Pages that an expired item names are not removed while the item is still there."""
    await store.session(ttl_seconds=1000, page_bytes=SMALLEST).add_items(PAGED)
    await age(store)
    await store.set_ttl(-1)

    assert await remove_orphaned_pages(store.client, store.table) == 0
    await store.delete(ID)  # as DynamoDB does, some time later
    assert await remove_orphaned_pages(store.client, store.table) == 3
    assert await store.everything() == {}


async def test_pages_that_the_old_release_has_cut_off(store: Store) -> None:
    """Where release 0.1.0 has overwritten a session, its former pages are found."""
    await store.session(page_bytes=SMALLEST).add_items(PAGED)
    await age(store)
    await store.put(conversation_data={"S": "[]"})

    assert await remove_orphaned_pages(store.client, store.table) == 3
    assert await store.session().get_items() == []


async def test_sessions_are_in_use_meanwhile(store: Store) -> None:
    """Writers that go on beside it lose no page, and no item."""
    sessions = [store.session(f"{ID} {number}", page_bytes=SMALLEST) for number in range(3)]
    for session in sessions:
        await session.add_items(PAGED)
    await age(store)
    orphans = {await orphan(store, number) for number in range(10)}
    expected: list[list[Any]] = [[*PAGED] for _ in sessions]
    working = True

    async def work(number: int) -> None:
        while working:
            batch = [sized(1500, "xyz"[number])] * 2
            await sessions[number].add_items(batch)
            expected[number] += batch
            assert await sessions[number].pop_item() == expected[number].pop()

    workers = [asyncio.ensure_future(work(number)) for number in range(3)]
    removed = 0
    for _ in range(5):
        removed += await remove_orphaned_pages(store.client, store.table)
    working = False
    await asyncio.gather(*workers)

    assert removed == 10
    everything = await store.everything()
    assert not orphans & set(everything)
    assert [await session.get_items() for session in sessions] == expected
    named = [key for each in sessions for key in named_pages(everything, each.session_id)]
    assert set(everything) == {*named, *(session.session_id for session in sessions)}


async def run(*arguments: str) -> str:
    """Run the module as a program with a client's credentials; gives what it prints."""

    def program() -> str:
        done = run_python(
            *("-m", "openai_agents_session.dynamodb", *arguments),
            env={
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_EC2_METADATA_DISABLED": "true",
                "no_proxy": "*",
            },
        )
        assert done.returncode == 0, done.stderr
        assert not done.stderr
        return done.stdout

    return await asyncio.to_thread(program)


@emulators.run_on(emulators.best())
async def test_program(emulator: Emulator, store: Store) -> None:
    """``python -m openai_agents_session.dynamodb`` counts, keeps the young and deletes."""
    await store.session(page_bytes=SMALLEST).add_items(PAGED)
    await age(store)
    before = await but_versions(store)
    for number in range(2):
        await orphan(store, number)
    where = (store.table, "--endpoint-url", emulator.url, "--region", emulators.REGION)

    assert await run(*where, "--dry-run") == "2 unused page(s) found\n"
    assert await run(*where, "--older-than", str(10**9)) == "0 unused page(s) deleted\n"
    assert await run(*where) == "2 unused page(s) deleted\n"
    assert await but_versions(store) == before
