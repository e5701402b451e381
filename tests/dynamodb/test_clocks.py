"""Machines whose clocks are wrong: writes are told apart, and ordered, without them (P5, P6)."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from openai_agents_session import DynamoDBSession
from openai_agents_session.dynamodb import _state
from tests.dynamodb import emulators
from tests.dynamodb.proxy import behind, lose_answer_at, on
from tests.dynamodb.store import ID
from tests.dynamodb.writer import SMALLEST, batch_of, batches_of, item

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.dynamodb.emulators import Emulator
    from tests.dynamodb.store import Store

EMULATORS = emulators.best()

HELD = batch_of("held", 0)
WRONG = [-660, -2, 2, 660]
"""Seconds: a little, and more than AWS takes requests with."""


@pytest.fixture
def wrong_clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let what is done in a ``with`` block be done with a clock that is wrong."""
    right, right_ns = time.time, time.time_ns

    @contextmanager
    def wrong(seconds: float) -> Generator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(_state.time, "time", lambda: right() + seconds)
            patch.setattr(_state.time, "time_ns", lambda: right_ns() + int(seconds * 10**9))
            yield

    return wrong


@pytest.mark.parametrize("seconds", WRONG)
@pytest.mark.parametrize("write", ["pop", "seal", "many appends", "clear"])
async def test_what_another_machine_does_meanwhile_leaves_no_doubt(
    emulator: Emulator,
    store: Store,
    wrong_clock: Any,
    seconds: float,
    write: str,
) -> None:
    """An answer was lost half a second ago, and a machine with a wrong clock wrote then."""
    other = store.session(page_bytes=SMALLEST)
    before = batches_of("before", range(2))
    await other.add_items(before)
    others: list[Any] = []
    lost = asyncio.Event()
    async with behind(emulator.url, on(lose_answer_at(lost), "UpdateItem", 1)) as (proxy, client):
        session = DynamoDBSession(ID, client, store.table, page_bytes=SMALLEST)
        adding = asyncio.create_task(session.add_items(HELD))
        await proxy.waiting()
        with wrong_clock(seconds):
            if write == "pop":
                await other.add_items([item("other")])
                assert await other.pop_item() == item("other")
            elif write == "seal":
                others = batches_of("other", range(4), padding=400)
                await other.add_items(others)
            elif write == "clear":
                await other.clear_session()
            else:
                others = [item(f"other.{number}") for number in range(12)]
                for each in others:
                    await other.add_items([each])
        lost.set()
        await adding
        assert proxy.lost_successes == 1

    expected = [] if write == "clear" else before + HELD + others
    assert await store.session().get_items() == expected


@pytest.mark.parametrize("seconds", WRONG)
async def test_a_clear_that_is_sent_again_clears_nothing_new(
    emulator: Emulator, store: Store, wrong_clock: Any, seconds: float
) -> None:
    """A conversation that began between its two requests stays, whatever the clocks say."""
    other = store.session(page_bytes=SMALLEST)
    await other.add_items(batch_of("before", 0))
    lost = asyncio.Event()
    async with behind(emulator.url, on(lose_answer_at(lost), "UpdateItem", 1)) as (proxy, client):
        session = DynamoDBSession(ID, client, store.table, page_bytes=SMALLEST)
        clearing = asyncio.create_task(session.clear_session())
        await proxy.waiting()
        with wrong_clock(seconds):
            await other.add_items(batch_of("next", 0))
        lost.set()
        await clearing
        assert proxy.requests["UpdateItem"] == 2

    assert await other.get_items() == batch_of("next", 0)


@pytest.mark.parametrize("seconds", WRONG)
async def test_a_machine_with_a_wrong_clock_clears(
    store: Store, wrong_clock: Any, seconds: float
) -> None:
    """What was written by others before is gone, also where it seems to be of the future."""
    await store.session(page_bytes=SMALLEST).add_items(batches_of("a", range(9), padding=400))
    with wrong_clock(seconds):
        await store.session(page_bytes=SMALLEST).clear_session()

    assert await store.session().get_items() == []
    await store.session().add_items(batch_of("next", 0))
    assert await store.session().get_items() == batch_of("next", 0)
    await store.assert_whole()


async def test_writers_with_all_sorts_of_clocks(store: Store, wrong_clock: Any) -> None:
    """Appends, seals and pops of machines that disagree lose nothing and double nothing."""
    expected: list[Any] = []
    for number in range(24):
        with wrong_clock([0, -3600, 700, -2][number % 4]):
            session = store.session(page_bytes=SMALLEST)
            batch = batch_of("turn", number, padding=400)
            await session.add_items(batch)
            expected += batch
            if number % 5 == 4:
                assert await session.pop_item() == expected.pop()

    assert await store.session().get_items() == expected
    await store.assert_whole()
