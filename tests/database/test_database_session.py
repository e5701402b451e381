"""What is the database's alone: users, transactions, metadata, arguments, corrupt rows."""

from __future__ import annotations

import asyncio
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from sqlalchemy import create_engine, event, func, select, text, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, sessionmaker

from openai_agents_session import DatabaseSession
from openai_agents_session.database import AgentSession, Base
from openai_agents_session.database._conversation import DatabaseConversation
from tests.contract import numbered, user
from tests.database.conftest import enforce_foreign_keys, new_user, row_of

# ------------------------------------------------------------------------- users


async def test_two_users_have_two_conversations_of_one_id(
    maker: async_sessionmaker, user_id: UUID, stranger_id: UUID
) -> None:
    """The same session_id of two users is two conversations."""
    mine = DatabaseSession("s", user_id, maker)
    theirs = DatabaseSession("s", stranger_id, maker)

    await mine.add_items(numbered(0, 3))
    await theirs.add_items(numbered(7, 9))

    assert await mine.get_items() == numbered(0, 3)
    assert await theirs.get_items() == numbered(7, 9)


@pytest.mark.parametrize(
    "method",
    ["get", "get 2", "add", "pop", "clear", "replace", "replace by nothing", "update", "snapshot"],
)
@pytest.mark.parametrize("has_own", [False, True], ids=["none of their own", "one of their own"])
async def test_a_stranger_reaches_nothing(
    maker: async_sessionmaker, user_id: UUID, stranger_id: UUID, method: str, has_own: bool
) -> None:
    """No method of another user's session sees or changes this user's conversation."""
    mine = DatabaseSession("s", user_id, maker, session_name="Mine")
    theirs = DatabaseSession("s", stranger_id, maker)
    await mine.add_items(numbered(0, 3))
    own = numbered(7, 9) if has_own else []
    await theirs.add_items(own)

    if method.startswith("get"):
        assert await theirs.get_items(2 if "2" in method else None) == own
    elif method == "add":
        await theirs.add_items(numbered(5, 6))
        assert await theirs.get_items() == own + numbered(5, 6)
    elif method == "pop":
        assert await theirs.pop_item() == (own[-1] if own else None)
    elif method == "clear":
        await theirs.clear_session()
    elif method.startswith("replace"):
        await theirs.replace_items(numbered(5, 6) if method == "replace" else [])
    elif method == "update":
        await theirs.update_session_metadata(session_name="Theirs", is_active=False)
    else:
        snapshot = await theirs._get_compaction_snapshot(10)
        assert snapshot is not None
        assert snapshot.items == own
        assert await snapshot.replace_suffix(0, numbered(5, 6)) is has_own

    assert await mine.get_items() == numbered(0, 3)
    async with maker() as db:
        row = await db.scalar(select(AgentSession).where(AgentSession.user_id == user_id))
    assert row is not None
    assert (row.session_name, row.is_active) == ("Mine", True)


async def test_a_user_that_is_not_there_is_an_integrity_error(
    maker: async_sessionmaker, engine: AsyncEngine
) -> None:
    """The foreign key is the store's to enforce, and its error reaches the caller."""
    await enforce_foreign_keys(engine)
    session = DatabaseSession("s", uuid4(), maker)

    with pytest.raises(IntegrityError):
        await session.add_items(numbered(0, 1))

    assert await row_of(maker) is None


# --------------------------------------------------------------------- the row


async def test_the_row_appears_with_the_first_write(
    maker: async_sessionmaker, user_id: UUID
) -> None:
    """Neither making a session nor reading it stores anything; the first write does, once."""
    session = DatabaseSession("s", user_id, maker, "Agent", "Be kind.", "A talk")
    assert await session.get_items() == []
    assert await session.pop_item() is None
    await session.clear_session()
    await session.replace_items([])
    await session.add_items([])
    assert await row_of(maker) is None

    await session.add_items(numbered(0, 1))

    row = await row_of(maker)
    assert row is not None
    assert (row.agent_name, row.agent_instructions) == ("Agent", "Be kind.")
    assert (row.session_name, row.description, row.is_active) == ("A talk", None, True)
    assert row.user_id == user_id


async def test_the_first_session_names_the_conversation(
    maker: async_sessionmaker, user_id: UUID
) -> None:
    """What a later session says does not overwrite what the row has."""
    await DatabaseSession("s", user_id, maker, "First").add_items(numbered(0, 1))
    await DatabaseSession("s", user_id, maker, "Second").add_items(numbered(1, 2))

    row = await row_of(maker)
    assert row is not None
    assert row.agent_name == "First"


async def test_a_cleared_conversation_keeps_its_name(
    maker: async_sessionmaker, user_id: UUID
) -> None:
    """Clearing removes the messages, not the row and what it says."""
    session = DatabaseSession("s", user_id, maker, session_name="A talk")
    await session.add_items(numbered(0, 3))

    await session.clear_session()

    row = await row_of(maker)
    assert row is not None
    assert row.session_name == "A talk"


async def test_racing_first_writes_make_one_row(maker: async_sessionmaker, user_id: UUID) -> None:
    """Workers that write first at the same time make one conversation with all their items."""
    sessions = [DatabaseSession("s", user_id, maker) for _ in range(2)]

    for round_ in range(10):
        batches = [[user(f"{round_}.{worker}.{at}") for at in range(3)] for worker in range(2)]
        racing = [DatabaseSession(f"race {round_}", user_id, maker) for _ in sessions]
        await asyncio.gather(
            *(one.add_items(cast("Any", batch)) for one, batch in zip(racing, batches, strict=True))
        )

        items = await racing[0].get_items()
        assert sorted(map(str, items)) == sorted(str(item) for batch in batches for item in batch)
    async with maker() as db:
        assert await db.scalar(select(func.count()).select_from(AgentSession)) == 10


async def test_every_write_dates_the_conversation(
    maker: async_sessionmaker, session: DatabaseSession
) -> None:
    """updated_at is the time of the last write, created_at that of the first."""
    await session.add_items(numbered(0, 2))
    first = await row_of(maker)
    await session.pop_item()
    second = await row_of(maker)
    assert await session.get_items() == numbered(0, 1)
    third = await row_of(maker)

    assert first is not None
    assert second is not None
    assert third is not None
    assert first.created_at == second.created_at == first.updated_at
    assert first.updated_at < second.updated_at == third.updated_at


# -------------------------------------------------------------------- metadata


async def test_metadata_changes_only_what_is_passed(
    maker: async_sessionmaker, user_id: UUID
) -> None:
    """What is not passed stays; None that is passed clears."""
    session = DatabaseSession("s", user_id, maker, "Agent", "Be kind.", "A talk")
    await session.add_items(numbered(0, 1))

    await session.update_session_metadata(description="About this and that", is_active=False)
    await session.update_session_metadata(agent_name=None)
    await session.update_session_metadata()

    row = await row_of(maker)
    assert row is not None
    assert (row.session_name, row.description) == ("A talk", "About this and that")
    assert (row.agent_name, row.agent_instructions, row.is_active) == (None, "Be kind.", False)
    assert await session.get_items() == numbered(0, 1)


async def test_metadata_makes_the_row(maker: async_sessionmaker, session: DatabaseSession) -> None:
    """It is a write, and may be the first."""
    await session.update_session_metadata(session_name="A talk")

    row = await row_of(maker)
    assert row is not None
    assert row.session_name == "A talk"


@pytest.mark.parametrize(
    ("metadata", "error", "said"),
    [
        ({"is_active": None}, ValueError, "is_active"),
        ({"is_active": 1}, TypeError, "is_active"),
        ({"session_name": 1}, TypeError, "session_name"),
        ({"session_name": "x" * 256}, ValueError, "255"),
        ({"agent_name": "x" * 256}, ValueError, "255"),
        ({"description": "a\x00b"}, ValueError, "NUL"),
        ({"agent_instructions": "\ud800"}, ValueError, "surrogate"),
    ],
)
async def test_bad_metadata_is_refused(
    maker: async_sessionmaker,
    session: DatabaseSession,
    metadata: dict[str, Any],
    error: type[Exception],
    said: str,
) -> None:
    """What a column cannot hold is refused in words before anything is written."""
    with pytest.raises(error, match=said):
        await session.update_session_metadata(**metadata)

    assert await row_of(maker) is None


# ------------------------------------------------------------------- the engines


@pytest.mark.parametrize("level", ["AUTOCOMMIT", "SERIALIZABLE"])
async def test_the_engines_isolation_level_makes_no_difference(
    url: str, engine: AsyncEngine, user_id: UUID, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch is atomic and writers wait for each other, whatever the engine is set to."""
    other = create_async_engine(url, isolation_level=level)
    maker = async_sessionmaker(other)
    await asyncio.gather(
        *(DatabaseSession("s", user_id, maker).add_items(numbered(0, 3)) for _ in range(10))
    )
    session = DatabaseSession("s", user_id, maker)
    assert await session.get_items() == numbered(0, 3) * 10

    async with async_sessionmaker(engine)() as db, db.begin():
        await db.execute(update(AgentSession).values(last_position=28))
    with pytest.raises(IntegrityError):
        await session.add_items(numbered(0, 3))

    assert await session.get_items() == numbered(0, 3) * 10

    async def fail(*_: Any) -> None:
        raise RuntimeError("between the two statements of a replacement")

    monkeypatch.setattr(DatabaseConversation, "_insert", fail)
    with pytest.raises(RuntimeError, match="between the two"):
        await session.replace_items(numbered(7, 9))
    assert await session.get_items() == numbered(0, 3) * 10
    await other.dispose()


async def test_sqlite_with_transactions_of_its_own(sqlite_url: str) -> None:
    """With SQLAlchemy's recipe for serializable SQLite, savepoints and writers work as well."""
    engine = create_async_engine(sqlite_url)

    @event.listens_for(engine.sync_engine, "connect")
    def no_implicit_begin(connection: Any, _: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN")

    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    maker = async_sessionmaker(engine)
    owner = await new_user(maker)
    sessions = [DatabaseSession("s", owner, maker) for _ in range(10)]

    await asyncio.gather(*(one.add_items(numbered(0, 3)) for one in sessions))
    async with maker() as db:
        await db.begin()
        await DatabaseSession("s", owner, db).add_items(numbered(3, 4))
        await db.rollback()

    assert await sessions[0].get_items() == numbered(0, 3) * 10
    await engine.dispose()


# ------------------------------------------------------------------ the arguments


async def test_a_users_id_may_be_text(maker: async_sessionmaker, user_id: UUID) -> None:
    """A UUID and its text name the same user."""
    await DatabaseSession("s", str(user_id), maker).add_items(numbered(0, 1))

    session = DatabaseSession("s", user_id, maker)
    assert await session.get_items() == numbered(0, 1)
    assert session.user_id == user_id


@pytest.mark.parametrize(
    ("bad", "error", "said"),
    [
        ({"user_id": "me"}, ValueError, "user_id must be a UUID"),
        ({"user_id": None}, TypeError, "user_id"),
        ({"user_id": 7}, TypeError, "user_id"),
        ({"db_session": None}, TypeError, "async_sessionmaker"),
        ({"db_session": "sqlite://"}, TypeError, "async_sessionmaker"),
        ({"db_session": Session()}, TypeError, "sqlalchemy.orm.session.Session"),
        ({"db_session": sessionmaker()}, TypeError, "pass async_sessionmaker"),
        ({"db_session": create_engine("sqlite://")}, TypeError, "pass async_sessionmaker"),
        (
            {"db_session": async_scoped_session(async_sessionmaker(), lambda: 1)},
            TypeError,
            "call it",
        ),
        ({"session_id": "x" * 2001}, ValueError, "2000 bytes"),
        ({"session_id": "é" * 1001}, ValueError, "2000 bytes"),
        ({"agent_name": "x" * 256}, ValueError, "agent_name"),
        ({"session_name": 7}, TypeError, "session_name"),
        ({"agent_instructions": "\x00"}, ValueError, "agent_instructions"),
    ],
)
def test_bad_arguments_are_refused(bad: dict[str, Any], error: type[Exception], said: str) -> None:
    """What is wrong is said at construction, with what is right."""
    good: dict[str, Any] = {
        "session_id": "s",
        "user_id": uuid4(),
        "db_session": async_sessionmaker(),
    }

    with pytest.raises(error, match=said):
        DatabaseSession(**{**good, **bad})


async def test_another_database_is_refused() -> None:
    """Where nothing was tried, nothing is promised."""

    # The dialect alone is asked, so no server of that kind is needed.
    class Bind:
        class engine:  # noqa: N801 - an attribute's name
            pool = None

        class dialect:  # noqa: N801 - an attribute's name
            name = "oracle"

    class Elsewhere(AsyncSession):
        def get_bind(self, *_: Any, **__: Any) -> Any:
            return Bind

    with pytest.raises(NotImplementedError, match="oracle"):
        await DatabaseSession("s", uuid4(), Elsewhere()).get_items()


async def test_ping(maker: async_sessionmaker, session: DatabaseSession) -> None:
    """It says True where the database answers, and raises where it answers with an error."""
    assert await session.ping() is True
    async with maker() as db, db.begin():
        await db.execute(text("ALTER TABLE agent_session RENAME TO elsewhere"))

    with pytest.raises(SQLAlchemyError):
        await session.ping()
    with pytest.raises(SQLAlchemyError):
        await session.add_items(numbered(0, 1))


async def test_ping_of_a_server_that_is_away(user_id: UUID) -> None:
    """It says False where nobody listens."""
    engine = create_async_engine("postgresql+asyncpg://nobody@127.0.0.1:1/none")

    assert await DatabaseSession("s", user_id, async_sessionmaker(engine)).ping() is False
    await engine.dispose()
