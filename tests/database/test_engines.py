"""Whatever engine, connection or session an application has: each unit of work stays whole."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, cast

import pytest
from sqlalchemy import Delete, Update, event, func, select, text
from sqlalchemy.dialects.postgresql import Insert
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool, StaticPool

from openai_agents_session import AgentSessionService, DatabaseSession, _settle
from openai_agents_session.database import AgentSession, Base, SessionMessage, _driver
from tests.contract import numbered
from tests.database.conftest import new_user

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from uuid import UUID

    Source = async_sessionmaker[Any] | AsyncSession

SOURCES = ("maker", "AsyncSession")
REFUSED: Any = {"content": b"raw"}  # JSON cannot hold it
LIMIT = 30  # seconds, for what would otherwise never end


async def use(source: Source, owner: UUID) -> None:
    """Call all that a session and the service have, and look at what comes back."""
    await use_session(source, owner)
    await use_service(source, owner)


async def use_session(source: Source, owner: UUID) -> None:
    """Call all that a session has."""
    session = DatabaseSession("s", owner, source)
    await session.add_items(numbered(0, 80))
    assert await session.get_items() == numbered(0, 80)
    assert await session.get_items(2) == numbered(78, 80)
    assert await session.pop_item() == numbered(79, 80)[0]
    snapshot = await session._get_compaction_snapshot(2)
    assert snapshot is not None
    assert await snapshot.replace_suffix(0, numbered(0, 1))
    await session.replace_items(numbered(0, 3))
    await session.update_session_metadata(session_name="A talk")
    assert await session.ping() is True
    await session.clear_session()
    assert await session.get_items() == []


async def use_service(source: Source, owner: UUID) -> None:
    """Call all that a service has."""
    session = DatabaseSession("s", owner, source)
    await session.add_items(numbered(0, 3))
    db = source if isinstance(source, AsyncSession) else cast("AsyncSession", source())
    service = AgentSessionService(db)
    try:
        assert [one.session_name for one in await service.list_for_user(owner)] == ["A talk"]
        assert (await service.rename("s", "Another", user_id=owner)).session_name == "Another"
        assert len(await service.list_messages("s", user_id=owner)) == 3
        assert await service.delete_older_than(timedelta(0), user_id=owner, dry_run=True) == 1
        await service.delete("s", user_id=owner)
        assert await service.count_for_user(owner) == 0
    finally:
        if db is not source:
            await db.close()
    assert await session.get_items() == []


async def use_both(maker: async_sessionmaker[Any], owner: UUID, source: str) -> None:
    """Do so with a maker, or with an AsyncSession of it."""
    if source == "maker":
        await use(maker, owner)
        return
    async with maker() as db:
        await use(db, owner)
        assert not db.in_transaction()


def record(engine: AsyncEngine) -> list[str]:
    """Return a list that what the engine is told is added to, in first words."""
    told: list[str] = []
    event.listen(
        engine.sync_engine,
        "before_cursor_execute",
        lambda _conn, _cursor, statement, *_: told.append(statement.split(maxsplit=1)[0]),
    )
    return told


# ------------------------------------------------------------------------ schemas


async def tenants(url: str, directory: Path) -> AsyncEngine:
    """An engine on a database with the tables twice: as usual, and in the schema ``tenant``."""
    engine = create_async_engine(url)
    if engine.dialect.name == "sqlite":
        attach = f"ATTACH '{directory / 'tenant.db'}' AS tenant"
        event.listen(engine.sync_engine, "connect", lambda one, _: one.execute(attach))
    async with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            await connection.execute(text("CREATE SCHEMA tenant"))
        await connection.run_sync(Base.metadata.create_all)
        await connection.execution_options(schema_translate_map={None: "tenant"})
        await connection.run_sync(Base.metadata.create_all)
    return engine


@pytest.mark.parametrize("said_by", ["engine", "connection"])
async def test_a_tenants_batch_is_in_the_tenants_schema(
    url: str, tmp_path: Path, said_by: str
) -> None:
    """With a map of schemas, no row goes to the tables of the same names elsewhere."""
    engine = await tenants(url, tmp_path)
    options: dict[str, Any] = {"schema_translate_map": {None: "tenant"}}
    maker = async_sessionmaker(engine.execution_options(**options))
    owner = await new_user(maker)

    if said_by == "engine":
        session = DatabaseSession("s", owner, maker)
        await session.add_items(numbered(0, 30))
        assert await session.get_items() == numbered(0, 30)
        await session.clear_session()
        await use(maker, owner)
        await session.add_items(numbered(0, 30))
    else:
        async with async_sessionmaker(engine)() as db, db.begin():
            await db.connection(execution_options=options)
            await DatabaseSession("s", owner, db).add_items(numbered(0, 30))

    async with async_sessionmaker(engine)() as db:
        for table in ("user_account", "agent_session", "session_message"):
            rows = f"SELECT count(*) FROM {{}}.{table}"
            usual = "main" if engine.dialect.name == "sqlite" else "public"
            assert await db.scalar(text(rows.format(usual))) == 0
            expected = 30 if table == "session_message" else 1
            assert await db.scalar(text(rows.format("tenant"))) == expected
    await engine.dispose()


# -------------------------------------------------------------------- connections

Mode = Literal["create_savepoint", "conditional_savepoint", "rollback_only"]


@pytest.mark.parametrize("mode", ["create_savepoint", "conditional_savepoint", "rollback_only"])
@pytest.mark.parametrize("source", SOURCES)
async def test_a_connection_in_a_transaction(
    engine: AsyncEngine, maker: async_sessionmaker, user_id: UUID, mode: Mode, source: str
) -> None:
    """A session that was given one works in it, and what was done goes with its rollback."""
    async with engine.connect() as connection:
        await connection.begin()
        bound = async_sessionmaker(bind=connection, join_transaction_mode=mode)

        await asyncio.wait_for(use_both(bound, user_id, source), LIMIT)
        await DatabaseSession("s", user_id, bound).add_items(numbered(0, 3))

        assert connection.in_transaction()
        await connection.rollback()

    assert await DatabaseSession("s", user_id, maker).get_items() == []
    async with maker() as db:
        assert await db.scalar(select(func.count()).select_from(AgentSession)) == 0
        assert await db.scalar(select(func.count()).select_from(SessionMessage)) == 0


@pytest.mark.parametrize("source", SOURCES)
async def test_a_connection_in_no_transaction(
    engine: AsyncEngine, maker: async_sessionmaker, user_id: UUID, source: str
) -> None:
    """There each operation commits."""
    async with engine.connect() as connection:
        bound = async_sessionmaker(bind=connection)

        await use_both(bound, user_id, source)
        await DatabaseSession("s", user_id, bound).add_items(numbered(0, 3))

        assert not connection.in_transaction()
    assert await DatabaseSession("s", user_id, maker).get_items() == numbered(0, 3)


@pytest.mark.parametrize("source", SOURCES)
async def test_a_session_without_a_bind_of_its_own(
    engine: AsyncEngine, user_id: UUID, source: str
) -> None:
    """The models say which database it is; advanced-alchemy's service does not ask them."""
    maker = async_sessionmaker(binds={Base: engine})
    async with maker() as db:
        await use_session(maker if source == "maker" else db, user_id)
        assert not db.in_transaction()


@pytest.mark.parametrize("source", SOURCES)
async def test_reads_and_writes_go_where_the_session_routes_them(
    url: str, engine: AsyncEngine, user_id: UUID, source: str
) -> None:
    """A session that tells them apart has no write on the reader, and waits for nothing."""
    reader, writer = create_async_engine(url), create_async_engine(url)

    class Routing(Session):
        def get_bind(self, *_: Any, clause: Any = None, **__: Any) -> Any:
            writes = self._flushing or isinstance(clause, (Update, Delete, Insert))
            return (writer if writes else reader).sync_engine

    read, written = record(reader), record(writer)

    neither = record(engine)  # a bind all the same: with SQLAlchemy 2.0 the service asks for one
    maker = async_sessionmaker(engine, sync_session_class=Routing)
    await asyncio.wait_for(use_both(maker, user_id, source), LIMIT)

    assert not neither
    assert set(read) == {"SELECT"}
    assert {"INSERT", "UPDATE", "DELETE"} <= set(written)
    await reader.dispose()
    await writer.dispose()


@pytest.mark.parametrize("source", SOURCES)
async def test_a_session_that_begins_only_when_told(
    engine: AsyncEngine, user_id: UUID, source: str
) -> None:
    """With ``autobegin=False`` each unit of work begins its own transaction."""
    await use_both(async_sessionmaker(engine, autobegin=False), user_id, source)


# ------------------------------------------------- one connection, several callers


@pytest.fixture
async def in_memory() -> AsyncIterator[AsyncEngine]:
    """An engine whose only connection is the database."""
    engine = create_async_engine("sqlite+aiosqlite://", poolclass=StaticPool)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield engine
    await engine.dispose()


async def test_nothing_acknowledged_is_lost_on_one_connection(in_memory: AsyncEngine) -> None:
    """AsyncSessions, makers, engines that share it, and a service that fails take turns."""
    maker = async_sessionmaker(in_memory)
    sibling = async_sessionmaker(in_memory.execution_options(sibling=True))
    owner = await new_user(maker)

    async def rename() -> None:
        async with maker() as db:
            await AgentSessionService(db).rename("nowhere", "x", user_id=owner)  # rolls back

    async with maker() as one, sibling() as two:
        sources: list[Source] = [maker, sibling, one, two]
        sessions = [DatabaseSession(f"{at}", owner, each) for at, each in enumerate(sources)]
        for _ in range(10):
            results = await asyncio.gather(
                *(session.add_items(numbered(0, 2)) for session in sessions),
                *(rename() for _ in sources),
                *(session.add_items([REFUSED, *numbered(0, 1)]) for session in sessions),
                *(session.get_items() for session in sessions),
                *(session.add_items(numbered(0, 2)) for session in sessions),
                return_exceptions=True,
            )
            assert [type(result).__name__ for result in results] == (
                ["NoneType"] * 4
                + ["NotFoundError"] * 4
                + ["TypeError"] * 4
                + ["list"] * 4
                + ["NoneType"] * 4
            )
        for session in sessions:
            assert await session.get_items() == numbered(0, 2) * 20


@pytest.mark.parametrize("shared", ["AsyncSession", "StaticPool"])
def test_one_event_loop_after_the_other(tmp_path: Path, shared: str) -> None:
    """Concurrent calls wait for each other in each of them."""
    kind: Any = StaticPool if shared == "StaticPool" else NullPool
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'test.db'}", poolclass=kind)
    maker = async_sessionmaker(engine)
    db: AsyncSession = maker()

    async def prepare() -> UUID:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        return await new_user(maker)

    async def converse(owner: UUID) -> int:
        source = maker if shared == "StaticPool" else db
        session = DatabaseSession("s", owner, source)
        await asyncio.gather(*(session.add_items(numbered(0, 2)) for _ in range(5)))
        return len(await session.get_items())

    async def close() -> None:
        await db.close()
        await engine.dispose()

    owner = asyncio.run(prepare())
    assert [asyncio.run(converse(owner)) for _ in range(3)] == [10, 20, 30]
    asyncio.run(close())


# --------------------------------------------------------------------------- locks


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("method", ["add", "get"])
async def test_a_cancelled_call_does_not_wait_for_a_locked_file(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, source: str, method: str
) -> None:
    """The driver's thread waits on, and so long nobody else has the AsyncSession."""
    engine = create_async_engine(sqlite_url, connect_args={"timeout": 2 * LIMIT})
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    maker = async_sessionmaker(engine)
    owner = await new_user(maker)
    db: AsyncSession = maker()
    session = DatabaseSession("s", owner, db if source == "AsyncSession" else maker)
    await session.add_items(numbered(0, 1))
    # The statement gets to the driver's thread before it is given up.
    monkeypatch.setattr(_settle, "SETTLE_SECONDS", 0.4)
    monkeypatch.setattr(_settle, "GIVE_UP_SECONDS", 0.05)
    told = record(engine)
    other = sqlite3.connect(engine.url.database or "")
    other.execute("BEGIN EXCLUSIVE")

    add = method == "add"
    call = asyncio.create_task(session.add_items(numbered(1, 3)) if add else session.get_items())
    while not told:  # noqa: ASYNC110 - the driver's thread sets no event
        await asyncio.sleep(0.001)
    call.cancel()
    await asyncio.wait({call}, timeout=LIMIT)
    gave_up = call.done()

    if source == "AsyncSession":
        held = _driver._lock(db)
        assert held.locked()
        following = asyncio.create_task(session.get_items())
        for _ in range(20):
            await asyncio.sleep(0)
        assert held.locked()
        assert not following.done()
    other.rollback()
    other.close()
    if source == "AsyncSession":
        assert await asyncio.wait_for(following, LIMIT) == numbered(0, 1)
        assert not held.locked()
    assert gave_up
    assert call.cancelled()
    while _settle._given_up:  # noqa: ASYNC110 - nobody else has the task
        await asyncio.sleep(0.001)
    del call  # its traceback holds the cursor, and a cursor of SQLite's the lock of a reader
    gc.collect()
    await session.add_items(numbered(1, 2))
    assert await session.get_items() == numbered(0, 2)
    await db.close()
    await engine.dispose()


async def test_many_writers_of_a_file_wait_for_each_other(sqlite_url: str) -> None:
    """In one process, none gives up because others were faster again and again."""
    patience = 0.02  # seconds; together they take longer
    engine = create_async_engine(sqlite_url, connect_args={"timeout": patience}, pool_size=60)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    maker = async_sessionmaker(engine)
    owner = await new_user(maker)

    async def write(writer: int) -> None:
        await DatabaseSession(f"{writer % 3}", owner, maker).add_items(numbered(0, 2))

    await asyncio.gather(*(write(writer) for writer in range(60)))

    counted = [len(await DatabaseSession(f"{at}", owner, maker).get_items()) for at in range(3)]
    assert counted == [40, 40, 40]
    await engine.dispose()
