"""Connections that break: what was done is known, is done once, and is no error."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from openai_agents_session import AgentSessionService, DatabaseSession, _pauses
from openai_agents_session.database import Base, _driver
from tests.database.conftest import new_user
from tests.database.proxy import Fault, PostgresProxy, Request
from tests.shares import share_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from uuid import UUID

    from agents import TResponseInputItem

    from tests.database.postgres import PostgresServer

pytestmark = pytest.mark.parametrize(
    "url", share_of(["postgres", "psycopg"], "postgres"), indirect=True
)

AWAY = (OSError, DBAPIError, asyncpg.PostgresConnectionError)
"""What drivers raise where there is no server, or none any more."""
OPERATIONS: dict[str, Callable[[DatabaseSession], Awaitable[Any]]] = {
    "add_items": lambda session: session.add_items(numbered(3, 6)),
    "pop_item": lambda session: session.pop_item(),
    "clear_session": lambda session: session.clear_session(),
    "replace_items": lambda session: session.replace_items(numbered(7, 9)),
    "get_items": lambda session: session.get_items(),
    "rename": lambda session: session.update_session_metadata(session_name="another"),
}
AFTER = {
    "add_items": (0, 6),
    "pop_item": (0, 2),
    "clear_session": (0, 0),
    "replace_items": (7, 9),
    "get_items": (0, 3),
    "rename": (0, 3),
}


def numbered(start: int, stop: int) -> list[TResponseInputItem]:
    return [{"role": "user", "content": str(number)} for number in range(start, stop)]


def commits(fault: Fault, *, every: int = 1, times: int = 10**9) -> Callable[[Request], Any]:
    """Let the COMMIT of every nth transaction go wrong, so many times."""
    seen = count(1)
    left = iter(range(times))

    def choose(request: Request) -> Fault | None:
        wrong = request.commits and next(seen) % every == 0 and next(left, None) is not None
        return fault if wrong else None

    return choose


def fault_at(number: int, fault: Fault) -> Callable[[Request], Any]:
    """Let one request go wrong, counted from 0."""
    numbers = count()
    return lambda _: fault if next(numbers) == number else None


def nothing(_: Request) -> None:
    return None


@pytest_asyncio.fixture
async def proxy(url: str) -> AsyncIterator[PostgresProxy]:
    """A database with the tables, behind a proxy that makes no faults yet."""
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    await engine.dispose()
    async with PostgresProxy(url, nothing) as proxy:
        yield proxy


@pytest_asyncio.fixture
async def maker(proxy: PostgresProxy) -> AsyncIterator[async_sessionmaker]:
    """What a server passes to a session, whose connections lead through the proxy."""
    engine = create_async_engine(proxy.url)
    yield async_sessionmaker(engine)
    proxy.choose = nothing
    await engine.dispose()


@pytest_asyncio.fixture
async def user_id(maker: async_sessionmaker) -> UUID:
    return await new_user(maker)


@pytest.fixture
def session(maker: async_sessionmaker, user_id: UUID) -> DatabaseSession:
    return DatabaseSession("s", user_id, maker)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no slow machine be taken for a server that is away."""
    monkeypatch.setattr(_pauses, "RETRY_SECONDS", 60.0)
    monkeypatch.setattr(_driver, "SETTLE_SECONDS", 60.0)


@pytest.mark.usefixtures("patient")
async def test_every_third_answer_to_a_commit_is_lost(
    session: DatabaseSession, proxy: PostgresProxy
) -> None:
    """Nothing is lost or doubled, and nobody is told of it."""
    proxy.choose = commits("lose answer", every=3)

    for start in range(0, 300, 3):
        await session.add_items(numbered(start, start + 3))
    popped = [await session.pop_item() for _ in range(100)]

    assert popped == numbered(200, 300)[::-1]
    assert await session.get_items() == numbered(0, 200)
    assert proxy.faults > 60  # a third of 100 appends, and of 100 pops


@pytest.mark.usefixtures("patient")
async def test_writers_and_poppers_share_what_there_is(
    maker: async_sessionmaker, user_id: UUID, proxy: PostgresProxy
) -> None:
    """Each item goes to one popper or stays, whoever was cut off meanwhile."""
    proxy.choose = commits("lose answer", every=4)
    popped: list[Any] = []

    async def write(writer: int) -> None:
        session = DatabaseSession("s", user_id, maker)
        for number in range(20):
            start = 100 * writer + 2 * number
            await session.add_items(numbered(start, start + 2))

    async def pop() -> None:
        session = DatabaseSession("s", user_id, maker)
        for _ in range(30):
            item = await session.pop_item()
            popped.extend([item] if item else [])

    await asyncio.gather(*(write(writer) for writer in range(3)), pop(), pop())

    left = await DatabaseSession("s", user_id, maker).get_items()
    everything = [item for start in (0, 100, 200) for item in numbered(start, start + 40)]
    assert sorted(map(str, [*left, *popped])) == sorted(map(str, everything))
    assert proxy.faults > 10


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("fault", share_of(["lose answer", "cut before"], "lose answer"))
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("source", ["maker", "session"])
async def test_a_connection_breaks_anywhere(  # noqa: PLR0917 - fixtures and parameters
    maker: async_sessionmaker,
    user_id: UUID,
    proxy: PostgresProxy,
    operation: str,
    fault: Fault,
    source: str,
) -> None:
    """At each request of an operation in turn: it is done once, and it is no error."""
    for number in count():
        async with maker() as db:
            name = f"{operation} {number}"
            plain = DatabaseSession(name, user_id, maker)
            await plain.add_items(numbered(0, 3))
            session = plain if source == "maker" else DatabaseSession(name, user_id, db)
            before, proxy.choose = proxy.faults, fault_at(number, fault)

            result = await OPERATIONS[operation](session)

            proxy.choose = nothing
            assert await plain.get_items() == numbered(*AFTER[operation])
            if operation == "pop_item":
                assert result == numbered(2, 3)[0]
        if proxy.faults == before:
            assert number > 1
            return


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("fault", ["lose answer", "cut before"])
async def test_the_first_write_makes_one_row(
    maker: async_sessionmaker, user_id: UUID, proxy: PostgresProxy, fault: Fault
) -> None:
    proxy.choose = commits(fault, times=1)

    await DatabaseSession("new", user_id, maker).add_items(numbered(0, 2))

    assert await DatabaseSession("new", user_id, maker).get_items() == numbered(0, 2)
    async with maker() as db:
        assert await AgentSessionService(db).count_for_user(user_id) == 1
    assert proxy.faults == 1


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("fault", ["lose answer", "cut before"])
async def test_the_service_deletes_once(
    session: DatabaseSession, maker: async_sessionmaker, proxy: PostgresProxy, fault: Fault
) -> None:
    """A conversation that is gone already is not reported as one that never was."""
    await session.add_items(numbered(0, 2))
    async with maker() as db:
        service = AgentSessionService(db)
        proxy.choose = commits(fault, times=1)

        renamed = await service.rename("s", "another", user_id=session.user_id)
        assert renamed.session_name == "another"
        proxy.choose = commits(fault, times=1)
        await service.delete("s", user_id=session.user_id)

        assert await service.count_for_user(session.user_id) == 0
    assert proxy.faults == 2


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("operation", ["add_items", "pop_item"])
async def test_a_commit_that_arrives_late_is_waited_for(
    session: DatabaseSession, proxy: PostgresProxy, operation: str
) -> None:
    """While the server calls it in progress, nothing is done a second time."""
    await session.add_items(numbered(0, 3))
    asked = 0
    late = commits("late", times=1)

    def choose(request: Request) -> Fault | None:
        nonlocal asked
        asked += proxy.faults
        if asked == 20:
            proxy.released.set()
        return late(request)

    proxy.choose = choose

    await OPERATIONS[operation](session)

    assert asked >= 20
    assert await session.get_items() == numbered(*AFTER[operation])
    assert proxy.faults == 1


@pytest.mark.parametrize("operation", ["add_items", "pop_item"])
async def test_what_nobody_can_tell_is_an_error_and_no_guess(
    session: DatabaseSession,
    proxy: PostgresProxy,
    operation: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A transaction that stays in progress has perhaps been done, and the error says so."""
    await session.add_items(numbered(0, 3))
    monkeypatch.setattr(_driver, "SETTLE_SECONDS", 0.05)
    proxy.choose = commits("late", times=1)

    with pytest.raises(DBAPIError) as caught:
        await OPERATIONS[operation](session)

    assert "may have been done" in str([caught.value.args, getattr(caught.value, "__notes__", "")])
    proxy.released.set()
    # Its COMMIT arrives after all, and the next write waits for the row.
    await session.update_session_metadata(description="")
    assert await session.get_items() == numbered(*AFTER[operation])


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("operation", ["add_items", "pop_item", "replace_items"])
async def test_a_number_given_twice_deceives_nobody(
    session: DatabaseSession,
    proxy: PostgresProxy,
    operation: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A crashed server may say "committed" of another transaction's: the rows know better."""
    await session.add_items(numbered(0, 3))
    monkeypatch.setattr(_driver, "_STATUS", text("SELECT 'committed', CAST(:xact_id AS text)"))
    proxy.choose = commits("cut before", times=1)

    await OPERATIONS[operation](session)

    assert await session.get_items() == numbered(*AFTER[operation])
    assert proxy.faults == 1


@pytest.mark.usefixtures("patient")
async def test_what_was_written_and_taken_meanwhile_was_written(
    session: DatabaseSession, maker: async_sessionmaker, proxy: PostgresProxy
) -> None:
    """An item that another worker popped before its writer could ask is not written again."""
    other = DatabaseSession("s", session.user_id, maker)
    await session.add_items(numbered(0, 1))
    proxy.choose = commits("late", times=1)
    writing = asyncio.create_task(session.add_items(numbered(1, 2)))
    await proxy.faulty.wait()
    popping = asyncio.create_task(other.pop_item())  # waits for the row
    proxy.released.set()

    await writing

    assert await popping == numbered(1, 2)[0]
    assert await session.get_items() == numbered(0, 1)


async def test_in_the_callers_transaction_it_is_the_callers_error(
    session: DatabaseSession, maker: async_sessionmaker, proxy: PostgresProxy
) -> None:
    """Nobody else knows what else was done in it."""
    async with maker() as db:
        mine = DatabaseSession("s", session.user_id, db)
        await db.begin()
        await mine.add_items(numbered(0, 1))
        proxy.choose = fault_at(1, "cut before")
        with pytest.raises(DBAPIError):
            await mine.add_items(numbered(1, 2))
        await db.rollback()
        assert await mine.get_items() == []


async def test_idle_connections_break(
    session: DatabaseSession, postgres: PostgresServer, url: str
) -> None:
    """After a restart of the server, connections of the pool are made anew, and no error."""
    engine = create_async_engine(url, pool_size=3)
    maker = async_sessionmaker(engine)
    sessions = [DatabaseSession("s", session.user_id, maker) for _ in range(3)]
    await asyncio.gather(*(one.add_items(numbered(0, 1)) for one in sessions))

    await asyncio.to_thread(postgres.restart)

    assert await asyncio.gather(*(one.get_items() for one in sessions)) == [3 * numbered(0, 1)] * 3
    assert await sessions[0].ping()
    await asyncio.to_thread(postgres.restart)
    await sessions[0].add_items(numbered(1, 2))
    assert await sessions[1].pop_item() == numbered(1, 2)[0]
    await engine.dispose()


async def test_a_server_that_is_away_is_an_error(
    session: DatabaseSession, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the attempts it is what the driver says; then all goes on."""
    monkeypatch.setattr(_pauses, "RETRY_SECONDS", 0.1)
    await session.add_items(numbered(0, 1))
    await asyncio.to_thread(postgres.stop)
    try:
        with pytest.raises(AWAY):
            await session.add_items(numbered(1, 2))
        with pytest.raises(AWAY):
            await session.get_items()
        assert not await session.ping()
    finally:
        await asyncio.to_thread(postgres.launch)
    assert await session.get_items() == numbered(0, 1)
