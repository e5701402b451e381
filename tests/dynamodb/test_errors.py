"""What DynamoDB refuses reaches the caller; what a session must not touch stays untouched."""

from __future__ import annotations

import asyncio
import logging
import sys
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from openai_agents_session.dynamodb import create_table_if_not_exists, remove_orphaned_pages
from tests.dynamodb import emulators
from tests.dynamodb.proxy import FaultyHTTPProxy, refuse
from tests.dynamodb.store import ID, SMALLEST, Store, numbered, sized, user
from tests.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from openai_agents_session import DynamoDBSession
    from tests.dynamodb.emulators import Emulator

EMULATORS = emulators.best()

SECRET = "the-user-said-this-in-confidence"
KEY_ID, SECRET_KEY, TOKEN = "AKIAEXAMPLEEXAMPLE00", "a-secret-access-key", "a-session-token"

CALLS: dict[str, Callable[[DynamoDBSession], Awaitable[Any]]] = {
    "get": lambda session: session.get_items(),
    "add": lambda session: session.add_items([user(SECRET)]),
    "add a lot": lambda session: session.add_items([sized(3000), sized(3000), user(SECRET)]),
    "pop": lambda session: session.pop_item(),
    "clear": lambda session: session.clear_session(),
    "replace": lambda session: session.replace_items([user(SECRET)]),
    "ping": lambda session: session.ping(),
}


def code_of(error: ClientError) -> str:
    return str(error.response["Error"]["Code"])


def notes_of(error: BaseException) -> str:
    """Return what was added to an error; before Python 3.11 that is in the message."""
    return "\n".join(getattr(error, "__notes__", [])) or str(error)


# --- errors of DynamoDB ----------------------------------------------------------------------


@pytest.mark.parametrize("name", CALLS)
async def test_missing_table(dynamodb_client: Any, name: str) -> None:
    """A table that is not there is botocore's error, with a note that names the remedy."""
    session = Store(dynamodb_client, "no-such-table").session(page_bytes=SMALLEST)

    with pytest.raises(dynamodb_client.exceptions.ResourceNotFoundException) as info:
        await CALLS[name](session)

    assert type(info.value) is dynamodb_client.exceptions.ResourceNotFoundException
    assert "openai_agents_session.dynamodb.create_table_if_not_exists" in notes_of(info.value)
    assert "'no-such-table'" in notes_of(info.value)
    if sys.version_info >= (3, 11):
        assert len(info.value.__notes__) == 1


async def test_removing_pages_of_a_missing_table(dynamodb_client: Any) -> None:
    """The other functions on a table say the same."""
    with pytest.raises(dynamodb_client.exceptions.ResourceNotFoundException) as info:
        await remove_orphaned_pages(dynamodb_client, "no-such-table")

    assert "create_table_if_not_exists" in notes_of(info.value)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "AccessDeniedException"),
        (400, "UnrecognizedClientException"),
        (400, "ValidationException"),
        (400, "ItemCollectionSizeLimitExceededException"),
    ],
)
@pytest.mark.parametrize("name", CALLS)
async def test_refusals_are_passed_on(
    emulator: Emulator, store: Store, name: str, status: int, code: str
) -> None:
    """A refusal is raised at once, as botocore raises it, and changes nothing."""
    await store.session(page_bytes=SMALLEST).add_items(numbered(0, 3))
    before = await store.everything()
    async with FaultyHTTPProxy(emulator.url) as proxy:
        proxy.plan = lambda _operation, _number: refuse(status, code)
        async with emulators.create_client(proxy.url) as client:
            session = Store(client, store.table).session(page_bytes=SMALLEST)
            with pytest.raises(ClientError) as info:
                await CALLS[name](session)

    assert proxy.faults == {"refuse": 1}
    assert code_of(info.value) == code
    assert not getattr(info.value, "__notes__", [])
    assert await store.everything() == before


async def test_item_that_grows_too_large(store: Store) -> None:
    """Where an application's own attribute leaves no room, DynamoDB's refusal changes nothing."""
    session = store.session()
    await session.add_items(numbered(0, 1))
    await store.change(other={"S": "x" * 380_000})
    before = await store.everything()

    with pytest.raises(ClientError) as info:
        await session.add_items([sized(40_000)])

    assert code_of(info.value) == "ValidationException"
    assert await store.everything() == before


async def test_unreachable_store() -> None:
    """A store that is not there is botocore's connection error, after about a second."""
    config = {"connect_timeout": 1, "retries": {"max_attempts": 0}}
    async with emulators.create_client(f"http://127.0.0.1:{free_port()}", **config) as client:
        calls = [call for name, call in CALLS.items() if name != "ping"]
        said = await asyncio.gather(  # most of it is waiting
            *(call(Store(client, "table").session()) for call in calls), return_exceptions=True
        )
    assert [type(each) for each in said] == [EndpointConnectionError] * len(calls)


async def test_ping_of_an_unreachable_store() -> None:
    """A store that does not answer is no error to ``ping``."""
    config = {"connect_timeout": 1, "retries": {"max_attempts": 0}}
    async with emulators.create_client(f"http://127.0.0.1:{free_port()}", **config) as client:
        assert await Store(client, "table").session().ping() is False


async def test_missing_credentials() -> None:
    """Without credentials botocore says so, and nothing is tried twice."""
    async with AioSession().create_client(
        "dynamodb", region_name=emulators.REGION, endpoint_url="http://127.0.0.1:9"
    ) as client:
        with pytest.raises(NoCredentialsError):
            await Store(client, "table").session().add_items(numbered(0, 1))


# --- nothing is given away -------------------------------------------------------------------


@pytest.mark.parametrize("name", CALLS)
async def test_errors_and_logs_give_nothing_away(
    emulator: Emulator, table: str, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """No credential and no text of the conversation is in an error, a repr or the log."""
    caplog.set_level(logging.DEBUG, logger="openai_agents_session")
    async with (
        FaultyHTTPProxy(emulator.url) as proxy,
        AioSession().create_client(
            "dynamodb",
            region_name=emulators.REGION,
            endpoint_url=proxy.url,
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET_KEY,
            aws_session_token=TOKEN,
            config=AioConfig(retries={"max_attempts": 0}),
        ) as client,
    ):
        session = Store(client, table).session(page_bytes=SMALLEST)
        await session.add_items([sized(3000), sized(3000), user(SECRET)])
        proxy.plan = lambda _operation, _number: refuse(400, "AccessDeniedException")
        with pytest.raises(ClientError) as info:
            await CALLS[name](session)
        shown = [repr(session), str(session), str(info.value), repr(info.value)]
        shown += traceback.format_exception(info.value)

    text = "\n".join([*shown, *(record.getMessage() for record in caplog.records)])
    for secret in (SECRET, KEY_ID, SECRET_KEY, TOKEN):
        assert secret not in text


async def test_objects_within_give_nothing_away(store: Store) -> None:
    """What a debugger or a log of locals may show has no text of the conversation."""
    session = store.session(page_bytes=SMALLEST)
    await session.add_items([sized(3000), sized(3000), user(SECRET)])
    await session.get_items()

    inner: Any = session._conversation
    assert inner._item.last_seen is not None
    assert SECRET not in repr(vars(session)) + repr(vars(inner)) + repr(vars(inner._item))


# --- the key of a page is no session's id ----------------------------------------------------


@pytest.mark.parametrize("name", [name for name in CALLS if name != "ping"])
@pytest.mark.parametrize("ttl", [None, 1000])
async def test_page_is_no_session(store: Store, name: str, ttl: int | None) -> None:
    """A session under the key of another one's page neither reads nor changes it."""
    victim = store.session(ttl_seconds=ttl, page_bytes=SMALLEST)
    await victim.add_items([sized(3000, fill) for fill in "abc"])
    before = await store.everything()
    for key in await store.page_keys():
        thief = store.session(key, ttl, page_bytes=SMALLEST)

        with pytest.raises(ValueError, match="is the key of another session's page") as info:
            await CALLS[name](thief)

        assert repr(key) in str(info.value)
    assert await store.everything() == before
    assert await store.session().get_items() == [sized(3000, fill) for fill in "abc"]


async def test_compaction_of_a_page_is_refused(store: Store) -> None:
    """The SDK's hooks do not reach a page either."""
    await store.session(page_bytes=SMALLEST).add_items([sized(3000)] * 3)
    before = await store.everything()
    thief = store.session((await store.page_keys())[0])

    with pytest.raises(ValueError, match="is the key of another session's page"):
        await thief._get_compaction_snapshot(10)
    with pytest.raises(ValueError, match="is the key of another session's page"):
        await thief._atomic_replace_items([])

    assert await store.everything() == before


async def test_page_of_a_session_that_expired_is_none_either(store: Store) -> None:
    """A page is no session's also when the one that it belongs to is gone."""
    await store.session(page_bytes=SMALLEST).add_items([sized(3000)] * 3)
    key = (await store.page_keys())[0]
    await store.delete(ID)

    with pytest.raises(ValueError, match="is the key of another session's page"):
        await store.session(key).add_items(numbered(0, 1))
    assert "page_of" in await store.item(key)


async def test_making_a_table_that_may_not_be_made(emulator: Emulator) -> None:
    """A denied ``CreateTable`` is botocore's error."""
    async with FaultyHTTPProxy(emulator.url) as proxy:
        proxy.plan = lambda operation, _number: (
            refuse(400, "AccessDeniedException") if operation == "CreateTable" else None
        )
        async with emulators.create_client(proxy.url) as client:
            with pytest.raises(ClientError) as info:
                await create_table_if_not_exists(client, "no-such-table")

    assert code_of(info.value) == "AccessDeniedException"
