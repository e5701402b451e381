"""Records that are no JSON objects, or no texts: passed over, and never in the way."""

from __future__ import annotations

from typing import Any

import pytest

from tests.dynamodb import emulators
from tests.dynamodb.store import ID, SMALLEST, Store, letters, numbered, warnings_of

EMULATORS = emulators.servers()


async def test_unreadable_records_in_a_page(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """What is no JSON object in a page is passed over, and the limit is filled without it."""
    session, given = store.session(page_bytes=SMALLEST), letters(0, 7)
    await session.add_items(given)
    key = (await store.page_keys())[1]
    records = (await store.item(key))["items"]["L"]
    junk = [{"S": "{"}, {"B": b"\xff"}, {"N": "1"}, {"M": {"S": {"S": "{}"}}}, {"BOOL": True}]
    await store.change(key, items={"L": [*junk[:2], records[0], *junk[2:], records[1]]})

    assert await session.get_items() == given
    assert warnings_of(caplog) == [f"Passed over 5 unreadable record(s) of session {ID!r}"]
    for limit in range(1, 8):
        assert await session.get_items(limit) == given[-limit:]
    for number in reversed(range(7)):
        assert await session.pop_item() == given[number]
    assert await session.pop_item() is None


@pytest.mark.parametrize(
    "element",
    [
        {"B": b"{}"},
        {"N": "7"},
        {"M": {"role": {"S": "user"}}},
        {"L": [{"S": "{}"}]},
        {"BOOL": False},
        {"NULL": True},
        {"SS": ["{}"]},
    ],
    ids=lambda element: next(iter(element)),
)
async def test_elements_that_are_no_text(store: Store, element: dict[str, Any]) -> None:
    """An element of any other type hides nothing, and stays where it is through a seal."""
    session, given = store.session(page_bytes=SMALLEST), letters(0, 6)
    await session.add_items(given[:1])
    records = (await store.item())["items"]["L"]
    await store.change(items={"L": [element, *records, element]})

    assert await session.get_items() == given[:1]
    await session.add_items(given[1:])  # seals what is there
    assert await session.get_items() == given
    (page, *_) = await store.page_keys()
    assert (await store.item(page))["items"]["L"][:3] == [element, *records, element]
    for number in reversed(range(6)):
        assert await session.pop_item() == given[number]


async def test_items_that_are_no_list(store: Store) -> None:
    """An ``items`` attribute of another type is one unreadable record, and writes go on."""
    await store.put(items={"S": "a text"})
    session = store.session()

    assert await session.get_items() == []
    assert await session.pop_item() is None
    await session.add_items(numbered(0, 2))

    assert await session.get_items() == numbered(0, 2)
    assert (await store.item())["items"]["L"][0] == {"S": "a text"}
