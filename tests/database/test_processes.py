"""Eight processes at work on one session of a PostgreSQL (P3, P6)."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from openai_agents_session import DatabaseSession
from tests.database.conftest import new_user
from tests.processes import check_writes_and_pops, eight_processes

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncEngine


@asynccontextmanager
async def opened(url: str, user_id: UUID) -> AsyncGenerator[DatabaseSession]:
    engine = create_async_engine(url)
    try:
        yield DatabaseSession("shared", user_id, async_sessionmaker(engine))
    finally:
        await engine.dispose()


@pytest.fixture
def url(postgres_url: str) -> str:
    return postgres_url


async def test_eight_processes_write_and_then_pop(url: str, engine: AsyncEngine) -> None:
    """25 batches each; the first of all of them makes the row."""
    user_id = await new_user(async_sessionmaker(engine))
    with eight_processes("asyncpg", "openai_agents_session.database") as workers:
        await check_writes_and_pops(workers, partial(opened, url, user_id), batches=25)
