"""What DynamoDBSession takes as arguments, and what it says of others."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from agents.memory import SessionSettings
from aiobotocore.session import get_session
from botocore.exceptions import ClientError

from openai_agents_session import DynamoDBSession
from openai_agents_session.dynamodb import create_table_if_not_exists, remove_orphaned_pages
from tests.dynamodb import emulators
from tests.dynamodb.store import SMALLEST, Store, numbered, requests_of, sized

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

EMULATORS = emulators.best()

REGION = "eu-central-1"
NOWHERE: dict[str, Any] = {
    "region_name": REGION,
    "endpoint_url": "http://127.0.0.1:9",  # nothing listens there, and nothing is asked
    "aws_access_key_id": "test",
    "aws_secret_access_key": "test",
}

USERS: dict[str, Callable[[Any], Any]] = {
    "DynamoDBSession": lambda client: DynamoDBSession("user-1", client, "agent_sessions"),
    "create_table_if_not_exists": lambda client: create_table_if_not_exists(client, "table"),
    "remove_orphaned_pages": lambda client: remove_orphaned_pages(client, "table"),
}


@pytest.fixture
async def idle() -> AsyncIterator[Any]:
    """A client that no request is sent through."""
    async with get_session().create_client("dynamodb", **NOWHERE) as client:
        yield client


async def used(use: Callable[[Any], Any], client: object) -> None:
    """Pass a client to what takes one."""
    result = use(client)
    if not isinstance(result, DynamoDBSession):
        await result


# --- by position and by name -----------------------------------------------------------------


async def test_arguments_by_position(dynamodb_client: Any, table: str) -> None:
    """An id, a client, a table and a time to live, in this order."""
    session = DynamoDBSession("user-123", dynamodb_client, table, 3600)

    await session.add_items(numbered(0, 1))

    assert session.session_id == "user-123"
    item = await Store(dynamodb_client, table).item("user-123")
    assert "ttl" in item


async def test_arguments_by_name(dynamodb_client: Any, table: str) -> None:
    """Every argument has a name."""
    session = DynamoDBSession(
        session_id="user-123",
        dynamodb_client=dynamodb_client,
        table_name=table,
        ttl_seconds=3600,
        page_bytes=SMALLEST,
        session_settings=SessionSettings(limit=2),
    )

    await session.add_items([sized(3000), sized(3000), *numbered(0, 1)])

    item = await Store(dynamodb_client, table).item("user-123")
    assert "ttl" in item
    assert "pages" in item
    assert await session.get_items() == [sized(3000), *numbered(0, 1)]


async def test_options_are_given_by_name(idle: Any) -> None:
    """What is rarely used cannot be mistaken for the time to live."""
    options: Any = (SMALLEST,)
    with pytest.raises(TypeError, match="positional argument"):
        DynamoDBSession("user-123", idle, "table", None, *options)


async def test_table_can_be_named_by_its_arn(dynamodb_client: Any, table: str) -> None:
    """A table's ARN is sent as it is, as DynamoDB takes it in place of a name."""
    described = await dynamodb_client.describe_table(TableName=table)
    arn = described["Table"]["TableArn"]

    with requests_of(dynamodb_client) as sent, suppress(ClientError):  # dynalite takes names alone
        assert await DynamoDBSession("user-123", dynamodb_client, arn).ping()

    assert [params["TableName"] for _, params in sent] == [arn]


# --- clients ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", USERS)
async def test_synchronous_client_is_refused(name: str) -> None:
    """A boto3 client is refused, with the way to make a right one."""
    client = boto3.client("dynamodb", **NOWHERE)
    try:
        with pytest.raises(
            TypeError, match=r"aiobotocore client.*async with.*not botocore"
        ) as info:
            await used(USERS[name], client)
    finally:
        client.close()

    assert "get_session().create_client(" in str(info.value)


@pytest.mark.parametrize("name", USERS)
async def test_client_that_was_not_entered_is_refused(name: str) -> None:
    """What ``create_client`` returns is no client yet, and the message says what to do."""
    context = get_session().create_client("dynamodb", **NOWHERE)
    with pytest.raises(TypeError, match="not entered: use 'async with"):
        await used(USERS[name], context)

    async with context as client:  # as the message says
        assert DynamoDBSession("user-1", client, "table").session_id == "user-1"


@pytest.mark.parametrize("name", USERS)
async def test_client_of_another_service_is_refused(name: str) -> None:
    """A client for S3 is aiobotocore's as well, but of no use."""
    async with get_session().create_client("s3", **NOWHERE) as client:
        with pytest.raises(TypeError, match="client for dynamodb, not for s3"):
            await used(USERS[name], client)


@pytest.mark.parametrize("client", [None, "dynamodb", object(), get_session()])
@pytest.mark.parametrize("name", USERS)
async def test_what_is_no_client_is_refused(name: str, client: object) -> None:
    """Whatever else is passed is named by its type."""
    kind = type(client)
    with pytest.raises(TypeError, match=f"aiobotocore.*not {kind.__module__}.{kind.__qualname__}"):
        await used(USERS[name], client)


async def test_client_stays_open(dynamodb_client: Any, table: str) -> None:
    """Closing a session leaves the client, which is the caller's, as it was."""
    store = Store(dynamodb_client, table)
    async with store.session() as session:
        await session.add_items(numbered(0, 1))
    await session.close()

    assert await session.get_items() == numbered(0, 1)
    assert await store.session().get_items() == numbered(0, 1)


# --- names and numbers -----------------------------------------------------------------------


@pytest.mark.parametrize("table_name", [None, 1, b"table"])
async def test_table_name_is_text(idle: Any, table_name: Any) -> None:
    """A table's name of another type is refused."""
    with pytest.raises(
        TypeError, match=f"table_name must be a str, not {type(table_name).__name__}"
    ):
        DynamoDBSession("user-1", idle, table_name)


async def test_table_name_is_not_empty(idle: Any) -> None:
    """A table has a name."""
    with pytest.raises(ValueError, match="table_name must not be empty"):
        DynamoDBSession("user-1", idle, "")


@pytest.mark.parametrize("page_bytes", [None, 4096, 65536, 358_400])
async def test_page_bytes_from_4_to_350_kib(idle: Any, page_bytes: int | None) -> None:
    """Both bounds are allowed."""
    DynamoDBSession("user-1", idle, "table", page_bytes=page_bytes)


@pytest.mark.parametrize("page_bytes", [4095, 358_401, 0, -65536])
async def test_page_bytes_out_of_range(idle: Any, page_bytes: int) -> None:
    """Less or more is refused, with the range and what was given."""
    with pytest.raises(ValueError, match=f"page_bytes must be from 4096.*to 358400.*{page_bytes}"):
        DynamoDBSession("user-1", idle, "table", page_bytes=page_bytes)


@pytest.mark.parametrize("page_bytes", ["64 KiB", 65536.0, True])
async def test_page_bytes_of_another_type(idle: Any, page_bytes: Any) -> None:
    """A number of bytes is an int, and True is none."""
    with pytest.raises(
        TypeError, match=f"page_bytes must be an int, not {type(page_bytes).__name__}"
    ):
        DynamoDBSession("user-1", idle, "table", page_bytes=page_bytes)


@pytest.mark.parametrize("session_id", ["x" * 2036, "ü" * 1018, "🙂" * 509], ids=len)
async def test_longest_id_is_counted_in_bytes(idle: Any, session_id: str) -> None:
    """An id whose pages would not fit a partition key is refused, whatever its letters."""
    with pytest.raises(ValueError, match=r"at most 2035 bytes in UTF-8.*it has 2036"):
        DynamoDBSession(session_id, idle, "table")


@pytest.mark.parametrize("session_id", ["x" * 2035, "x" + "ü" * 1017], ids=["ASCII", "others"])
async def test_longest_id_has_pages_too(store: Store, session_id: str) -> None:
    """The longest id of all is a conversation like any other, pages included."""
    session = store.session(session_id, 1000, page_bytes=SMALLEST)
    given = [sized(2000, str(number)) for number in range(9)]
    await session.add_items(given[:5])
    await session.add_items(given[5:])

    assert await store.page_keys(session_id)
    assert all(len(key.encode()) == 2048 for key in await store.page_keys(session_id))
    assert await session.get_items() == given
    for number in reversed(range(9)):
        assert await session.pop_item() == given[number]
    await store.assert_whole(session_id)
