"""Making the table."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from openai_agents_session.dynamodb._driver import FAILED, Table, code_of
from openai_agents_session.dynamodb._index import (
    INDEX_DEFINITION,
    INDEX_KEYS,
    described,
    make_index,
)

if TYPE_CHECKING:
    from aiobotocore.client import AioBaseClient

POLL_SECONDS = 1.0
"""Between two looks at a table that is being made; botocore's own waiter takes twenty."""

KEY = "session_id"
TTL_ATTRIBUTE = "ttl"

_logger = logging.getLogger("openai_agents_session")


async def create_table_if_not_exists(
    client: AioBaseClient, table_name: str, *, enable_ttl: bool = True, users: bool = False
) -> None:
    """Make sure that there is a table for sessions, and that it can be used.

    Several processes may call this at once. A new table is billed on demand.

    Args:
        client: an aiobotocore client for DynamoDB that was entered.
        table_name: the table's name.
        enable_ttl: let DynamoDB delete what has expired, also in a table that exists
            already. Sessions with ``ttl_seconds`` expire in time without it, but their
            items stay. Of a store that knows no such thing, as some emulators, a warning says
            so.
        users: make the index ``by_user`` as well, which lists a user's conversations in a
            ``DynamoDBStore``, also in a table that exists already. DynamoDB then fills it with
            what the table has, which may take minutes; this waits for it.

    Raises:
        TypeError: the client is no entered aiobotocore client for DynamoDB.
        ValueError: there is such a table, but with another key, with its TTL on another
            attribute, or with another index of that name.
        RuntimeError: the client is closed, or of another event loop or process.
        botocore.exceptions.ClientError: as botocore raises it.
    """
    await set_up(Table(client, table_name), enable_ttl=enable_ttl, users=users)


async def set_up(table: Table, *, enable_ttl: bool, users: bool) -> None:
    """Do what ``create_table_if_not_exists`` does."""
    description = await _active(table, users=users)
    _check_key(table.name, description)
    if enable_ttl:
        try:
            await _enable_ttl(table)
        except FAILED as exc:
            if code_of(exc) != "UnknownOperationException":
                raise
            _logger.warning(
                "The store of table %r knows no time to live: sessions expire in time, but their "
                "items stay",
                table.name,
            )
    if users:
        await make_index(table, description, POLL_SECONDS)


async def _active(table: Table, *, users: bool) -> dict[str, Any]:
    """Return the description of the table once it is active; make it if it is not there."""
    while True:
        description = await described(table) or await _created(table, users=users)
        if description:
            status = description["TableStatus"]
            if status in {"ACTIVE", "UPDATING"}:  # one that is being changed can be used
                return description
            if status not in {"CREATING", "DELETING"}:
                raise ValueError(f"table {table.name!r} cannot be used: its status is {status}")
        await asyncio.sleep(POLL_SECONDS)


async def _created(table: Table, *, users: bool) -> dict[str, Any]:
    """Make the table; ``{}`` if another process is at it."""
    index: dict[str, Any] = {"GlobalSecondaryIndexes": [INDEX_DEFINITION]} if users else {}
    try:
        await table.call(
            "create_table",
            AttributeDefinitions=[
                {"AttributeName": name, "AttributeType": "S"}
                for name in (KEY, *(INDEX_KEYS if users else ()))
            ],
            KeySchema=[{"AttributeName": KEY, "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
            **index,
        )
    except FAILED as exc:
        if code_of(exc) != "ResourceInUseException":
            raise
        return {}
    return await described(table)


def _check_key(name: str, description: dict[str, Any]) -> None:
    types = {
        each["AttributeName"]: each["AttributeType"] for each in description["AttributeDefinitions"]
    }
    found = [
        f"{each['AttributeName']} ({types[each['AttributeName']]}, {each['KeyType']})"
        for each in description["KeySchema"]
    ]
    if found != [f"{KEY} (S, HASH)"]:
        raise ValueError(
            f"table {name!r} has the key {', '.join(found)}; a table of sessions has the "
            f"partition key {KEY} (S, HASH) alone"
        )


async def _enable_ttl(table: Table) -> None:
    refusal: BaseException | None = None
    while True:
        ttl = (await table.call("describe_time_to_live"))["TimeToLiveDescription"]
        status, attribute = ttl["TimeToLiveStatus"], ttl.get("AttributeName")
        if status != "DISABLED" and attribute != TTL_ATTRIBUTE:
            raise ValueError(
                f"table {table.name!r} has its time to live on the attribute {attribute!r}; "
                f"sessions keep theirs in {TTL_ATTRIBUTE!r}"
            )
        if status in {"ENABLED", "ENABLING"}:
            return
        if status == "DISABLING":
            await asyncio.sleep(POLL_SECONDS)
            continue
        if refusal:
            raise refusal
        try:
            await table.call(
                "update_time_to_live",
                TimeToLiveSpecification={"Enabled": True, "AttributeName": TTL_ATTRIBUTE},
            )
        except FAILED as exc:
            # Another process may have been first. Whether it did the same, the next look says.
            refusal = exc
        else:
            return
