"""How a conversation lies in the table, for those who read it there."""

from __future__ import annotations

import base64
import json
import re
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest

from openai_agents_session.dynamodb._packing import PAGE_OVERHEAD
from tests.dynamodb import emulators
from tests.dynamodb.store import ID, SMALLEST, Store, bytes_of, numbered, sized, user

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from openai_agents_session import DynamoDBSession

EMULATORS = emulators.servers()

UNPAGED = {
    "session_id": "S",
    "items": "L",
    "version": "N",
    "count": "N",
    "bytes": "N",
    "writes": "BS",
    "writes_since": "N",
    "created_at": "S",
    "updated_at": "S",
}
PAGED = {**UNPAGED, "pages": "L"}
PAGE = {
    "session_id": "S",
    "page_of": "S",
    "items": "L",
    "created_at": "S",
    "writes_since": "N",
}
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00")

WRITES: dict[str, Callable[[DynamoDBSession], Awaitable[Any]]] = {
    "add": lambda session: session.add_items([user("Grüße, 👩‍👩‍👧"), user("and more")]),
    "add a lot": lambda session: session.add_items([sized(3000)] * 5),
    "add a large item": lambda session: session.add_items([sized(10_000)]),
    "pop": lambda session: session.pop_item(),
    "replace": lambda session: session.replace_items([user("Grüße"), user("and more")]),
    "replace by a lot": lambda session: session.replace_items([sized(3000)] * 5),
    "replace by nothing": lambda session: session.replace_items([]),
}


def types_of(item: dict[str, Any]) -> dict[str, str]:
    """Return the attributes' names and types."""
    return {name: next(iter(value)) for name, value in item.items()}


async def test_conversation_is_one_item(store: Store) -> None:
    """A conversation is one item: a JSON text for each of its items, and the bookkeeping."""
    session = store.session()
    await session.add_items(numbered(0, 2))
    await session.add_items(numbered(2, 3))

    everything = await store.everything()
    assert list(everything) == [ID]
    item = everything[ID]
    assert types_of(item) == UNPAGED
    assert [json.loads(record["S"]) for record in item["items"]["L"]] == numbered(0, 3)
    assert item["count"]["N"] == "3"
    assert item["bytes"]["N"] == str(bytes_of(item["items"]["L"]))
    assert [len(token) for token in item["writes"]["BS"]] == [12, 12]
    assert MOMENT.fullmatch(item["created_at"]["S"])
    assert MOMENT.fullmatch(item["updated_at"]["S"])


async def test_text_is_stored_as_people_write_it(store: Store) -> None:
    """Letters of any script are readable in the table, without escapes."""
    await store.session().add_items([user("Grüße, 你好, 👩‍👩‍👧")])

    (record,) = (await store.item())["items"]["L"]
    assert record == {"S": '{"role":"user","content":"Grüße, 你好, 👩‍👩‍👧"}'}


async def test_ttl_is_in_epoch_seconds(store: Store) -> None:
    """With a time to live there is one attribute more: when it ends."""
    before = int(time.time())
    await store.session(ttl_seconds=1000).add_items(numbered(0, 1))
    after = int(time.time())

    item = await store.item()
    assert types_of(item) == {**UNPAGED, "ttl": "N"}
    assert before + 1000 <= int(item["ttl"]["N"]) <= after + 1000


async def test_dates_tell_of_the_first_and_the_last_write(store: Store) -> None:
    """``created_at`` stays, and ``updated_at`` moves."""
    session = store.session()
    before = datetime.now(timezone.utc)
    await session.add_items(numbered(0, 3))
    first = await store.item()
    assert first["created_at"] == first["updated_at"]
    created = datetime.fromisoformat(first["created_at"]["S"])
    assert -0.001 <= (created - before).total_seconds() < 10

    for write in WRITES.values():
        before_it = await store.item()
        await wait_for_another_millisecond()
        await write(session)
        item = await store.item()
        assert item["created_at"] == first["created_at"]
        assert item["updated_at"]["S"] > before_it["updated_at"]["S"]


async def wait_for_another_millisecond() -> None:
    """Wait until the clock shows another millisecond."""
    now = time.time_ns() // 10**6
    while time.time_ns() // 10**6 <= now:
        pass


async def test_pages_are_items_beside_it(store: Store) -> None:
    """What does not fit is in pages: items of their own, which the session's item names."""
    given = [sized(1500, str(number)) for number in range(7)]
    session = store.session(page_bytes=SMALLEST)
    for number in range(7):
        await session.add_items(given[number : number + 1])

    everything = await store.everything()
    item = everything.pop(ID)
    assert types_of(item) == PAGED
    refs = [ref["S"] for ref in item["pages"]["L"]]
    assert [re.fullmatch(r"2\.[A-Za-z0-9_-]{12}", ref) is not None for ref in refs] == [True] * 3
    assert set(everything) == {f"{ID}~{ref[2:]}" for ref in refs}
    stored: list[Any] = []
    for ref in refs:
        page = everything[f"{ID}~{ref[2:]}"]
        assert types_of(page) == {**PAGE, "writes": "BS"}
        assert page["page_of"]["S"] == ID
        stored += [json.loads(record["S"]) for record in page["items"]["L"]]
    assert stored == given[:6]
    assert [json.loads(record["S"]) for record in item["items"]["L"]] == given[6:]
    assert item["count"]["N"] == "7"
    assert len(item["writes"]["BS"]) == 1
    assert {len(page["writes"]["BS"]) for page in everything.values()} == {2}


async def test_pages_expire_a_day_after_the_session_or_later(store: Store) -> None:
    """With a time to live the pages have one too, longer by itself again, a day at least."""
    for ttl, longer in ((1000, 86_400), (200_000, 200_000)):
        name = f"{ID} {ttl}"
        await store.session(name, ttl, page_bytes=SMALLEST).add_items([sized(3000)] * 3)

        item = await store.item(name)
        assert types_of(item) == {**PAGED, "ttl": "N", "pages_until": "N"}
        keys = await store.page_keys(name)
        assert len(keys) == 2
        for key in keys:
            page = await store.item(key)
            assert page["ttl"] == item["pages_until"]
            assert int(page["ttl"]["N"]) == int(item["ttl"]["N"]) + longer


async def test_names_of_pages_are_random(store: Store) -> None:
    """No two pages have the same name, and each name is 72 random bits."""
    await store.session(page_bytes=SMALLEST).add_items([sized(3000)] * 50)

    names = [key.rpartition("~")[2] for key in await store.page_keys()]
    assert len(set(names)) == len(names) == 49
    decoded = [base64.urlsafe_b64decode(name) for name in names]
    assert {len(name) for name in decoded} == {9}
    # Of 49 random bytes at each place not all are equal.
    assert all(len({name[place] for name in decoded}) > 1 for place in range(9))


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("start", [0, 3, 30])
async def test_bookkeeping_is_right_after_every_write(store: Store, start: int, write: str) -> None:
    """``count``, ``bytes`` and ``version`` tell of the conversation after any write."""
    session = store.session(page_bytes=SMALLEST)
    if start:
        await session.add_items([sized(400)] * start)
    before = await store.item()
    await WRITES[write](session)

    await store.assert_whole()
    item = await store.item()
    assert int(item.get("count", {"N": "0"})["N"]) == len(await session.get_items())
    if before and item != before:
        assert int(item["version"]["N"]) == int(before["version"]["N"]) + 1


@pytest.mark.parametrize("page_bytes", [SMALLEST, 65_536])
async def test_page_bytes_is_what_one_item_holds(store: Store, page_bytes: int) -> None:
    """What fills a page with its bookkeeping is one item, and one byte more has a page."""
    for more in (0, 1):
        session = store.session(f"{more} more", page_bytes=page_bytes)
        await session.add_items([sized(2000)])
        await session.add_items([sized(page_bytes - PAGE_OVERHEAD - 2100)])
        await session.add_items([sized(100 + more)])

        item = await store.item(session.session_id)
        assert ("pages" in item) == bool(more)
        assert int(item["bytes"]["N"]) == (101 if more else page_bytes - PAGE_OVERHEAD)
        assert item["count"]["N"] == "3"


async def test_first_batch_of_page_bytes_is_one_item(store: Store) -> None:
    """A first batch that fills the item makes no page, and one byte more does."""
    for more in (0, 1):
        session = store.session(f"{more} more", page_bytes=SMALLEST)
        room = SMALLEST - PAGE_OVERHEAD
        await session.add_items([sized(2000), sized(room - 2000 + more)])

        assert ("pages" in await store.item(session.session_id)) == bool(more)
        assert await session.get_items() == [sized(2000), sized(room - 2000 + more)]


async def test_size_is_counted_in_bytes(store: Store) -> None:
    """Letters that take several bytes count as several."""
    session = store.session(page_bytes=SMALLEST)
    await session.add_items([user("ü" * 1000)])
    await session.add_items([user("你" * 700)])
    assert "pages" in await store.item()

    item = await store.item()
    assert int(item["bytes"]["N"]) == bytes_of(item["items"]["L"]) > 2100


@pytest.mark.parametrize("write", WRITES)
async def test_attributes_of_others_are_kept(store: Store, write: str) -> None:
    """What an application has added to the item stays there through every write."""
    session = store.session(ttl_seconds=1000, page_bytes=SMALLEST)
    await session.add_items(numbered(0, 3))
    own = {"owner": {"S": "ada"}, "labels": {"M": {"a": {"BOOL": True}}}, "items2": {"L": []}}
    await store.change(**own)

    await WRITES[write](session)

    item = await store.item()
    assert {name: item[name] for name in own} == own
