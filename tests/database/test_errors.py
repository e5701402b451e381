"""Errors: they are SQLAlchemy's own, and repeat nothing of a conversation."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError, SQLAlchemyError

from openai_agents_session import AgentSessionService, DatabaseSession
from openai_agents_session.database import AgentSession
from tests.contract import SECRET, numbered, user
from tests.database.conftest import each_driver, enforce_foreign_keys

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

ITEMS: Any = [user(SECRET), user("x")]

WRITES: dict[str, tuple[dict[str, Any], Callable[[DatabaseSession], Awaitable[Any]]]] = {
    "add": ({}, lambda session: session.add_items(ITEMS)),
    "replace": ({}, lambda session: session.replace_items(ITEMS)),
    "name": ({"session_name": SECRET}, lambda session: session.add_items(numbered(0, 1))),
    "instructions": (
        {"agent_instructions": SECRET},
        lambda session: session.update_session_metadata(is_active=True),
    ),
    "update": ({}, lambda session: session.update_session_metadata(description=SECRET)),
}

CALLS: dict[str, Callable[[AgentSessionService, UUID], Awaitable[Any]]] = {
    "get": lambda service, owner: service.get(SECRET, user_id=owner),
    "list": lambda service, owner: service.list_for_user(owner, search=SECRET),
    "count": lambda service, owner: service.count_for_user(owner, search=SECRET),
    "rename": lambda service, owner: service.rename("s", SECRET, user_id=owner),
    "update": lambda service, owner: service.update_metadata(
        "s", user_id=owner, description=SECRET
    ),
    "messages": lambda service, owner: service.list_messages(SECRET, user_id=owner),
    "delete": lambda service, owner: service.delete(SECRET, user_id=owner),
}


def assert_silent(error: BaseException) -> None:
    """An error of SQLAlchemy's says what is wrong, and of what was to be stored nothing."""
    assert type(error).__module__ == "sqlalchemy.exc"
    told = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    assert type(error).__name__ in told
    for said in (str(error), repr(error), told):
        assert SECRET not in said


async def failures(
    maker: async_sessionmaker, call: Callable[[Any], Awaitable[Any]]
) -> list[SQLAlchemyError]:
    """What a call raises with a maker, an AsyncSession, and one in the caller's transaction."""
    found = []

    async def fail(source: Any) -> None:
        with pytest.raises(SQLAlchemyError) as raised:
            await call(source)
        found.append(raised.value)

    await fail(maker)
    async with maker() as db:
        await fail(db)
        await db.begin()
        await fail(db)
        await db.rollback()
    return found


async def without(engine: AsyncEngine, table: str) -> None:
    """Let a table be gone."""
    async with engine.begin() as connection:
        await connection.execute(text(f"ALTER TABLE {table} RENAME TO elsewhere"))


@each_driver
@pytest.mark.parametrize("batch", [1, 30])
async def test_a_position_that_is_taken(
    maker: async_sessionmaker, user_id: UUID, batch: int
) -> None:
    """A batch that the database refuses is not shown, whether it is one statement or several."""
    await DatabaseSession("s", user_id, maker).add_items(numbered(0, 40))
    async with maker() as db, db.begin():
        await db.execute(update(AgentSession).values(last_position=5))

    errors = await failures(
        maker, lambda source: DatabaseSession("s", user_id, source).add_items(ITEMS * batch)
    )

    for error in errors:
        assert isinstance(error, IntegrityError)
        assert_silent(error)


@each_driver
async def test_a_row_that_the_application_forbids(
    engine: AsyncEngine, maker: async_sessionmaker, user_id: UUID
) -> None:
    """PostgreSQL tells its driver the whole row; nobody else is told."""
    rule = "ALTER TABLE session_message ADD CONSTRAINT short CHECK (length(content) < 9)"
    if engine.dialect.name == "sqlite":
        rule = (
            "CREATE TRIGGER short BEFORE INSERT ON session_message "
            "WHEN length(new.content) > 8 BEGIN SELECT RAISE(ABORT, 'short'); END"
        )
    async with engine.begin() as connection:
        await connection.execute(text(rule))

    for error in await failures(
        maker, lambda source: DatabaseSession("s", user_id, source).add_items(ITEMS)
    ):
        assert isinstance(error, IntegrityError)
        assert_silent(error)


@each_driver
@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("cause", ["no user", "no table"])
async def test_a_write_that_fails(
    engine: AsyncEngine, maker: async_sessionmaker, user_id: UUID, name: str, cause: str
) -> None:
    """Neither items nor what is said about a conversation are in the error."""
    metadata, write = WRITES[name]
    owner = user_id
    if cause == "no table":
        about_items = name in ("add", "replace")
        await without(engine, "session_message" if about_items else "agent_session")
    else:
        owner = uuid4()
        await enforce_foreign_keys(engine)

    errors = await failures(
        maker, lambda source: write(DatabaseSession("s", owner, source, **metadata))
    )

    for error in errors:
        expected = (OperationalError, ProgrammingError) if cause == "no table" else IntegrityError
        assert isinstance(error, expected)
        assert_silent(error)


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_of_the_service_that_fails(
    engine: AsyncEngine, maker: async_sessionmaker, user_id: UUID, name: str
) -> None:
    """It raises as a session does: SQLAlchemy's error, without what was searched or named."""
    await without(engine, "agent_session")

    async def call(source: async_sessionmaker | AsyncSession) -> None:
        db = cast("AsyncSession", source() if callable(source) else source)
        try:
            await CALLS[name](AgentSessionService(db), user_id)
        finally:
            if db is not source:
                await db.close()

    for error in await failures(maker, call):
        assert isinstance(error, (OperationalError, ProgrammingError))
        assert_silent(error)
