"""How a user's conversations lie in the table, and that nobody else can open them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from openai_agents_session import DynamoDBSession, DynamoDBStore
from openai_agents_session.dynamodb import remove_orphaned_pages
from tests.dynamodb import emulators
from tests.dynamodb.store import (
    SMALLEST,
    Store,
    assert_agrees,
    epoch,
    key_of,
    letters,
    named_pages,
    numbered,
    requests_of,
    sized,
    temporary_table,
    user,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

EMULATORS = emulators.servers()

ADA = "Ada Löwe#1"
KEY = "Ada%20L%C3%B6we%231#groceries"
CONVERSATION = {
    "session_id": "S",
    "user": "S",
    "about": "M",
    "items": "L",
    "version": "N",
    "count": "N",
    "bytes": "N",
    "writes": "BS",
    "writes_since": "N",
    "created_at": "S",
    "updated_at": "S",
}
PAGE = {
    "session_id": "S",
    "user": "S",
    "updated_at": "S",
    "page_of": "S",
    "items": "L",
    "created_at": "S",
    "writes_since": "N",
}


@pytest_asyncio.fixture
async def table(dynamodb_client: Any) -> AsyncIterator[str]:
    """The name of a fresh table with the index."""
    async with temporary_table(dynamodb_client, users=True) as store:
        yield store.table


@pytest.fixture
def opened(store: Store) -> DynamoDBStore:
    """The store of that table, with the smallest pages."""
    return DynamoDBStore(store.client, store.table, page_bytes=SMALLEST)


def types_of(item: dict[str, Any]) -> dict[str, str]:
    """Return the attributes' names and types."""
    return {name: next(iter(value)) for name, value in item.items()}


# --- the items -------------------------------------------------------------------------------


async def test_conversation_says_whose_it_is(store: Store, opened: DynamoDBStore) -> None:
    """Its key begins with the user, percent-encoded; what is said about it is one attribute."""
    ada = opened.user(ADA)
    await ada.session("groceries", name="Groceries", is_active=False).add_items(numbered(0, 2))
    await ada.session("groceries", name="Other").add_items(numbered(2, 3))

    item = await store.item(KEY)
    assert types_of(item) == CONVERSATION
    assert item["user"] == {"S": ADA}
    assert item["about"] == {"M": {"name": {"S": "Groceries"}, "is_active": {"BOOL": False}}}
    (indexed,) = await store.indexed()
    shown = {"session_id", "user", "updated_at", "about", "count", "created_at"}
    assert indexed == {name: item[name] for name in shown}


async def test_nothing_said_is_an_empty_map(store: Store, opened: DynamoDBStore) -> None:
    """What is as it is by default takes no bytes, and can be set and cleared."""
    ada = opened.user(ADA)
    await ada.session("groceries", is_active=True).add_items(numbered(0, 2))
    assert (await store.item(KEY))["about"] == {"M": {}}

    await ada.update("groceries", description="What to buy", agent_name="Shopper")
    await ada.update("groceries", description=None, is_active=False)
    said = (await store.item(KEY))["about"]
    assert said == {"M": {"agent_name": {"S": "Shopper"}, "is_active": {"BOOL": False}}}
    await ada.update("groceries", name=None, agent_name=None, is_active=True)
    assert (await store.item(KEY))["about"] == {"M": {}}


async def test_pages_say_whose_they_are(store: Store, opened: DynamoDBStore) -> None:
    """A page of a user's is in the index, behind all that is listed."""
    await opened.user(ADA).session("groceries").add_items(letters(0, 9))

    everything = await store.everything()
    pages = named_pages(everything, KEY)
    assert len(pages) > 2
    for key in pages:
        page = {name: value for name, value in everything[key].items() if name != "writes"}
        assert types_of(page) == PAGE
        assert everything[key]["user"] == {"S": ADA}
        assert everything[key]["updated_at"] == {"S": "~"}
    assert len(await store.indexed()) == len(pages) + 1
    listed = await opened.user(ADA).list()
    assert [each.session_id for each in listed.conversations] == ["groceries"]


async def test_sessions_without_a_user_are_not_in_the_index(
    store: Store, opened: DynamoDBStore
) -> None:
    """They lie in the table as ever, whether a store makes them or not."""
    await opened.session("a").add_items(letters(0, 9))
    await store.session("b", page_bytes=SMALLEST).add_items(letters(0, 9))
    await store.session("b").clear_session()

    assert await store.indexed() == []
    everything = await store.everything()
    assert not [each for each in everything.values() if {"user", "about"} & each.keys()]
    assert await store.session("a").get_items() == letters(0, 9)
    assert await opened.session("b").get_items() == []


async def test_delete_leaves_the_tokens_alone(store: Store, opened: DynamoDBStore) -> None:
    """What is left for a quarter of an hour has nothing of the conversation but its key."""
    ada = opened.user(ADA)
    await ada.session("groceries", name="Secret").add_items(letters(0, 9))
    ref = (await store.item(KEY))["pages"]

    assert await ada.delete("groceries")

    everything = await store.everything()
    assert [*everything] == [KEY]
    item = everything[KEY]
    left = {"session_id", "user", "updated_at", "cleared_at", "count", "bytes", "version"}
    assert item.keys() == left | {"writes", "writes_since", "ttl", "pages"}
    assert item["pages"] == ref  # names of pages that are gone: see test_store_faults
    assert item["updated_at"] == {"S": "~"}
    assert epoch(890) <= int(item["ttl"]["N"]) <= epoch(910)
    assert await ada.delete("groceries") is False
    await ada.session("groceries").add_items(numbered(0, 1))
    item = await store.item(KEY)
    assert types_of(item) == CONVERSATION
    assert item["about"] == {"M": {}}


async def test_a_late_append_does_not_bring_it_back(store: Store, opened: DynamoDBStore) -> None:
    """A copy of a request that arrives after the delete is refused by its token."""
    ada = opened.user(ADA)
    with requests_of(store.client) as sent:
        await ada.session("groceries").add_items(numbered(0, 2))
    ((_, late),) = sent
    await ada.delete("groceries")

    with pytest.raises(store.client.exceptions.ConditionalCheckFailedException):
        await store.client.update_item(**late)

    assert await ada.get("groceries") is None


async def test_orphaned_pages_of_a_user_are_removed(store: Store, opened: DynamoDBStore) -> None:
    """The command finds them, and leaves those that are named."""
    await opened.user(ADA).session("groceries").add_items(letters(0, 9))
    page = await store.item((await store.page_keys(KEY))[0])
    del page["session_id"]
    await store.put(f"{KEY}~orphan000001", **page)
    await store.put("Bob#x~orphan000002", **{**page, "page_of": {"S": "Bob#x"}})
    for key in await store.everything():
        await store.change(key, created_at={"S": "2020-01-01T00:00:00.000+00:00"})

    assert await remove_orphaned_pages(store.client, store.table) == 2

    assert_agrees(await store.everything(), await store.indexed())
    assert await opened.user(ADA).session("groceries").get_items() == letters(0, 9)


# --- whose it is -----------------------------------------------------------------------------

WRITES: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "get": lambda session: session.get_items(),
    "add": lambda session: session.add_items(numbered(7, 8)),
    "add a lot": lambda session: session.add_items(letters(0, 50)),
    "pop": lambda session: session.pop_item(),
    "replace": lambda session: session.replace_items(numbered(7, 8)),
    "replace by nothing": lambda session: session.replace_items([]),
    "clear": lambda session: session.clear_session(),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=[*WRITES])
async def test_session_without_a_user_opens_no_users(
    store: Store, opened: DynamoDBStore, write: Callable[[Any], Awaitable[Any]]
) -> None:
    """Who names a user's key is told so, and nothing is written."""
    await opened.user(ADA).session("groceries").add_items(letters(0, 9))
    before = await store.everything()

    for session in (store.session(KEY), opened.session(KEY)):
        with pytest.raises(ValueError, match=r"session_id .*another user's conversation"):
            await write(session)

    assert await store.everything() == before


@pytest.mark.parametrize("write", WRITES.values(), ids=[*WRITES])
async def test_user_opens_no_session_without_one(
    store: Store, opened: DynamoDBStore, write: Callable[[Any], Awaitable[Any]]
) -> None:
    """Nor does a user's session open what somebody has put at its key."""
    await store.session(KEY, page_bytes=SMALLEST).add_items(letters(0, 9))
    before = await store.everything()
    ada = opened.user(ADA)

    with pytest.raises(ValueError, match=r"session_id 'groceries' .* without a user"):
        await write(ada.session("groceries"))
    assert await ada.get("groceries") is None
    with pytest.raises(ValueError, match="without a user"):
        await ada.update("groceries", name="Mine")
    with pytest.raises(ValueError, match="without a user"):
        await ada.delete("groceries")
    with pytest.raises(ValueError, match="without a user"):
        await ada.fork("groceries", "new")
    assert (await ada.erase()).conversations == 0

    assert await store.everything() == before


@pytest.mark.parametrize("write", WRITES.values(), ids=[*WRITES])
async def test_page_of_a_users_is_no_conversation(
    store: Store, opened: DynamoDBStore, write: Callable[[Any], Awaitable[Any]]
) -> None:
    """The key of a page is refused as ever, also to the user whose it is."""
    ada = opened.user(ADA)
    await ada.session("groceries").add_items(letters(0, 9))
    before = await store.everything()
    key = (await store.page_keys(KEY))[0]
    session_id = key.partition("#")[2]

    with pytest.raises(ValueError, match="the key of another session's page"):
        await write(ada.session(session_id))
    assert await ada.get(session_id) is None
    with pytest.raises(ValueError, match="the key of another session's page"):
        await ada.delete(session_id)
    assert await store.everything() == before


async def test_a_condition_asks_for_the_user(store: Store, opened: DynamoDBStore) -> None:
    """An item that changes hands between reading and writing is not written to."""
    ada = opened.user(ADA)
    for at, write in enumerate(WRITES.values()):
        session = ada.session(f"{at}")
        await session.add_items(letters(0, 3))
        await session.get_items()
        await store.change(key_of(ADA, f"{at}"), user={"S": "Bob"})
        before = await store.item(key_of(ADA, f"{at}"))

        with pytest.raises(ValueError, match="another user's conversation"):
            await write(session)

        assert await store.item(key_of(ADA, f"{at}")) == before


async def test_ids_that_are_too_long_are_refused(opened: DynamoDBStore) -> None:
    """The user's id counts as it is in the key."""
    ada = opened.user("ä")  # %C3%A4#
    assert ada.session("x" * 2028).session_id == "x" * 2028
    for call in (
        lambda: ada.session("x" * 2029),
        lambda: opened.session("x" * 2036),
    ):
        with pytest.raises(ValueError, match=r"session_id.* at most 2035 bytes .* it has 2036"):
            call()
    with pytest.raises(ValueError, match=r"session_id.* at most 2035 bytes .* it has 2036"):
        await ada.get("x" * 2029)
    with pytest.raises(ValueError, match=r"user_id must have .* it has 2034"):
        opened.user("x" * 2034)
    longest = opened.user("x" * 2033)
    await longest.session("y").add_items(letters(0, 9))
    assert [each.session_id async for each in longest] == ["y"]
    assert (await longest.erase()).items == 9


# --- writing ---------------------------------------------------------------------------------


async def test_clear_beside_writers_keeps_the_rest(store: Store, opened: DynamoDBStore) -> None:
    """A clear asks for no version: beside appends, it is done with the first request."""
    ada = opened.user(ADA)
    session, clearing = ada.session("groceries", name="Groceries"), ada.session("groceries")
    await session.add_items(letters(0, 9))
    await asyncio.gather(*(session.add_items(numbered(at, at + 1)) for at in range(5)))

    with requests_of(store.client) as sent:
        await clearing.clear_session()

    assert [operation for operation, _ in sent] == ["UpdateItem", "BatchWriteItem"]
    assert [*await store.everything()] == [KEY]
    item = await store.item(KEY)
    assert types_of(item) == CONVERSATION
    assert item["about"] == {"M": {"name": {"S": "Groceries"}}}
    assert len(item["writes"]["BS"]) >= 6
    await session.add_items([user("goes on")])
    assert await clearing.get_items() == [user("goes on")]
    assert_agrees(await store.everything(), await store.indexed())


async def test_clears_forget_old_tokens(store: Store, opened: DynamoDBStore) -> None:
    """However often one is cleared, its item stays small."""
    ada = opened.user(ADA)
    await ada.session("groceries").add_items(numbered(0, 1))
    old = [{"B": bytes([1] * 10 + [at >> 7, at & 0x7F])} for at in range(1090)]
    await store.change(KEY, writes={"BS": [each["B"] for each in old]})

    await ada.session("groceries").clear_session()

    item = await store.item(KEY)
    assert len(item["writes"]["BS"]) <= 1026
    assert item["items"]["L"] == []
    assert await ada.session("groceries").get_items() == []


async def test_item_that_something_else_has_made(store: Store, opened: DynamoDBStore) -> None:
    """One that only says whose it is takes its form with the first write, whichever that is."""
    ada = opened.user(ADA)
    writes: dict[str, tuple[Callable[[], Awaitable[Any]], list[Any]]] = {
        "add": (lambda: ada.session("groceries").add_items(numbered(1, 2)), numbered(0, 2)),
        "pop": (lambda: ada.session("groceries").pop_item(), []),
        "clear": (lambda: ada.session("groceries").clear_session(), []),
        "update": (lambda: ada.update("groceries", name="A"), numbered(0, 1)),
    }
    for write, left in writes.values():
        records = [{"S": json.dumps(item)} for item in numbered(0, 1)]
        await store.put(KEY, user={"S": ADA}, items={"L": records})

        await write()

        assert types_of(await store.item(KEY)) == CONVERSATION
        assert await ada.session("groceries").get_items() == left
        assert_agrees(await store.everything(), await store.indexed())


async def test_touch_lets_pages_live_as_long(store: Store) -> None:
    """Pages outlive their item after a touch as after a write."""
    ada = DynamoDBStore(store.client, store.table, ttl=10**6, page_bytes=SMALLEST).user(ADA)
    await ada.session("groceries").add_items(letters(0, 9))
    later = DynamoDBStore(store.client, store.table, ttl=10**7, page_bytes=SMALLEST).user(ADA)

    assert await later.touch("groceries")

    assert epoch(10**7 - 100) <= int((await store.item(KEY))["ttl"]["N"]) <= epoch(10**7)
    assert_agrees(await store.everything(), await store.indexed())
    assert await later.session("groceries").get_items() == letters(0, 9)


async def test_large_items_are_copied_in_parts(store: Store, opened: DynamoDBStore) -> None:
    """An item that takes several pages is one item of the fork, and counted as one."""
    ada = opened.user(ADA)
    items = [user("first"), sized(700_000), user("last"), *letters(0, 9)]
    await ada.session("groceries").add_items(items)

    for count in range(5):
        await ada.fork("groceries", f"{count}", count)
        assert await ada.session(f"{count}").get_items() == items[:count]

    positions = [(each.position, len(each.content)) for each in await ada.messages("groceries")]
    assert [position for position, _ in positions] == [*range(12)]
    found = await ada.messages("groceries", limit=1, before=2)
    assert [(each.position, len(each.content)) for each in found] == positions[1:2]
    assert_agrees(await store.everything(), await store.indexed())


async def test_sessions_of_a_store_are_sessions(store: Store, opened: DynamoDBStore) -> None:
    """They are of the public class, and say whose they are."""
    plain: Any = opened.session("a")
    theirs: Any = opened.user(ADA).session("a")

    assert type(plain) is type(theirs) is DynamoDBSession
    assert (plain.user_id, theirs.user_id) == (None, ADA)
    assert store.session("a").user_id is None
    await plain.add_items(numbered(0, 2))
    assert await store.session("a").get_items() == numbered(0, 2)
    assert await theirs.get_items() == []
