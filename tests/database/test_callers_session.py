"""What happens in an AsyncSession that is the caller's, and in the caller's transaction."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any, cast

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError

from openai_agents_session import DatabaseSession
from openai_agents_session.database import AgentSession, SessionMessage, User
from tests.contract import numbered, user
from tests.database.conftest import row_of
from tests.shares import share_of

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import (
        AsyncEngine,
        AsyncSession,
        async_sessionmaker,
    )


async def test_it_commits_its_own_work(
    db: AsyncSession, maker: async_sessionmaker, user_id: UUID
) -> None:
    """With an AsyncSession that is in no transaction, each write is committed and it stays open."""
    async with DatabaseSession("s", user_id, db) as session:
        await session.add_items(numbered(0, 3))
        assert not db.in_transaction()
        assert await session.get_items() == numbered(0, 3)
        assert not db.in_transaction()

    assert await session.pop_item() == numbered(2, 3)[0]
    assert await db.scalar(select(func.count()).select_from(SessionMessage)) == 2
    await db.rollback()

    assert await DatabaseSession("s", user_id, maker).get_items() == numbered(0, 2)


@pytest.mark.parametrize("begun", ["explicitly", "by a query", "by a change"])
async def test_the_callers_transaction_is_the_callers(
    db: AsyncSession, maker: async_sessionmaker, user_id: UUID, begun: str
) -> None:
    """In a transaction that the caller began, nothing is committed until the caller does."""
    session = DatabaseSession("s", user_id, db)
    await session.add_items(numbered(0, 1))
    if begun == "explicitly":
        await db.begin()
    elif begun == "by a query":
        await db.scalar(select(User))
    else:
        db.add(User())

    await session.add_items(numbered(1, 3))
    assert await session.pop_item() == numbered(2, 3)[0]
    assert await session.get_items() == numbered(0, 2)

    assert db.in_transaction()
    await db.rollback()
    assert await session.get_items() == numbered(0, 1)
    async with db.begin():
        await session.replace_items(numbered(5, 7))
    assert await DatabaseSession("s", user_id, maker).get_items() == numbered(5, 7)


async def test_an_error_takes_the_savepoint_and_no_more(
    db: AsyncSession, maker: async_sessionmaker, user_id: UUID
) -> None:
    """A write that fails in the caller's transaction leaves the caller's own work in it."""
    session = DatabaseSession("s", user_id, db)
    async with db.begin():
        await session.add_items(numbered(0, 1))
        row = await db.scalar(select(AgentSession))
        assert row is not None
        await db.execute(update(AgentSession).values(last_position=0))

        with pytest.raises(IntegrityError):  # the position is taken
            await session.add_items(numbered(1, 2))

        await db.execute(update(AgentSession).values(last_position=1, description="Mine"))

    again = await row_of(maker)
    assert again is not None
    assert again.description == "Mine"
    assert await session.get_items() == numbered(0, 1)


async def test_an_item_that_json_cannot_hold_leaves_the_transaction_alone(
    db: AsyncSession, user_id: UUID
) -> None:
    """A refused batch touches neither the conversation nor the caller's transaction."""
    session = DatabaseSession("s", user_id, db)
    async with db.begin():
        await session.add_items(numbered(0, 1))
        with pytest.raises(TypeError, match="bytes"):
            await session.add_items(cast("Any", [user("x"), {"content": b"raw"}]))

    assert await session.get_items() == numbered(0, 1)


async def test_calls_on_one_session_wait_for_each_other(
    db: AsyncSession, user_id: UUID, stranger_id: UUID
) -> None:
    """An AsyncSession is not for concurrent use; sessions that share one take turns."""
    sessions = [DatabaseSession("s", one, db) for one in (user_id, stranger_id) for _ in range(2)]

    await asyncio.gather(
        *(one.add_items([cast("Any", user(f"{at}"))]) for at in range(5) for one in sessions),
        *(one.get_items() for one in sessions),
        *(one.update_session_metadata(description="x") for one in sessions),
    )

    for one in sessions:
        assert len(await one.get_items()) == 10
    assert not db.in_transaction()


async def test_the_callers_objects_are_left_alone(
    db: AsyncSession, maker: async_sessionmaker, user_id: UUID
) -> None:
    """A commit of ours does not expire what the caller has loaded."""
    loaded = User()
    async with maker(expire_on_commit=False) as other, other.begin():
        other.add(loaded)
    merged = await db.merge(loaded, load=False)
    await db.commit()
    async with db.begin():
        await db.refresh(merged)
    db.sync_session.expire_on_commit = True
    await db.refresh(merged)
    db.sync_session.expire_on_commit = False
    await db.commit()
    db.sync_session.expire_on_commit = True

    await DatabaseSession("s", user_id, db).add_items(numbered(0, 1))

    assert db.sync_session.expire_on_commit
    assert merged.created_at is not None  # or it would have to be loaded, which needs an await


@pytest.mark.parametrize("steps", share_of([0, 1, 2, 3, 5, 8, 13, 21], 0, 3, 13))
@pytest.mark.parametrize("begun", [False, True], ids=["own transaction", "caller's transaction"])
async def test_a_cancelled_write_leaves_a_usable_session(
    db: AsyncSession, user_id: UUID, steps: int, begun: bool
) -> None:
    """Wherever a task is cancelled, the AsyncSession goes on and the write is whole or absent."""
    session = DatabaseSession("s", user_id, db)
    await session.add_items(numbered(0, 1))
    if begun:
        await db.begin()
    writing = asyncio.create_task(session.add_items(numbered(1, 4)))
    for _ in range(steps):
        await asyncio.sleep(0)

    writing.cancel()
    await asyncio.wait({writing})

    now = await session.get_items()
    assert now in (numbered(0, 1), numbered(0, 4))
    await session.add_items(numbered(8, 9))
    if begun:
        await db.commit()
    assert await session.get_items() == now + numbered(8, 9)


@pytest.mark.parametrize("steps", share_of([0, 1, 2, 3, 5, 8, 13], 0, 3, 8))
async def test_a_cancelled_read_leaves_a_usable_engine(
    session: DatabaseSession, steps: int, engine: AsyncEngine
) -> None:
    """Wherever a read is cancelled, the engine goes on and keeps no connection."""
    await session.add_items(numbered(0, 3))
    reading = asyncio.create_task(session.get_items())
    for _ in range(steps):
        await asyncio.sleep(0)

    reading.cancel()
    await asyncio.wait({reading})
    del reading
    gc.collect()

    assert await session.get_items() == numbered(0, 3)
    assert cast("Any", engine.pool).checkedout() == 0
