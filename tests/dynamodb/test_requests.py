"""Which requests a session sends, and how many: what a turn costs, and what it may not do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.dynamodb import emulators
from tests.dynamodb.store import ID, SMALLEST, Store, epoch, numbered, requests_of, sized

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from openai_agents_session import DynamoDBSession

EMULATORS = emulators.servers()

GUIDE = Path(__file__).parents[2] / "docs" / "dynamodb.md"
PAGED = [sized(1500, fill) for fill in "abcdefg"]  # three pages, and an item beside them
ACTIONS = {"GetItem", "BatchGetItem", "UpdateItem", "BatchWriteItem"}

ON_ONE_ITEM: dict[str, tuple[Callable[[DynamoDBSession], Awaitable[Any]], list[str]]] = {
    "get": (lambda session: session.get_items(), ["GetItem"]),
    "get some": (lambda session: session.get_items(2), ["GetItem"]),
    "get none": (lambda session: session.get_items(0), []),
    "add": (lambda session: session.add_items(numbered(0, 5)), ["UpdateItem"]),
    "add nothing": (lambda session: session.add_items([]), []),
    "pop": (lambda session: session.pop_item(), ["GetItem", "UpdateItem"]),
    "replace": (
        lambda session: session.replace_items(numbered(0, 5)),
        ["GetItem", "UpdateItem"],
    ),
    "replace by nothing": (lambda session: session.replace_items([]), ["GetItem", "UpdateItem"]),
    "clear": (lambda session: session.clear_session(), ["UpdateItem"]),
    "ping": (lambda session: session.ping(), ["GetItem"]),
    "snapshot": (lambda session: session._get_compaction_snapshot(50), ["GetItem"]),
}
ON_PAGES: dict[str, tuple[Callable[[DynamoDBSession], Awaitable[Any]], list[str]]] = {
    "get": (lambda session: session.get_items(), ["GetItem", "BatchGetItem"]),
    "get what is in the item": (lambda session: session.get_items(1), ["GetItem"]),
    "get some": (lambda session: session.get_items(2), ["GetItem", "BatchGetItem"]),
    "add": (lambda session: session.add_items(numbered(0, 5)), ["UpdateItem"]),
    "pop": (lambda session: session.pop_item(), ["GetItem", "UpdateItem"]),
    "replace": (
        lambda session: session.replace_items(numbered(0, 5)),
        ["GetItem", "UpdateItem", "BatchWriteItem"],
    ),
    "clear": (lambda session: session.clear_session(), ["UpdateItem", "BatchWriteItem"]),
    "ping": (lambda session: session.ping(), ["GetItem"]),
}


async def sent_by(store: Store, call: Awaitable[Any]) -> list[str]:
    """Return the operations that a call asks for, one after the other."""
    with requests_of(store.client) as sent:
        await call
    return [operation for operation, _ in sent]


@pytest.mark.parametrize("ttl", [None, 1000])
@pytest.mark.parametrize("name", ON_ONE_ITEM)
async def test_requests_on_one_item(store: Store, name: str, ttl: int | None) -> None:
    """On a conversation of one item a read is one request, and a write one or two."""
    await store.session(ttl_seconds=ttl).add_items(numbered(0, 5))
    call, expected = ON_ONE_ITEM[name]

    session = store.session(ttl_seconds=ttl)
    assert await sent_by(store, call(session)) == expected
    await store.session(ttl_seconds=ttl).add_items(numbered(0, 5))
    assert await sent_by(store, call(session)) == expected  # the object that has seen it before


@pytest.mark.parametrize("ttl", [None, 1000])
@pytest.mark.parametrize("name", ON_PAGES)
async def test_requests_on_pages(store: Store, name: str, ttl: int | None) -> None:
    """On a conversation of pages an append is one request, and a read one more for the pages."""
    session = store.session(ttl_seconds=ttl, page_bytes=SMALLEST)
    await session.add_items(PAGED)
    assert len(await store.page_keys()) == 3
    call, expected = ON_PAGES[name]
    if name != "clear":
        session = store.session(ttl_seconds=ttl, page_bytes=SMALLEST)

    assert await sent_by(store, call(session)) == expected


@pytest.mark.parametrize("ttl", [None, 1000])
async def test_append_is_one_request_unless_it_seals(store: Store, ttl: int | None) -> None:
    """Of many appends each is one request, but those that fill a page, which are two."""
    session = store.session(ttl_seconds=ttl, page_bytes=SMALLEST)
    await session.get_items()  # as the SDK's Runner begins
    sealed = 0
    for number in range(40):
        before = await store.page_keys()
        requests = await sent_by(store, session.add_items([sized(600, str(number % 10))]))
        seals = await store.page_keys() != before
        assert requests == (["BatchWriteItem", "UpdateItem"] if seals else ["UpdateItem"])
        sealed += seals
    assert sealed == 6


@pytest.mark.parametrize("ttl", [None, 1000])
async def test_append_of_a_stranger_finds_out_that_the_item_is_full(
    store: Store, ttl: int | None
) -> None:
    """An object that has not seen the item is refused once, and needs no read where it is told."""
    await store.session(ttl_seconds=ttl, page_bytes=SMALLEST).add_items([sized(3500)])

    session = store.session(ttl_seconds=ttl, page_bytes=SMALLEST)
    requests = await sent_by(store, session.add_items([sized(600)]))

    assert [each for each in requests if each != "GetItem"] == [
        "UpdateItem",
        "BatchWriteItem",
        "UpdateItem",
    ]
    assert requests.count("GetItem") <= 1  # dynalite returns no old item


async def test_pages_are_read_by_the_hundred(store: Store) -> None:
    """Each hundred pages are one request more, and a limit asks for no more than it needs."""
    await store.session(page_bytes=SMALLEST).add_items([sized(3700)] * 202)
    assert len(await store.page_keys()) == 201

    # The oldest 128 are named in two pages of references, which are read with the newest ones.
    for limit, batches, above in ((None, 3, 2), (201, 3, 2), (74, 1, 0), (2, 1, 0), (1, 0, 0)):
        with requests_of(store.client) as sent:
            assert len(await store.session().get_items(limit)) == (limit or 202)
        asked = [
            len(params["RequestItems"][store.table]["Keys"])
            for operation, params in sent
            if operation == "BatchGetItem"
        ]
        # An answer has 16 MB at most, and what it leaves out is asked for again: not here.
        assert len(asked) == batches
        assert sum(asked) == (limit or 202) - 1 + above
        assert len(sent) == batches + 1


async def test_pages_are_written_by_25(store: Store) -> None:
    """Pages are stored before the item names them, in as few requests as DynamoDB takes.

    Before that the item is there: else nothing would tell whether they still are.
    """
    session = store.session(page_bytes=SMALLEST)

    requests = await sent_by(store, session.add_items([sized(4000)] * 61))

    assert requests == ["GetItem", "UpdateItem", *["BatchWriteItem"] * 3, "UpdateItem"]


async def test_reads_are_consistent(store: Store) -> None:
    """Whatever is read to be returned or acted on is read as of now."""
    session = store.session(ttl_seconds=1000, page_bytes=SMALLEST)
    await session.add_items(PAGED)
    with requests_of(store.client) as sent:
        for call, _ in (*ON_PAGES.values(), *ON_ONE_ITEM.values()):
            if call is not ON_PAGES["ping"][0]:
                await call(store.session(ttl_seconds=1000, page_bytes=SMALLEST))
        await store.session(page_bytes=SMALLEST).add_items([sized(9000)])

    reads = [
        params if operation == "GetItem" else params["RequestItems"][store.table]
        for operation, params in sent
        if operation in {"GetItem", "BatchGetItem"} and "ProjectionExpression" not in params
    ]
    assert len(reads) > 8
    assert all(read["ConsistentRead"] is True for read in reads)


async def test_writes_are_conditional(store: Store) -> None:
    """Every write to a session's item has a condition, and a key that is the session's."""
    with requests_of(store.client) as sent:
        await everything_that_a_session_does(store)

    writes = [params for operation, params in sent if operation == "UpdateItem"]
    assert len(writes) > 20
    assert all(params["ConditionExpression"] for params in writes)
    for operation, params in sent:
        if operation == "BatchWriteItem":
            for request in params["RequestItems"][store.table]:
                (kind,) = request.values()
                assert kind.get("Key", kind.get("Item"))["session_id"]["S"].startswith(f"{ID}~")


async def everything_that_a_session_does(store: Store) -> None:
    """Do everything once: with and without a time to live, with pages and without."""
    for ttl in (None, 1000, 10**6):
        session = store.session(ttl_seconds=ttl, page_bytes=SMALLEST)
        for call, _ in (*ON_ONE_ITEM.values(), *ON_PAGES.values()):
            await session.add_items(PAGED)
            await call(session)
        await session.add_items(PAGED)
        await store.change(ttl={"N": str(epoch(10**8))})
        await store.session(page_bytes=SMALLEST).pop_item()
        snapshot = await session._get_compaction_snapshot(3)
        assert snapshot
        assert await snapshot.replace_suffix(1, numbered(0, 1))
        await store.set_ttl(-1)
        await store.session(page_bytes=SMALLEST).add_items([sized(400_000)])
        assert await session.pop_item()
    await store.put(conversation_data={"S": "[{}]"})
    await store.session().add_items(numbered(0, 1))


def policy_of_the_guide() -> dict[str, Any]:
    """Return the first IAM policy that the page on DynamoDB shows."""
    blocks = re.findall(
        r"^```json[^\n]*\n(.*?)^```", GUIDE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    policies = [block for block in blocks if "dynamodb:GetItem" in block]
    policy: dict[str, Any] = json.loads(policies[0])
    return policy


async def test_policy_of_the_guide_is_what_a_session_needs(store: Store) -> None:
    """A session uses exactly the actions of the policy in the documentation."""
    with requests_of(store.client) as sent:
        await everything_that_a_session_does(store)
    # What the test itself does to the table is no session's doing.
    used = {operation for operation, _ in sent} - {"PutItem"}

    (statement,) = policy_of_the_guide()["Statement"]
    assert statement["Effect"] == "Allow"
    assert set(statement["Action"]) == {f"dynamodb:{operation}" for operation in used}
    assert used == ACTIONS
