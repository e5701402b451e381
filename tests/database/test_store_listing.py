"""Lists in SQL: one query each, by an index, whatever else is in the tables."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event, insert, select, text, update

from openai_agents_session import AgentSessionService
from openai_agents_session.database import (
    AgentSession,
    CursorError,
    DatabaseStore,
    SessionMessage,
    User,
)
from openai_agents_session.store import CursorError as SharedCursorError
from tests.contract import HOSTILE_IDS, numbered, user
from tests.database.conftest import each_driver
from tests.database.test_service import record

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker


@pytest.fixture
def store(maker: async_sessionmaker) -> DatabaseStore:
    """A store on the shipped models."""
    return DatabaseStore(maker)


async def fill(maker: async_sessionmaker, users: list[UUID], each: int, messages: int) -> None:
    """Put conversations with messages into the tables, past the library."""
    now = datetime(2026, 1, 1, tzinfo=timezone.utc)
    async with maker() as db, db.begin():
        await db.execute(insert(User), [{"id": one} for one in users])
        talks: list[Any] = [
            {
                "id": uuid4(),
                "user_id": one,
                "session_id": f"{at}",
                "last_position": messages,
                "created_at": now,
                "updated_at": now + timedelta(seconds=at),
            }
            for one in users
            for at in range(each)
        ]
        await db.execute(insert(AgentSession), talks)
        await db.execute(
            insert(SessionMessage),
            [
                {
                    "agent_session_id": talk["id"],
                    "position": at + 1,
                    "role": "user",
                    "content": "",
                    "extra_data": user("x"),
                }
                for talk in talks
                for at in range(messages)
            ],
        )


@each_driver
async def test_requests(
    engine: AsyncEngine, maker: async_sessionmaker, store: DatabaseStore
) -> None:
    """Whatever is asked for is one query, and a list never looks at messages."""
    users = [uuid4() for _ in range(3)]
    await fill(maker, users, 60, 4)
    ada = store.user(users[0])
    statements = record(engine)

    async def queries(call: Any) -> list[str]:
        statements.clear()
        await call
        assert all(each.startswith("SELECT") for each in statements)
        return list(statements)

    for listing in (
        ada.list(limit=50),
        ada.list(limit=50, cursor=(await ada.list(limit=5)).cursor, active=True, search="x"),
        ada.count(),
        store.list(limit=100),
    ):
        [query] = await queries(listing)
        assert "session_message" not in query
    [query] = await queries(ada.get("7"))
    assert "extra_data" not in query
    assert len(await queries(ada.messages("7", limit=4, tools=True))) == 1
    assert len(await queries(store.ping())) == 1


async def test_the_plans(
    engine: AsyncEngine, maker: async_sessionmaker, store: DatabaseStore
) -> None:
    """An index gives each page in order: nothing is sorted or read to its end."""
    users = [uuid4() for _ in range(20)]
    await fill(maker, users, 100, 2)
    ada = store.user(users[0])
    await ada.session("long").add_items(numbered(0, 3000))
    async with engine.connect() as connection:
        await connection.execute(text("ANALYZE"))
        await connection.commit()
    asked: list[tuple[str, Any]] = []
    event.listen(
        engine.sync_engine,
        "before_cursor_execute",
        lambda _conn, _cursor, statement, values, *_: asked.append((statement, values)),
    )
    cursor = (await ada.list(limit=10)).cursor
    asked.clear()

    await ada.list(limit=10, cursor=cursor)
    await ada.messages("long", limit=10)
    await store.list(limit=10)

    kind = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    plans = []
    async with engine.connect() as connection:
        for statement, values in asked[:3]:
            found = await connection.exec_driver_sql(f"{kind} {statement}", values)
            plans.append("\n".join(str(row) for row in found))
    assert len(plans) == 3
    for plan, index in zip(
        plans,
        ("ix_agent_session_user_id_updated_at", "agent_session_id_position", "pk_agent_session"),
        strict=True,
    ):
        assert index in plan or "autoindex" in plan
        assert "Seq Scan" not in plan
    for plan in (plans[0], plans[2]):
        assert "Sort  (" not in plan.replace("Incremental Sort", "")
        assert "TEMP B-TREE FOR ORDER BY" not in plan


@each_driver
async def test_everything_in_order(maker: async_sessionmaker, store: DatabaseStore) -> None:
    """Conversations of one moment come once each, whatever the length of a page."""
    ada, bob = store.user(uuid4()), store.user(uuid4())
    for at in range(9):
        for view in (ada, bob):
            await view.session(f"{at}").add_items(numbered(0, 1))
    long_ago = datetime(2020, 1, 1, tzinfo=timezone.utc)
    async with maker() as db, db.begin():
        await db.execute(update(AgentSession).values(updated_at=long_ago))

    for limit in (1, 2, 4, 9, 10):
        for view, expected in ((ada, 9), (store, 18)):
            found: list[tuple[Any, str]] = []
            page = await view.list(limit=limit)
            while True:
                found += [(one.user_id, one.session_id) for one in page.conversations]
                if page.cursor is None:
                    break
                page = await view.list(limit=limit, cursor=page.cursor)
            assert len(found) == len(set(found)) == expected
    [first, *_] = (await ada.list()).conversations
    assert first.updated_at == long_ago
    assert getattr(first.updated_at, "tzinfo", None) is timezone.utc
    assert (first.item_count, first.expires_at) == (None, None)


def cursor(*values: object) -> str:
    """A text like a cursor's."""
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode()


NOW = "2026-01-01T00:00:00+00:00"
KEY = "6b0b0b0b-0000-4000-8000-000000000001"


@pytest.mark.parametrize(
    "text",
    [
        cursor(),
        cursor(NOW),
        cursor(NOW, 1),
        cursor(NOW, "x"),
        cursor(NOW, KEY, KEY),
        cursor(1, KEY),
        cursor("2026-01-01T00:00:00", KEY),  # of no time zone
        cursor("0001-01-01T00:00:00+14:00", KEY),
        cursor(["2026"], KEY),
        cursor(NOW, None),
        cursor(NOW, "\ud800"),
        cursor({"a": 1}),
        "é",
    ],
)
async def test_a_cursor_is_checked_before_it_is_used(store: DatabaseStore, text: str) -> None:
    """A list's are a time and a key; those of all, a key. Nothing else reaches the database."""
    assert CursorError is SharedCursorError
    for view in (store.user(uuid4()), store):
        with pytest.raises(CursorError, match="cursor"):
            await view.list(cursor=text)


async def test_cursors_of_the_service_and_of_the_store(
    maker: async_sessionmaker, store: DatabaseStore
) -> None:
    """Both mean the same place: an application can go from one to the other."""
    ada = store.user(uuid4())
    for each in "abc":
        await ada.session(each).add_items(numbered(0, 1))
    first = await ada.list(limit=1)

    async with maker() as db:
        service = AgentSessionService(db)
        rows = await service.list_for_user(ada.user_id, limit=1)
        assert service.cursor(rows[0]) == first.cursor
        rest = await service.list_for_user(ada.user_id, after=first.cursor)
        assert [one.session_id for one in rest] == ["b", "a"]


@each_driver
async def test_search_and_count(store: DatabaseStore) -> None:
    """A part of the name in any case; the signs that SQL knows stand for themselves."""
    ada, bob = store.user(uuid4()), store.user(uuid4())
    for at, name in enumerate(["100% Über", "BOB_1", None, "it's"]):
        await ada.session(f"{at}", name=name, is_active=at != 1).add_items(numbered(0, 1))
    await bob.session("0", name="über").add_items(numbered(0, 1))

    for search, found in (
        ("über", ["0"]),
        ("%", ["0"]),
        ("_", ["1"]),
        ("'", ["3"]),
        ("", ["3", "2", "1", "0"]),
        ("' OR 1=1 --", []),
    ):
        page = await ada.list(search=search)
        assert [one.session_id for one in page.conversations] == found
        assert await ada.count(search=search) == len(found)
    assert await ada.count(active=True) == 3
    assert await ada.count(active=False, search="bob") == 1
    assert await bob.count() == 1


@each_driver
async def test_hostile_ids(maker: async_sessionmaker, store: DatabaseStore) -> None:
    """Each is one conversation, for a user's view, the service, and a fork."""
    ada, bob = store.user(uuid4()), store.user(uuid4())
    ids = [*HOSTILE_IDS, "\x1a", "\x1a0", "\x00", "\x1a1", "'; DROP TABLE agent_session; --"]
    for each in dict.fromkeys(ids):
        items: Any = [user(each)]
        await ada.session(each).add_items(items)

    for each in dict.fromkeys(ids):
        assert await bob.get(each) is None
        assert await bob.delete(each) is False
        assert await ada.session(each).get_items() == [user(each)]
        assert await ada.touch(each)
        await ada.fork(each, "copy")
        assert await ada.session("copy").get_items() == [user(each)]
        assert await ada.delete("copy")
    assert {one.session_id async for one in ada} == set(ids)
    async with maker() as db:
        assert set(await db.scalars(select(AgentSession.session_id))) == set(ids)
    assert (await bob.erase()).conversations == 0
    assert (await ada.erase()).conversations == len(set(ids))
