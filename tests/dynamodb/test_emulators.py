"""What the emulators do that the library and its tests have to know, as facts."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from tests.downloads import DownloadError
from tests.dynamodb import emulators

if TYPE_CHECKING:
    from pathlib import Path

    from tests.dynamodb.emulators import Emulator

KEY = {"session_id": {"S": "k"}}
KB = 1024


@dataclass(frozen=True)
class Facts:
    """How an emulator differs from another, and most often from DynamoDB."""

    largest_item: int
    """In bytes; DynamoDB: 400 KB."""
    grows_past_half: bool
    """Whether a list of 300 KB can be appended to; moto adds the old item to the new list."""
    returns_old_item: bool
    """Whether a failed condition brings the item, as was asked for."""
    units: tuple[float, float, float, float]
    """To write 100 KB, to read it, to read it weakly, to read it in a batch; else it is fake."""
    batch_of_ten: int
    """How many of ten items of 350 KB one BatchGetItem returns; DynamoDB: 16 MB at once."""
    ttl_again: str
    """What it says when a TTL that is on is turned on: nothing, or an error's code."""
    missing_ttl: str
    """The error's code when the TTL of a missing table is described."""
    transactions: bool


FACTS = {
    "moto": Facts(
        largest_item=405_000,
        grows_past_half=False,
        returns_old_item=True,
        units=(1, 0.5, 0.5, 1),
        batch_of_ten=10,
        ttl_again="",
        missing_ttl="ResourceNotFound",
        transactions=True,
    ),
    "dynalite": Facts(
        largest_item=400 * KB,
        grows_past_half=True,
        returns_old_item=False,
        units=(100, 25, 12.5, 25),
        batch_of_ten=4,
        ttl_again="UnknownOperationException",
        missing_ttl="ResourceNotFoundException",
        transactions=False,
    ),
    "local": Facts(
        largest_item=400 * KB,
        grows_past_half=True,
        returns_old_item=True,
        units=(100, 25, 12.5, 25),
        batch_of_ten=10,
        ttl_again="ValidationException",
        missing_ttl="ResourceNotFoundException",
        transactions=True,
    ),
}


@pytest.fixture
def facts(emulator: Emulator) -> Facts:
    return FACTS[emulator.name]


def item_of(size: int, key: dict[str, Any] = KEY) -> dict[str, Any]:
    """An item of so many bytes: names and values count."""
    rest = size - len("session_id") - len(key["session_id"]["S"]) - len("v")
    return {**key, "v": {"S": "x" * rest}}


async def code_of(request: Any) -> str:
    """The code of the error with which a request ends; nothing if it succeeds."""
    try:
        await request
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


async def test_an_item_can_have_so_many_bytes(
    facts: Facts, dynamodb_client: Any, table: str
) -> None:
    """An item of the largest size is taken, and one byte more is a ValidationException."""
    fits, exceeds = item_of(facts.largest_item), item_of(facts.largest_item + 1)

    assert await code_of(dynamodb_client.put_item(TableName=table, Item=fits)) == ""
    refused = await code_of(dynamodb_client.put_item(TableName=table, Item=exceeds))
    assert refused == "ValidationException"


async def test_a_long_list_grows_in_place(facts: Facts, dynamodb_client: Any, table: str) -> None:
    """A list of 300 KB is appended to; moto refuses, as if there were two of them."""
    part = {"S": "x" * KB}
    await dynamodb_client.put_item(TableName=table, Item={**KEY, "items": {"L": [part] * 300}})
    append = dynamodb_client.update_item(
        TableName=table,
        Key=KEY,
        UpdateExpression="SET #items = list_append(#items, :new)",
        ExpressionAttributeNames={"#items": "items"},
        ExpressionAttributeValues={":new": {"L": [part]}},
    )

    assert await code_of(append) == ("" if facts.grows_past_half else "ValidationException")
    answer = await dynamodb_client.get_item(TableName=table, Key=KEY, ConsistentRead=True)
    assert len(answer["Item"]["items"]["L"]) == 300 + facts.grows_past_half


@pytest.mark.parametrize("operation", ["update_item", "put_item", "delete_item"])
async def test_a_failed_condition_brings_the_item(
    operation: str, facts: Facts, dynamodb_client: Any, table: str
) -> None:
    """ALL_OLD brings the item that failed the condition, except from dynalite."""
    stored = {**KEY, "v": {"S": "stored"}}
    await dynamodb_client.put_item(TableName=table, Item=stored)
    with pytest.raises(ClientError) as caught:
        await getattr(dynamodb_client, operation)(
            TableName=table,
            **({"Item": KEY} if operation == "put_item" else {"Key": KEY}),
            ConditionExpression="attribute_not_exists(v)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )

    answer: dict[str, Any] = dict(caught.value.response)
    assert answer["Error"]["Code"] == "ConditionalCheckFailedException"
    assert answer.get("Item") == (stored if facts.returns_old_item else None)


async def test_the_units_reported_are_those_of_the_size(
    facts: Facts, dynamodb_client: Any, table: str
) -> None:
    """A unit is a kilobyte written or four read, and half as much weakly; moto makes it up."""
    put = await dynamodb_client.put_item(
        TableName=table, Item=item_of(100 * KB), ReturnConsumedCapacity="TOTAL"
    )
    reads = [
        await dynamodb_client.get_item(
            TableName=table, Key=KEY, ConsistentRead=strong, ReturnConsumedCapacity="TOTAL"
        )
        for strong in (True, False)
    ]
    batch = await dynamodb_client.batch_get_item(
        RequestItems={table: {"Keys": [KEY], "ConsistentRead": True}},
        ReturnConsumedCapacity="TOTAL",
    )

    consumed = [answer["ConsumedCapacity"] for answer in (put, *reads)]
    consumed += batch["ConsumedCapacity"]
    assert tuple(capacity["CapacityUnits"] for capacity in consumed) == facts.units


async def test_a_batch_may_come_in_parts(facts: Facts, dynamodb_client: Any, table: str) -> None:
    """What does not fit into one answer to BatchGetItem is named, to be asked for again."""
    keys = [{"session_id": {"S": str(number)}} for number in range(10)]
    for key in keys:
        await dynamodb_client.put_item(TableName=table, Item=item_of(350 * KB, key))
    answer = await dynamodb_client.batch_get_item(
        RequestItems={table: {"Keys": keys, "ConsistentRead": True}}
    )

    came = [item["session_id"]["S"] for item in answer["Responses"][table]]
    left = answer["UnprocessedKeys"].get(table, {}).get("Keys", [])
    assert len(came) == facts.batch_of_ten
    assert sorted(came + [key["session_id"]["S"] for key in left]) == list("0123456789")


async def test_ttl_can_be_turned_on(
    emulator: Emulator, facts: Facts, dynamodb_client: Any, table: str
) -> None:
    """The TTL of a table can be turned on and described; dynalite can only describe it."""
    specification = {"Enabled": True, "AttributeName": "ttl"}
    if emulator.has_ttl:
        await dynamodb_client.update_time_to_live(
            TableName=table, TimeToLiveSpecification=specification
        )
    answer = await dynamodb_client.describe_time_to_live(TableName=table)
    assert answer["TimeToLiveDescription"] == (
        {"TimeToLiveStatus": "ENABLED", "AttributeName": "ttl"}
        if emulator.has_ttl
        else {"TimeToLiveStatus": "DISABLED"}
    )

    again = dynamodb_client.update_time_to_live(
        TableName=table, TimeToLiveSpecification=specification
    )
    missing = dynamodb_client.describe_time_to_live(TableName="no-such-table")
    assert await code_of(again) == facts.ttl_again
    assert await code_of(missing) == facts.missing_ttl


async def test_transactions(facts: Facts, dynamodb_client: Any, table: str) -> None:
    """Several items are written as one, except by dynalite."""
    write = dynamodb_client.transact_write_items(
        TransactItems=[{"Put": {"TableName": table, "Item": KEY}}]
    )

    assert await code_of(write) == ("" if facts.transactions else "UnknownOperationException")


async def test_no_update_is_lost_between_two(dynamodb_client: Any, table: str) -> None:
    """Of 300 concurrent appends to one list none is lost, moto's included, as it is run here."""
    filler = [{"S": "x" * 100}] * 600  # the longer an update takes, the more of them meet
    await dynamodb_client.put_item(TableName=table, Item={**KEY, "items": {"L": filler}})
    append = {
        "UpdateExpression": "SET #items = list_append(#items, :new)",
        "ExpressionAttributeNames": {"#items": "items"},
        "ExpressionAttributeValues": {":new": {"L": filler[:1]}},
    }
    await asyncio.gather(
        *(dynamodb_client.update_item(TableName=table, Key=KEY, **append) for _ in range(300))
    )

    answer = await dynamodb_client.get_item(TableName=table, Key=KEY, ConsistentRead=True)
    assert len(answer["Item"]["items"]["L"]) == 600 + 300


def test_ci_asks_for_every_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    """With CI set none is left out, though the machine has no program to run it."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("DYNAMODB_LOCAL_URL", raising=False)
    monkeypatch.delenv("CI", raising=False)
    assert emulators.names() == ["moto"]

    monkeypatch.setenv("CI", "true")
    assert emulators.names() == ["moto", "dynalite", "local"]


@pytest.mark.parametrize("name", ["dynalite", "local"])
def test_a_failed_installation_leaves_nothing_half_done(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where the installing program is missing, it is an error with the reason, and no directory."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("DYNAMODB_LOCAL_URL", raising=False)
    with pytest.raises(DownloadError, match="No such file"):
        emulators.install(name)

    left = list((tmp_path / "openai-agents-session-tests").iterdir())
    assert [path.suffix for path in left] == [".lock"]
