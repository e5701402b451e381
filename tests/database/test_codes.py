"""What PostgreSQL's codes mean: where nothing was done it is tried again, else it is an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError, NotSupportedError, OperationalError, ProgrammingError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session

from openai_agents_session import DatabaseSession
from openai_agents_session.database import Base
from tests.contract import SECRET, numbered, user
from tests.database.conftest import new_user
from tests.database.postgres import WITH_PASSWORD, PostgresServer
from tests.database.proxy import PostgresProxy, Request

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncEngine

    from tests.database.proxy import Fault

postgres_alone = pytest.mark.parametrize("url", ["postgres"], indirect=True)
on_both_drivers = pytest.mark.parametrize("url", ["postgres", "psycopg"], indirect=True)

UNDONE = ["40001", "40P01", "53300", "25006"]
ERRORS = ["23514", "53100", "53200", "55P03", "55006", "57014", "0A000"]


async def refuse(engine: AsyncEngine, code: str, times: int) -> None:
    """Let the database refuse so many inserts of messages, whatever is rolled back."""
    statements = f"""
        CREATE SEQUENCE refusals;
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF nextval('refusals') <= {times} THEN
                RAISE EXCEPTION 'not now' USING ERRCODE = '{code}';
            END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER refuses BEFORE INSERT ON session_message
            FOR EACH STATEMENT EXECUTE FUNCTION refuse()
    """.split(";\n        CREATE")
    async with engine.begin() as connection:
        await connection.execute(text(statements[0]))
        for statement in ("CREATE" + rest for rest in statements[1:]):
            await connection.exec_driver_sql(statement)


async def refusals(engine: AsyncEngine) -> int:
    """How many inserts have reached the trigger."""
    async with engine.connect() as connection:
        return int(await connection.scalar(text("SELECT last_value FROM refusals")) or 0)


@on_both_drivers
@pytest.mark.parametrize("code", UNDONE)
async def test_what_was_not_done_is_tried_again(
    engine: AsyncEngine, user_id: UUID, maker: async_sessionmaker, code: str
) -> None:
    """The server rolled the transaction back, or could not begin it: another one goes well."""
    await refuse(engine, code, 2)
    session = DatabaseSession("s", user_id, maker)

    await session.add_items(numbered(0, 2))

    assert await refusals(engine) == 3
    assert await session.get_items() == numbered(0, 2)


@postgres_alone
@pytest.mark.parametrize("code", ERRORS)
async def test_what_does_not_pass_is_an_error_at_once(
    engine: AsyncEngine, user_id: UUID, maker: async_sessionmaker, code: str
) -> None:
    """A full disk, a lock that the caller does not wait for: nothing was written."""
    await refuse(engine, code, 1)
    session = DatabaseSession("s", user_id, maker)

    with pytest.raises(DBAPIError):
        await session.add_items(numbered(0, 2))

    assert await refusals(engine) == 1
    assert await session.get_items() == []


@on_both_drivers
async def test_a_migration_under_a_running_process(
    engine: AsyncEngine, user_id: UUID, maker: async_sessionmaker
) -> None:
    """A statement that was prepared for the table as it was is prepared again."""
    session = DatabaseSession("s", user_id, maker)
    await session.add_items(numbered(0, 2))
    for _ in range(8):  # psycopg prepares a statement that it has seen often
        assert await session.get_items(1) == numbered(1, 2)

    migration = create_async_engine(engine.url)
    async with migration.begin() as connection:
        await connection.execute(
            text("ALTER TABLE session_message ALTER COLUMN extra_data TYPE text")
        )
    await migration.dispose()

    assert await session.get_items(1) == numbered(1, 2)


@on_both_drivers
async def test_a_crash_during_a_commit(
    url: str, engine: AsyncEngine, user_id: UUID, postgres: PostgresServer
) -> None:
    """The recovered server has not given the transaction's number yet: it was not committed."""
    await DatabaseSession("s", user_id, async_sessionmaker(engine)).add_items(numbered(0, 1))
    crashes = iter([True])
    settled: list[str] = []

    def choose(request: Request) -> Fault | None:
        if request.commits and next(crashes, False):
            postgres.crash()
            return "cut before"
        return None

    async with PostgresProxy(url, choose) as proxy:
        through = create_async_engine(proxy.url)
        event.listen(
            through.sync_engine,
            "handle_error",
            lambda context: settled.append(str(context.original_exception)),
        )
        session = DatabaseSession("s", user_id, async_sessionmaker(through))
        await session.add_items(numbered(1, 3))
        await through.dispose()

    assert any("is in the future" in error for error in settled)
    assert await session_items(engine, user_id) == numbered(0, 3)


async def session_items(engine: AsyncEngine, user_id: UUID) -> Any:
    """What there is, as another process sees it."""
    await engine.dispose()
    return await DatabaseSession("s", user_id, async_sessionmaker(engine)).get_items()


@postgres_alone
async def test_the_server_that_writes_is_asked(url: str, user_id: UUID) -> None:
    """Where reads go to a replica, it may not have heard of the transaction yet."""
    lost = iter([True])

    def choose(request: Request) -> Fault | None:
        return "lose answer" if request.commits and next(lost, False) else None

    asked: dict[str, list[str]] = {"leader": [], "replica": []}
    async with PostgresProxy(url, choose) as proxy:
        leader, replica = create_async_engine(proxy.url), create_async_engine(url)
        for name, each in (("leader", leader), ("replica", replica)):
            event.listen(
                each.sync_engine,
                "before_cursor_execute",
                lambda *said, name=name: asked[name].append(said[2]),
            )

        class Routing(Session):
            """Sends reads to the replica, as SQLAlchemy's documentation shows."""

            def get_bind(self, *_: Any, clause: Any = None, **__: Any) -> Any:
                writes = self._flushing or getattr(clause, "is_dml", False)
                return (leader if writes else replica).sync_engine

        maker = async_sessionmaker(sync_session_class=Routing)
        session = DatabaseSession("s", user_id, maker)
        await session.add_items(numbered(0, 2))

        assert await session.get_items() == numbered(0, 2)
        await leader.dispose()
        await replica.dispose()
    assert any("pg_xact_status" in statement for statement in asked["leader"])
    assert asked["replica"]
    assert not any("pg_xact_status" in statement for statement in asked["replica"])


@postgres_alone
async def test_a_replica_is_not_believed(url: str, user_id: UUID) -> None:
    """Where the answer comes from a server in recovery, another one is waited for."""
    lost = iter([True])

    def choose(request: Request) -> Fault | None:
        return "lose answer" if request.commits and next(lost, False) else None

    async with PostgresProxy(url, choose) as proxy:
        engine = create_async_engine(proxy.url)
        asked: list[str] = []

        @event.listens_for(engine.sync_engine, "before_cursor_execute", retval=True)
        def pretend(*said: Any) -> tuple[str, Any]:
            """Let the server be a replica for the first three questions."""
            _, _, statement, parameters, *_ = said
            if "pg_is_in_recovery()" in statement:
                asked.append(statement)
                if len(asked) <= 3:
                    statement = statement.replace("pg_is_in_recovery()", "true")
            return statement, parameters

        session = DatabaseSession("s", user_id, async_sessionmaker(engine))
        await session.add_items(numbered(0, 2))

        assert len(asked) == 4
        assert await session.get_items() == numbered(0, 2)
        await engine.dispose()


@on_both_drivers
async def test_a_wrong_password_is_an_error_at_once(
    url: str, engine: AsyncEngine, user_id: UUID
) -> None:
    """To log in again with the same one does not help."""
    async with engine.begin() as connection:
        await connection.execute(text(f"DROP ROLE IF EXISTS {WITH_PASSWORD}"))
        await connection.execute(text(f"CREATE ROLE {WITH_PASSWORD} LOGIN PASSWORD 'new'"))
    other = create_async_engine(
        engine.url.set(username=WITH_PASSWORD, password=SECRET, query={}), pool_size=1
    )
    logins: list[Any] = []
    event.listen(other.sync_engine, "do_connect", lambda *login: logins.append(login[0]) or None)
    session = DatabaseSession("s", user_id, async_sessionmaker(other))

    with pytest.raises((DBAPIError, asyncpg.InvalidPasswordError)) as caught:
        await session.add_items(numbered(0, 1))

    assert len(logins) == 1
    assert SECRET not in str(caught.value)
    assert url.startswith("postgresql")
    await other.dispose()


@postgres_alone
async def test_an_old_server_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL 12 can't say what became of a transaction."""
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    user_id = await new_user(async_sessionmaker(engine))
    await engine.dispose()
    engine = create_async_engine(url)
    monkeypatch.setattr(engine.dialect, "_get_server_version_info", lambda _: (12, 3))
    session = DatabaseSession("s", user_id, async_sessionmaker(engine))

    for _ in range(2):
        with pytest.raises(
            NotImplementedError, match=r"PostgreSQL 13 or newer is required; this one is 12\.3"
        ):
            await session.add_items(numbered(0, 1))
    await engine.dispose()


@pytest.mark.parametrize("url", ["sqlite", "postgres", "psycopg"], indirect=True)
@pytest.mark.parametrize("source", ["maker", "transaction"])
async def test_a_missing_table_names_the_migration(url: str, source: str) -> None:
    """The error is SQLAlchemy's, and a note says what makes the tables."""
    engine = create_async_engine(url)
    async with async_sessionmaker(engine)() as db:
        if source == "transaction":
            await db.begin()
        user_id = "0" * 32
        secret: Any = [user(SECRET)]
        session = DatabaseSession("s", user_id, db)
        with pytest.raises((OperationalError, ProgrammingError)) as caught:
            await session.add_items(secret)
        await db.rollback()

    told = said(caught.value)
    assert "python -m openai_agents_session.database upgrade" in told
    assert SECRET not in told
    await engine.dispose()


@postgres_alone
async def test_prepared_statements_behind_a_pooler(
    engine: AsyncEngine, user_id: UUID, maker: async_sessionmaker
) -> None:
    """A statement that is gone from the connection hints at what poolers of connections need."""
    async with maker() as db:
        await db.begin()
        session = DatabaseSession("s", user_id, db)
        await session.get_items()
        connection = await db.connection()
        await connection.exec_driver_sql("DEALLOCATE ALL")

        with pytest.raises((DBAPIError, NotSupportedError)) as caught:
            await session.get_items()
        await db.rollback()

    assert engine.dialect.driver == "asyncpg"
    assert "pgbouncer" in said(caught.value)


def said(error: BaseException) -> str:
    """The message and its notes, which Python 3.10 has no place of its own for."""
    return "\n".join([str(error), *map(str, error.args), *getattr(error, "__notes__", ())])
