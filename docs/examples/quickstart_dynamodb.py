"""The quick start's DynamoDB: a session in it, and what then lies there."""

from __future__ import annotations

import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiobotocore.session import get_session
from botocore.exceptions import EndpointConnectionError
from local_servers import dynamodb_options

from openai_agents_session.dynamodb import DynamoDBSession, create_table_if_not_exists

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager

AFTERWARDS = "With DYNAMODB_ENDPOINT_URL set, another run goes on with the conversation."
TABLE = "agent_sessions"
TTL = 24 * 3600  # seconds; counted anew from every write


def create_client(url: str) -> AbstractAsyncContextManager[Any]:
    """Return a client, to be entered by the caller."""
    return get_session().create_client("dynamodb", **dynamodb_options(url))


@asynccontextmanager
async def open_session(url: str, session_id: str) -> AsyncGenerator[DynamoDBSession]:
    """Open a session on a client, which is closed at the end, and a table, which stays."""
    async with create_client(url) as client:
        try:
            await create_table_if_not_exists(client, TABLE)
        except EndpointConnectionError:
            sys.exit(
                "No DynamoDB answers there. Is it running, and is DYNAMODB_ENDPOINT_URL right?"
            )
        yield DynamoDBSession(session_id, client, TABLE, ttl_seconds=TTL)


async def stored(url: str, session_id: str) -> tuple[str, int, list[str], int]:
    """Return what lies in DynamoDB: one item, with a JSON text for each of the session's."""
    async with create_client(url) as client:
        answer = await client.get_item(TableName=TABLE, Key={"session_id": {"S": session_id}})
    item = answer["Item"]
    records = [record["S"] for record in item["items"]["L"]]
    count = int(item["count"]["N"])  # older ones are in pages, once the item is full
    where = f"DynamoDB now holds {count} records in the item {session_id!r} of {TABLE!r}"
    return where, count - len(records) + 1, records, int(item["ttl"]["N"]) - int(time.time())
