"""The routes: what they take and give, and whose conversations they see."""

from __future__ import annotations

import asyncio
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig
from litestar.di import Provide
from sqlalchemy import func, select, update

from openai_agents_session import AgentSessionService, DatabaseSession
from openai_agents_session.database import AgentSession, Base, SessionMessage
from tests.litestar.conftest import make_app
from tests.web.agents import answering, last_input

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from sqlalchemy.ext.asyncio import async_sessionmaker


async def told(maker: async_sessionmaker, user_id: UUID, session_id: str = "mine") -> None:
    """Let a user have a conversation."""
    session = DatabaseSession(session_id, user_id, maker, session_name="My own")
    await session.add_items([{"role": "user", "content": "a secret of mine"}])


async def test_a_conversation_goes_on(
    client_of: Callable[..., Any], database: str, user_id: UUID, maker: async_sessionmaker
) -> None:
    """The second message is answered with the first one in mind, and both are stored."""
    agent = answering("Hello Ada.", "You are Ada.")
    client = await client_of(make_app(agent, database), user_id)

    first = await client.post("/agents/sessions/a/chat", json={"message": "I am Ada."})
    second = await client.post("/agents/sessions/a/chat", json={"message": "Who am I?"})

    assert first.status_code == second.status_code == 200
    assert first.json() == {"response": "Hello Ada.", "session_id": "a"}
    assert second.json() == {"response": "You are Ada.", "session_id": "a"}
    given = last_input(agent)
    assert [item["content"] for item in given[::2]] == ["I am Ada.", "Who am I?"]
    assert len(await DatabaseSession("a", user_id, maker).get_items()) == 4
    async with maker() as session:
        row = (await session.scalars(select(AgentSession))).one()
    assert (row.agent_name, row.agent_instructions) == ("Assistant", "Be brief.")


async def test_conversations_are_listed(
    client_of: Callable[..., Any], database: str, user_id: UUID, maker: async_sessionmaker
) -> None:
    """The last written to comes first; pages, a flag and a part of the name choose."""
    for name in ("one", "two", "three"):
        session = DatabaseSession(name, user_id, maker, session_name=f"Number {name} 100%")
        await session.add_items([{"role": "user", "content": "Hi"}])
    await DatabaseSession("two", user_id, maker).update_session_metadata(is_active=False)
    client = await client_of(make_app(answering(), database), user_id)

    async def listed(query: str = "") -> tuple[list[str], int]:
        body = (await client.get(f"/agents/sessions?{query}")).json()
        return [item["session_id"] for item in body["items"]], body["total"]

    assert (await listed())[1] == 3
    assert sorted((await listed("is_active=true"))[0]) == ["one", "three"]
    assert await listed("is_active=false") == (["two"], 1)
    assert await listed("search=THREE") == (["three"], 1)
    assert await listed("search=%25") == (await listed())
    assert await listed("search=nothing") == ([], 0)
    async with maker() as session, session.begin():
        for day, name in enumerate(("three", "one", "two"), 1):
            written = datetime(2020, 1, day, tzinfo=timezone.utc)
            row = AgentSession.session_id == name
            await session.execute(update(AgentSession).where(row).values(updated_at=written))
    assert await listed() == (["two", "one", "three"], 3)
    assert await listed("limit=2") == (["two", "one"], 3)
    first = (await client.get("/agents/sessions?limit=2")).json()
    assert (first["limit"], first["total"]) == (2, 3)
    query = f"/agents/sessions?limit=2&after={first['cursor']}"
    last = (await client.get(query)).json()
    assert [item["session_id"] for item in last["items"]] == ["three"]
    assert last["cursor"] is None


async def test_changes_and_turns_do_not_disturb_each_other(
    client_of: Callable[..., Any], database: str, user_id: UUID, maker: async_sessionmaker
) -> None:
    """Beside chats and each other, changes wait and are made; all of them, and no more."""
    await told(maker, user_id)
    app = make_app(answering(*["Yes."] * 8), database, lease_wait=60)
    client = await client_of(app, user_id)
    path = "/agents/sessions/mine"

    answers = await asyncio.gather(
        *(client.post(f"{path}/chat", json={"message": "Hi"}) for _ in range(8)),
        *(client.patch(path, json={"session_name": f"{number}"}) for number in range(8)),
        *(client.patch(path, json={"description": f"{number}"}) for number in range(8)),
    )

    assert {answered.status_code for answered in answers} == {200}
    [row] = (await client.get("/agents/sessions")).json()["items"]
    assert row["session_name"] in set("01234567")
    assert row["description"] in set("01234567")
    assert len((await client.get(f"{path}/messages?limit=100")).json()) == 1 + 2 * 8


async def test_a_database_in_memory_loses_nothing(client_of: Callable[..., Any]) -> None:
    """Its single connection is shared by all requests, and each turn is there at the end."""
    config = SQLAlchemyAsyncConfig(
        connection_string="sqlite+aiosqlite://", metadata=Base.metadata, create_all=True
    )
    client = await client_of(make_app(answering(*["Yes."] * 10), config), uuid4())

    answers = await asyncio.gather(
        *(client.post(f"/agents/sessions/{n}/chat", json={"message": "Hi"}) for n in range(10)),
        *(client.get("/agents/sessions") for _ in range(10)),
        *(client.patch(f"/agents/sessions/{n}", json={"session_name": "x"}) for n in range(10)),
    )

    assert {answered.status_code for answered in answers} <= {200, 404}  # not begun yet
    for number in range(10):
        messages = await client.get(f"/agents/sessions/{number}/messages")
        assert [message["content"] for message in messages.json()] == ["Hi", "Yes."]


async def test_a_deletion_takes_the_messages_along(
    client_of: Callable[..., Any],
    database: str,
    user_id: UUID,
    stranger_id: UUID,
    maker: async_sessionmaker,
) -> None:
    """Nothing of the conversation is left, and nothing of another is gone."""
    await told(maker, user_id)
    await told(maker, user_id, "other")
    await told(maker, stranger_id)
    client = await client_of(make_app(answering(), database), user_id)

    assert (await client.delete("/agents/sessions/mine")).status_code == 204

    assert (await client.delete("/agents/sessions/mine")).status_code == 404
    assert (await client.get("/agents/sessions/mine/messages")).status_code == 404
    assert (await client.get("/agents/sessions")).json()["total"] == 1
    async with maker() as session:
        assert await session.scalar(select(func.count()).select_from(SessionMessage)) == 2


async def test_a_session_may_make_a_deleted_conversation_again(
    user_id: UUID, maker: async_sessionmaker
) -> None:
    """Unless it is told otherwise; one that it has not seen is made in any case."""
    again = DatabaseSession("s", user_id, maker)
    never = DatabaseSession("s", user_id, maker, recreate=False)
    item: Any = {"role": "user", "content": "Hi"}
    await again.add_items([item])
    assert await never.get_items() == [item]
    async with maker() as db:
        await AgentSessionService(db).delete("s", user_id=user_id)

    with pytest.raises(Exception, match="deleted meanwhile"):
        await never.add_items([item])
    with pytest.raises(Exception, match="deleted meanwhile"):
        await never.replace_items([item])
    assert await never.get_items() == []
    await again.add_items([item])
    assert await never.get_items() == [item]


async def test_a_user_id_of_the_wrong_type_is_named(
    client_of: Callable[..., Any], sqlite_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is a mistake of the application's, which finds in the log what is right."""
    app = make_app(answering(), sqlite_database, user_id=Provide(lambda: 7, sync_to_thread=False))
    client = await client_of(app)

    answered = await client.post("/agents/sessions/a/chat", json={"message": "Go"})

    assert answered.status_code == 500
    assert "user_id must be a UUID, as AgentSession.user_id is, not int" in caplog.text
