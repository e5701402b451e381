"""Deletions beside writers, and beside other deletions."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from openai_agents_session import AgentSessionService, DatabaseSession
from openai_agents_session.database import AgentSession, Base, SessionMessage
from tests.contract import numbered
from tests.database.conftest import new_user

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncEngine


async def wait_for_lock(maker: async_sessionmaker) -> None:
    """Return when somebody in this database waits for a lock."""
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    async with maker() as db:
        while not await db.scalar(waiting):  # noqa: ASYNC110 - only the server knows
            await asyncio.sleep(0.005)


@pytest.fixture
async def rivals(postgres_url: str) -> AsyncIterator[async_sessionmaker]:
    """What writers and deletions of one PostgreSQL use."""
    engine = create_async_engine(postgres_url)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield async_sessionmaker(engine)
    await engine.dispose()


async def messages_by_conversation(maker: async_sessionmaker) -> dict[str | None, int]:
    """How many messages each conversation has; None has those without a conversation."""
    query = (
        select(AgentSession.session_id, func.count(SessionMessage.id))
        .outerjoin_from(AgentSession, SessionMessage, full=True)
        .group_by(AgentSession.session_id)
    )
    async with maker() as db:
        return {row[0]: row[1] for row in await db.execute(query)}


async def test_a_conversation_that_is_written_to_meanwhile_stays(
    rivals: async_sessionmaker,
) -> None:
    """It is not old any more, and keeps all of its messages; the old ones beside it go."""
    owner = await new_user(rivals)
    for name in ("a", "b", "c"):
        await DatabaseSession(name, owner, rivals).add_items(numbered(0, 3))
    async with rivals() as db, db.begin():
        await db.execute(text("UPDATE agent_session SET updated_at = now() - interval '2 days'"))

    async def clean() -> int:
        async with rivals() as db:
            return await AgentSessionService(db).delete_older_than(timedelta(days=1), user_id=owner)

    async with rivals() as writer, writer.begin():
        await DatabaseSession("b", owner, writer).add_items(numbered(3, 5))
        cleaning = asyncio.create_task(clean())
        await wait_for_lock(rivals)
    assert await cleaning == 2
    assert await messages_by_conversation(rivals) == {"b": 5}


@pytest.mark.parametrize("plan", ["", "nestloop", "hashjoin", "mergejoin"])
async def test_messages_that_arrive_meanwhile_go_with_their_conversation(
    rivals: async_sessionmaker, plan: str
) -> None:
    """Also those that the deletion's snapshot does not have, whatever the server's plan is."""
    owner = await new_user(rivals)
    for name in ("a", "b", "c"):
        await DatabaseSession(name, owner, rivals).add_items(numbered(0, 3))

    async def delete() -> None:
        async with rivals() as db, db.begin():
            for other in {"nestloop", "hashjoin", "mergejoin"} - {plan} if plan else ():
                await db.execute(text(f"SET LOCAL enable_{other} = off"))
            await AgentSessionService(db).delete("b", user_id=owner)

    async with rivals() as writer, writer.begin():
        await DatabaseSession("b", owner, writer).add_items(numbered(3, 5))
        deleting = asyncio.create_task(delete())
        await wait_for_lock(rivals)
    await deleting
    assert await messages_by_conversation(rivals) == {"a": 3, "c": 3}


@pytest.mark.parametrize("whose", ["everybody's", "one user's"])
@pytest.mark.parametrize("stored", ["in order", "in reverse"])
async def test_a_clean_up_takes_the_rows_in_their_order(
    rivals: async_sessionmaker, whose: str, stored: str
) -> None:
    """So it holds none that another clean-up, which waits for one of its own, wants next."""
    owner = await new_user(rivals)
    for name in ("a", "b"):
        await DatabaseSession(name, owner, rivals).add_items(numbered(0, 1))
    async with rivals() as db, db.begin():
        keys = list(await db.scalars(select(AgentSession.id).order_by(AgentSession.id)))
        for key in keys if stored == "in order" else reversed(keys):  # the heap follows
            touch = text("UPDATE agent_session SET description = 'x' WHERE id = :key")
            await db.execute(touch, {"key": key})

    async def clean() -> int:
        async with rivals() as db:
            user_id = None if whose == "everybody's" else owner
            return await AgentSessionService(db).delete_older_than(timedelta(0), user_id=user_id)

    take = text("SELECT id FROM agent_session WHERE id = :key FOR UPDATE NOWAIT")
    async with rivals() as db, db.begin():
        await db.execute(take, {"key": keys[0]})
        cleaning = asyncio.create_task(clean())
        await wait_for_lock(rivals)
        try:
            await db.execute(take, {"key": keys[1]})
        finally:
            await db.rollback()
            assert await cleaning == 2


async def test_clean_ups_and_writers_at_the_same_time(
    engine: AsyncEngine, maker: async_sessionmaker, user_id: UUID, stranger_id: UUID
) -> None:
    """None of them fails by the others, and no message is left without its conversation."""
    owners: list[UUID | None] = [user_id, stranger_id, None]

    async def clean(owner: UUID | None) -> int:
        async with maker() as db:
            return await AgentSessionService(db).delete_older_than(timedelta(0), user_id=owner)

    def writes(count: int) -> list[Any]:
        return [
            DatabaseSession(f"{at % 7}", owners[at % 2], maker).add_items(numbered(0, 2))
            for at in range(count)
        ]

    for _ in range(3 if engine.dialect.name == "postgresql" else 1):
        await asyncio.gather(*writes(7))
        await asyncio.gather(*writes(7), *(clean(owner) for owner in owners * 2), *writes(7))
    await clean(None)

    async with maker() as db:
        known = select(AgentSession.id)
        lost = select(func.count()).where(SessionMessage.agent_session_id.not_in(known))
        assert await db.scalar(lost) == 0
    assert cast("Any", engine.pool).checkedout() == 0
