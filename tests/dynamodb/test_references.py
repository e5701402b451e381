"""Pages of references: what keeps an item small, however many pages a conversation has."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from openai_agents_session import DynamoDBSession, _pauses
from openai_agents_session.dynamodb import _driver, _packing, remove_orphaned_pages
from openai_agents_session.dynamodb._packing import (
    KEPT_REFERENCES,
    REFERENCES_PER_PAGE,
    Page,
    group_references,
)
from openai_agents_session.dynamodb._pages import Pages
from openai_agents_session.dynamodb._state import PageRef, references_value
from tests.benchmarks.dynamodb_driver import Meter
from tests.dynamodb import emulators
from tests.dynamodb.proxy import behind, delay_until, lose_answer_at, on
from tests.dynamodb.store import (
    ID,
    SMALLEST,
    Store,
    letters,
    references,
    user,
    warnings_of,
)
from tests.dynamodb.test_crashes import (
    PADDING,
    Case,
    Place,
    crash_before_each_request,
    lose_each_answer,
)
from tests.dynamodb.writer import batches_of, names_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.dynamodb.emulators import Emulator

EMULATORS = emulators.best()

MOST = KEPT_REFERENCES + REFERENCES_PER_PAGE - 1
"""References of one level that an item has at most."""

UNTIL_FULL = 27_295
"""References of 15 bytes that fill an item so far that it takes no more: 409,600 bytes."""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few references to a page, so that few pages make several levels."""
    monkeypatch.setattr(_packing, "REFERENCES_PER_PAGE", 3)
    monkeypatch.setattr(_packing, "KEPT_REFERENCES", 1)


async def levels(store: Store) -> list[int]:
    """The levels of what the item names, oldest first."""
    return [ref.level for ref in references(await store.item())]


# --- which references go where ---------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, MOST, MOST + 1, 1000, 40_000])
def test_few_references_are_left(count: int) -> None:
    """However many references there are, few of each level are left, and none is lost."""
    refs = tuple(PageRef.new(number % 7) for number in range(count))
    left, pages = group_references(refs)
    by_name = {ref.name: page.refs for ref, page in pages}

    def nested(ref: PageRef) -> list[PageRef]:
        if not ref.level:
            return [ref]
        inside = [each for below in by_name.pop(ref.name) for each in nested(below)]
        assert sum(each.count for each in inside) == ref.count
        return inside

    for level in range(5):
        assert sum(ref.level == level for ref in left) <= MOST
    assert left[max(0, len(left) - KEPT_REFERENCES) :] == refs[max(0, count - KEPT_REFERENCES) :]
    assert [each for ref in left for each in nested(ref)] == [*refs]
    assert by_name == {}
    assert group_references(left) == (left, [])


def test_references_out_of_order_are_folded_too() -> None:
    """A reference to a page that was lost stands among those of another level, and is kept."""
    lost = PageRef.new(5)
    refs = (PageRef.new(9, 1), lost, *(PageRef.new(9, 1) for _ in range(MOST)), PageRef.new(1))
    left, pages = group_references(refs)

    assert [ref.level for ref in left[:1]] == [2]
    assert lost in pages[0][1].refs
    assert sum(ref.count for ref in left) == sum(ref.count for ref in refs)


# --- what a conversation with such pages does ------------------------------------------------


@pytest.mark.usefixtures("small")
async def test_conversation_of_several_levels(store: Store) -> None:
    """As it grows and shrinks through three levels, all is read, and the table agrees."""
    session, given = store.session(page_bytes=SMALLEST), letters(0, 99)
    for number in range(0, 99, 9):
        await session.add_items(given[number : number + 9])
        found = await levels(store)
        assert all(found.count(level) <= 3 for level in found)
        await store.assert_whole()
    assert found == sorted(found, reverse=True)
    assert found[0] == 3
    for limit in (1, 2, 5, 20, 55, 98, 120):
        assert await store.session().get_items(limit) == given[-limit:]
    assert await store.session().get_items() == given

    for number in reversed(range(50, 99)):
        assert await session.pop_item() == given[number]
        if number % 16 == 0:
            await store.assert_whole()
            assert await store.session().get_items() == given[:number]
    assert max(await levels(store)) < 3


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    "write",
    [
        lambda session: session.replace_items([user("new")]),
        lambda session: session.replace_items(letters(0, 30)),
        lambda session: session.clear_session(),
    ],
    ids=["replace", "replace by a lot", "clear"],
)
@pytest.mark.parametrize("expired", [False, True], ids=["", "expired"])
async def test_no_page_is_left(
    store: Store, write: Callable[[DynamoDBSession], Awaitable[None]], expired: bool
) -> None:
    """What ends a conversation deletes all pages, those beneath pages of references as well."""
    session = store.session(ttl_seconds=1000, page_bytes=SMALLEST)
    await session.add_items(letters(0, 100))
    assert max(await levels(store)) == 3
    if expired:
        await store.set_ttl(-1)

    await write(store.session(ttl_seconds=1000, page_bytes=SMALLEST))

    await store.assert_whole()


@pytest.mark.usefixtures("small")
async def test_all_pages_outlive_the_session(store: Store) -> None:
    """A write that needs the pages for longer moves the time of those beneath others, too."""
    await store.session(ttl_seconds=1000, page_bytes=SMALLEST).add_items(letters(0, 100))
    before = await store.page_keys()

    await store.session(ttl_seconds=10**6, page_bytes=SMALLEST).add_items([user("new")])
    await store.assert_whole()
    await store.session(page_bytes=SMALLEST).add_items([user("newer")])
    await store.assert_whole()
    assert await store.page_keys() == before
    await store.change(ttl=None)  # somebody lets the conversation live for ever
    await store.session(page_bytes=SMALLEST).add_items([user("newest")])

    await store.assert_whole()
    assert await store.page_keys() == before
    assert not [key for key, item in (await store.everything()).items() if "ttl" in item]


@pytest.mark.usefixtures("small")
async def test_lost_page_of_references(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Without a page of references all that is beneath it is lost, and nothing else."""
    session, given = store.session(page_bytes=SMALLEST), letters(0, 100)
    await session.add_items(given)
    first, second = references(await store.item())[:2]
    assert (first.level, second.level) == (3, 2) or first.level == second.level
    await store.delete(second.key)
    left = given[: first.count] + given[first.count + second.count :]

    assert await session.get_items() == left
    lost = f"Passed over {second.count} unreadable record(s) of session {ID!r}"
    assert warnings_of(caplog) == [lost]
    assert await store.session().get_items(40) == left[-40:]
    await session.add_items([user("new")])
    popped = [await session.pop_item() for _ in range(len(left) - first.count + 3)]
    assert popped == [user("new"), *reversed(left[first.count - 2 :])]
    assert await session.get_items() == left[: first.count - 2]


# --- writers, readers and crashes ------------------------------------------------------------

OLD: list[Any] = batches_of("old", range(40), padding=PADDING)
NEW: list[Any] = batches_of("new", range(3), padding=PADDING)


async def folded(place: Place) -> None:
    """Three levels of pages."""
    await place.session().add_items(OLD)


async def folded_and_soon_over(place: Place) -> None:
    await place.session(ttl=600).add_items(OLD[:60])


async def pop_all_but(left: int, session: DynamoDBSession) -> None:
    for _ in range(len(OLD) - left):
        await session.pop_item()


CASES = {
    "append that folds": Case(folded, lambda s: s.add_items(NEW), OLD, OLD + NEW),
    "replace": Case(folded, lambda s: s.replace_items(NEW), OLD, NEW, requests=5),
    "clear": Case(folded, lambda s: s.clear_session(), OLD, [], requests=4, reads=True),
    "append with a later end": Case(
        folded_and_soon_over,
        lambda s: s.add_items(NEW),
        OLD[:60],
        OLD[:60] + NEW,
        ttl=10**6,
        requests=10,
    ),
}


SHARE = {"append that folds", "clear"}
ALL = [pytest.param(each, marks=[pytest.mark.slow] * (each not in SHARE)) for each in CASES]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", ALL)
async def test_a_crash_before_any_request(
    emulator: Emulator,
    dynamodb_client: Any,
    table: str,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """Each request of a write that folds is cut in turn: the old state or the new one is left."""
    monkeypatch.setattr(_pauses, "RETRY_SECONDS", 0.0)
    await crash_before_each_request(emulator.url, dynamodb_client, table, CASES[name])


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", ALL)
async def test_each_answer_is_lost_in_turn(
    emulator: Emulator, dynamodb_client: Any, table: str, name: str
) -> None:
    """Whichever answer is lost, a write that folds is done once, and leaves nothing."""
    await lose_each_answer(emulator.url, dynamodb_client, table, CASES[name])


# What a writer does while another one, or a reader, waits for pages of references.
WRITES: dict[str, Callable[[DynamoDBSession], Awaitable[None]]] = {
    "append": lambda session: session.add_items(batches_of("late", range(12), padding=PADDING)),
    "pop": lambda session: pop_all_but(9, session),
    "replace": lambda session: session.replace_items(NEW),
    "clear": lambda session: session.clear_session(),
}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    "number",
    [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(3, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("name", WRITES)
async def test_a_reader_meets_a_writer(
    emulator: Emulator, store: Store, name: str, number: int
) -> None:
    """At whichever level a reader finds a page gone, it reads the new state."""
    writer = store.session(page_bytes=SMALLEST)
    await writer.add_items(OLD)
    assert set(await levels(store)) == {0, 1, 2}
    written = asyncio.Event()
    async with behind(emulator.url, on(delay_until(written), "BatchGetItem", number)) as (
        proxy,
        client,
    ):
        reader = DynamoDBSession(ID, client, store.table, page_bytes=SMALLEST)
        reading = asyncio.ensure_future(reader.get_items())
        await proxy.waiting()
        await WRITES[name](writer)
        written.set()
        # Appending takes nothing away: then what was read first is whole.
        expected = OLD if name == "append" else await writer.get_items()
        assert await reading == expected
        assert proxy.faults == {"delay": 1}
        await reader.add_items(NEW)
        assert await writer.get_items() == (await store.session().get_items())
    await store.assert_whole()


@pytest.mark.usefixtures("small")
async def test_two_poppers_meet_at_a_page_of_references(store: Store) -> None:
    """Each item goes to one of those who pop at once, across all levels."""
    await store.session(page_bytes=SMALLEST).add_items(OLD)
    popped: list[Any] = []

    async def pop_some() -> None:
        session = store.session(page_bytes=SMALLEST)
        popped.extend([await session.pop_item() for _ in range(30)])

    await asyncio.gather(pop_some(), pop_some())
    assert sorted(popped, key=str) == sorted(OLD[-60:], key=str)
    assert await store.session().get_items() == OLD[:-60]
    await store.assert_whole()


@pytest.mark.usefixtures("small")
async def test_the_token_is_beneath_pages_of_references(emulator: Emulator, store: Store) -> None:
    """A write whose answer was lost is found in a page that others were folded over."""
    lost = asyncio.Event()
    neighbour = store.session(page_bytes=SMALLEST)
    async with behind(emulator.url, on(lose_answer_at(lost), "UpdateItem", 1)) as (proxy, client):
        session = DynamoDBSession(ID, client, store.table, page_bytes=SMALLEST)
        adding = asyncio.ensure_future(session.add_items(NEW[:3]))
        await proxy.waiting()
        for start in range(0, len(OLD), 6):
            await neighbour.add_items(OLD[start : start + 6])
        first = references(await store.item())[0]
        assert first.level > 1
        lost.set()
        await adding
        assert proxy.lost_successes == 1
    assert await neighbour.get_items() == NEW[:3] + OLD


@pytest.mark.usefixtures("small")
async def test_orphans_beneath_pages_of_references(store: Store) -> None:
    """Pages that a page of references names are in use, until that one is an orphan as well."""
    session = store.session(page_bytes=SMALLEST)
    await session.add_items(letters(0, 100))
    everything = await store.everything()

    assert await remove_orphaned_pages(store.client, store.table, older_than_seconds=0) == 0
    assert await store.everything() == everything
    await store.delete(ID)
    removed = await remove_orphaned_pages(store.client, store.table, older_than_seconds=0)
    assert removed == len(everything) - 1
    assert await store.everything() == {}


@pytest.mark.usefixtures("small")
async def test_orphans_are_looked_for_while_references_move(
    emulator: Emulator, store: Store
) -> None:
    """A page of references that goes while its content is asked for takes no page along."""
    session, given = store.session(page_bytes=SMALLEST), letters(0, 100)
    await session.add_items(given)
    moved = asyncio.Event()
    async with behind(emulator.url, on(delay_until(moved), "BatchGetItem", 1)) as (proxy, client):
        removing = asyncio.ensure_future(
            remove_orphaned_pages(client, store.table, older_than_seconds=0)
        )
        await proxy.waiting()
        for _ in range(60):
            await session.pop_item()
        moved.set()
        await removing
    assert await session.get_items() == given[:40]
    await store.assert_whole()


# --- what it costs ---------------------------------------------------------------------------


async def lay(store: Store, pages: int) -> None:
    """Make a conversation of so many pages as it was laid before; only its newest pages exist."""
    refs = [PageRef.new(4) for _ in range(pages)]
    table = _driver.Table(store.client, store.table)
    newest = [(ref, Page(letters_of(at))) for at, ref in enumerate(refs[-20:])]
    await Pages(table, ID).put(newest, None)
    await store.put(
        items={"L": []},
        pages=references_value(refs),
        version={"N": "7"},
        count={"N": str(4 * pages)},
        bytes={"N": "0"},
        writes={"BS": [b"t" * 12]},
        writes_since={"N": "0"},
        created_at={"S": "2020-01-01T00:00:00.000+00:00"},
    )


def letters_of(page: int) -> list[dict[str, str]]:
    """Return the records of a page."""
    return [{"S": f'{{"role":"user","content":"{page}.{number}"}}'} for number in range(4)]


@pytest.mark.parametrize(
    "pages", [10_000_000 // 4000, 41_000_000 // 4000, UNTIL_FULL], ids=["10 MB", "41 MB", "full"]
)
async def test_an_append_to_thousands_of_pages(
    emulator: Emulator, store: Store, pages: int
) -> None:
    """After the first write, an append costs a few units, and reading the newest two requests."""
    await lay(store, pages)
    async with emulators.create_client(emulator.url) as client:
        meter = Meter(client, store.client)
        session = DynamoDBSession(ID, client, store.table, page_bytes=SMALLEST)
        await session.add_items([user("first")])
        meter.reset()
        await DynamoDBSession(ID, client, store.table, page_bytes=SMALLEST).add_items([user("2nd")])
        assert meter.requests == ["UpdateItem"]
        assert meter.write <= 2
        meter.reset()
        last = await DynamoDBSession(ID, client, store.table, page_bytes=SMALLEST).get_items(20)
        assert meter.requests == ["GetItem", "BatchGetItem"]
    assert names_of(last[-4:]) == ["19.2", "19.3", "first", "2nd"]
    item = await store.item()
    assert int(item["count"]["N"]) == 4 * pages + 2
    assert sum(ref.count for ref in references(item)) == 4 * pages
    assert len(references(item)) <= 3 * MOST
