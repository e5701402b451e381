"""Making the table: created once, usable afterwards, and never another one than it must be."""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import AsyncExitStack
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from openai_agents_session.dynamodb import _setup, create_table_if_not_exists
from tests.dynamodb import emulators
from tests.dynamodb.store import Store, numbered, requests_of, warnings_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.dynamodb.emulators import Emulator

TTL_ON = {"TimeToLiveStatus": "ENABLED", "AttributeName": "ttl"}


@pytest.fixture
async def name(dynamodb_client: Any) -> AsyncIterator[str]:
    """The name of a table that is not there; gone afterwards if it was made."""
    made = f"test-{uuid.uuid4().hex}"
    yield made
    if made in (await dynamodb_client.list_tables(ExclusiveStartTableName=made[:-1]))["TableNames"]:
        await dynamodb_client.delete_table(TableName=made)


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often."""
    assert _setup.POLL_SECONDS == 1
    monkeypatch.setattr(_setup, "POLL_SECONDS", 0.01)


async def make(emulator: Emulator, client: Any, name: str) -> None:
    """Make the table, with TTL where the emulator has that."""
    await create_table_if_not_exists(client, name, enable_ttl=emulator.has_ttl)


async def ttl_of(client: Any, name: str) -> Any:
    answer = await client.describe_time_to_live(TableName=name)
    return answer["TimeToLiveDescription"]


async def create(
    client: Any, name: str, *, keys: dict[str, str] | None = None, types: str = "S"
) -> None:
    """Create a table without the library."""
    keys = keys or {"session_id": "HASH"}
    await client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in keys.items()],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": types} for key in keys],
        BillingMode="PAY_PER_REQUEST",
    )
    waiter = client.get_waiter("table_exists")
    await waiter.wait(TableName=name, WaiterConfig={"Delay": 0.01, "MaxAttempts": 1000})


async def test_table_is_made(emulator: Emulator, dynamodb_client: Any, name: str) -> None:
    """The table is billed on demand, active, has TTL where there is one, and takes sessions."""
    await make(emulator, dynamodb_client, name)

    table = (await dynamodb_client.describe_table(TableName=name))["Table"]
    assert table["TableStatus"] == "ACTIVE"
    assert table["KeySchema"] == [{"AttributeName": "session_id", "KeyType": "HASH"}]
    assert table["AttributeDefinitions"] == [{"AttributeName": "session_id", "AttributeType": "S"}]
    assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    if emulator.has_ttl:
        assert await ttl_of(dynamodb_client, name) == TTL_ON
    session = Store(dynamodb_client, name).session()
    await session.add_items(numbered(0, 2))
    assert await session.get_items() == numbered(0, 2)


async def test_second_call_changes_nothing(
    emulator: Emulator, dynamodb_client: Any, name: str
) -> None:
    """Where the table is there already, it is only looked at."""
    await make(emulator, dynamodb_client, name)
    await Store(dynamodb_client, name).session().add_items(numbered(0, 1))

    with requests_of(dynamodb_client) as sent:
        await make(emulator, dynamodb_client, name)

    expected = ["DescribeTable", "DescribeTimeToLive"] if emulator.has_ttl else ["DescribeTable"]
    assert [operation for operation, _ in sent] == expected
    assert await Store(dynamodb_client, name).session().get_items() == numbered(0, 1)


async def test_ttl_of_a_table_that_is_there(
    emulator: Emulator, dynamodb_client: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """TTL is turned on also for a table that was made without; dynalite knows none, and says so."""
    await create(dynamodb_client, name)

    if emulator.has_ttl:
        await create_table_if_not_exists(dynamodb_client, name)
        assert await ttl_of(dynamodb_client, name) == TTL_ON
    else:
        await create_table_if_not_exists(dynamodb_client, name)
        (warning,) = warnings_of(caplog)
        assert warning.startswith(f"The store of table {name!r} knows no time to live")


async def test_ttl_is_left_alone_on_request(dynamodb_client: Any, name: str) -> None:
    """``enable_ttl=False`` neither looks at the TTL nor changes it."""
    for _ in range(2):
        with requests_of(dynamodb_client) as sent:
            await create_table_if_not_exists(dynamodb_client, name, enable_ttl=False)
        assert not [operation for operation, _ in sent if "TimeToLive" in operation]

    assert (await ttl_of(dynamodb_client, name))["TimeToLiveStatus"] == "DISABLED"


async def test_ttl_that_is_on_stays_on(emulator: Emulator, dynamodb_client: Any, name: str) -> None:
    """``enable_ttl=False`` does not turn off what is on."""
    await make(emulator, dynamodb_client, name)
    before = await ttl_of(dynamodb_client, name)

    await create_table_if_not_exists(dynamodb_client, name, enable_ttl=False)

    assert await ttl_of(dynamodb_client, name) == before


async def test_many_make_it_at_once(emulator: Emulator, dynamodb_client: Any, name: str) -> None:
    """Of several that make the table at the same time, each with its own client, all succeed."""
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(emulators.create_client(emulator.url)) for _ in range(5)
        ]
        await asyncio.gather(*(make(emulator, client, name) for client in clients))
        stores = [Store(client, name) for client in clients]
        await asyncio.gather(*(store.session().add_items(numbered(0, 1)) for store in stores))

    assert await Store(dynamodb_client, name).session().get_items() == numbered(0, 1) * 5
    if emulator.has_ttl:
        assert await ttl_of(dynamodb_client, name) == TTL_ON


@pytest.mark.parametrize(
    ("keys", "types", "found"),
    [
        ({"session_id": "HASH", "at": "RANGE"}, "S", "session_id (S, HASH), at (S, RANGE)"),
        ({"id": "HASH"}, "S", "id (S, HASH)"),
        ({"session_id": "HASH"}, "N", "session_id (N, HASH)"),
        ({"session_id": "HASH"}, "B", "session_id (B, HASH)"),
    ],
)
async def test_table_with_another_key_is_refused(
    dynamodb_client: Any, name: str, keys: dict[str, str], types: str, found: str
) -> None:
    """A table with another key is no table of sessions; the error says what was found."""
    await create(dynamodb_client, name, keys=keys, types=types)

    with pytest.raises(ValueError, match="partition key session_id") as info:
        await create_table_if_not_exists(dynamodb_client, name)

    assert f"table {name!r} has the key {found};" in str(info.value)
    assert (await ttl_of(dynamodb_client, name))["TimeToLiveStatus"] == "DISABLED"


async def answered(client: Any, operation: str, answer: Any) -> Any:
    """Change what DynamoDB says: an emulator is never in between two states."""
    event = f"after-call.dynamodb.{operation}"
    client.meta.events.register(event, answer)
    return lambda: client.meta.events.unregister(event, answer)


async def test_ttl_on_another_attribute_is_refused(
    emulator: Emulator, dynamodb_client: Any, name: str
) -> None:
    """A table whose TTL is on another attribute would keep what expires; the error says which."""
    await create(dynamodb_client, name)
    if emulator.has_ttl:
        other = {"Enabled": True, "AttributeName": "expires"}
        await dynamodb_client.update_time_to_live(TableName=name, TimeToLiveSpecification=other)
    else:  # dynalite has none, so its answer is changed

        def on_another(parsed: dict[str, Any], **_: Any) -> None:
            parsed["TimeToLiveDescription"] = {**TTL_ON, "AttributeName": "expires"}

        await answered(dynamodb_client, "DescribeTimeToLive", on_another)

    with pytest.raises(ValueError, match=r"time to live on the attribute 'expires'.*in 'ttl'"):
        await create_table_if_not_exists(dynamodb_client, name)
    await create_table_if_not_exists(dynamodb_client, name, enable_ttl=False)


async def test_waits_until_the_table_is_active(
    monkeypatch: pytest.MonkeyPatch, dynamodb_client: Any, name: str
) -> None:
    """A table that is being made is looked at, a pause apart, until it can be used."""
    monkeypatch.setattr(_setup, "POLL_SECONDS", 0.05)
    looks: list[float] = []

    def creating(parsed: dict[str, Any], **_: Any) -> None:
        if "Table" in parsed:
            looks.append(time.monotonic())
            if len(looks) < 4:
                parsed["Table"]["TableStatus"] = "CREATING"

    undo = await answered(dynamodb_client, "DescribeTable", creating)
    await create_table_if_not_exists(dynamodb_client, name, enable_ttl=False)
    undo()

    assert len(looks) == 4
    assert all(after - before >= 0.045 for before, after in pairwise(looks))


async def test_table_that_is_being_changed_is_usable(dynamodb_client: Any, name: str) -> None:
    """An ``UPDATING`` table is not waited for."""
    await create(dynamodb_client, name)

    def updating(parsed: dict[str, Any], **_: Any) -> None:
        parsed["Table"]["TableStatus"] = "UPDATING"

    undo = await answered(dynamodb_client, "DescribeTable", updating)
    with requests_of(dynamodb_client) as sent:
        await create_table_if_not_exists(dynamodb_client, name, enable_ttl=False)
    undo()

    assert [operation for operation, _ in sent] == ["DescribeTable"]


async def test_waits_while_ttl_is_turned_off(dynamodb_client: Any, name: str) -> None:
    """A TTL that is being turned off is waited for and then turned on."""
    await create(dynamodb_client, name)
    states = [{**TTL_ON, "TimeToLiveStatus": "DISABLING"}] * 3 + [TTL_ON]

    def disabling(parsed: dict[str, Any], **_: Any) -> None:
        parsed["TimeToLiveDescription"] = states.pop(0)

    undo = await answered(dynamodb_client, "DescribeTimeToLive", disabling)
    await create_table_if_not_exists(dynamodb_client, name)
    undo()

    assert states == []


async def test_ttl_that_is_being_turned_on_will_do(dynamodb_client: Any, name: str) -> None:
    """``ENABLING`` on the right attribute is enough."""
    await create(dynamodb_client, name)

    def enabling(parsed: dict[str, Any], **_: Any) -> None:
        parsed["TimeToLiveDescription"] = {**TTL_ON, "TimeToLiveStatus": "ENABLING"}

    undo = await answered(dynamodb_client, "DescribeTimeToLive", enabling)
    with requests_of(dynamodb_client) as sent:
        await create_table_if_not_exists(dynamodb_client, name)
    undo()

    assert "UpdateTimeToLive" not in [operation for operation, _ in sent]
