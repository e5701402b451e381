"""What is stored of an item: its own text, and the columns that are derived from it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

import pytest
from sqlalchemy import LargeBinary, Text, event, func, select, text, update
from sqlalchemy import cast as cast_in_sql
from sqlalchemy.exc import IntegrityError

from openai_agents_session._serializer import serialize
from openai_agents_session.database import MessageRole, SessionMessage
from tests.contract import SECRET, numbered, user
from tests.contract.values import LOSSLESS
from tests.database.conftest import each_driver

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import (
        AsyncEngine,
        async_sessionmaker,
    )

    from openai_agents_session import DatabaseSession


ITEMS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "user": (user("Hello"), ("user", "Hello", None, None)),
    "assistant": (
        {
            "type": "message",
            "role": "assistant",
            "content": [
                {"type": "output_text", "text": "Hi"},
                {"type": "refusal", "refusal": "no"},
            ],
        },
        ("assistant", "Hi\nno", None, None),
    ),
    "system": ({"role": "system", "content": "Be kind."}, ("system", "Be kind.", None, None)),
    "developer": ({"role": "developer", "content": "x"}, ("system", "x", None, None)),
    "call": (
        {"type": "function_call", "call_id": "c", "name": "weather", "arguments": "{}"},
        ("assistant", "{}", "c", "weather"),
    ),
    "output": (
        {"type": "function_call_output", "call_id": "c", "output": "sunny"},
        ("tool", "sunny", "c", None),
    ),
    "chat tool": (
        {"role": "tool", "tool_call_id": "c", "name": "calculator", "content": "4"},
        ("tool", "4", "c", "calculator"),
    ),
    "web search": (
        {"type": "web_search_call", "id": "w", "status": "completed"},
        ("assistant", "", None, "web_search"),
    ),
    "reasoning": (
        {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "Hm."}]},
        ("assistant", "Hm.", None, None),
    ),
    "approval": (
        {"type": "mcp_approval_response", "approval_request_id": "a", "approve": True},
        ("user", "", None, None),
    ),
    "a role of another kind": ({"role": 7, "content": 8}, ("assistant", "", None, None)),
    "nothing": ({}, ("assistant", "", None, None)),
    "no text": ({"role": "user", "content": "a\x00b\ud800"}, ("user", "a\ufffdb?", None, None)),
    "a NUL alone": ({"role": "user", "content": "a\x00b"}, ("user", "a\ufffdb", None, None)),
    "a surrogate alone": (
        {"type": "shell_call", "call_id": "\udfff", "input": "x"},
        ("assistant", "x", "?", "shell"),
    ),
    "infinite": (
        {"role": "user", "content": "x", "n": float("inf")},
        ("user", "x", None, None),
    ),
}


@pytest.mark.parametrize("name", ITEMS)
async def test_columns_are_derived(
    maker: async_sessionmaker, session: DatabaseSession, name: str
) -> None:
    """Role, content and tool are there for people and queries; the item comes back from itself."""
    item, expected = ITEMS[name]
    await session.add_items([item])

    async with maker() as db:
        row = await db.scalar(select(SessionMessage))
    assert row is not None
    assert (row.role, row.content, row.tool_call_id, row.tool_name) == expected
    assert isinstance(row.role, MessageRole)
    assert await session.get_items() == [item]
    if name not in ("infinite", "no text", "a surrogate alone"):
        assert row.extra_data == item
    async with maker() as db, db.begin():
        await db.execute(update(SessionMessage).values(role="tool", content="", tool_name="x"))
    assert await session.get_items() == [item]


async def test_a_role_that_is_none_is_refused_by_the_database(
    maker: async_sessionmaker, session: DatabaseSession
) -> None:
    """The check constraint holds against other programs."""
    await session.add_items(numbered(0, 1))

    with pytest.raises(IntegrityError):
        async with maker() as db, db.begin():
            await db.execute(text("UPDATE session_message SET role = 'narrator'"))


async def test_a_corrupt_row_is_passed_over(
    maker: async_sessionmaker, session: DatabaseSession, caplog: pytest.LogCaptureFixture
) -> None:
    """A row that holds no item hides nothing, and the log names the session and no content."""
    await session.add_items(numbered(0, 3))
    async with maker() as db, db.begin():
        last = SessionMessage.position == 3
        await db.execute(update(SessionMessage).where(last).values(extra_data=[SECRET]))

    with caplog.at_level(logging.WARNING, "openai_agents_session"):
        assert await session.get_items() == numbered(0, 2)
        assert await session.get_items(limit=2) == numbered(0, 2)
        assert await session.pop_item() == numbered(1, 2)[0]

    assert "'s'" in caplog.text
    assert SECRET not in caplog.text
    async with maker() as db:
        assert await db.scalar(select(func.count()).select_from(SessionMessage)) == 2


async def test_a_large_batch_is_one_statement(
    engine: AsyncEngine, session: DatabaseSession
) -> None:
    """However many items there are, they are inserted at once, and read with one query."""
    statements: list[str] = []
    event.listen(
        engine.sync_engine,
        "before_cursor_execute",
        lambda _conn, _cursor, statement, *_: statements.append(statement.split(maxsplit=1)[0]),
    )
    items = numbered(0, 5000)

    await session.add_items(items)
    assert [one for one in statements if one != "BEGIN"] == ["INSERT", "INSERT"]
    statements.clear()
    assert await session.get_items() == items
    assert await session.get_items(limit=7) == items[-7:]
    assert statements == ["SELECT", "SELECT"]
    statements.clear()
    assert await session.pop_item() == items[-1]
    assert [one for one in statements if one != "BEGIN"] == ["UPDATE", "DELETE"]


def text_of(column: Any, engine: AsyncEngine) -> Any:
    """A column as it is stored, whatever its type."""
    return cast_in_sql(column, LargeBinary if engine.dialect.name == "sqlite" else Text)


@each_driver
async def test_a_batch_is_stored_byte_for_byte(
    engine: AsyncEngine, maker: async_sessionmaker, session: DatabaseSession
) -> None:
    """The database takes a batch apart, and leaves each text as it was written."""
    items = [item for name, item in LOSSLESS.items() if name != "not a number"]
    items.append({"a": "\x00\\u0000 \ud800 \\ud800", "b": "\x01\x1f\x7f\u2028"})

    await session.add_items(items)

    async with maker() as db:
        query = select(text_of(SessionMessage.extra_data, engine)).order_by(SessionMessage.position)
        stored = (await db.scalars(query)).all()
    texts = [one if isinstance(one, bytes) else one.encode() for one in stored]
    assert texts == serialize(cast("Any", items))
