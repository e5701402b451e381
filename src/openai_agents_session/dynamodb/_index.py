"""Making the index that lists a user's conversations, in a table that is there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from openai_agents_session.dynamodb._driver import FAILED, code_of
from openai_agents_session.dynamodb._listing import INDEX, SHOWN

if TYPE_CHECKING:
    from openai_agents_session.dynamodb._driver import Table

INDEX_KEYS = ("user", "updated_at")

INDEX_DEFINITION: dict[str, Any] = {
    "IndexName": INDEX,
    "KeySchema": [
        {"AttributeName": name, "KeyType": kind}
        for name, kind in zip(INDEX_KEYS, ("HASH", "RANGE"), strict=True)
    ],
    "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": [*SHOWN]},
}

MAX_ASKED = 10
"""How often to ask for an index that does not appear; DescribeTable may lag behind for a moment."""

_BUSY = {"ResourceInUseException", "LimitExceededException", "ValidationException"}
"""What another process, which makes the index just now, may be the reason of."""


async def make_index(table: Table, description: dict[str, Any], seconds: float) -> None:
    """Make the index if it is not there, and wait until it can be used.

    Args:
        table: the table.
        description: what ``described`` said of it.
        seconds: between two looks at it.

    Raises:
        ValueError: there is another index of that name.
        RuntimeError: the store answers as if it made the index, as some emulators, and doesn't.
        botocore.exceptions.ClientError: as botocore raises it.
    """
    refusal: BaseException | None = None
    asked = 0
    while True:
        index = _found(description)
        if index and index.get("IndexStatus", "ACTIVE") != "DELETING":
            _check(table.name, description, index)
            if index.get("IndexStatus", "ACTIVE") == "ACTIVE":
                return
        elif not index and description["TableStatus"] == "ACTIVE":
            if refusal:
                raise refusal
            if asked == MAX_ASKED:
                raise RuntimeError(
                    f"the store of table {table.name!r} makes no index in a table that is there"
                )
            asked += 1
            try:
                await table.call("update_table", **_creation(description))
            except FAILED as exc:
                if code_of(exc) not in _BUSY:
                    raise
                refusal = exc  # whether another process was first, the next look says
                description = await described(table)
                continue
        await asyncio.sleep(seconds)
        description = await described(table)


async def described(table: Table) -> dict[str, Any]:
    """Return the description of a table; ``{}`` where there is none."""
    try:
        answer = await table.call("describe_table")
    except FAILED as exc:
        if code_of(exc) != "ResourceNotFoundException":
            raise
        return {}
    description: dict[str, Any] = answer["Table"]
    return description


def _found(description: dict[str, Any]) -> dict[str, Any] | None:
    indexes = description.get("GlobalSecondaryIndexes", [])
    return next((each for each in indexes if each["IndexName"] == INDEX), None)


def _creation(description: dict[str, Any]) -> dict[str, Any]:
    """Return the change of a table that makes the index, with as much capacity as the table."""
    create = {**INDEX_DEFINITION}
    capacity = description.get("ProvisionedThroughput", {})
    units = {name: capacity.get(name, 0) for name in ("ReadCapacityUnits", "WriteCapacityUnits")}
    if all(units.values()):  # else it is billed on demand
        create["ProvisionedThroughput"] = units
    return {
        "AttributeDefinitions": [
            {"AttributeName": name, "AttributeType": "S"} for name in ("session_id", *INDEX_KEYS)
        ],
        "GlobalSecondaryIndexUpdates": [{"Create": create}],
    }


def _check(name: str, description: dict[str, Any], index: dict[str, Any]) -> None:
    """Make sure that an index of this name is the one.

    Raises:
        ValueError: it has other keys, or lacks what a listing shows.
    """
    types = {
        each["AttributeName"]: each["AttributeType"] for each in description["AttributeDefinitions"]
    }
    keys = [(each["AttributeName"], each["KeyType"]) for each in index["KeySchema"]]
    projection = index["Projection"]
    missing = {*SHOWN} - {*projection.get("NonKeyAttributes", [])}
    right = [(each["AttributeName"], each["KeyType"]) for each in INDEX_DEFINITION["KeySchema"]]
    if keys != right or any(types.get(each) != "S" for each in INDEX_KEYS):
        found = ", ".join(f"{key} ({types.get(key)}, {kind})" for key, kind in keys)
        raise ValueError(
            f"index {INDEX!r} of table {name!r} has the key {found}; the one that lists a user's "
            "conversations has user (S, HASH), updated_at (S, RANGE)"
        )
    if missing and projection["ProjectionType"] != "ALL":
        raise ValueError(
            f"index {INDEX!r} of table {name!r} has no {', '.join(sorted(missing))}; the one that "
            f"lists a user's conversations includes {', '.join(SHOWN)}"
        )
