"""The quick start's DynamoDB: where it is, a session in it, and what then lies there."""

from __future__ import annotations

import logging
import os
import sys
import time
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import EndpointConnectionError

from openai_agents_session.dynamodb import DynamoDBSession, create_table_if_not_exists

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from contextlib import AbstractAsyncContextManager

VARIABLE = "DYNAMODB_ENDPOINT_URL"
AFTERWARDS = f"With {VARIABLE} set, another run goes on with the conversation."
TABLE = "agent_sessions"
TTL = 24 * 3600  # seconds; counted anew from every write


def create_client(url: str) -> AbstractAsyncContextManager[Any]:
    """Return a client, to be entered by the caller."""
    # Three attempts each. By default botocore makes ten: half a minute where nobody answers.
    config = AioConfig(retries={"mode": "standard"})
    options: dict[str, Any] = {"endpoint_url": url}
    if not url.startswith("https:"):  # an emulator takes any credentials; AWS takes yours
        options |= {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
        options["region_name"] = os.environ.get("AWS_DEFAULT_REGION", "us-east-1")
        config = config.merge(AioConfig(proxies={}))  # it is on this machine, or near
    return get_session().create_client("dynamodb", config=config, **options)


@asynccontextmanager
async def open_session(url: str, session_id: str) -> AsyncGenerator[DynamoDBSession]:
    """Open a session on a client, which is closed at the end, and a table, which stays."""
    async with create_client(url) as client:
        try:
            await create_table_if_not_exists(client, TABLE)
        except EndpointConnectionError:
            sys.exit(f"No DynamoDB answers there. Is it running, and is {VARIABLE} right?")
        yield DynamoDBSession(session_id, client, TABLE, ttl_seconds=TTL)


async def stored(url: str, session_id: str) -> tuple[str, int, list[str], int]:
    """Return what lies in DynamoDB: one item, with a JSON text for each of the session's."""
    async with create_client(url) as client:
        answer = await client.get_item(TableName=TABLE, Key={"session_id": {"S": session_id}})
    item = answer["Item"]
    print(f"\nThe item {session_id!r} of the table {TABLE!r} has")
    for name, value in sorted(item.items()):
        ((kind, content),) = value.items()
        shown = f"{len(content)} elements" if isinstance(content, list) else content
        print(f"   {name:<13} {kind:<3} {shown}")
    records = [record["S"] for record in item["items"]["L"]]
    count = int(item["count"]["N"])  # older ones are in pages, once the item is full
    where = f"DynamoDB now holds {count} records"
    return where, count - len(records) + 1, records, int(item["ttl"]["N"]) - int(time.time())


@contextmanager
def address() -> Generator[str]:
    """Give the URL of the DynamoDB to use: yours, or an embedded one that lives meanwhile."""
    if url := os.environ.get(VARIABLE):
        print(f"DynamoDB: the one that {VARIABLE} names")
        yield url
        return
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 - it takes a second

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else a line for each request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        print("DynamoDB: an embedded moto server; its data is gone when this command ends")
        yield f"http://{host}:{port}"
    finally:
        server.stop()
