"""Time to live: what has expired is gone, what has not is whole, pages included.

DynamoDB deletes expired items hours or days late, so every state below can be met. Times
are moved, not waited for.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.dynamodb import emulators
from tests.dynamodb.store import (
    ID,
    SMALLEST,
    Store,
    epoch,
    numbered,
    requests_of,
    sized,
    until_of,
)
from tests.shares import slow

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from openai_agents_session import DynamoDBSession

EMULATORS = emulators.servers()

OLD = [sized(1500, fill) for fill in "abcdefg"]

WRITES: dict[str, tuple[Callable[[DynamoDBSession], Awaitable[Any]], list[Any]]] = {
    "add": (lambda session: session.add_items(numbered(0, 2)), numbered(0, 2)),
    "add a lot": (lambda session: session.add_items([sized(3000)] * 4), [sized(3000)] * 4),
    "add a large item": (lambda session: session.add_items([sized(9000)]), [sized(9000)]),
    "pop": (lambda session: session.pop_item(), []),
    "replace": (lambda session: session.replace_items(numbered(0, 2)), numbered(0, 2)),
    "replace by a lot": (
        lambda session: session.replace_items([sized(3000)] * 4),
        [sized(3000)] * 4,
    ),
    "replace by nothing": (lambda session: session.replace_items([]), []),
    "clear": (lambda session: session.clear_session(), []),
}
CHANGING = [name for name in WRITES if name not in {"pop", "clear"}]


async def expired(store: Store, ttl_seconds: int | None = 1000) -> DynamoDBSession:
    """Return a session of pages whose time is over."""
    session = store.session(ttl_seconds=ttl_seconds, page_bytes=SMALLEST)
    await session.add_items(OLD)
    assert len(await store.page_keys()) == 3
    assert await session.get_items() == OLD
    await store.set_ttl(-1)
    return session


# --- expired is gone -------------------------------------------------------------------------


async def test_expired_reads_as_empty(store: Store) -> None:
    """Whatever reads an expired conversation finds nothing, and asks for no page of it."""
    await expired(store)
    for session in (store.session(), store.session(ttl_seconds=1000)):
        with requests_of(store.client) as sent:
            assert await session.get_items() == []
            assert await session.get_items(3) == []
            snapshot = await session._get_compaction_snapshot(100)
        assert snapshot is not None
        assert snapshot.items == []
        assert snapshot.complete
        assert [operation for operation, _ in sent] == ["GetItem"] * 3

    assert await store.session().pop_item() is None


async def test_end_of_the_time_is_exact(store: Store) -> None:
    """In the second that ``ttl`` names the conversation is over, and before it is there."""
    session = store.session(ttl_seconds=1000)
    await session.add_items(numbered(0, 1))

    await store.set_ttl(0)
    assert await session.get_items() == []
    await store.set_ttl(60)
    assert await session.get_items() == numbered(0, 1)


async def test_fraction_of_a_second_is_read(store: Store) -> None:
    """A ``ttl`` with a fraction, as others may write it, is read and written over."""
    session = store.session(ttl_seconds=1000)
    await session.add_items(numbered(0, 1))

    await store.change(ttl={"N": f"{epoch(60)}.5"})
    assert await session.get_items() == numbered(0, 1)
    assert await session.pop_item() == numbered(0, 1)[0]
    await session.add_items(numbered(0, 1))
    await store.change(ttl={"N": f"{epoch(-60)}.5"})
    assert await session.get_items() == []
    await session.add_items(numbered(1, 2))
    assert await session.get_items() == numbered(1, 2)


@pytest.mark.parametrize("ttl_seconds", [None, 500])
@pytest.mark.parametrize("write", WRITES)
async def test_write_after_expiry_starts_anew(
    store: Store, write: str, ttl_seconds: int | None
) -> None:
    """The first write finds nothing of the old conversation, and nothing of that comes back."""
    await expired(store)
    created = (await store.item())["created_at"]["S"]
    write_, expected = WRITES[write]
    writer = store.session(ttl_seconds=ttl_seconds, page_bytes=SMALLEST)

    assert await write_(writer) is None

    for reader in (writer, store.session()):
        assert await reader.get_items() == expected
    if write in CHANGING:
        item = await store.item()
        assert item["created_at"]["S"] > created
        assert ("ttl" in item) == bool(ttl_seconds)
        await store.assert_whole()  # none of the old pages is left
    await writer.add_items(numbered(7, 8))
    assert await store.session().get_items() == expected + numbered(7, 8)
    await store.assert_whole()


@pytest.mark.parametrize("write", WRITES)
async def test_writer_that_knew_the_old_conversation(store: Store, write: str) -> None:
    """A session object that wrote the old conversation does not go on with it either."""
    session = await expired(store)
    write_, expected = WRITES[write]

    assert await write_(session) is None

    assert await session.get_items() == expected
    await session.add_items(numbered(7, 8))
    assert await session.get_items() == expected + numbered(7, 8)
    await store.assert_whole()


@pytest.mark.parametrize("write", ["add", "add a lot", "replace"])
async def test_new_beginning_is_one_step(store: Store, write: str) -> None:
    """A reader beside the first write sees nothing or the new conversation, never the old."""
    await expired(store)
    write_, expected = WRITES[write]
    seen: list[list[Any]] = []
    reading = True

    async def read() -> None:
        reader = store.session()
        while reading:
            seen.append(await reader.get_items())

    task = asyncio.ensure_future(read())
    while not seen:  # noqa: ASYNC110 - the reader's first answer is what is waited for
        await asyncio.sleep(0)
    await write_(store.session(ttl_seconds=1000, page_bytes=SMALLEST))
    reading = False
    await task

    assert seen[0] == []
    assert all(items in ([], expected) for items in seen)
    assert await store.session().get_items() == expected


async def test_many_writers_start_one_conversation(store: Store) -> None:
    """Of concurrent writers on an expired conversation none takes another's items away."""
    await expired(store)
    writers = [store.session(ttl_seconds=1000, page_bytes=SMALLEST) for _ in range(8)]

    await asyncio.gather(*(each.add_items([sized(900, "x")]) for each in writers))

    assert await store.session().get_items() == [sized(900, "x")] * 8
    await store.assert_whole()


async def test_item_that_has_been_reaped(store: Store) -> None:
    """When DynamoDB has deleted the item, its pages are no part of what comes next."""
    session = await expired(store)
    await store.delete(ID)

    assert await session.get_items() == []
    await session.add_items(numbered(0, 1))
    assert await session.get_items() == numbered(0, 1)
    assert await store.page_keys() == []


async def test_pages_that_have_been_reaped(store: Store) -> None:
    """When only the pages of an expired conversation are deleted yet, a write finds its way."""
    session = await expired(store)
    for key in await store.page_keys():
        await store.delete(key)

    assert await session.get_items() == []
    await session.add_items(numbered(0, 1))
    assert await session.get_items() == numbered(0, 1)
    await store.assert_whole()


# --- the time slides -------------------------------------------------------------------------


@pytest.mark.parametrize("write", [name for name in WRITES if name != "clear"])
async def test_every_write_moves_the_end(store: Store, write: str) -> None:
    """After any write the conversation has its whole time again, counted from now."""
    session = store.session(ttl_seconds=5000, page_bytes=SMALLEST)
    await session.add_items(OLD)
    await store.set_ttl(60)

    before = time.time()
    await WRITES[write][0](session)

    assert int(before) + 5000 <= until_of(await store.item()) <= time.time() + 5000
    await store.assert_whole()


async def test_shorter_time_is_taken_too(store: Store) -> None:
    """A session with less time than the last writer's sets its own."""
    await store.session(ttl_seconds=5000).add_items(numbered(0, 1))
    await store.session(ttl_seconds=100).add_items(numbered(1, 2))

    assert until_of(await store.item()) <= epoch(100)


@pytest.mark.parametrize("write", [name for name in WRITES if name != "clear"])
async def test_session_without_ttl_leaves_a_foreign_one(store: Store, write: str) -> None:
    """Without ``ttl_seconds`` an expiry that something else has set stays as it is."""
    session = store.session(page_bytes=SMALLEST)
    await session.add_items(OLD)
    await store.set_ttl(7777)
    before = (await store.item())["ttl"]

    await WRITES[write][0](session)
    assert (await store.item())["ttl"] == before
    await WRITES[write][0](store.session(page_bytes=65_536))
    assert (await store.item())["ttl"] == before


# --- pages outlive their session -------------------------------------------------------------


@pytest.mark.parametrize("write", [name for name in WRITES if name != "clear"])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (1000, 10**6),
        (None, 1000),
        (1000, None),
        slow(10**6, 1000),
        slow(86_400, 90_000),
        slow(1, 10**10),
    ],
)
@emulators.run_on(emulators.best())
async def test_pages_outlive_sessions_of_any_time(
    store: Store, first: int | None, second: int | None, write: str
) -> None:
    """Sessions with different times, and none, write by turns, and no page ends too early."""
    sessions = [
        store.session(ttl_seconds=first, page_bytes=SMALLEST),
        store.session(ttl_seconds=second, page_bytes=SMALLEST),
    ]
    await sessions[0].add_items(OLD)
    await store.assert_whole()

    for number in (1, 0, 1):
        await WRITES[write][0](sessions[number])
        await store.assert_whole()


@pytest.mark.parametrize("write", ["add", "add a lot", "pop", "replace"])
@pytest.mark.parametrize("ttl_seconds", [None, 1000])
@pytest.mark.parametrize("change", ["removed", "moved far away", "moved near"])
@emulators.run_on(emulators.best())
async def test_pages_outlive_a_time_that_others_change(
    store: Store, change: str, ttl_seconds: int | None, write: str
) -> None:
    """Where something else moves or removes the item's time, the next write moves the pages'."""
    await store.session(ttl_seconds=1000, page_bytes=SMALLEST).add_items(OLD)
    times: dict[str, dict[str, Any] | None] = {
        "removed": None,
        "moved far away": {"N": str(epoch(10**8))},
        "moved near": {"N": str(epoch(100))},
    }
    await store.change(ttl=times[change])

    await WRITES[write][0](store.session(ttl_seconds=ttl_seconds, page_bytes=SMALLEST))

    await store.assert_whole()
    expires = until_of(await store.item())
    if ttl_seconds:
        assert epoch(990) <= expires <= epoch(1000)
    elif change == "removed":
        assert expires == float("inf")


async def test_pages_are_not_moved_with_every_write(store: Store) -> None:
    """Pages are given a day more than the session, so that most writes leave them alone."""
    session = store.session(ttl_seconds=1000, page_bytes=SMALLEST)
    await session.add_items(OLD)
    with requests_of(store.client) as sent:
        for number in range(10):
            await session.add_items(numbered(number, number + 1))
        await session.pop_item()

    keys = {params["Key"]["session_id"]["S"] for _, params in sent}
    assert keys == {ID}


async def test_pages_are_moved_before_they_end(store: Store) -> None:
    """A conversation that goes on for longer than its pages were to last keeps them."""
    session = store.session(ttl_seconds=1000, page_bytes=SMALLEST)
    await session.add_items(OLD)
    soon = {"N": str(epoch(900))}  # as if nearly a day had passed
    for key in await store.page_keys():
        await store.change(key, ttl=soon)
    await store.change(pages_until=soon)

    await store.session(ttl_seconds=1000, page_bytes=SMALLEST).add_items(numbered(0, 1))

    pages = [await store.item(key) for key in await store.page_keys()]
    assert len(pages) == 3
    assert all(until_of(page) >= epoch(80_000) for page in pages)
    await store.assert_whole()


class CrashError(Exception):
    """The process ends here."""


@pytest.mark.parametrize(("first", "second"), [(None, 1000), (1000, 10**6)])
async def test_crash_while_pages_are_moved(store: Store, first: int | None, second: int) -> None:
    """A writer with another time that crashes before its write leaves no page that ends early."""
    await store.session(ttl_seconds=first, page_bytes=SMALLEST).add_items(OLD)

    def crash(params: dict[str, Any], **_: Any) -> None:
        if params["Key"]["session_id"]["S"] == ID:
            raise CrashError

    event = "provide-client-params.dynamodb.UpdateItem"
    writer = store.session(ttl_seconds=second, page_bytes=SMALLEST)
    await writer.get_items()  # knows what is there: the first request is not an append in vain
    store.client.meta.events.register(event, crash)
    with pytest.raises(CrashError):
        await writer.add_items(numbered(0, 1))
    store.client.meta.events.unregister(event, crash)

    await store.assert_whole(unused=True)
    assert await store.session().get_items() == OLD


async def test_late_writer_does_not_shorten_pages(store: Store) -> None:
    """A writer that was slow gives no page less time than a faster one has given it."""
    await store.session(ttl_seconds=1000, page_bytes=SMALLEST).add_items(OLD)
    slow = store.session(ttl_seconds=200_000, page_bytes=SMALLEST)
    await slow.get_items()
    overtaken = False

    async def overtake(**_: Any) -> None:
        nonlocal overtaken
        if not overtaken:
            overtaken = True
            fast = store.session(ttl_seconds=10**7, page_bytes=SMALLEST)
            await fast.add_items(numbered(0, 1))

    event = "provide-client-params.dynamodb.UpdateItem"
    store.client.meta.events.register(event, overtake)
    await slow.add_items(numbered(1, 2))
    store.client.meta.events.unregister(event, overtake)

    assert overtaken
    await store.assert_whole()
    assert await store.session().get_items() == OLD + numbered(0, 2)
