"""Writes that are sent again late: done once, or an error that says what is not known (P5)."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from openai_agents_session import DynamoDBSession
from openai_agents_session.dynamodb import _state, _updates
from tests.dynamodb import emulators
from tests.dynamodb.proxy import behind, lose_answer_at, on
from tests.dynamodb.writer import SMALLEST, batch_of, batches_of, item, pages_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from tests.dynamodb.emulators import Emulator

EMULATORS = emulators.servers()

HELD = batch_of("held", 0)
PADDING = 400
"""Nearly three batches to a page."""


class Held:
    """A write that was done, and whose answer is lost when the ``with`` block ends."""

    outcome: Any = None
    error: BaseException | None = None


@asynccontextmanager
async def held(
    emulator: Emulator,
    table: str,
    write: Callable[[DynamoDBSession], Awaitable[Any]],
    update: int = 1,
) -> AsyncGenerator[Held]:
    """Begin a write, and lose the answer to one of its updates, the first or a later one."""
    lost = asyncio.Event()
    result = Held()
    plan = on(lose_answer_at(lost), "UpdateItem", update)
    async with behind(emulator.url, plan) as (proxy, client):
        session = DynamoDBSession("s", client, table, page_bytes=SMALLEST)
        task = asyncio.ensure_future(write(session))
        await proxy.waiting()
        yield result
        lost.set()
        await asyncio.wait([task])
        result.error = task.exception()
        result.outcome = None if result.error else task.result()
        assert proxy.lost_successes == 1


def add_held(session: DynamoDBSession) -> Awaitable[Any]:
    return session.add_items(HELD)


def pop_held(session: DynamoDBSession) -> Awaitable[Any]:
    return session.pop_item()


@pytest.fixture
def neighbour(dynamodb_client: Any, table: str) -> DynamoDBSession:
    """Another session object on the same conversation, past the proxy."""
    return DynamoDBSession("s", dynamodb_client, table, page_bytes=SMALLEST)


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens are dropped after a handful of writes, and not a thousand."""
    monkeypatch.setattr(_state, "REMEMBERED_WRITES", 4)
    monkeypatch.setattr(_state, "STALE_WRITES", 2)


@pytest.fixture
def short_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens are dropped at once, by their age."""
    monkeypatch.setattr(_state, "NEWEST_WRITES", 1)
    monkeypatch.setattr(_state, "REMEMBERED_SECONDS", -2 * _state.WRONG_CLOCK_SECONDS)
    monkeypatch.setattr(_state, "STALE_WRITES", 0)


def assert_doubt(result: Held) -> None:
    assert isinstance(result.error, ClientError)
    assert result.error.response["Error"]["Code"] == "ConditionalCheckFailedException"
    # Before Python 3.11 there are no notes, and it is said in the message.
    said = [str(result.error), *getattr(result.error, "__notes__", [])]
    assert "too much has happened since to tell" in " ".join(said)


async def test_the_token_is_in_a_page(
    emulator: Emulator, table: str, neighbour: DynamoDBSession
) -> None:
    """An append that was sealed into a page meanwhile is found there."""
    async with held(emulator, table, add_held) as result:
        others = batches_of("other", range(9), padding=PADDING)
        for start in range(0, len(others), 3):
            await neighbour.add_items(others[start : start + 3])
    assert result.error is None
    assert await neighbour.get_items() == HELD + others


async def test_the_token_is_in_a_page_before_those_of_a_large_batch(
    emulator: Emulator, table: str, neighbour: DynamoDBSession
) -> None:
    """Pages that were made by one write in one go do not hide the older ones."""
    async with held(emulator, table, add_held) as result:
        small = batches_of("small", range(4), padding=PADDING)
        for start in range(0, len(small), 3):
            await neighbour.add_items(small[start : start + 3])
        large = batches_of("large", range(12), padding=PADDING)
        await neighbour.add_items(large)
    assert result.error is None
    assert await neighbour.get_items() == HELD + small + large


async def test_the_token_is_in_a_page_that_pops_have_reached(
    emulator: Emulator, table: str, neighbour: DynamoDBSession
) -> None:
    """A pop that takes pages back into the item takes their tokens back as well."""
    async with held(emulator, table, add_held) as result:
        others = batches_of("other", range(10), padding=PADDING)
        for start in range(0, len(others), 3):
            await neighbour.add_items(others[start : start + 3])
        large = batches_of("large", range(7), padding=PADDING)
        await neighbour.add_items(large)
        for expected in reversed(others[5:] + large):
            assert await neighbour.pop_item() == expected
    assert result.error is None
    assert await neighbour.get_items() == HELD + others[:5]


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize("sealed", [False, True], ids=["no page", "a page"])
async def test_a_dropped_token_is_a_doubt(
    emulator: Emulator, table: str, neighbour: DynamoDBSession, sealed: bool
) -> None:
    """Where nobody can tell whether an append was done, it is not done again."""
    before = batches_of("old", range(4 if sealed else 1), padding=PADDING)
    for start in range(0, len(before), 3):
        await neighbour.add_items(before[start : start + 3])
    async with held(emulator, table, add_held) as result:
        await neighbour.get_items()  # now it knows how many tokens there are
        others = [item(f"other.{number}") for number in range(20)]
        for each in others:
            await neighbour.add_items([each])
    assert_doubt(result)
    assert await neighbour.get_items() == before + HELD + others


@pytest.mark.usefixtures("forgetful")
async def test_a_token_dropped_between_two_pages_is_a_doubt(
    emulator: Emulator, dynamodb_client: Any, table: str, neighbour: DynamoDBSession
) -> None:
    """The next page does not pretend to know of all that was before it."""
    before = batches_of("old", range(4), padding=PADDING)
    for start in range(0, len(before), 3):
        await neighbour.add_items(before[start : start + 3])
    async with held(emulator, table, add_held) as result:
        await neighbour.get_items()  # now it knows how many tokens there are
        others = [item(f"other.{number}") for number in range(20)]
        others += batches_of("late", range(3), padding=PADDING)
        for each in others:
            await neighbour.add_items([each])
        assert len(await pages_of(dynamodb_client, table)) >= 2
    assert_doubt(result)
    assert await neighbour.get_items() == before + HELD + others


@pytest.mark.usefixtures("forgetful")
async def test_a_token_dropped_before_a_pop_into_a_page_is_a_doubt(
    emulator: Emulator, dynamodb_client: Any, table: str, neighbour: DynamoDBSession
) -> None:
    """What a page knew when it was stored is not all that has been since."""
    before = batches_of("old", range(4), padding=PADDING)
    for start in range(0, len(before), 3):
        await neighbour.add_items(before[start : start + 3])
    assert len(await pages_of(dynamodb_client, table)) == 1
    async with held(emulator, table, add_held) as result:
        for number in range(20):
            await neighbour.add_items([item(f"other.{number}")])
        for _ in range(20 + len(HELD) + 4 + 1):  # one more than the item holds
            await neighbour.pop_item()
        assert await pages_of(dynamodb_client, table) == {}
    assert_doubt(result)
    assert await neighbour.get_items() == before[:7]


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize("sealed", [False, True], ids=["no page", "a page"])
async def test_a_pop_whose_token_was_dropped_is_a_doubt(
    emulator: Emulator, table: str, neighbour: DynamoDBSession, sealed: bool
) -> None:
    """A pop that may have been done is not done again."""
    before = batches_of("old", range(4 if sealed else 1), padding=PADDING)
    for start in range(0, len(before), 3):
        await neighbour.add_items(before[start : start + 3])
    async with held(emulator, table, pop_held) as result:
        await neighbour.get_items()  # now it knows how many tokens there are
        others = [item(f"other.{number}") for number in range(20)]
        for each in others:
            await neighbour.add_items([each])
    assert_doubt(result)
    assert await neighbour.get_items() == before[:-1] + others


@pytest.mark.usefixtures("short_memory")
async def test_a_token_dropped_for_its_age_is_a_doubt(
    emulator: Emulator, table: str, neighbour: DynamoDBSession
) -> None:
    """After the time for which writes are remembered, nothing is guessed either."""
    async with held(emulator, table, add_held) as result:
        await neighbour.add_items(batch_of("other", 0))
        popped = await neighbour.pop_item()
    assert popped == batch_of("other", 0)[-1]
    assert_doubt(result)
    assert await neighbour.get_items() == HELD + batch_of("other", 0)[:-1]


@pytest.mark.usefixtures("forgetful")
async def test_a_seal_that_is_older_than_what_it_seals(
    emulator: Emulator,
    table: str,
    neighbour: DynamoDBSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A seal that began before the writes which it puts into a page is not taken for undone."""
    before = batches_of("old", range(3), padding=PADDING)[:8]
    with monkeypatch.context() as ahead:
        now = time.time_ns()
        ahead.setattr(_state.time, "time_ns", lambda: now + 60 * 10**9)
        await neighbour.add_items(before)
    held_batch = batch_of("held", 0, padding=PADDING)

    # The first update is refused, as the item is full; the second is the seal.
    async with held(emulator, table, lambda s: s.add_items(held_batch), update=2) as result:
        await neighbour.get_items()  # now it knows how many tokens there are
        others = [item(f"other.{number}") for number in range(20)]
        for each in others:
            await neighbour.add_items([each])
    assert_doubt(result)
    assert await neighbour.get_items() == before + held_batch + others


async def test_tokens_are_dropped_by_those_who_never_read(
    dynamodb_client: Any, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An object that only appends does not let the tokens grow without end."""
    monkeypatch.setattr(_state, "REMEMBERED_WRITES", 16)
    monkeypatch.setattr(_updates, "MAX_TOKENS", 20)
    session = DynamoDBSession("s", dynamodb_client, table)
    items = [item(f"only.{number}") for number in range(100)]
    most = 0
    for each in items:
        await session.add_items([each])
        answer = await dynamodb_client.get_item(
            TableName=table, Key={"session_id": {"S": "s"}}, ConsistentRead=True
        )
        most = max(most, len(answer["Item"]["writes"]["BS"]))

    assert most == 21
    assert await session.get_items() == items
