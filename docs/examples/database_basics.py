"""Each method of a DatabaseSession, and the service beside it, without an agent.

uv run --all-extras docs/examples/database_basics.py
"""

from __future__ import annotations

import asyncio

from local_servers import database_url
from sqlalchemy import select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from openai_agents_session.database import (
    AgentSessionService,
    Base,
    DatabaseSession,
    SessionMessage,
    User,
)


async def main(url: str) -> None:
    """Write, read, take back, replace and forget the conversations of two users."""
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)  # an application migrates
    maker = async_sessionmaker(engine, expire_on_commit=False)
    async with maker() as db, db.begin():
        db.add_all([ada := User(), bob := User()])

    # A conversation belongs to a user: the same id of another one is another conversation.
    session = DatabaseSession("basics-demo", ada.id, maker, session_name="Numbers")
    await DatabaseSession("basics-demo", bob.id, maker).add_items(
        [{"role": "user", "content": "Bob's"}]
    )

    # A batch is written whole or not at all.
    await session.add_items([{"role": "user", "content": "one"}])
    await session.add_items(
        [
            {"role": "assistant", "content": "two"},
            {"role": "user", "content": "three"},
        ]
    )
    print("all:      ", [item.get("content") for item in await session.get_items()])
    print("newest 2: ", [item.get("content") for item in await session.get_items(limit=2)])

    popped = await session.pop_item()  # the newest, and no other caller gets it
    print("popped:   ", popped and popped.get("content"))

    # What is stored is a row for each item.
    async with maker() as db:
        found = await db.scalars(select(SessionMessage).order_by(SessionMessage.created_at))
        print("stored:   ", [(row.role.value, row.content) for row in found])

    # The whole history is swapped in one step: no reader sees it half done.
    await session.replace_items([{"role": "user", "content": "a summary"}])
    print("replaced: ", [item.get("content") for item in await session.get_items()])

    # The row says what the conversation is; the service lists a user's, without messages.
    await session.update_session_metadata(description="Some of them")
    async with maker() as db:
        rows = await AgentSessionService(db).list_for_user(ada.id, search="num")
        print("listed:   ", [(row.session_name, row.description) for row in rows])

    await session.clear_session()
    print("cleared:  ", await session.get_items(), "- popped:", await session.pop_item())

    # Its messages, the conversations and the users go.
    async with maker() as db, db.begin():
        service = AgentSessionService(db)
        for user in (ada, bob):
            await service.delete("basics-demo", user_id=user.id)
            await db.delete(await db.get_one(User, user.id))
        print("deleted:  ", await service.count_for_user(ada.id), "left")
    await engine.dispose()


if __name__ == "__main__":
    with database_url("basics") as url:
        asyncio.run(main(url))
