"""Forks in SQL: copied inside of the database, with what an application has added to the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy import event, select

from openai_agents_session.database import AgentSession, DatabaseStore, SessionMessage
from tests.contract import numbered, user
from tests.database.conftest import each_driver
from tests.database.test_models import (
    OWN,
    Account,
    KeyBase,
    KeySessionMessage,
    KeyUser,
    Line,
    PlainBase,
    Talk,
    empty,
    with_ada,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

__all__ = ["empty"]  # a fixture


@pytest.fixture
def store(maker: async_sessionmaker) -> DatabaseStore:
    """A store on the shipped models."""
    return DatabaseStore(maker)


async def rows_of(maker: async_sessionmaker, model: Any, order: Any) -> Sequence[Any]:
    """All rows of a model."""
    async with maker() as db:
        return (await db.scalars(select(model).order_by(order))).all()


@each_driver
async def test_nothing_of_it_goes_to_the_client(engine: AsyncEngine, store: DatabaseStore) -> None:
    """Ten megabytes are copied by three statements, which are short and return nothing of them."""
    ada = store.user(uuid4())
    items: Any = [user("x" * 100_000)] * 100
    await ada.session("a").add_items(items)
    sent: list[tuple[str, str]] = []
    event.listen(
        engine.sync_engine,
        "before_cursor_execute",
        lambda _conn, _cursor, statement, values, *_: sent.append((statement, repr(values))),
    )

    await ada.fork("a", "b")

    sent = [one for one in sent if not one[0].startswith("BEGIN")]
    assert [statement.split(maxsplit=1)[0] for statement, _ in sent] == [
        "SELECT",
        "INSERT",
        "INSERT",
    ]
    assert all(len(statement) + len(values) < 2000 for statement, values in sent)
    columns = [statement.partition("FROM")[0] for statement, _ in sent if statement[0] == "S"]
    assert columns == ["SELECT agent_session.id \n"]
    assert [statement.partition("RETURNING")[2].strip()[:40] for statement, _ in sent[2:]] == [""]
    assert await ada.session("b").get_items() == items


@each_driver
async def test_what_the_copy_has(maker: async_sessionmaker, store: DatabaseStore) -> None:
    """Keys of its own, the positions of the source, and all columns else; its instructions too."""
    ada = store.user(uuid4())
    session = ada.session("a", name="A", description="First", is_active=False, agent_name="Agent")
    await session.add_items(numbered(0, 5))
    await session.pop_item()
    await session.add_items(numbered(7, 9))
    async with maker() as db, db.begin():
        await db.execute(sa.update(AgentSession).values(agent_instructions="Be kind."))

    await ada.fork("a", "b", 5)

    old, new = await rows_of(maker, AgentSession, AgentSession.created_at)
    assert (old.session_id, new.session_id) == ("a", "b")
    same = ("user_id", "session_name", "description", "is_active", "agent_name")
    for name in (*same, "agent_instructions", "last_position"):
        assert getattr(old, name) == getattr(new, name), name
    assert new.created_at == new.updated_at > old.updated_at
    messages = await rows_of(maker, SessionMessage, SessionMessage.position)
    copies = [one for one in messages if one.agent_session_id == new.id]
    sources = [one for one in messages if one.agent_session_id == old.id]
    assert [one.position for one in sources] == [1, 2, 3, 4, 6, 7]
    assert [one.position for one in copies] == [1, 2, 3, 4, 6]
    for source, copy in zip(sources, copies, strict=False):
        for name in ("role", "content", "extra_data", "created_at", "updated_at"):
            assert getattr(source, name) == getattr(copy, name), name
    assert len({one.id for one in messages}) == 11
    await ada.session("b").add_items(numbered(9, 10))
    assert await ada.session("b").get_items() == numbered(0, 4) + numbered(7, 8) + numbered(9, 10)


@each_driver
async def test_columns_of_an_application(empty: AsyncEngine) -> None:
    """They are copied, too; those whose default is computed get a new value, each row its own."""
    maker, key = await with_ada(empty, PlainBase, Account)
    ada = DatabaseStore(maker, session_model=Talk).user(key)
    await ada.session("a", name="A").add_items(numbered(0, 4))
    async with maker() as db, db.begin():
        await db.execute(sa.update(Talk).values(topic="cats"))

    await ada.fork("a", "b", 3)
    await ada.fork("a", "c", 0)

    assert await ada.session("b").get_items() == numbered(0, 3)
    assert await ada.session("c").get_items() == []
    talks = await rows_of(maker, Talk, Talk.session_id)
    assert [(one.session_id, one.topic) for one in talks] == [
        ("a", "cats"),
        ("b", "cats"),
        ("c", "cats"),
    ]
    lines = await rows_of(maker, Line, Line.position)
    assert len({one.public_id for one in lines}) == len({one.id for one in lines}) == 7
    assert {one.language for one in lines} == {"en"}
    await ada.session("b").add_items(numbered(9, 10))
    assert await ada.session("b").get_items() == numbered(0, 3) + numbered(9, 10)


@each_driver
async def test_keys_of_an_applications_own_type(empty: AsyncEngine) -> None:
    """The copy's are written as that type writes them; so are the cursors of its lists."""
    maker, key = await with_ada(empty, KeyBase, KeyUser)
    store = DatabaseStore(maker, session_model=OWN["a type of key"][2])
    ada = store.user(key)
    await ada.session("a").add_items(numbered(0, 4))

    await ada.fork("a", "b")

    assert await ada.session("b").get_items() == numbered(0, 4)
    async with maker() as db:
        stored = (await db.scalars(sa.text("SELECT id FROM session_message"))).all()
    rows = await rows_of(maker, KeySessionMessage, KeySessionMessage.position)
    assert sorted(stored) == sorted(f"k_{row.id.hex}" for row in rows)
    assert len(rows) == 8
    for view in (ada, store):
        first = await view.list(limit=1)
        last = await view.list(limit=1, cursor=first.cursor)
        found = {one.session_id for one in (*first.conversations, *last.conversations)}
        assert found == {"a", "b"}
        assert last.cursor is None
    assert (await ada.erase()).items == 8


async def test_an_id_that_is_too_long(store: DatabaseStore) -> None:
    """It is refused in both databases, before anything is sent."""
    ada = store.user(uuid4())
    await ada.session("a").add_items(numbered(0, 1))
    for long in ("x" * 2001, "é" * 1001, "\0" * 1001):
        with pytest.raises(ValueError, match="2000 bytes"):
            await ada.fork("a", long)
        with pytest.raises(ValueError, match="2000 bytes"):
            ada.session(long)
        assert await ada.get(long) is None
        assert await ada.delete(long) is False
    assert [one.session_id async for one in ada] == ["a"]
