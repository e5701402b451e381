"""Conversations larger than one item: what comes back, what is left, what is lost."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.dynamodb import emulators
from tests.dynamodb.store import (
    ID,
    SMALLEST,
    Store,
    letters,
    named_pages,
    numbered,
    requests_of,
    sized,
    user,
    warnings_of,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from openai_agents_session import DynamoDBSession
    from tests.dynamodb.emulators import Emulator

EMULATORS = emulators.servers()

MB = 10**6
IMAGE = "data:image/png;base64," + "iVBORw0KGgo=" * 416_666
# Two, three and four bytes for a letter, in a row of 31 letters: no cut meets them at the same.
LETTERS = ("ü你👩a" * 7 + "é€🙂")[:31]
LARGE: dict[str, Any] = {
    "5 MB image": {"role": "user", "content": [{"type": "input_image", "image_url": IMAGE}]},
    "2 MB text": user(LETTERS * 26_000),
    "1 MB that is escaped": user('"\\\n' * 160_000),
}

WRITES: dict[str, Callable[[DynamoDBSession], Awaitable[Any]]] = {
    "add": lambda session: session.add_items(numbered(0, 1)),
    "add a lot": lambda session: session.add_items([sized(3000)] * 4),
    "pop": lambda session: session.pop_item(),
    "replace": lambda session: session.replace_items(numbered(0, 3)),
    "replace by a lot": lambda session: session.replace_items([sized(3000)] * 4),
    "replace by nothing": lambda session: session.replace_items([]),
    "clear": lambda session: session.clear_session(),
}


# --- what comes back -------------------------------------------------------------------------


async def test_conversation_grows_past_one_item(store: Store) -> None:
    """Batch by batch, a conversation of many pages keeps every item in its order."""
    session, given = store.session(page_bytes=SMALLEST), letters(0, 40)
    for number in range(0, 40, 2):
        await session.add_items(given[number : number + 2])
        assert await store.session().get_items() == given[: number + 2]

    assert len(await store.page_keys()) == 19
    await store.assert_whole()


async def test_batch_larger_than_pages(store: Store) -> None:
    """A batch of many pages goes in as one, onto nothing and onto what is there."""
    session, given = store.session(page_bytes=SMALLEST), letters(0, 100)

    await session.add_items(given[:50])
    assert await store.session().get_items() == given[:50]
    await session.add_items(given[50:])

    assert await store.session().get_items() == given
    await store.assert_whole()


async def test_default_page_bytes(store: Store) -> None:
    """By default 44 KiB are one item, which then moves to a page; others have 8 KiB."""
    session, given = store.session(), letters(0, 64, 1000)
    for number in range(64):
        await session.add_items(given[number : number + 1])
        pages = 0 if number < 44 else 1 + (number - 44) // 7
        assert len(await store.page_keys()) == pages, number

    sizes = [len((await store.item(key))["items"]["L"]) for key in await store.page_keys()]
    assert sizes == [44, 7, 7]
    assert await session.get_items() == given
    await store.assert_whole()


async def test_larger_pages_are_continued(store: Store) -> None:
    """A conversation that was begun with large pages goes on with small ones, and keeps its own."""
    before, given = store.session(page_bytes=65_536), letters(0, 120, 1000)
    for number in range(0, 120, 20):
        await before.add_items(given[number : number + 20])
    pages = await store.page_keys()
    assert int((await store.item())["bytes"]["N"]) > 40_000

    after = letters(0, 20, 1000)
    for number in range(20):
        await store.session().add_items(after[number : number + 1])
    assert await store.session().get_items() == given + after
    assert (await store.page_keys())[: len(pages)] == pages
    assert int((await store.item())["bytes"]["N"]) < 8_000
    await store.assert_whole()


async def test_largest_page_bytes(store: Store, emulator: Emulator) -> None:
    """With 350 KiB to a page, the item and its bookkeeping stay below DynamoDB's 400 KB."""
    # moto counts an item twice when its list grows.
    page_bytes = 180_000 if emulator.name == "moto" else 358_400
    session, given = store.session(page_bytes=page_bytes), letters(0, 180, 5000)
    largest = 0
    for number in range(0, 180, 3):
        await session.add_items(given[number : number + 3])
        largest = max(largest, int((await store.item())["bytes"]["N"]))

    assert largest > page_bytes - 15_000
    assert await store.session().get_items() == given
    await store.assert_whole()


@pytest.mark.parametrize("page_bytes", [SMALLEST, 65_536])
@pytest.mark.parametrize("name", LARGE)
async def test_item_of_megabytes(store: Store, name: str, page_bytes: int) -> None:
    """One item many times larger than DynamoDB's limit comes back equal, and can be popped."""
    session = store.session(page_bytes=page_bytes)
    before, large, after = numbered(0, 3), LARGE[name], numbered(3, 5)
    await session.add_items(before)
    await session.add_items([large])
    assert equal(await session.get_items(), [*before, large])
    assert equal(await session.get_items(1), [large])

    await session.add_items(after)
    assert equal(await session.get_items(), [*before, large, *after])
    assert equal(await session.get_items(3), [large, *after])
    assert await session.get_items(2) == after
    await store.assert_whole()

    for expected in [*reversed(after), large, *reversed(before)]:
        assert equal([await session.pop_item()], [expected])
    assert await session.pop_item() is None
    await store.assert_whole()
    assert list(await store.everything()) == [ID]


@emulators.run_on([name for name in emulators.names() if name == "dynalite"])
async def test_pages_that_do_not_fit_into_one_answer(store: Store) -> None:
    """What an answer had no room for is asked for again, until all of it is there.

    dynalite alone has so little room.
    """
    given = letters(0, 6, size=300_000)
    await store.session().add_items(given)
    assert len(await store.page_keys()) >= 5

    assert equal(await store.session().get_items(), given)


def equal(left: list[Any], right: list[Any]) -> bool:
    """Compare without showing megabytes when it fails."""
    return left == right


async def test_text_is_cut_between_letters(store: Store) -> None:
    """The parts of a large item are texts, though a letter takes several bytes."""
    large = LARGE["2 MB text"]
    await store.session().add_items([large])

    everything = await store.everything()
    parts = [everything[key]["items"]["L"] for key in named_pages(everything, ID)]
    assert len(parts) > 5
    assert all(len(part) == 1 for part in parts)
    assert all(len(part[0]["S"].encode()) <= 300 * 1024 for part in parts)
    assert len({len(part[0]["S"].encode()) for part in parts[:-1]}) > 1  # not all cut at a multiple
    assert equal([json.loads("".join(part[0]["S"] for part in parts))], [large])


async def test_large_items_between_small_ones(store: Store) -> None:
    """In one batch, large and small items keep their order, whatever the limit."""
    session = store.session(page_bytes=SMALLEST)
    large = [user(str(number) * 400_000) for number in range(3)]
    given = [*numbered(0, 2), large[0], *numbered(2, 3), large[1], large[2], *numbered(3, 4)]
    await session.add_items(given)

    for limit in range(1, 9):
        assert equal(await session.get_items(limit), given[-limit:])
    await store.assert_whole()


async def test_large_items_of_many_writers(store: Store) -> None:
    """Large batches of concurrent writers stay whole."""
    sessions = [store.session(page_bytes=SMALLEST) for _ in range(4)]
    batches = [[sized(3000, fill)] * 4 for fill in "abcdefgh"]
    await asyncio.gather(*(sessions[at % 4].add_items(batch) for at, batch in enumerate(batches)))

    items = await store.session().get_items()
    found = [items[at : at + 4] for at in range(0, 32, 4)]
    assert sorted(found, key=str) == batches
    await store.assert_whole()


# --- limits and pops -------------------------------------------------------------------------


async def test_limit_reads_no_more_pages_than_it_needs(store: Store) -> None:
    """A limit asks for the newest pages alone, and for none if the item is enough."""
    given = letters(0, 21)
    await store.session(page_bytes=SMALLEST).add_items(given)
    keys = await store.page_keys()
    assert len(keys) == 10

    for limit, pages in ((1, 0), (2, 1), (3, 1), (4, 2), (19, 9), (20, 10), (21, 10), (99, 10)):
        with requests_of(store.client) as sent:
            assert await store.session().get_items(limit) == given[-limit:]
        asked: list[str] = []
        for operation, params in sent[1:]:
            assert operation == "BatchGetItem"
            asked += [key["session_id"]["S"] for key in params["RequestItems"][store.table]["Keys"]]
        assert sent[0][0] == "GetItem"
        assert asked == keys[10 - pages :]


async def test_pops_reach_back_through_the_pages(store: Store) -> None:
    """Pop by pop, a conversation of pages is taken apart from its end to its beginning."""
    given = letters(0, 25)
    await store.session(page_bytes=SMALLEST).add_items(given)
    before = len(await store.page_keys())

    for number in reversed(range(25)):
        assert await store.session(page_bytes=SMALLEST).pop_item() == given[number]
        assert len(await store.page_keys()) <= before
        before = len(await store.page_keys())
        await store.assert_whole()
    assert await store.session().pop_item() is None
    assert before == 0


async def test_pop_and_append_by_turns(store: Store) -> None:
    """Pops and appends around the end of a page leave nothing behind."""
    session, given = store.session(page_bytes=SMALLEST), letters(0, 4)
    await session.add_items(given)
    for _ in range(6):
        assert await session.pop_item() == given[3]
        assert await session.pop_item() == given[2]
        await session.add_items(given[2:])
        assert await session.get_items() == given
        await store.assert_whole()


@pytest.mark.parametrize("write", WRITES)
async def test_pages_that_are_not_needed_are_deleted(store: Store, write: str) -> None:
    """After any write there are the session's item, the pages that it names, and no others."""
    session = store.session(ttl_seconds=1000, page_bytes=SMALLEST)
    await session.add_items(letters(0, 20))
    assert len(await store.everything()) > 5

    await WRITES[write](session)
    await store.assert_whole()
    await WRITES[write](store.session(page_bytes=65_536))
    await store.assert_whole()


async def test_neighbours_pages_are_left_alone(store: Store) -> None:
    """Clearing one conversation deletes no page of another, however alike their ids are."""
    given = letters(0, 10)
    ids = [ID, f"{ID}~", f"{ID}~{'A' * 12}"]
    for name in ids:
        await store.session(name, page_bytes=SMALLEST).add_items(given)

    await store.session(ID).clear_session()
    await store.session(ids[1]).replace_items([])

    assert await store.session(ids[0]).get_items() == []
    assert await store.session(ids[1]).get_items() == []
    assert await store.session(ids[2]).get_items() == given
    left = await store.everything()
    assert {item.get("page_of", {"S": ""})["S"] for item in left.values()} == {"", ids[2]}


async def test_more_than_a_hundred_pages(store: Store) -> None:
    """A conversation of 250 pages, most of them named by other pages, is one like any other."""
    session, given = store.session(page_bytes=SMALLEST), letters(0, 251, 3700)
    await session.add_items(given)
    assert len(await store.page_keys()) == 250

    assert await store.session().get_items() == given
    assert await store.session().get_items(120) == given[-120:]
    for _ in range(75):  # beyond those that the item itself names
        await session.pop_item()
    assert await store.session().get_items() == given[:-75]
    await store.assert_whole()
    await session.replace_items(given[:120])
    await store.assert_whole()
    await session.clear_session()
    assert set(await store.everything()) == {ID}
    assert "cleared_at" in await store.item()


# --- what is lost or cannot be read ----------------------------------------------------------


async def lose(store: Store, page: int) -> None:
    """Delete a page behind the session's back."""
    await store.delete((await store.page_keys())[page])


@pytest.mark.parametrize("page", [0, 2, 4])
async def test_lost_page_takes_its_own_items_alone(
    store: Store, caplog: pytest.LogCaptureFixture, page: int
) -> None:
    """The items of a page that is gone are passed over with a warning; all others are read."""
    session, given = store.session(page_bytes=SMALLEST), letters(0, 11)
    await session.add_items(given)
    assert len(await store.page_keys()) == 5
    await lose(store, page)
    left = given[: 2 * page] + given[2 * page + 2 :]

    assert await session.get_items() == left
    assert warnings_of(caplog) == [f"Passed over 2 unreadable record(s) of session {ID!r}"]
    for limit in range(1, 12):
        assert await store.session().get_items(limit) == left[-limit:]


@pytest.mark.parametrize("write", WRITES)
async def test_writes_go_on_beside_a_lost_page(store: Store, write: str) -> None:
    """Every write works on a conversation that has lost a page, and keeps what is readable."""
    session, given = store.session(page_bytes=SMALLEST), letters(0, 11)
    await session.add_items(given)
    await lose(store, 2)
    left = given[:4] + given[6:]

    result = await WRITES[write](session)

    expected = {
        "add": left + numbered(0, 1),
        "add a lot": left + [sized(3000)] * 4,
        "pop": left[:-1],
        "replace": numbered(0, 3),
        "replace by a lot": [sized(3000)] * 4,
    }
    assert await store.session().get_items() == expected.get(write, [])
    assert result == (left[-1] if write == "pop" else None)


async def test_pops_pass_over_a_lost_page(store: Store) -> None:
    """Popping reaches what lies before a page that is gone."""
    session, given = store.session(page_bytes=SMALLEST), letters(0, 11)
    await session.add_items(given)
    await lose(store, 4)
    await lose(store, 3)

    popped = [await session.pop_item() for _ in range(8)]

    assert popped == [given[10], *reversed(given[:6]), None]
    assert await session.get_items() == []


@pytest.mark.parametrize("part", [0, 1, -1])
async def test_lost_part_loses_one_item(
    store: Store, caplog: pytest.LogCaptureFixture, part: int
) -> None:
    """Without one of its parts a large item is gone, and never half of it returned."""
    given = [*numbered(0, 1), user("a" * 700_000), *numbered(1, 2)]
    session = store.session(page_bytes=SMALLEST)
    await session.add_items(given)
    keys = await store.page_keys()
    assert len(keys) == 4  # the first small one, and three parts
    await store.delete(keys[1:][part])

    assert await session.get_items() == [given[0], given[2]]
    assert warnings_of(caplog) == [f"Passed over 1 unreadable record(s) of session {ID!r}"]
    assert await session.get_items(2) == [given[0], given[2]]
    assert await session.pop_item() == given[2]
    assert await session.pop_item() == given[0]
