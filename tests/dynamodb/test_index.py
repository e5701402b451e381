"""The index of users' conversations: made with the table, or in one that is there."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from botocore.exceptions import ClientError

from openai_agents_session import DynamoDBStore
from openai_agents_session.dynamodb import _setup, create_table_if_not_exists
from tests.dynamodb import emulators
from tests.dynamodb.store import Store, assert_agrees, letters, numbered, requests_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.dynamodb.emulators import Emulator

EMULATORS = emulators.servers()
CHANGING = [name for name in emulators.names() if name != "dynalite"]
"""dynalite makes no index in a table that is there."""

KEYS = [
    {"AttributeName": "user", "KeyType": "HASH"},
    {"AttributeName": "updated_at", "KeyType": "RANGE"},
]
SHOWN = ["about", "count", "created_at", "ttl"]


@pytest_asyncio.fixture
async def name(dynamodb_client: Any) -> AsyncIterator[str]:
    """The name of a table that is not there; gone afterwards."""
    name = f"index-{uuid.uuid4().hex}"
    yield name
    await dynamodb_client.delete_table(TableName=name)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at a table more often."""
    monkeypatch.setattr(_setup, "POLL_SECONDS", 0.01)


async def make(client: Any, name: str, **options: Any) -> None:
    """Make table and index, without the TTL: ``test_setup.py`` has that."""
    await create_table_if_not_exists(client, name, enable_ttl=False, users=True, **options)


async def index_of(client: Any, name: str) -> dict[str, Any]:
    """Return the one index of a table."""
    table = (await client.describe_table(TableName=name))["Table"]
    (index,) = table["GlobalSecondaryIndexes"]
    found: dict[str, Any] = index
    return found


async def assert_right(client: Any, name: str) -> None:
    """Assert that there is the index, and that it lists what a user has."""
    index = await index_of(client, name)
    assert index["IndexName"] == "by_user"
    assert index["IndexStatus"] == "ACTIVE"
    assert index["KeySchema"] == KEYS
    assert index["Projection"]["ProjectionType"] == "INCLUDE"
    assert sorted(index["Projection"]["NonKeyAttributes"]) == SHOWN
    ada = DynamoDBStore(client, name).user(f"ada {uuid.uuid4()}")
    await ada.session("a").add_items(numbered(0, 2))
    assert [each.item_count async for each in ada] == [2]


async def create(client: Any, name: str, **options: Any) -> None:
    """Create a table without the library."""
    await client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "session_id", "KeyType": "HASH"}],
        **{
            "AttributeDefinitions": [{"AttributeName": "session_id", "AttributeType": "S"}],
            "BillingMode": "PAY_PER_REQUEST",
            **options,
        },
    )
    waiter = client.get_waiter("table_exists")
    await waiter.wait(TableName=name, WaiterConfig={"Delay": 0.01, "MaxAttempts": 1000})


async def test_index_is_made_with_the_table(dynamodb_client: Any, name: str) -> None:
    """One request makes both, and calling it again changes nothing."""
    await make(dynamodb_client, name)
    await assert_right(dynamodb_client, name)

    with requests_of(dynamodb_client) as sent:
        await make(dynamodb_client, name)
        await create_table_if_not_exists(dynamodb_client, name, enable_ttl=False)

    assert {operation for operation, _ in sent} == {"DescribeTable"}
    await assert_right(dynamodb_client, name)


@emulators.run_on(CHANGING)
async def test_index_of_a_table_that_is_there(dynamodb_client: Any, name: str) -> None:
    """It then has what users had written before, and nothing else."""
    await create_table_if_not_exists(dynamodb_client, name, enable_ttl=False)
    store = Store(dynamodb_client, name)
    await store.session("plain").add_items(numbered(0, 2))
    opened = DynamoDBStore(dynamodb_client, name, page_bytes=4096)
    await opened.user("ada").session("a", name="A").add_items(letters(0, 9))

    await opened.setup()

    page = await opened.user("ada").list()
    assert [(each.session_id, each.name) for each in page.conversations] == [("a", "A")]
    assert_agrees(await store.everything(), await store.indexed())
    await assert_right(dynamodb_client, name)


async def test_many_make_both_at_once(emulator: Emulator, dynamodb_client: Any, name: str) -> None:
    """Of several that make table and index at the same time, all succeed."""
    await by_many(emulator, dynamodb_client, name)


@emulators.run_on(CHANGING[-1:])  # moto fails where another was first
async def test_many_make_the_index_at_once(
    emulator: Emulator, dynamodb_client: Any, name: str
) -> None:
    """Of several that make the index of a table that is there, all succeed."""
    await create(dynamodb_client, name)
    await by_many(emulator, dynamodb_client, name)


async def by_many(emulator: Emulator, dynamodb_client: Any, name: str) -> None:
    """Let several clients make the index at once, and see that it is right for each."""
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(emulators.create_client(emulator.url)) for _ in range(5)
        ]
        await asyncio.gather(*(make(client, name) for client in clients))
        await asyncio.gather(*(assert_right(client, name) for client in clients))
    await assert_right(dynamodb_client, name)


@emulators.run_on(CHANGING)
async def test_index_has_the_capacity_of_its_table(dynamodb_client: Any, name: str) -> None:
    """A table that is not billed on demand has an index that is not, either."""
    capacity = {"ReadCapacityUnits": 7, "WriteCapacityUnits": 9}
    await create(dynamodb_client, name, BillingMode="PROVISIONED", ProvisionedThroughput=capacity)

    await make(dynamodb_client, name)

    found = (await index_of(dynamodb_client, name))["ProvisionedThroughput"]
    assert {each: found[each] for each in capacity} == capacity
    await assert_right(dynamodb_client, name)


def index(keys: dict[str, str], **projection: Any) -> dict[str, Any]:
    """Return what makes a table with an index of our name."""
    types = {"session_id": "S", "user": "S", "updated_at": "S"} | {
        name: type_ for name, (type_, _) in ((n, k.split()) for n, k in keys.items())
    }
    used = {"session_id", *keys}
    return {
        "AttributeDefinitions": [
            {"AttributeName": each, "AttributeType": types[each]} for each in sorted(used)
        ],
        "GlobalSecondaryIndexes": [
            {
                "IndexName": "by_user",
                "KeySchema": [
                    {"AttributeName": each, "KeyType": kind.split()[1]}
                    for each, kind in keys.items()
                ],
                "Projection": projection,
            }
        ],
    }


RIGHT = {"user": "S HASH", "updated_at": "S RANGE"}


@pytest.mark.parametrize(
    ("other", "found"),
    [
        (index({"user": "S HASH"}, ProjectionType="ALL"), r"has the key user \(S, HASH\);"),
        (
            index({"user": "S HASH", "updated_at": "N RANGE"}, ProjectionType="ALL"),
            r"has the key user \(S, HASH\), updated_at \(N, RANGE\);",
        ),
        (
            index({"owner": "S HASH", "updated_at": "S RANGE"}, ProjectionType="ALL"),
            r"has the key owner \(S, HASH\), updated_at \(S, RANGE\);",
        ),
        (index(RIGHT, ProjectionType="KEYS_ONLY"), "has no about, count, created_at, ttl;"),
        (
            index(RIGHT, ProjectionType="INCLUDE", NonKeyAttributes=["count", "about"]),
            "has no created_at, ttl;",
        ),
    ],
)
async def test_another_index_is_refused(
    dynamodb_client: Any, name: str, other: dict[str, Any], found: str
) -> None:
    """The error says what was found, and what is right."""
    await create(dynamodb_client, name, **other)

    with pytest.raises(ValueError, match=rf"index 'by_user' of table '{name}' {found}"):
        await make(dynamodb_client, name)


async def test_index_of_everything_will_do(dynamodb_client: Any, name: str) -> None:
    """It only costs more."""
    await create(dynamodb_client, name, **index(RIGHT, ProjectionType="ALL"))
    await make(dynamodb_client, name)
    ada = DynamoDBStore(dynamodb_client, name).user("ada")
    await ada.session("a").add_items(numbered(0, 2))
    assert [each.item_count async for each in ada] == [2]


async def test_waits_until_the_index_is_filled(dynamodb_client: Any, name: str) -> None:
    """DynamoDB fills it in minutes; an emulator is never in between, so it is said to be."""
    states = ["CREATING", "CREATING", "DELETING", "UPDATING", "ACTIVE"]

    def filling(parsed: dict[str, Any], **_: Any) -> None:
        if indexes := parsed.get("Table", {}).get("GlobalSecondaryIndexes"):
            indexes[0]["IndexStatus"] = states.pop(0)

    await make(dynamodb_client, name)
    event = "after-call.dynamodb.DescribeTable"
    dynamodb_client.meta.events.register(event, filling)
    with requests_of(dynamodb_client) as sent:
        await make(dynamodb_client, name)
    dynamodb_client.meta.events.unregister(event, filling)

    assert states == []
    assert {operation for operation, _ in sent} == {"DescribeTable"}


async def test_store_that_makes_no_index(
    monkeypatch: pytest.MonkeyPatch, dynamodb_client: Any, name: str
) -> None:
    """Where the request succeeds and no index appears, as on dynalite, that is an error."""
    monkeypatch.setattr(_setup, "POLL_SECONDS", 0)
    await create(dynamodb_client, name)

    def hide(parsed: dict[str, Any], **_: Any) -> None:
        parsed.get("Table", {}).pop("GlobalSecondaryIndexes", None)

    def ask_again(params: dict[str, Any], **_: Any) -> None:
        params.update(GlobalSecondaryIndexUpdates=[], BillingMode="PAY_PER_REQUEST")

    events = dynamodb_client.meta.events
    events.register("after-call.dynamodb.DescribeTable", hide)
    events.register("provide-client-params.dynamodb.UpdateTable", ask_again)
    with requests_of(dynamodb_client) as sent, pytest.raises(RuntimeError, match="makes no index"):
        await make(dynamodb_client, name)
    events.unregister("after-call.dynamodb.DescribeTable", hide)
    events.unregister("provide-client-params.dynamodb.UpdateTable", ask_again)

    assert [operation for operation, _ in sent].count("UpdateTable") == 10


async def test_a_refusal_is_raised(dynamodb_client: Any, name: str) -> None:
    """Where nobody else makes the index, the error is not another process's work."""
    await create(dynamodb_client, name)

    def refuse(params: dict[str, Any], **_: Any) -> None:
        del params["AttributeDefinitions"][1:]

    event = "provide-client-params.dynamodb.UpdateTable"
    dynamodb_client.meta.events.register(event, refuse)
    with requests_of(dynamodb_client) as sent, pytest.raises(ClientError, match="Validation"):
        await make(dynamodb_client, name)
    dynamodb_client.meta.events.unregister(event, refuse)

    assert [operation for operation, _ in sent].count("UpdateTable") == 1
