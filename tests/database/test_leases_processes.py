"""Eight processes take turns at one conversation while the network fails (P17)."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from openai_agents_session import DatabaseSession
from tests.database.conftest import new_user
from tests.database.proxy import Fault, PostgresProxy, Request
from tests.lease_processes import Amount, check, each_amount, turns_taken
from tests.shares import share_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncEngine


@asynccontextmanager
async def opened(
    url: str, user_id: UUID, connect_args: dict[str, Any]
) -> AsyncGenerator[DatabaseSession]:
    engine = create_async_engine(url, connect_args=connect_args)
    try:
        yield DatabaseSession("shared", user_id, async_sessionmaker(engine))
    finally:
        await engine.dispose()


class Faults(Counter[Fault]):
    """What goes wrong: of the COMMITs, one answer in ten is lost, and one in eighty is late."""

    def __init__(self) -> None:
        super().__init__()
        self._seen = count(1)

    def __call__(self, request: Request) -> Fault | None:
        number = next(self._seen) if request.commits else 1
        fault: Fault | None = None
        if number % 80 == 0:
            fault = "late"
        elif number % 10 == 0:
            fault = "lose answer"
        if fault:
            self[fault] += 1
        return fault


async def deliver_late(proxy: PostgresProxy) -> None:
    """Deliver what is late, again and again; some of it when its lease is over."""
    while True:
        await asyncio.sleep(1.2)
        proxy.released.set()
        proxy.released.clear()


@pytest.mark.parametrize(
    "url", share_of(["sqlite", "postgres", "psycopg"], "sqlite", "postgres"), indirect=True
)
@each_amount
async def test_eight_processes(
    url: str, engine: AsyncEngine, tmp_path: Path, amount: Amount
) -> None:
    """On PostgreSQL, answers to a COMMIT are lost, and a COMMIT is late; a file has no network."""
    user_id = await new_user(async_sessionmaker(engine))
    if engine.dialect.name == "sqlite":
        shared = partial(opened, url, user_id, {"timeout": 60})
        report = await turns_taken(shared, tmp_path, **amount)
        print(f"\n{report}")
    else:
        faults = Faults()
        async with PostgresProxy(url, faults) as proxy:
            late = asyncio.create_task(deliver_late(proxy))
            shared = partial(opened, proxy.url, user_id, {})
            try:
                report = await turns_taken(shared, tmp_path, **amount)
            finally:
                late.cancel()
        print(f"\n{report}; {dict(faults)}")
        assert faults["lose answer"] > amount["runs"] / 4
        assert faults["late"] > amount["runs"] / 20
    check(report)
    # Where the network fails several times in a row, the caller hears of it.
    assert len(report.errors) < amount["runs"] / 5
