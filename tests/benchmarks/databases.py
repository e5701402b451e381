"""DatabaseSession beside the SDK's SQLAlchemySession, on the same database in one run."""

from __future__ import annotations

import os
import platform
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

from agents.extensions.memory.sqlalchemy_session import SQLAlchemySession
from sqlalchemy import event, insert, inspect
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine

from openai_agents_session import AgentSessionService, DatabaseSession
from openai_agents_session.database import AgentSession, Base
from tests.benchmarks.conversation import conversation, turn
from tests.benchmarks.measure import figure, medians, table
from tests.database.conftest import new_user

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from agents import TResponseInputItem

HEADER = ["operation", "this library", "SDK", "ours / SDK", "target", "statements"]
PAGE = 50


class Contender(Protocol):
    """The operations that are measured."""

    async def add_items(self, items: list[TResponseInputItem]) -> object: ...
    async def get_items(self, limit: int | None = None) -> list[Any]: ...
    async def pop_item(self) -> object: ...
    async def clear_session(self) -> object: ...


@dataclass(frozen=True)
class Row:
    """One operation and how it is measured."""

    name: str
    operation: Callable[[Contender], Awaitable[object]]
    stored: int
    iterations: int
    fresh: bool = False
    """Whether each run writes a conversation of its own, which nobody has written before."""


def rows(iterations: int, scale: int) -> list[Row]:
    """The operations, with so many iterations and the sizes divided by ``scale``."""
    batch, many = turn(0), 2_000 // scale
    large = conversation(many)
    few = max(iterations // 2, 1)

    async def add_anew(session: Contender) -> None:
        await session.clear_session()
        await session.add_items(large)

    # Large writes come last: they leave dead rows, through which PostgreSQL would read until it
    # has vacuumed.
    return [
        Row(f"get_items of {many:,}", lambda s: s.get_items(), many, few),
        Row(f"get_items(limit=20) of {many:,}", lambda s: s.get_items(20), many, iterations),
        Row("pop_item", lambda s: s.pop_item(), 2 * iterations, iterations),
        Row("add_items, a turn of 4", lambda s: s.add_items(batch), 0, iterations),
        Row(f"add_items of {many:,}", lambda s: s.add_items(large), 0, few, fresh=True),
        Row(f"clear, add_items of {many:,}", add_anew, 0, few),
    ]


async def run(url: str | None, iterations: int, scale: int = 1) -> str:
    """Measure on the database of a URL, or on a file that is made for it; return the report."""
    if url:
        return await _run(url, iterations, scale)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "benchmark.db"
        return await _run(f"sqlite+aiosqlite:///{path}", iterations, scale)


async def _run(url: str, iterations: int, scale: int) -> str:
    async with _tables(url) as engine:
        maker = async_sessionmaker(engine)
        user_id = await new_user(maker)
        contenders: dict[str, Contender] = {
            "ours": DatabaseSession("benchmark", user_id, maker),
            "SDK": SQLAlchemySession("benchmark", engine=engine, create_tables=True),
        }
        other = SQLAlchemySession("other", engine=engine)

        def name_another() -> dict[str, Contender]:
            # One object of the SDK's, or SQLAlchemy would compile its statements in each run.
            other.session_id = uuid4().hex
            return {"ours": DatabaseSession(uuid4().hex, user_id, maker), "SDK": other}

        lines = [
            await _measure(engine, contenders, row, name_another) for row in rows(iterations, scale)
        ]
        lines += await _listing(engine, maker, iterations, 10_000 // scale, 50_000 // scale)
        return f"{_setting(engine)}\n\n{table(HEADER, lines)}"


@asynccontextmanager
async def _tables(url: str) -> AsyncGenerator[AsyncEngine]:
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            tables = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
            if tables:
                raise SystemExit("the database has tables; name one that is empty")
            await connection.run_sync(Base.metadata.create_all)
        try:
            yield engine
        finally:
            async with engine.begin() as connection:
                await connection.run_sync(Base.metadata.drop_all)
                for name in ("agent_messages", "agent_sessions"):
                    await connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name}")
    finally:
        await engine.dispose()


async def _measure(
    engine: AsyncEngine,
    contenders: dict[str, Contender],
    row: Row,
    name_another: Callable[[], dict[str, Contender]],
) -> list[str]:
    items = conversation(row.stored)
    for contender in contenders.values():
        await contender.clear_session()
        if items:
            await contender.add_items(items)
    answers = [await row.operation(contender) for contender in contenders.values()]
    lengths = {len(answer) for answer in answers if isinstance(answer, list)}
    assert len(lengths) <= 1, f"{row.name}: {lengths} items"

    def bind(name: str) -> Callable[[], Awaitable[object]]:
        if row.fresh:
            return lambda: row.operation(name_another()[name])
        return lambda: row.operation(contenders[name])

    operations = {name: bind(name) for name in contenders}
    time = await medians(operations, row.iterations, warmup=max(row.iterations // 10, 1))
    counts = [await _statements(engine, one) for one in operations.values()]
    return [
        row.name,
        *(f"{figure(time[name])} µs" for name in contenders),
        f"{time['ours'] / time['SDK']:.2f}",
        "≤ 1",
        " / ".join(map(str, counts)),
    ]


async def _listing(
    engine: AsyncEngine, maker: async_sessionmaker, iterations: int, sessions: int, messages: int
) -> list[list[str]]:
    """Measure a page of a user's many conversations, with few messages and with many."""
    user_id = await new_user(maker)
    now = datetime.now(timezone.utc)
    keys = [uuid4() for _ in range(sessions)]
    common = {"user_id": user_id, "is_active": True, "created_at": now, "last_position": 0}
    async with maker() as db, db.begin():
        await db.execute(
            insert(AgentSession),
            [
                {
                    **common,
                    "id": key,
                    "session_id": f"{at}",
                    "updated_at": now - timedelta(seconds=at),
                }
                for at, key in enumerate(keys)
            ],
        )

    async def page() -> None:
        async with maker() as db:
            assert len(await AgentSessionService(db).list_for_user(user_id, limit=PAGE)) == PAGE

    lines = []
    for stored in (0, messages):
        for at in range(0, stored, 1000):
            await DatabaseSession(f"{at // 1000}", user_id, maker).add_items(conversation(1000))
        time = await medians({"ours": page}, iterations, warmup=max(iterations // 10, 1))
        lines.append(
            [
                f"a page of {PAGE} of {sessions:,}, with {stored:,} messages",
                f"{figure(time['ours'])} µs",
                *("", "", ""),
                str(await _statements(engine, page)),
            ]
        )
    return lines


async def _statements(engine: AsyncEngine, operation: Callable[[], Awaitable[object]]) -> int:
    """Count the statements of one operation, transactions not included."""
    seen: list[str] = []

    def count(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith("BEGIN"):
            seen.append(statement)

    event.listen(engine.sync_engine, "before_cursor_execute", count)
    await operation()
    event.remove(engine.sync_engine, "before_cursor_execute", count)
    return len(seen)


def _setting(engine: AsyncEngine) -> str:
    return (
        f"Medians, interleaved in one run; {engine.dialect.name} with {engine.dialect.driver} on "
        f"this machine ({os.cpu_count()} cores), Python {platform.python_version()}, "
        f"SQLAlchemy {version('sqlalchemy')}, advanced-alchemy {version('advanced-alchemy')}, "
        f"openai-agents {version('openai-agents')}. Statements: this library / SDK."
    )
