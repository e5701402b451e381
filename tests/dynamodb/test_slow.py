"""Writes that take long while a conversation's time runs out (P7).

All clocks are moved while a request is on its way; nobody waits.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from botocore.exceptions import BotoCoreError

from openai_agents_session import DynamoDBSession, _pauses
from tests.dynamodb import emulators
from tests.dynamodb.proxy import CUT_BEFORE, LOSE_ANSWER, behind, no_faults, strand_until
from tests.dynamodb.store import ID, SMALLEST, epoch, until_of
from tests.dynamodb.writer import batch_of, batches_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.dynamodb.emulators import Emulator
    from tests.dynamodb.proxy import Fault, Plan
    from tests.dynamodb.store import Store

EMULATORS = emulators.best()

TTL = 300
PATIENT: dict[str, Any] = {"read_timeout": 10**6}
ONCE: dict[str, Any] = {**PATIENT, "retries": {"total_max_attempts": 1}}
RESENT_BY: dict[str, dict[str, Any]] = {"botocore": PATIENT, "the library": ONCE}
OLD, NEW = batch_of("old", 0), batch_of("new", 0)
LONG = batches_of("long", range(9), padding=400)
WRITES: dict[str, tuple[Callable[[DynamoDBSession], Awaitable[Any]], list[Any]]] = {
    "add": (lambda session: session.add_items(NEW), NEW),
    "add pages": (lambda session: session.add_items(LONG), LONG),
    "replace": (lambda session: session.replace_items(NEW), NEW),
}


@pytest_asyncio.fixture
async def pass_by(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let so many seconds go by at once, by every clock."""
    passed = 0.0
    loop = asyncio.get_running_loop()
    now, now_ns, loop_now = time.time, time.time_ns, loop.time

    def go(seconds: float) -> None:
        nonlocal passed
        passed += seconds

    monkeypatch.setattr(time, "time", lambda: now() + passed)
    monkeypatch.setattr(time, "time_ns", lambda: now_ns() + int(passed * 10**9))
    monkeypatch.setattr(loop, "time", lambda: loop_now() + passed)
    return go


def slow(pass_by: Callable[[float], None], seconds: float, fault: Fault | None) -> Plan:
    """The session's first update takes so long, and then comes to this."""

    def plan(operation: str, _number: int) -> Fault | None:
        if operation != "UpdateItem":
            return None
        plans.pop()(seconds)
        plans.append(lambda _: None)
        return faults.pop()

    plans: list[Callable[[float], None]] = [pass_by]
    faults: list[Fault | None] = [None] * 20 + [fault]
    return plan


@pytest.mark.parametrize("by", RESENT_BY)
@pytest.mark.parametrize("write", WRITES)
async def test_what_expired_before_the_write_stays_gone(
    emulator: Emulator, store: Store, pass_by: Callable[[float], None], write: str, by: str
) -> None:
    """The first request is lost, and the second is sent when the conversation is over."""
    await store.session(ttl_seconds=TTL, page_bytes=SMALLEST).add_items(OLD)
    pass_by(TTL - 60)
    call, expected = WRITES[write]
    async with behind(emulator.url, **RESENT_BY[by]) as (proxy, client):
        session = DynamoDBSession(ID, client, store.table, TTL, page_bytes=SMALLEST)
        assert await session.get_items() == OLD
        proxy.plan = slow(pass_by, 61, CUT_BEFORE)
        await call(session)
        assert proxy.faults == {"cut before": 1}

    assert await store.session().get_items() == expected
    assert until_of(await store.item()) >= epoch(TTL - 4)
    await store.assert_whole()


@pytest.mark.parametrize("seconds", [TTL // 2, TTL + 1])
@pytest.mark.parametrize(
    ("fault", "by"),
    [(LOSE_ANSWER, "botocore"), (LOSE_ANSWER, "the library"), (None, "botocore")],
    ids=["lost", "lost, no retries", "slow"],
)
async def test_what_was_written_has_its_whole_time(  # noqa: PLR0917 - the cases and the servers
    emulator: Emulator,
    store: Store,
    pass_by: Callable[[float], None],
    fault: Fault | None,
    seconds: float,
    by: str,
) -> None:
    """It counts from when the write returns, also where that was done long before."""
    for number, (call, expected) in enumerate(WRITES.values()):
        name = f"{ID}-{number}"
        async with behind(emulator.url, **RESENT_BY[by]) as (proxy, client):
            session = DynamoDBSession(name, client, store.table, TTL, page_bytes=SMALLEST)
            proxy.plan = slow(pass_by, seconds, fault)
            await call(session)
            proxy.plan = no_faults
            assert await session.get_items() == expected
        assert until_of(await store.item(name)) >= epoch(TTL - 4)


async def test_a_slow_pop_returns_its_item(
    emulator: Emulator, store: Store, pass_by: Callable[[float], None]
) -> None:
    """It was taken before the rest was over, and it is not taken twice."""
    await store.session(ttl_seconds=TTL).add_items(OLD)
    plan = slow(pass_by, TTL + 1, LOSE_ANSWER)
    async with behind(emulator.url, plan, **PATIENT) as (_, client):
        session = DynamoDBSession(ID, client, store.table, TTL)
        assert await session.pop_item() == OLD[-1]
        assert await session.get_items() == []


async def test_a_store_that_is_slower_than_the_time_to_live(
    emulator: Emulator, store: Store, pass_by: Callable[[float], None]
) -> None:
    """Nobody is told that something was written which is over already."""

    def plan(operation: str, _number: int) -> Fault | None:
        if operation == "UpdateItem":
            pass_by(TTL + 1)
        return None

    async with behind(emulator.url, plan, **PATIENT) as (_, client):
        session = DynamoDBSession(ID, client, store.table, TTL)
        with pytest.raises(asyncio.TimeoutError, match="longer than the conversation lives: 300 s"):
            await session.add_items(NEW)


async def test_a_late_append_takes_no_time_away(
    emulator: Emulator,
    store: Store,
    pass_by: Callable[[float], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A request that was given up, and arrives after a later write, leaves that its time."""
    monkeypatch.setattr(_pauses, "RETRY_SECONDS", 0.0)
    other = store.session(ttl_seconds=TTL)
    await other.add_items(OLD)
    go = asyncio.Event()
    faults = [strand_until(go)]
    async with behind(emulator.url, **ONCE) as (proxy, client):
        proxy.plan = lambda _name, _number: faults.pop() if faults else CUT_BEFORE
        with pytest.raises(BotoCoreError):
            await DynamoDBSession(ID, client, store.table, TTL).add_items(NEW)
        pass_by(TTL // 2)
        await other.add_items(OLD)
        go.set()
        await proxy.executed(1)

    assert await other.get_items() == OLD + OLD
    assert until_of(await store.item()) >= epoch(TTL - 2)
