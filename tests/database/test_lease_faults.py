"""Leases on PostgreSQL while connections break: what was lost, late, or given up, is told truly."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from openai_agents_session import DatabaseSession, _pauses, _settle
from openai_agents_session._conversation import LostError
from openai_agents_session.database import _driver
from tests.contract import numbered
from tests.contract.leasing import WRITES, write
from tests.database.test_faults import commits, fault_at, maker, nothing, patient, proxy, user_id
from tests.database.test_leases import NEW, claim_of, lapse, left, others, until
from tests.shares import share_of

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import async_sessionmaker

    from tests.database.proxy import Fault, PostgresProxy, Request

__all__ = ["maker", "others", "patient", "proxy", "user_id"]  # fixtures

pytestmark = pytest.mark.parametrize(
    "url", share_of(["postgres", "psycopg"], "postgres"), indirect=True
)


@pytest.fixture
def engine(proxy: PostgresProxy) -> PostgresProxy:
    """What makes the tables, for ``others``, which doesn't lead through the proxy."""
    return proxy


@pytest.fixture
def session(maker: async_sessionmaker, user_id: UUID) -> DatabaseSession:
    """A session whose connections lead through the proxy."""
    return DatabaseSession("s", user_id, maker)


@pytest.fixture
def other(others: async_sessionmaker, user_id: UUID) -> DatabaseSession:
    """The same conversation, as another process has it."""
    return DatabaseSession("s", user_id, others)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("fault", ["lose answer", "cut before"])
@pytest.mark.parametrize("step", ["acquire", "wait", "poll", "renew", "release", "leave", "append"])
async def test_a_connection_breaks_anywhere(  # noqa: PLR0917 - fixtures and parameters
    session: DatabaseSession,
    other: DatabaseSession,
    others: async_sessionmaker,
    proxy: PostgresProxy,
    step: str,
    fault: Fault,
) -> None:
    """At each request of each step in turn: it is done once, and it is no error."""
    for number in count():
        mine, theirs = claim_of(session, f"mine{number}"), claim_of(other, f"theirs{number}")
        waits = step in {"wait", "poll", "leave"}
        assert await (theirs if waits else mine).acquire(60) == 0
        if step == "acquire":
            await mine.release()
            mine = claim_of(session, f"again{number}")
        elif step in {"poll", "leave"}:
            assert await mine.acquire(60) == 1
        before, proxy.choose = proxy.faults, fault_at(number, fault)

        if step == "renew":
            assert await mine.renew()
        elif step in {"release", "leave"}:
            await mine.release()
        elif step == "append":
            fenced: Any = mine.fenced()
            await fenced.append(NEW)
        else:
            assert await mine.acquire(60) == waits

        proxy.choose = nothing
        if step == "append":
            assert len(await other.get_items()) == number + 1
        assert (await other.busy() is None) == (step == "release")
        if waits:
            await theirs.release()
            assert await mine.acquire(60) == (step == "leave")
        await mine.release()
        assert await left(others) == 0
        if proxy.faults == before:
            assert number > 1
            return


async def take_over(other: DatabaseSession, maker: async_sessionmaker) -> None:
    """Let the lease run out, and another holder have it."""
    await lapse(maker)
    assert await claim_of(other, "next").acquire(60) == 0


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("fault", ["lose answer", "cut before"])
async def test_a_write_of_which_nothing_was_heard_before_the_lease_was_lost(  # noqa: PLR0917 - fixtures and parameters
    session: DatabaseSession,
    other: DatabaseSession,
    others: async_sessionmaker,
    proxy: PostgresProxy,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    fault: Fault,
) -> None:
    """What was committed while it was held was done; what was not is not done after it."""
    await session.add_items(numbered(0, 3))
    claim = claim_of(session, "slow")
    assert await claim.acquire(60) == 0
    fenced: Any = claim.fenced()
    found = await fenced.read(None)
    ask = _driver.Work._was_committed

    async def ask_late(work: Any, transaction: Any) -> Any:
        await take_over(other, others)
        return await ask(work, transaction)

    monkeypatch.setattr(_driver.Work, "_was_committed", ask_late)
    proxy.choose = commits(fault, times=1)

    if fault == "lose answer":
        await write(fenced, name, found)
        assert await other.get_items() != numbered(0, 3)
    else:
        with pytest.raises(LostError):
            await write(fenced, name, found)
        assert await other.get_items() == numbered(0, 3)
    assert proxy.faults == 1
    assert await claim_of(other, "next").renew()


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("name", WRITES)
async def test_a_write_that_was_long_on_its_way(
    session: DatabaseSession,
    other: DatabaseSession,
    others: async_sessionmaker,
    proxy: PostgresProxy,
    name: str,
) -> None:
    """Another has taken over when its first statement arrives: it changes nothing."""
    await session.add_items(numbered(0, 3))
    claim = claim_of(session, "slow")
    assert await claim.acquire(60) == 0
    fenced: Any = claim.fenced()
    found = await fenced.read(None)
    late = False

    def choose(request: Request) -> Fault | None:
        nonlocal late
        if b"agent_session_lease" in request.messages and not late:
            late = True
            return "late"
        # Until it is there, nothing else gets through either.
        return "cut before" if late and not proxy.released.is_set() else None

    proxy.choose = choose
    writing = asyncio.create_task(write(fenced, name, found))
    await proxy.faulty.wait()
    await take_over(other, others)
    proxy.released.set()

    with pytest.raises(LostError):
        await writing
    assert await other.get_items() == numbered(0, 3)
    assert await claim_of(other, "next").renew()


@pytest.mark.usefixtures("patient")
async def test_a_commit_that_is_long_on_its_way(
    session: DatabaseSession,
    other: DatabaseSession,
    proxy: PostgresProxy,
) -> None:
    """Whoever takes the lease over meanwhile waits for it, and sees what was written."""
    await session.add_items(numbered(0, 3))
    claim = claim_of(session, "slow", lives=500)
    assert await claim.acquire(60) == 0
    fenced: Any = claim.fenced()
    proxy.choose = commits("late", times=1)
    writing = asyncio.create_task(fenced.append(NEW))
    await proxy.faulty.wait()

    async def is_over() -> bool:
        return await other.busy() is None

    await until(is_over)
    taking = asyncio.create_task(claim_of(other, "next").acquire(60))
    for _ in range(20):
        assert await other.get_items() == numbered(0, 3)
        assert not taking.done()
    proxy.released.set()

    await writing
    assert await taking == 0
    assert len(await other.get_items()) == 4


@pytest.mark.parametrize("again", [False, True], ids=["first", "taken over"])
async def test_an_acquire_that_arrives_after_its_release(  # noqa: PLR0917 - fixtures and parameters
    session: DatabaseSession,
    other: DatabaseSession,
    others: async_sessionmaker,
    proxy: PostgresProxy,
    monkeypatch: pytest.MonkeyPatch,
    again: bool,
) -> None:
    """Whose ``COMMIT`` hangs is given up. Its release waits for it, and takes it back."""
    if again:  # there is a row, of somebody who died
        assert await claim_of(other, "dead").acquire(60) == 0
        await lapse(others)
    monkeypatch.setattr(_settle, "SETTLE_SECONDS", 0.4)
    monkeypatch.setattr(_settle, "GIVE_UP_SECONDS", 0.2)
    monkeypatch.setattr(_pauses, "RETRY_SECONDS", 0.1)
    proxy.choose = commits("late", times=1)
    claim = claim_of(session, "late")
    acquiring = asyncio.create_task(_settle.settle(claim.acquire(60)))
    await proxy.faulty.wait()
    acquiring.cancel()
    await asyncio.wait({acquiring})
    assert acquiring.cancelled()

    releasing = asyncio.create_task(claim.release())
    for _ in range(20):
        assert await other.busy() is None
        assert not releasing.done()
    proxy.released.set()

    await releasing
    assert await other.busy() is None
    assert await left(others) == 0
