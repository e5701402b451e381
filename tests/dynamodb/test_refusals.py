"""Throttling, server errors and connections that come to nothing (P5, P11)."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError

from openai_agents_session import DynamoDBSession, _pauses
from openai_agents_session.dynamodb import _item
from tests.dynamodb import emulators
from tests.dynamodb.emulators import create_client
from tests.dynamodb.proxy import (
    CUT_BEFORE,
    LOSE_ANSWER,
    behind,
    each_of,
    from_the,
    on,
    one_in,
    refuse,
    refuse_done,
)
from tests.dynamodb.store import sized
from tests.dynamodb.writer import SMALLEST, add, batch_of, batches_of, named_pages, pages_of
from tests.servers import HOST, free_port
from tests.shares import share_of, slow

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.dynamodb.emulators import Emulator
    from tests.dynamodb.proxy import Fault

    Operation = Callable[[DynamoDBSession], Awaitable[object]]

EMULATORS = emulators.best()

ONCE: dict[str, Any] = {"retries": {"total_max_attempts": 1}}
PADDING = 400
THROTTLED = [
    "ProvisionedThroughputExceededException",
    "ThrottlingException",
    "RequestLimitExceeded",
]
# What is refused: before it was executed, and where the store does such a thing also after.
REFUSALS = {
    **{code: refuse(400, code) for code in THROTTLED},
    "InternalServerError": refuse(500, "InternalServerError"),
    "InternalServerError after execution": refuse_done(500, "InternalServerError"),
    "ServiceUnavailable": refuse(503, "ServiceUnavailable"),
}
BEFORE = batches_of("before", range(4), padding=PADDING)
LARGE = batches_of("large", range(4), padding=PADDING)
OPERATIONS: dict[str, Operation] = {
    "add_items": lambda session: session.add_items(batch_of("new", 0)),
    "add_items, sealing": lambda session: session.add_items(LARGE),
    "pop_item": lambda session: session.pop_item(),
    "replace_items": lambda session: session.replace_items(LARGE),
    "clear_session": lambda session: session.clear_session(),
}
EVERY_OPERATION = frozenset({"GetItem", "BatchGetItem", "UpdateItem", "BatchWriteItem"})


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Go on sending again for longer: by chance, several faults come in a row."""
    monkeypatch.setattr(_pauses, "RETRY_SECONDS", 30.0)


@pytest.fixture(params=share_of(REFUSALS, THROTTLED[0], "InternalServerError after execution"))
def refusal(request: pytest.FixtureRequest) -> Fault:
    return REFUSALS[request.param]


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("config", [slow({}), ONCE], ids=["defaults", "no retries"])
async def test_refusals_are_settled(
    emulator: Emulator, table: str, refusal: Fault, config: dict[str, Any]
) -> None:
    """With every fifth request refused, nothing is lost, doubled or reordered."""
    plan = one_in(5, seed=4, fault=refusal, operations=EVERY_OPERATION)
    async with behind(emulator.url, plan, **config) as (proxy, client):
        names = [f"lane-{lane}" for lane in range(8)]
        sessions = [DynamoDBSession(name, client, table, page_bytes=SMALLEST) for name in names]

        async def work(session: DynamoDBSession) -> None:
            await add(session, 0, 8, PADDING)
            written = batches_of(0, range(8), padding=PADDING)
            assert await session.get_items() == written
            assert [await session.pop_item() for _ in range(8)] == written[:-9:-1]
            assert await session.get_items() == written[:-8]
            await session.replace_items(LARGE)
            assert await session.get_items() == LARGE
            await session.clear_session()
            assert await session.get_items() == []

        await asyncio.gather(*map(work, sessions))
        assert proxy.faults["refuse"] > 30


@pytest.mark.parametrize("code", share_of([THROTTLED[0], "InternalServerError"], THROTTLED[0]))
async def test_refusals_without_end_are_botocores_own_error(
    emulator: Emulator, dynamodb_client: Any, table: str, code: str
) -> None:
    """After about a second the caller gets the error, and nothing was written."""
    fault = refuse(400 if code in THROTTLED else 500, code)

    async def check(name: str) -> None:
        observer = DynamoDBSession(name, dynamodb_client, table, page_bytes=SMALLEST)
        await observer.add_items(BEFORE)
        async with behind(emulator.url, from_the(1, fault), **ONCE) as (proxy, client):
            session = DynamoDBSession(name, client, table, page_bytes=SMALLEST)
            began = time.monotonic()
            with pytest.raises(ClientError) as caught:
                await OPERATIONS[name](session)
            assert caught.value.response["Error"]["Code"] == code
            assert time.monotonic() - began < 5
            assert proxy.faults["refuse"] > 2
        assert await observer.get_items() == BEFORE

    await asyncio.gather(*map(check, OPERATIONS))  # most of it is waiting
    named = [await named_pages(dynamodb_client, table, name) for name in OPERATIONS]
    assert set(await pages_of(dynamodb_client, table)) == set().union(*named)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("code", THROTTLED)
@pytest.mark.parametrize("config", [{}, ONCE], ids=["defaults", "no retries"])
async def test_a_lost_answer_and_then_throttling(
    emulator: Emulator, table: str, code: str, config: dict[str, Any]
) -> None:
    """The first attempt was done, those after it were refused: it is there once."""
    throttled = on(refuse(400, code), "UpdateItem", 2, 3, 5, 6)
    plan = each_of(on(LOSE_ANSWER, "UpdateItem", 1, 4), throttled)
    async with behind(emulator.url, plan, **config) as (proxy, client):
        session = DynamoDBSession("s", client, table)
        await session.add_items(batch_of("a", 0))
        assert await session.get_items() == batch_of("a", 0)
        # The attempt that found the token was the fourth; it was lost as well.
        await session.add_items(batch_of("a", 1))
        assert await session.get_items() == batches_of("a", range(2))
        assert proxy.faults == {"lose answer": 2, "refuse": 4}


async def test_a_lost_answer_and_then_throttling_without_end(
    emulator: Emulator, dynamodb_client: Any, table: str
) -> None:
    """The caller gets the error; what was done is whole, and is not done again later."""
    plan = each_of(on(LOSE_ANSWER, "UpdateItem", 1), on(refuse(400, THROTTLED[0]), "UpdateItem"))
    async with behind(emulator.url, plan, **ONCE) as (_, client):
        with pytest.raises(ClientError):
            await DynamoDBSession("s", client, table).add_items(batch_of("a", 0))
    observer = DynamoDBSession("s", dynamodb_client, table)
    assert await observer.get_items() == batch_of("a", 0)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("config", [{}, ONCE], ids=["defaults", "no retries"])
@pytest.mark.parametrize("reset", [slow(False), True], ids=["FIN", "RST"])
async def test_connections_cut_before_the_request(
    emulator: Emulator, table: str, config: dict[str, Any], reset: bool
) -> None:
    """With every third request cut off, all is done, once and in order."""
    plan = one_in(3, seed=6, fault=CUT_BEFORE, operations=EVERY_OPERATION)
    async with behind(emulator.url, plan, reset=reset, **config) as (proxy, client):

        async def work(session: DynamoDBSession) -> None:
            await add(session, 0, 8, PADDING)
            written = batches_of(0, range(8), padding=PADDING)
            assert [await session.pop_item() for _ in range(8)] == written[:-9:-1]
            assert await session.get_items() == written[:-8]
            await session.clear_session()
            assert await session.get_items() == []

        names = [f"lane-{lane}" for lane in range(4)]
        await asyncio.gather(
            *(work(DynamoDBSession(n, client, table, page_bytes=SMALLEST)) for n in names)
        )
        assert proxy.faults["cut before"] > 30


async def test_an_endpoint_that_is_not_there() -> None:
    """Every operation is botocore's error after about a second; ``ping`` says False."""
    async with create_client(f"http://{HOST}:{free_port()}", **ONCE) as client:

        async def check(operation: Operation) -> None:
            session = DynamoDBSession("s", client, "table", page_bytes=SMALLEST)
            began = time.monotonic()
            with pytest.raises(EndpointConnectionError):
                await operation(session)
            assert 0.5 < time.monotonic() - began < 5
            assert await session.ping() is False

        await asyncio.gather(*map(check, OPERATIONS.values()))  # most of it is waiting


async def test_a_connection_that_is_always_cut(
    emulator: Emulator, dynamodb_client: Any, table: str
) -> None:
    """A store that hangs up on everything is botocore's error, and ``ping`` says False."""
    async with behind(emulator.url, from_the(1, CUT_BEFORE), **ONCE) as (proxy, client):
        session = DynamoDBSession("s", client, table)
        assert await session.ping() is False
        with pytest.raises(BotoCoreError):
            await session.add_items(batch_of("a", 0))
        with pytest.raises(BotoCoreError):
            await session.get_items()
        proxy.plan = on(CUT_BEFORE, "none")
        assert await session.ping() is True
        assert await session.get_items() == []
    assert await pages_of(dynamodb_client, table) == {}


@pytest.mark.parametrize("meets", ["UpdateItem", "BatchGetItem"])
async def test_who_always_comes_too_late_is_told_so(
    dynamodb_client: Any, table: str, monkeypatch: pytest.MonkeyPatch, meets: str
) -> None:
    """Whether another writer is faster at the item or at a page, it is DynamoDB's error."""
    monkeypatch.setattr(_item, "PATIENCE_SECONDS", 0.1)
    session = DynamoDBSession("s", dynamodb_client, table, page_bytes=SMALLEST)
    other = DynamoDBSession("s", dynamodb_client, table, page_bytes=SMALLEST)
    two = [sized(3000, fill) for fill in "ab"]
    busy = False

    async def begin_anew(**_: Any) -> None:
        """Leave a page, and no record in the item: so every pop has to read the page."""
        nonlocal busy
        if not busy:
            busy = True
            await other.replace_items(two)
            await other.pop_item()
            busy = False

    await begin_anew()
    event = f"provide-client-params.dynamodb.{meets}"
    dynamodb_client.meta.events.register(event, begin_anew)
    with pytest.raises(ClientError, match="Other writers were faster, again and again") as caught:
        await session.pop_item()
    dynamodb_client.meta.events.unregister(event, begin_anew)

    assert caught.value.response["Error"]["Code"] == "ConditionalCheckFailedException"
    assert await session.get_items() == two[:1]
