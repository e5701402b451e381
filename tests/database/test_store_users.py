"""The users of a store: the shipped row, which it makes and deletes, and an application's own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine

from openai_agents_session.database import (
    AgentSession,
    Base,
    DatabaseSession,
    DatabaseStore,
    User,
    _migrate,
)
from tests.contract import numbered
from tests.database.conftest import each_driver, enforce_foreign_keys, new_user
from tests.database.test_service import record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def engine(url: str) -> AsyncIterator[AsyncEngine]:
    """An engine on an empty database, where foreign keys are enforced."""
    engine = create_async_engine(url)
    await enforce_foreign_keys(engine)
    yield engine
    await engine.dispose()


@pytest.fixture
def store(engine: AsyncEngine) -> DatabaseStore:
    """A store, as an application makes it."""
    return DatabaseStore(async_sessionmaker(engine))


async def users(engine: AsyncEngine, table: str = "user_account") -> list[UUID]:
    """The keys of all users."""
    column = sa.column("id", User.__table__.c.id.type)
    async with engine.connect() as connection:
        query = select(column).select_from(sa.text(table))
        return list((await connection.scalars(query)).all())


async def run(engine: AsyncEngine, *statements: str) -> None:
    """Run statements."""
    async with engine.begin() as connection:
        for statement in statements:
            await connection.execute(sa.text(statement))


@each_driver
async def test_the_first_write_makes_the_users_row(
    engine: AsyncEngine, store: DatabaseStore
) -> None:
    """With the conversation or not at all; nothing else makes one."""
    await store.setup()
    ada = store.user(uuid4())
    session = ada.session("a")
    await session.clear_session()
    assert await session.pop_item() is None
    await session.replace_items([])
    assert await ada.touch("a") is False
    assert await users(engine) == []

    await session.add_items(numbered(0, 2))
    await ada.session("b").replace_items(numbered(0, 2))

    assert await users(engine) == [ada.user_id]
    named = DatabaseStore(async_sessionmaker(engine), user_id=uuid4()).session("c")
    assert isinstance(named, DatabaseSession)
    await named.update_session_metadata(session_name="C")
    assert set(await users(engine)) == {ada.user_id, named.user_id}


async def test_who_is_there_already_stays(engine: AsyncEngine, store: DatabaseStore) -> None:
    """A user that the application has made is not made again, nor changed."""
    await store.setup()
    key = await new_user(async_sessionmaker(engine))
    async with async_sessionmaker(engine)() as db:
        before = await db.scalar(select(User.updated_at))

    await store.user(key).session("a").add_items(numbered(0, 1))

    async with async_sessionmaker(engine)() as db:
        assert (await db.execute(select(User.id, User.updated_at))).all() == [(key, before)]


async def test_a_session_that_was_made_by_hand_makes_no_user(
    engine: AsyncEngine, store: DatabaseStore
) -> None:
    """There, a key of nobody is a mistake, and an error as it was."""
    await store.setup()
    session = DatabaseSession("a", uuid4(), async_sessionmaker(engine))
    with pytest.raises(IntegrityError):
        await session.add_items(numbered(0, 1))
    assert await users(engine) == []


async def test_what_it_costs(engine: AsyncEngine, store: DatabaseStore) -> None:
    """A turn takes two statements, as ever; the first of a conversation two more."""
    await store.setup()
    ada = store.user(uuid4())
    await ada.session("before").add_items(numbered(0, 1))
    statements = record(engine)

    def verbs() -> list[str]:
        found = [each.split(maxsplit=1)[0] for each in statements]
        statements.clear()
        return [verb for verb in found if verb != "BEGIN"]

    session = ada.session("a")
    await session.add_items(numbered(0, 4))
    assert verbs() == ["UPDATE", "INSERT", "INSERT", "INSERT"]
    await session.add_items(numbered(4, 8))
    assert verbs() == ["UPDATE", "INSERT"]
    await ada.session("a").replace_items(numbered(0, 2))
    assert verbs() == ["UPDATE", "DELETE", "INSERT"]


async def test_a_table_of_users_under_another_name(
    url: str, engine: AsyncEngine, store: DatabaseStore
) -> None:
    """The command has made the shipped tables beside it: its users are the application's."""
    key = "UUID" if engine.dialect.name == "postgresql" else "BINARY(16)"
    await run(engine, f"CREATE TABLE account (id {key} PRIMARY KEY)")
    await asyncio.to_thread(_migrate.run, "upgrade", url, user_table="account")
    await store.setup()
    known, unknown = uuid4(), uuid4()
    insert = sa.insert(sa.table("account", sa.column("id", User.__table__.c.id.type)))
    async with engine.begin() as connection:
        await connection.execute(insert.values(id=known))

    await store.user(known).session("a").add_items(numbered(0, 2))
    with pytest.raises(IntegrityError):
        await store.user(unknown).session("a").add_items(numbered(0, 2))

    assert await store.user(unknown).get("a") is None
    assert (await store.user(known).erase()).conversations == 1
    assert await users(engine, "account") == [known]


async def test_a_table_of_users_with_columns_of_its_own(
    engine: AsyncEngine, store: DatabaseStore
) -> None:
    """A user_account with more in it is the application's, and its rows are left alone."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    known = await new_user(async_sessionmaker(engine))
    await run(engine, "ALTER TABLE user_account ADD COLUMN email TEXT NOT NULL DEFAULT ''")

    await store.user(known).session("a").add_items(numbered(0, 2))
    with pytest.raises(IntegrityError):
        await store.user(uuid4()).session("a").add_items(numbered(0, 2))

    assert (await store.user(known).erase()).conversations == 1
    assert await users(engine) == [known]


async def test_tables_that_come_later(engine: AsyncEngine, store: DatabaseStore) -> None:
    """A store that was used too early works as soon as there are tables."""
    session = store.user(uuid4()).session("a")
    with pytest.raises(DBAPIError, match="agent_session"):
        await session.add_items(numbered(0, 1))

    await store.setup()
    await session.add_items(numbered(0, 1))

    assert len(await users(engine)) == 1


async def test_erase_deletes_the_users_row(engine: AsyncEngine, store: DatabaseStore) -> None:
    """And no other's; where something refers to it, it stays."""
    await store.setup()
    ada, bob = store.user(uuid4()), store.user(uuid4())
    for view in (ada, bob):
        await view.session("a").add_items(numbered(0, 2))
    key = "UUID" if engine.dialect.name == "postgresql" else "BINARY(16)"
    await run(
        engine,
        f"CREATE TABLE invoice (user_id {key} REFERENCES user_account (id))",
        "INSERT INTO invoice SELECT id FROM user_account",
        "CREATE TABLE other AS SELECT 1 AS one",
    )

    erased = await ada.erase()

    assert (erased.conversations, erased.items) == (1, 2)
    assert [each async for each in ada] == []
    assert set(await users(engine)) == {ada.user_id, bob.user_id}
    await run(engine, "DELETE FROM invoice")
    assert (await ada.erase()).conversations == 0
    assert await users(engine) == [bob.user_id]
    async with async_sessionmaker(engine)() as db:
        assert (await db.scalars(select(AgentSession.user_id))).all() == [bob.user_id]
