"""Eight processes change one user's conversations while answers are lost (P3, P5, P6, P16)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy.ext.asyncio import async_sessionmaker

from openai_agents_session.database import DatabaseStore
from tests.database.proxy import PostgresProxy
from tests.database.stores import assert_agreement
from tests.database.test_faults import commits
from tests.processes import eight_processes
from tests.shares import share_of
from tests.store_processes import check_store

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

PRELOAD = ("asyncpg", "openai_agents_session.database", "hypothesis", "tests.store_processes")


@pytest.mark.parametrize(
    "url", share_of(["postgres", "sqlite", "psycopg"], "postgres"), indirect=True
)
@pytest.mark.parametrize("steps", share_of([8, 60], 8))
async def test_eight_processes(url: str, engine: AsyncEngine, steps: int) -> None:
    """On PostgreSQL, one answer to a COMMIT in ten is lost; a file has none to lose."""
    maker = async_sessionmaker(engine)

    async def agree(store: DatabaseStore) -> None:
        await assert_agreement(maker)
        listed = [each async for each in store]
        assert {each.session_id for each in listed} >= {"ledger"}

    check: Any = check_store  # the same for each kind of database
    with eight_processes(*PRELOAD) as workers:
        if engine.dialect.name == "sqlite":
            waits = {"connect_args": {"timeout": 60}}
            await check(workers, url, uuid4(), DatabaseStore(maker), agree, steps=steps, **waits)
            return
        async with PostgresProxy(url, commits("lose answer", every=10)) as proxy:
            await check(workers, proxy.url, uuid4(), DatabaseStore(maker), agree, steps=steps)
        assert proxy.faults > steps / 2  # of the ledger's lines alone
