"""Leases in SQL: what is sent for them, what is left of them, and what locks keep apart."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from sqlalchemy import event, func, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine

from openai_agents_session import DatabaseSession, DatabaseStore
from openai_agents_session._conversation import LostError
from openai_agents_session.database import AgentSession, Base
from openai_agents_session.database._statements import statements_of
from tests.contract import numbered
from tests.contract.leasing import LIFE, WRITES, write
from tests.database.conftest import each_driver, new_user, on_postgres
from tests.database.test_engines import use_both

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable
    from uuid import UUID

    from openai_agents_session._conversation import Claim
    from openai_agents_session.database._conversation import DatabaseConversation

LEASES = Base.metadata.tables["agent_session_lease"]
NEW = [b'{"role":"user","content":"new"}']


def claim_of(session: Any, holder: str, *, lives: int = 1000 * LIFE) -> Claim:
    """What a holder asks of the lease, which lives so many milliseconds."""
    claim: Any = session._conversation.claim(holder, LIFE)
    claim._lives = lives
    return claim


async def lapse(maker: async_sessionmaker) -> None:
    """Let every lease have run out."""
    async with maker() as db, db.begin():
        await db.execute(update(LEASES).values(until=0))


async def left(maker: async_sessionmaker) -> int:
    """How many rows there are of leases."""
    async with maker() as db:
        return await db.scalar(select(func.count()).select_from(LEASES)) or 0


async def until(condition: Callable[[], Any]) -> None:
    """Wait until a condition holds."""

    async def wait() -> None:
        while not await condition():  # noqa: ASYNC110 - only the database knows
            await asyncio.sleep(0.005)

    await asyncio.wait_for(wait(), 30)


async def is_free(session: Any) -> bool:
    """Whether nobody holds the lease."""
    return await session.busy() is None


@pytest.fixture
def told(engine: AsyncEngine) -> list[str]:
    """The statements that the engine has been told, BEGIN and COMMIT aside."""
    statements: list[str] = []

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def tell(_: Any, __: Any, statement: str, *___: Any) -> None:
        if not statement.startswith("BEGIN"):
            statements.append(statement)

    return statements


def kinds(told: list[str]) -> list[str]:
    """The first word of each statement; they are forgotten."""
    words = [statement.split(maxsplit=1)[0] for statement in told]
    told.clear()
    return words


# ------------------------------------------------------------------------ what is sent


@each_driver
async def test_what_a_lease_costs(
    session: DatabaseSession, maker: async_sessionmaker, told: list[str]
) -> None:
    """A statement each: to take, renew, give back and ask; a waiter that has said when only reads.

    To take it over from somebody, or to wait, takes one more.
    """
    first, second, third = (claim_of(session, name) for name in ("a1", "b2", "c3"))

    assert await first.acquire(60) == 0
    assert kinds(told) == ["INSERT"]
    assert await first.renew()
    assert kinds(told) == ["UPDATE"]
    assert await session.busy()
    assert kinds(told) == ["SELECT"]
    assert await third.acquire(0) == 1
    assert kinds(told) == ["SELECT"]
    assert await second.acquire(60) == 1
    assert kinds(told) == ["INSERT", "UPDATE"]
    for _ in range(10):
        assert await second.acquire(60) == 1
    assert kinds(told) == ["SELECT"] * 10
    assert await second.acquire(100) == 1  # promises more than it has before
    assert kinds(told) == ["SELECT", "INSERT", "UPDATE"]
    await first.release()
    assert kinds(told) == ["DELETE", "INSERT", "UPDATE"]
    assert await second.acquire(60) == 0
    assert kinds(told) == ["SELECT", "INSERT", "UPDATE"]
    await second.release()
    assert kinds(told) == ["DELETE"]
    assert await left(maker) == 0


@each_driver
@pytest.mark.parametrize("name", [*WRITES, "change"])
@pytest.mark.parametrize("there", [True, False], ids=["there", "absent"])
@pytest.mark.parametrize("source", ["maker", "store"])
async def test_a_fence_takes_no_statement(  # noqa: PLR0917 - fixtures and parameters
    engine: AsyncEngine,
    maker: async_sessionmaker,
    user_id: UUID,
    told: list[str],
    name: str,
    there: bool,
    source: str,
) -> None:
    """A held session sends as many as any other, also where there is no conversation.

    There, SQLite takes one more, which reads: it cannot say which of the two there is not.
    """
    sent = []
    for leased in (False, True):
        session: Any = DatabaseSession(f"{leased}", user_id, maker)
        if source == "store":
            session = DatabaseStore(maker).user(user_id).session(f"{leased}")
            await session.add_items(numbered(0, 1))  # asks for the table of users
            await DatabaseStore(maker).user(user_id).delete(f"{leased}")
        if there:
            await session.add_items(numbered(0, 3))
        claim = claim_of(session, "held")
        assert await claim.acquire(60) == 0
        conversation: Any = claim.fenced() if leased else session._conversation
        found = await conversation.read(None)
        told.clear()

        if name == "change":
            await conversation.change({"session_name": "A"})
        elif there or name not in {"remove", "swap"}:
            await write(conversation, name, found)
        sent.append(len(told))
        assert all(("agent_session_lease" in told[0], leased) != (True, False) for _ in told)

    inserts = name in {"append", "replace", "change"}
    nothing = not there and name in {"remove", "swap"}
    more = engine.dialect.name == "sqlite" and not there and not inserts and not nothing
    assert sent[1] == sent[0] + more
    assert sent[0] > 0 or nothing


async def test_without_leases_no_statement_is_about_them(
    engine: AsyncEngine, maker: async_sessionmaker, user_id: UUID, told: list[str]
) -> None:
    """Nor is their table needed: whoever has not migrated yet loses nothing by an upgrade."""
    async with engine.begin() as connection:
        await connection.run_sync(LEASES.drop)
    told.clear()

    for source in ("maker", "AsyncSession"):
        await use_both(maker, user_id, source)
    view = DatabaseStore(maker).user(user_id)
    await view.session("a", name="A").add_items(numbered(0, 2))
    assert [each.name async for each in view] == ["A"]
    await view.fork("a", "b")
    assert await view.delete("b")
    assert told
    assert not [statement for statement in told if "_lease" in statement]
    assert (await view.erase()).conversations == 1  # looks whether there is such a table
    assert not [statement for statement in told if "DELETE FROM agent_session_lease" in statement]


@each_driver
async def test_a_missing_table_is_said_to_be_missing(
    session: DatabaseSession, engine: AsyncEngine
) -> None:
    """What to do about it stands in the error, and nothing has been written."""
    async with engine.begin() as connection:
        await connection.run_sync(LEASES.drop)

    for attempt in (session.lease(0).__aenter__(), session.busy()):
        with pytest.raises(DBAPIError) as caught:
            await attempt
        said = str([caught.value.args, getattr(caught.value, "__notes__", "")])
        assert "run the migration again" in said
        assert "python -m openai_agents_session.database upgrade" in said
    await session.add_items(numbered(0, 1))
    assert await session.get_items() == numbered(0, 1)


PLAIN = {
    "touch": (
        "UPDATE agent_session SET last_position=(last_position + :more), updated_at=:now "
        "WHERE user_id = :owner AND session_id = :name RETURNING id, last_position, "
    ),
    "upsert": (
        "INSERT INTO agent_session (id, session_id, session_name, description, is_active, "
        "agent_name, agent_instructions, last_position, user_id, created_at, updated_at) "
        "VALUES (:key, :name, :session_name, :description, :is_active, :agent_name, "
        ":agent_instructions, :more, :owner, :now, :now) "
        "ON CONFLICT (user_id, session_id) DO UPDATE SET "
        "last_position = (last_position + :more), updated_at = :now RETURNING id, last_position, "
    ),
}
TYPES = r"::(BIGINT|UUID|VARCHAR|TIMESTAMP WITH TIME ZONE)|agent_session\."
XACT_ID = {
    "postgresql": "CAST(pg_current_xact_id() AS TEXT) AS xact_id",
    "sqlite": "NULL AS xact_id",
}


@pytest.mark.parametrize("dialect", ["postgresql", "sqlite"])
@pytest.mark.parametrize("name", ["touch", "upsert"])
def test_a_session_without_a_lease_sends_what_it_always_did(dialect: str, name: str) -> None:
    """The two statements that have a fence where there is a lease have no trace of it here."""
    sql = {"postgresql": postgresql, "sqlite": sqlite}[dialect].dialect(paramstyle="named")

    statement = getattr(statements_of(AgentSession, dialect), name)

    sent = " ".join(str(statement.compile(dialect=sql)).split())
    # Types of parameters and names of tables are written or not, depending on SQLAlchemy.
    assert re.sub(TYPES, "", sent) == PLAIN[name] + XACT_ID[dialect]


# ------------------------------------------------------------------------ what is left


@pytest.mark.parametrize("source", ["maker", "AsyncSession"])
async def test_nothing_is_left(maker: async_sessionmaker, user_id: UUID, source: str) -> None:
    """Not of a lease that ended, nor of one that gave up; one that crashed is replaced."""
    async with maker() as db:
        session = DatabaseSession("s", user_id, db if source == "AsyncSession" else maker)
        async with session.lease(0) as held:
            await held.add_items(numbered(0, 1))
            crashed = claim_of(session, "crashed")
            assert await crashed.acquire(60) == 1
            await crashed.release()
        assert await left(maker) == 0

        assert await crashed.acquire(60) != 0  # a copy that was late
        assert await left(maker) == 0
        dead = claim_of(session, "dead", lives=1)
        assert await dead.acquire(60) == 0
        await until(lambda: is_free(session))
        assert await left(maker) == 1
        async with session.lease(0) as held:
            assert await left(maker) == 1
            await held.add_items(numbered(1, 2))
            await dead.release()
            await held.add_items(numbered(2, 3))
        assert await left(maker) == 0
        assert await session.get_items() == numbered(0, 3)


async def test_a_lease_runs_out_by_the_databases_clock(session: DatabaseSession) -> None:
    """Without a renewal it is over after its time, and not before."""
    brief, other = claim_of(session, "brief", lives=300), claim_of(session, "other")
    began = asyncio.get_running_loop().time()
    assert await brief.acquire(60) == 0
    assert 0 < (await session.busy() or 0) <= 0.3
    assert await other.acquire(60) == 1

    async def taken() -> bool:
        return await other.acquire(60) == 0

    await until(taken)
    assert asyncio.get_running_loop().time() - began > 0.29
    assert not await brief.renew()


async def test_a_transaction_of_the_callers_has_no_lease(
    maker: async_sessionmaker, user_id: UUID
) -> None:
    """Nobody else would see it; the error says what to do, and the transaction goes on."""
    async with maker() as db, db.begin():
        session = DatabaseSession("s", user_id, db)
        await session.add_items(numbered(0, 1))
        with pytest.raises(RuntimeError, match=r"transaction that you began.* async_sessionmaker"):
            await session.lease(0).__aenter__()
        assert await session.busy() is None
        await session.add_items(numbered(1, 2))
    assert await DatabaseSession("s", user_id, maker).get_items() == numbered(0, 2)
    assert await left(maker) == 0


@pytest.mark.parametrize("moment", ["acquiring", "releasing"])
async def test_cancelled_at_any_moment(
    session: DatabaseSession, maker: async_sessionmaker, moment: str
) -> None:
    """Whoever is cancelled while it takes the lease or gives it back holds nothing afterwards."""
    ended = asyncio.Event()

    async def hold() -> None:
        async with session.lease(0, LIFE):
            entered.set()
            if moment == "acquiring":
                await asyncio.Event().wait()
        ended.set()

    for turns in range(60):
        entered = asyncio.Event()
        ended.clear()
        task = asyncio.create_task(hold())
        if moment == "releasing":
            await entered.wait()
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        assert await session.busy() is None
        assert await left(maker) == 0


# ------------------------------------------------------------------- what locks keep apart


async def is_waiting(maker: async_sessionmaker) -> bool:
    """Whether somebody waits for a lock in the database of PostgreSQL."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    async with maker() as db:
        return bool(await db.scalar(waiting))


@pytest_asyncio.fixture
async def others(url: str, engine: AsyncEngine) -> AsyncIterator[async_sessionmaker]:
    """What another process has: its own connections to the same database."""
    other = create_async_engine(url)
    yield async_sessionmaker(other)
    await other.dispose()
    del engine  # it has made the tables


@asynccontextmanager
async def taken_over(maker: async_sessionmaker) -> AsyncGenerator[None]:
    """A transaction that has given the lease to another holder, and is committed at the end."""
    async with maker() as db, db.begin():
        await db.execute(update(LEASES).values(holder="other"))
        yield


LEVELS = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE", "AUTOCOMMIT"]


@on_postgres
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", [*WRITES, "change"])
async def test_a_write_waits_for_a_takeover_that_is_not_committed(
    url: str, others: async_sessionmaker, user_id: UUID, level: str, name: str
) -> None:
    """And then changes nothing, whatever the engine's isolation level."""
    engine = create_async_engine(url, isolation_level=level)
    session = DatabaseSession("s", user_id, async_sessionmaker(engine))
    await session.add_items(numbered(0, 3))
    claim = claim_of(session, "slow")
    assert await claim.acquire(60) == 0
    fenced: Any = claim.fenced()
    found = await fenced.read(None)

    async with taken_over(others):
        writing = asyncio.create_task(
            fenced.change({"session_name": "new"})
            if name == "change"
            else write(fenced, name, found)
        )
        await until(lambda: is_waiting(others))
        assert not writing.done()

    with pytest.raises(LostError):
        await writing
    assert (await fenced.read(None)).records == found.records
    await engine.dispose()


@each_driver
@pytest.mark.parametrize("source", ["maker", "store"])
async def test_a_takeover_waits_for_a_write_that_is_not_committed(
    maker: async_sessionmaker,
    others: async_sessionmaker,
    user_id: UUID,
    engine: AsyncEngine,
    source: str,
) -> None:
    """The lease ran out in the middle of a write: its next holder sees what was written."""
    session: Any = DatabaseSession("s", user_id, maker)
    if source == "store":
        session = DatabaseStore(maker).user(user_id).session("s")
    await session.add_items(numbered(0, 1))
    slow = claim_of(session, "slow", lives=200)
    assert await slow.acquire(60) == 0
    fenced: Any = slow.fenced()
    entered, goes_on, insert = asyncio.Event(), asyncio.Event(), fenced._insert

    async def insert_slowly(*args: Any) -> None:
        entered.set()
        await goes_on.wait()
        await insert(*args)

    fenced._insert = insert_slowly
    other = DatabaseSession("s", user_id, others)
    writing = asyncio.create_task(fenced.append(NEW))
    await entered.wait()
    await until(lambda: is_free(other))
    taking = asyncio.create_task(claim_of(other, "next").acquire(60))
    if engine.dialect.name == "postgresql":
        await until(lambda: is_waiting(others))
    assert not taking.done()

    goes_on.set()
    await writing
    assert await taking == 0
    assert len(await other.get_items()) == 2
    with pytest.raises(LostError):
        await fenced.append(NEW)
    assert len(await other.get_items()) == 2


@on_postgres
@pytest.mark.parametrize("source", ["maker", "store"])
async def test_a_write_without_a_lease_is_waited_for(
    maker: async_sessionmaker, others: async_sessionmaker, user_id: UUID, source: str
) -> None:
    """It may write beside a leased one, whose statement PostgreSQL then looks at once more."""
    session: Any = DatabaseSession("s", user_id, maker)
    if source == "store":
        session = DatabaseStore(maker).user(user_id).session("s")
    await session.add_items(numbered(0, 1))
    claim = claim_of(session, "held")
    assert await claim.acquire(60) == 0
    async with others() as db, db.begin():
        await DatabaseSession("s", user_id, db).add_items(numbered(1, 3))
        writing = asyncio.create_task(claim.fenced().append(NEW))
        await until(lambda: is_waiting(others))
    await writing
    assert len(await session.get_items()) == 4


async def test_erase_meets_the_writes_of_a_holder(
    maker: async_sessionmaker, others: async_sessionmaker, user_id: UUID
) -> None:
    """Both are done, in some order, and neither waits for the other for ever."""
    view = DatabaseStore(others).user(user_id)
    for _ in range(20):
        session = DatabaseStore(maker).user(user_id).session("s")
        claim = claim_of(session, "held")
        assert await claim.acquire(60) == 0
        fenced: Any = claim.fenced()
        await fenced.append(NEW)

        async def go_on(fenced: DatabaseConversation = fenced) -> None:
            while True:
                await fenced.append(NEW)

        writing = asyncio.create_task(go_on())
        erased = await view.erase()
        with pytest.raises(LostError):
            await asyncio.wait_for(writing, 30)
        assert erased.conversations == 1
        assert await view.count() == 0
    assert await left(maker) == 0


async def test_a_file_that_another_process_writes_to(sqlite_url: str) -> None:
    """Waiters read; so they hold nobody back, and are not held back for long themselves."""
    engine = create_async_engine(sqlite_url, connect_args={"timeout": 0.05})
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.exec_driver_sql("PRAGMA journal_mode = WAL")
    maker = async_sessionmaker(engine)
    session = DatabaseSession("s", await new_user(maker), maker)
    holder, waiter = claim_of(session, "a1"), claim_of(session, "b2")
    assert await holder.acquire(60) == 0
    assert await waiter.acquire(60) == 1
    other = sqlite3.connect(engine.url.database or "", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    assert [await waiter.acquire(60) for _ in range(10)] == [1] * 10
    assert await session.busy()

    other.rollback()
    other.close()
    await engine.dispose()
