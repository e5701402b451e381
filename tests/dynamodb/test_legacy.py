"""Items of release 0.1.0: one JSON text of all items, overwritten whole with every write."""

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
    epoch,
    numbered,
    requests_of,
    sized,
    until_of,
    user,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from openai_agents_session import DynamoDBSession

EMULATORS = emulators.servers()

OLD: list[Any] = [
    user("Grüße 👋"),
    *numbered(1, 3),
    {"type": "reasoning", "id": "rs_1", "summary": []},
]
LONG = [sized(1500, fill) for fill in "abcdefg"]

WRITES: dict[str, tuple[Callable[[DynamoDBSession], Awaitable[Any]], list[Any]]] = {
    "add": (lambda session: session.add_items(numbered(7, 8)), [*OLD, *numbered(7, 8)]),
    "add a lot": (lambda session: session.add_items(LONG), [*OLD, *LONG]),
    "pop": (lambda session: session.pop_item(), OLD[:-1]),
    "replace": (lambda session: session.replace_items(numbered(7, 8)), numbered(7, 8)),
    "replace by nothing": (lambda session: session.replace_items([]), []),
}


async def old_release_writes(store: Store, items: list[Any], ttl: int | None = None) -> None:
    """Write as release 0.1.0 does."""
    attributes = {
        "conversation_data": {"S": json.dumps(items)},
        "updated_at": {"N": str(epoch())},
    }
    if ttl is not None:
        attributes["ttl"] = {"N": str(epoch(ttl))}
    await store.put(**attributes)


@pytest.mark.parametrize("ttl", [None, 1000])
async def test_old_conversation_is_read(store: Store, ttl: int | None) -> None:
    """An item of 0.1.0 is read like any other, and reading leaves it as it is."""
    await old_release_writes(store, OLD, ttl)
    before = await store.item()
    session = store.session()

    with requests_of(store.client) as sent:
        assert await session.get_items() == OLD
        assert await session.get_items(2) == OLD[2:]
        assert await session.get_items(0) == []

    assert [operation for operation, _ in sent] == ["GetItem"] * 2
    assert await store.item() == before


@pytest.mark.parametrize("page_bytes", [SMALLEST, 65_536])
@pytest.mark.parametrize("write", WRITES)
async def test_first_write_converts_it(store: Store, write: str, page_bytes: int) -> None:
    """The first write of any kind gives the item today's form, in the same step."""
    await old_release_writes(store, OLD)
    write_, expected = WRITES[write]

    result = await write_(store.session(page_bytes=page_bytes))

    assert result == (OLD[-1] if write == "pop" else None)
    item = await store.item()
    assert "conversation_data" not in item
    assert "S" in item["updated_at"]
    assert "ttl" not in item
    assert await store.session().get_items() == expected
    await store.assert_whole()
    await store.session().add_items(numbered(8, 9))
    assert await store.session().get_items() == [*expected, *numbered(8, 9)]


@pytest.mark.parametrize("write", WRITES)
async def test_own_attributes_are_left_alone(store: Store, write: str) -> None:
    """0.1.0 lost with every write what an application had added to the item; this keeps it."""
    await old_release_writes(store, OLD, ttl=1000)
    old = await store.item()
    await store.put(
        **{name: value for name, value in old.items() if name != "session_id"}, owner={"S": "Ada"}
    )

    for _ in range(2):  # the conversion, and a write after it
        await WRITES[write][0](store.session())
        item = await store.item()
        assert (item["owner"], item["ttl"]) == ({"S": "Ada"}, old["ttl"])

    await store.session().clear_session()
    assert (await store.item())["owner"] == {"S": "Ada"}


@pytest.mark.parametrize("write", WRITES)
async def test_conversion_is_one_update(store: Store, write: str) -> None:
    """The item is changed by a single request: no state between the two forms can be read."""
    await old_release_writes(store, OLD)

    with requests_of(store.client) as sent:
        await WRITES[write][0](store.session())

    changes = [
        params["UpdateExpression"]
        for operation, params in sent
        if operation == "UpdateItem" and "conversation_data" in str(params)
    ]
    assert len(changes) == 1
    assert "#items = :items" in changes[0]
    assert "REMOVE #conversation_data" in changes[0]
    assert {operation for operation, _ in sent} <= {"GetItem", "UpdateItem"}


async def test_clear_deletes_it(store: Store) -> None:
    """An item of 0.1.0 is cleared without a conversion."""
    await old_release_writes(store, OLD)

    await store.session().clear_session()

    assert "cleared_at" in await store.item()
    assert "conversation_data" not in await store.item()
    assert await store.session().get_items() == []


async def test_long_conversation_is_given_pages(store: Store) -> None:
    """What is larger than ``page_bytes`` goes into pages with the first write."""
    await old_release_writes(store, LONG * 3)
    session = store.session(page_bytes=SMALLEST)
    assert await session.get_items(3) == LONG[-3:]

    await session.add_items(numbered(0, 1))

    assert await store.page_keys()
    assert await session.get_items() == [*LONG * 3, *numbered(0, 1)]
    await store.assert_whole()


async def test_pop_of_a_long_conversation(store: Store) -> None:
    """Popping from an item of 0.1.0 that is larger than ``page_bytes`` works item by item."""
    await old_release_writes(store, LONG)
    for number in reversed(range(len(LONG))):
        assert await store.session(page_bytes=SMALLEST).pop_item() == LONG[number]
        assert await store.session().get_items() == LONG[:number]
        await store.assert_whole()
    assert await store.session().pop_item() is None


@pytest.mark.parametrize("write", WRITES)
async def test_expired_item_is_not_converted(store: Store, write: str) -> None:
    """An item of 0.1.0 whose time is over is gone for the first write as well."""
    await old_release_writes(store, OLD, -1)
    session = store.session(ttl_seconds=1000)
    assert await session.get_items() == []

    assert await WRITES[write][0](session) is None

    expected = {"add": numbered(7, 8), "add a lot": LONG, "replace": numbered(7, 8)}
    assert await store.session().get_items() == expected.get(write, [])
    if expected.get(write):
        assert "conversation_data" not in await store.item()


@pytest.mark.parametrize("write", WRITES)
async def test_time_to_live_goes_on(store: Store, write: str) -> None:
    """A session with a time to live sets its own; one without leaves that of the old item."""
    await old_release_writes(store, OLD, 500)
    before = (await store.item())["ttl"]
    await WRITES[write][0](store.session())
    assert (await store.item())["ttl"] == before
    await store.assert_whole()

    await old_release_writes(store, OLD, 500)
    await WRITES[write][0](store.session(ttl_seconds=5000))
    assert until_of(await store.item()) >= epoch(4990)


@pytest.mark.parametrize("text", ["", "{", "null", '"text"', "[1", "[{}]]"])
async def test_text_that_is_no_list_is_kept(store: Store, text: str) -> None:
    """What is no JSON list is one unreadable record, which writes keep in its place."""
    await store.put(conversation_data={"S": text} if text else {"B": b"\xff"})
    session = store.session()
    assert await session.get_items() == []
    assert await session.pop_item() is None

    await session.add_items(numbered(0, 2))

    assert await session.get_items() == numbered(0, 2)
    assert await session.pop_item() == numbered(1, 2)[0]
    item = await store.item()
    assert "conversation_data" not in item
    assert item["items"]["L"][0] == ({"S": text} if text else {"B": b"\xff"})


async def test_elements_that_are_no_items_are_kept(store: Store) -> None:
    """An element that is no object hides no other, and stays where it is."""
    await old_release_writes(store, [1, OLD[0], None, OLD[1], "text", [OLD[2]]])
    session = store.session()
    assert await session.get_items() == OLD[:2]
    assert await session.get_items(1) == OLD[1:2]

    assert await session.pop_item() == OLD[1]
    await session.add_items(OLD[2:])

    assert await session.get_items() == [OLD[0], *OLD[2:]]
    records = [record["S"] for record in (await store.item())["items"]["L"]]
    assert [json.loads(text) for text in records[:5]] == [1, OLD[0], None, "text", [OLD[2]]]


async def test_strange_values_come_through(store: Store) -> None:
    """Surrogates, NaN and huge numbers that the old release has written are read and kept."""
    strange = [{"text": "\ud83d", "numbers": [float("inf"), -(2**70), 1.0, 1e300]}]
    await old_release_writes(store, strange)

    assert await store.session().get_items() == strange
    await store.session().add_items(numbered(0, 1))
    assert await store.session().get_items() == strange + numbered(0, 1)


async def test_two_writers_convert_it_once(store: Store) -> None:
    """Of writers that meet the old item at the same time each adds its own, and none twice."""
    await old_release_writes(store, OLD)
    batches = [[user(f"writer {number}, item {at}") for at in range(3)] for number in range(8)]

    await asyncio.gather(*(store.session().add_items(batch) for batch in batches))

    items = await store.session().get_items()
    assert items[: len(OLD)] == OLD
    rest = items[len(OLD) :]
    assert sorted((rest[at : at + 3] for at in range(0, 24, 3)), key=str) == batches
    await store.assert_whole()


async def test_two_pops_convert_it_once(store: Store) -> None:
    """Concurrent pops of an old item take an item each."""
    await old_release_writes(store, OLD)

    popped = await asyncio.gather(*(store.session().pop_item() for _ in range(6)))

    assert [item for item in OLD if item in popped] == OLD
    assert popped.count(None) == 2


@pytest.mark.parametrize("write", ["add", "pop", "replace"])
@pytest.mark.parametrize("items", [LONG[:1], [*OLD, LONG[0]], []])
async def test_old_release_writes_in_between(store: Store, write: str, items: list[Any]) -> None:
    """When the old release overwrites between reading and writing, the write sees its version."""
    await old_release_writes(store, OLD)
    done = 0

    async def overwrite(params: dict[str, Any], **_: Any) -> None:
        nonlocal done
        if "conversation_data" in params["ExpressionAttributeNames"].values() and not done:
            done += 1
            await old_release_writes(store, items)

    event = "provide-client-params.dynamodb.UpdateItem"
    store.client.meta.events.register(event, overwrite)
    result = await WRITES[write][0](store.session())
    store.client.meta.events.unregister(event, overwrite)

    assert done == 1
    expected = {"add": items + numbered(7, 8), "pop": items[:-1], "replace": numbered(7, 8)}
    assert await store.session().get_items() == expected[write]
    assert result == (items[-1] if write == "pop" and items else None)


async def test_old_release_overwrites_a_converted_item(store: Store) -> None:
    """What the old release writes over today's form is what counts, and no page is mistaken."""
    session = store.session(page_bytes=SMALLEST)
    await session.add_items(LONG)
    await old_release_writes(store, OLD)

    assert await session.get_items() == OLD
    await session.add_items(numbered(7, 8))
    assert await session.get_items() == [*OLD, *numbered(7, 8)]
    assert (await store.item())["count"]["N"] == "5"
    assert list(await store.everything()) != [ID]  # pages that nobody names any more
