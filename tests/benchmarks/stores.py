"""A store of many conversations: a page, a session, a fork, and going through all of them."""

from __future__ import annotations

import asyncio
import os
import platform
import time
import tracemalloc
import uuid
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from openai_agents_session import DatabaseStore, open_store
from openai_agents_session._serializer import serialize
from openai_agents_session.database import AgentSession, SessionMessage, User
from openai_agents_session.database._items import COLUMNS, columns_of
from tests.benchmarks.conversation import turn
from tests.benchmarks.measure import figure, medians, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from openai_agents_session._store import BaseStore, UserConversations

HEADER = ["operation", "median", "against"]
OTHERS = 200
"""Users among whom the other conversations are shared out."""

AT_ONCE = 50
LARGE = 10_000_000
"""Bytes of the conversation that is forked."""


async def run(url: str, conversations: int, iterations: int, **options: Any) -> str:
    """Fill the store of a URL, which should be empty, measure, and return the report."""
    async with open_store(url, setup=True, **options) as store:
        ada, few = store.user(_user("ada")), store.user(_user("few"))
        others = [store.user(_user(f"{at}")) for at in range(OTHERS)]
        rest = max(conversations - 1_000 - 50, 0)
        began = time.perf_counter()
        await _fill(ada, range(1_000))
        await _fill(few, range(50))
        filled = time.perf_counter() - began
        if isinstance(store, DatabaseStore):  # a commit for each would take half an hour
            for at, other in enumerate(others):
                await _insert(store, other, range(at, rest, OTHERS))
        else:
            for at, other in enumerate(others):
                await _fill(other, range(at, rest, OTHERS))
        lines = [
            *await _pages(ada, few, iterations),
            *await _writes(store, ada, iterations),
            _session(ada),
            await _fork(ada),
            await _all(store),
        ]
        for each in (ada, few, *others):
            await each.erase()
    setting = (
        f"{conversations:,} conversations of {OTHERS + 2} users; 1,050 of them were stored in "
        f"{filled:,.1f} s, {AT_ONCE} at once; this machine ({os.cpu_count()} cores), "
        f"Python {platform.python_version()}"
    )
    return f"{setting}\n\n{table(HEADER, lines)}"


def _user(name: str) -> str:
    """Return a user's id that is a key in SQL as well."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


async def _fill(view: UserConversations, numbers: Iterable[int]) -> None:
    waiting = iter(numbers)

    async def work() -> None:
        for at in waiting:
            session = view.session(f"conversation {at}", name=f"Conversation {at}")
            await session.add_items(turn(at))

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))


async def _insert(store: DatabaseStore, view: UserConversations, numbers: range) -> None:
    """Insert rows as the library would, many at once."""
    records = columns_of(serialize(turn(0)))
    now = datetime.now(timezone.utc)
    sessions, messages = [], []
    for at in numbers:
        key = uuid.uuid4()
        about = {"session_id": f"conversation {at}", "session_name": f"Conversation {at}"}
        times = {"created_at": now, "updated_at": now - timedelta(seconds=at)}
        sessions.append({"id": key, "user_id": view.user_id, "last_position": 4, **about, **times})
        for position, columns in enumerate(records, 1):
            row = dict(zip(COLUMNS, columns, strict=True), extra_data=turn(0)[position - 1])
            messages.append({"agent_session_id": key, "position": position, **row})
    async with AsyncSession(store._engine) as db_session, db_session.begin():
        await db_session.execute(insert(User), [{"id": view.user_id}])
        await db_session.execute(insert(AgentSession), sessions)
        await db_session.execute(insert(SessionMessage), messages)


async def _pages(
    many: UserConversations, few: UserConversations, iterations: int
) -> list[list[str]]:
    """A page of one who has a thousand, and of one who has fifty: nothing else should count."""
    middle = await many.list(limit=500)
    took = await medians(
        {
            "first": lambda: many.list(limit=50),
            "middle": lambda: many.list(limit=50, cursor=middle.cursor),
            "few": lambda: few.list(limit=50),
            "get": lambda: many.get("conversation 1"),
        },
        iterations,
        warmup=5,
    )
    return [
        ["page of 50, of 50 conversations", _ms(took["few"]), ""],
        ["page of 50, of 1,000", _ms(took["first"]), _times(took, "first", "few")],
        ["page of 50, behind 500", _ms(took["middle"]), _times(took, "middle", "few")],
        ["get", _ms(took["get"]), ""],
    ]


async def _writes(store: BaseStore, ada: UserConversations, iterations: int) -> list[list[str]]:
    """What a user costs a write; where every conversation has one, there is nothing to compare."""
    batch = turn(0)
    name = uuid.uuid4().hex
    mine = ada.session(name)
    contenders: dict[str, Callable[[], Any]] = {
        "user": lambda: mine.add_items(batch),
        "update": lambda: ada.update(name, name="Another name"),
        "touch": lambda: ada.touch(name),
    }
    try:
        nobody = store.session(name)
    except (ValueError, RuntimeError):
        pass
    else:
        contenders["nobody"] = lambda: nobody.add_items(batch)
    took = await medians(contenders, iterations, warmup=20)
    await ada.delete(name)
    if "nobody" in contenders:
        await nobody.clear_session()
    return [
        ["add_items, a turn of 4, of a user", _ms(took["user"]), _times(took, "user", "nobody")],
        ["update", _ms(took["update"]), ""],
        ["touch", _ms(took["touch"]), ""],
    ]


def _session(view: UserConversations) -> list[str]:
    began, count = time.perf_counter_ns(), 10_000
    for at in range(count):
        view.session(f"{at}")
    return ["session()", f"{figure((time.perf_counter_ns() - began) / count / 1000)} µs", ""]


async def _fork(view: UserConversations) -> list[str]:
    item: Any = {"role": "user", "content": "x" * 10_000}
    await view.session("large").replace_items([item] * (LARGE // 10_000))
    began = time.perf_counter()
    await view.fork("large", "fork")
    took = time.perf_counter() - began
    await view.delete("large")
    await view.delete("fork")
    return ["fork of 10 MB", f"{figure(took * 1000)} ms", ""]


async def _all(store: BaseStore) -> list[str]:
    tracemalloc.start()
    began, count = time.perf_counter(), 0
    async for _ in store:
        count += 1
    took = time.perf_counter() - began
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return [
        f"all {count:,}, while memory is traced",
        f"{figure(took)} s",
        f"{peak / 1e6:.1f} MB at most",
    ]


def _ms(microseconds: float) -> str:
    return f"{figure(microseconds / 1000)} ms"


def _times(took: dict[str, float], one: str, other: str) -> str:
    return f"{took[one] / took[other]:.2f} of {other}" if other in took else ""
