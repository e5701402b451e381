"""The routes: what they take and give, and whose conversations they see."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import uuid4

import pytest
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig
from agents import Agent, function_tool
from agents.testing import ScriptedModel, assistant_message, function_call
from pydantic import BaseModel
from sqlalchemy import func, select, update

from openai_agents_session import DatabaseSession
from openai_agents_session.database import AgentSession, Base, SessionMessage
from tests.litestar.conftest import ROUTES, answering, last_input, make_app

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


async def test_an_output_type_is_answered_as_json(
    client_of: Callable[..., Any], database: str, user_id: UUID
) -> None:
    """An agent whose output is a model answers with its fields."""

    class Weather(BaseModel):
        city: str
        degrees: int

    model = ScriptedModel([[assistant_message('{"city": "Paris", "degrees": 21}')]])
    agent = Agent(name="Weather", model=model, output_type=Weather)
    client = await client_of(make_app(agent, database), user_id)

    answered = await client.post("/agents/sessions/a/chat", json={"message": "Paris?"})

    assert answered.json()["response"] == {"city": "Paris", "degrees": 21}


async def test_messages_are_shown_in_words(
    client_of: Callable[..., Any], database: str, user_id: UUID
) -> None:
    """A tool call and its output are messages as well, with the tool's name."""

    @function_tool
    def weather(city: str) -> str:
        """Look it up."""
        return f"21 degrees in {city}"

    call = function_call("weather", '{"city": "Paris"}', call_id="call_1")
    model = ScriptedModel([[call], [assistant_message("It is warm.")]])
    agent = Agent(name="Weather", model=model, tools=[weather])
    client = await client_of(make_app(agent, database), user_id)
    await client.post("/agents/sessions/a/chat", json={"message": "Paris?"})

    messages = (await client.get("/agents/sessions/a/messages")).json()

    assert [(m["role"], m["content"], m["tool_name"], m["tool_call_id"]) for m in messages] == [
        ("user", "Paris?", None, None),
        ("assistant", '{"city": "Paris"}', "weather", "call_1"),
        ("tool", "21 degrees in Paris", None, "call_1"),
        ("assistant", "It is warm.", None, None),
    ]


async def test_messages_come_in_pages(
    client_of: Callable[..., Any], database: str, user_id: UUID, maker: async_sessionmaker
) -> None:
    """The newest come first, in order; ``before`` leads to the older ones, to the end."""
    said: list[Any] = [{"role": "user", "content": str(number)} for number in range(7)]
    await DatabaseSession("a", user_id, maker).add_items(said)
    client = await client_of(make_app(answering(), database), user_id)

    pages, query = [], "limit=3"
    for _ in range(4):
        page = (await client.get(f"/agents/sessions/a/messages?{query}")).json()
        pages.append([message["content"] for message in page])
        query = f"limit=3&before={page[0]['position'] if page else 0}"

    assert pages == [["4", "5", "6"], ["1", "2", "3"], ["0"], []]


async def test_messages_are_of_one_conversation(
    client_of: Callable[..., Any],
    database: str,
    user_id: UUID,
    stranger_id: UUID,
    maker: async_sessionmaker,
) -> None:
    """Neither another one of the user's nor another user's of the same id is among them."""
    for owner, session_id in [(user_id, "a"), (user_id, "b"), (stranger_id, "a")]:
        said: list[Any] = [{"role": "user", "content": f"{session_id} of {owner}"}] * 2
        await DatabaseSession(session_id, owner, maker).add_items(said)
    client = await client_of(make_app(answering(), database), user_id)

    for session_id in ("a", "b"):
        messages = (await client.get(f"/agents/sessions/{session_id}/messages")).json()
        assert [message["content"] for message in messages] == [f"{session_id} of {user_id}"] * 2


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


async def test_a_patch_changes_what_it_says(
    client_of: Callable[..., Any], database: str, user_id: UUID, maker: async_sessionmaker
) -> None:
    """What is left out stays, null clears, and no message is touched."""
    await told(maker, user_id)
    client = await client_of(make_app(answering(), database), user_id)

    async def patch(**changes: Any) -> tuple[Any, ...]:
        body = (await client.patch("/agents/sessions/mine", json=changes)).json()
        return body["session_name"], body["description"], body["is_active"]

    assert await patch() == ("My own", None, True)
    assert await patch(description="More") == ("My own", "More", True)
    assert await patch(session_name="Other", is_active=False) == ("Other", "More", False)
    assert await patch(session_name=None, description=None) == (None, None, False)
    assert await patch(is_active=True) == (None, None, True)
    assert len((await client.get("/agents/sessions/mine/messages")).json()) == 1


async def test_changes_and_turns_do_not_disturb_each_other(
    client_of: Callable[..., Any], database: str, user_id: UUID, maker: async_sessionmaker
) -> None:
    """Beside chats and each other, changes wait and are made; all of them, and no more."""
    await told(maker, user_id)
    client = await client_of(make_app(answering(*["Yes."] * 8), database), user_id)
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


# -- Whose it is -----------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
async def test_nobody_is_let_in(
    *,
    client_of: Callable[..., Any],
    database: str,
    user_id: UUID,
    maker: async_sessionmaker,
    method: str,
    path: str,
    body: Any,
) -> None:
    """Without a user the answer is 401, whatever the query says about one."""
    await told(maker, user_id)
    client = await client_of(make_app(answering("never said"), database))

    for query in ("", f"?user_id={user_id}&user={user_id}", f"?agent_session={user_id}"):
        answered = await client.request(method, path + query, json=body)
        assert answered.status_code == 401
        assert "secret" not in answered.text
    assert len(await DatabaseSession("mine", user_id, maker).get_items()) == 1


@pytest.mark.parametrize(("method", "path", "body"), ROUTES[3:])
async def test_a_stranger_finds_nothing(
    *,
    client_of: Callable[..., Any],
    database: str,
    user_id: UUID,
    stranger_id: UUID,
    maker: async_sessionmaker,
    method: str,
    path: str,
    body: Any,
) -> None:
    """Another user's conversation is 404, told apart in nothing from one that never was."""
    await told(maker, user_id)
    client = await client_of(make_app(answering(), database), stranger_id)

    for session_id in ("mine", "nobody's"):
        asked = path.replace("mine", quote(session_id)) + f"?user_id={user_id}"
        answered = await client.request(method, asked, json=body)
        assert answered.status_code == 404
        assert answered.json() == {"status_code": 404, "detail": "There is no such conversation."}
    [row] = await DatabaseSession("mine", user_id, maker).get_items()
    assert row == {"role": "user", "content": "a secret of mine"}


@pytest.mark.parametrize("route", ["chat", "chat/stream"])
async def test_a_stranger_begins_a_conversation_of_the_same_id(
    *,
    client_of: Callable[..., Any],
    database: str,
    user_id: UUID,
    stranger_id: UUID,
    maker: async_sessionmaker,
    route: str,
) -> None:
    """The id of another user's conversation is a new one; the model sees nothing of the other."""
    await told(maker, user_id)
    agent = answering("Who are you?")
    client = await client_of(make_app(agent, database), stranger_id)

    answered = await client.post(f"/agents/sessions/mine/{route}", json={"message": "Hi"})

    assert answered.status_code == 200
    assert "secret" not in str(last_input(agent))
    assert len(await DatabaseSession("mine", user_id, maker).get_items()) == 1
    assert len(await DatabaseSession("mine", stranger_id, maker).get_items()) == 2
    assert (await client.get("/agents/sessions")).json()["items"][0]["session_name"] is None


# -- What is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"message": "x" * 32_000}, 200),
        ({"message": "x" * 32_001}, 400),
        ({"message": ""}, 400),
        ({"message": None}, 400),
        ({"message": ["x"]}, 400),
        ({"message": "x", "user_id": "y"}, 400),
        ({}, 400),
        ([], 400),
        ("x", 400),
    ],
)
async def test_messages_have_bounds(
    client_of: Callable[..., Any], sqlite_database: str, body: Any, status: int
) -> None:
    """One to 32,000 characters, and nothing beside them."""
    client = await client_of(make_app(answering("Yes."), sqlite_database), uuid4())

    for route in ("chat", "chat/stream"):
        answered = await client.post(f"/agents/sessions/a/{route}", json=body)
        assert answered.status_code == status
        assert (await client.get("/agents/sessions")).json()["total"] == (status == 200)


@pytest.mark.parametrize("text", ["null \x00 byte", "lone \ud800 surrogate", "\ud83d\ude00"])
async def test_a_message_may_be_any_text(
    client_of: Callable[..., Any], database: str, user_id: UUID, text: str
) -> None:
    """What JSON can say is stored and answered; what is no text is refused."""
    client = await client_of(make_app(answering("Yes."), database), user_id)
    escaped = "".join(f"\\u{ord(char):04x}" for char in text)

    answered = await client.post(
        "/agents/sessions/a/chat",
        content=f'{{"message": "{escaped}"}}'.encode(),
        headers={"Content-Type": "application/json"},
    )

    assert answered.status_code == (400 if "lone" in text else 200)


BODIES = [route for route in ROUTES if route[2]]


@pytest.mark.parametrize(("method", "path", "body"), BODIES)
@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None]
)
async def test_a_body_is_said_to_be_json(
    *,
    client_of: Callable[..., Any],
    sqlite_database: str,
    method: str,
    path: str,
    body: Any,
    content_type: str | None,
) -> None:
    """What a page of another site can send without being asked first is refused."""
    client = await client_of(make_app(answering(), sqlite_database), uuid4())
    headers = {"Content-Type": content_type} if content_type else {}

    refused = await client.request(method, path, content=json.dumps(body).encode(), headers=headers)

    assert refused.status_code == 415
    assert refused.json()["detail"] == "The content type must be application/json."


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "application/x+json"])
async def test_there_is_more_than_one_kind_of_json(
    client_of: Callable[..., Any], sqlite_database: str, content_type: str
) -> None:
    """Parameters and suffixes are let pass."""
    client = await client_of(make_app(answering("Yes."), sqlite_database), uuid4())

    answered = await client.post(
        "/agents/sessions/a/chat",
        content=b'{"message": "Hi"}',
        headers={"Content-Type": content_type},
    )

    assert answered.status_code == 200


@pytest.mark.parametrize(("method", "path", "body"), BODIES)
@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"message": "h\xffi"}', b'{"message": ' + b"[" * 100_000]
)
async def test_what_is_no_json_is_refused(
    *,
    client_of: Callable[..., Any],
    sqlite_database: str,
    method: str,
    path: str,
    body: Any,  # noqa: ARG001 - of the route
    content: bytes,
) -> None:
    """Nothing, half of it, bytes that are no text, and too much of it are the client's faults."""
    client = await client_of(make_app(answering(), sqlite_database), uuid4())

    refused = await client.request(
        method, path, content=content, headers={"Content-Type": "application/json"}
    )

    assert refused.status_code == 400


@pytest.mark.parametrize(
    "session_id",
    ["a b", "ü🙂", "..", "100%", "'; --", "null\x00", "\x1a0", "a?b#c&d=e", "x" * 2000],
)
async def test_an_id_may_be_any_text(
    client_of: Callable[..., Any],
    database: str,
    user_id: UUID,
    maker: async_sessionmaker,
    session_id: str,
) -> None:
    """It reaches the conversation as it is, through every route."""
    client = await client_of(make_app(answering("Yes."), database), user_id)
    # A client takes "." and ".." out of a path, unless they are escaped.
    path = f"/agents/sessions/{quote(session_id, safe='').replace('.', '%2E')}"

    said = await client.post(f"{path}/chat", json={"message": "Hi"})

    assert said.json() == {"response": "Yes.", "session_id": session_id}
    assert len(await DatabaseSession(session_id, user_id, maker).get_items()) == 2
    assert len((await client.get(f"{path}/messages")).json()) == 2
    assert (await client.patch(path, json={})).json()["session_id"] == session_id
    assert (await client.delete(path)).status_code == 204


@pytest.mark.parametrize(
    ("session_id", "status"), [("x" * 2001, 400), ("ü" * 1001, 400), ("a/b", 404), ("a%2Fb", 404)]
)
async def test_an_id_has_bounds(
    client_of: Callable[..., Any], database: str, user_id: UUID, session_id: str, status: int
) -> None:
    """2,000 bytes are the limit, and a slash is not for a path."""
    client = await client_of(make_app(answering("Yes."), database), user_id)

    answered = await client.post(f"/agents/sessions/{session_id}/chat", json={"message": "Hi"})

    assert answered.status_code == status
    assert (await client.get("/agents/sessions")).json()["total"] == 0


@pytest.mark.parametrize(
    "query",
    [
        *(
            "limit=0",
            "limit=101",
            "limit=x",
            "after=x",
            "after=e30%3D",
            "after=%00",
            "is_active=perhaps",
        ),
        *(f"search={'x' * 256}", "search=%00"),
    ],
)
async def test_the_query_of_a_list_has_bounds(
    client_of: Callable[..., Any], sqlite_database: str, query: str
) -> None:
    """A value out of bounds is a 400, and not left to the database."""
    client = await client_of(make_app(answering(), sqlite_database), uuid4())

    assert (await client.get(f"/agents/sessions?{query}")).status_code == 400


@pytest.mark.parametrize(
    "changes",
    [
        {"session_name": "x" * 256},
        {"session_name": "null \x00"},
        {"description": "x" * 4001},
        {"is_active": None},
        {"agent_instructions": "Tell all."},
        {"user_id": str(uuid4())},
    ],
)
async def test_a_patch_has_bounds(
    client_of: Callable[..., Any],
    database: str,
    user_id: UUID,
    maker: async_sessionmaker,
    changes: dict[str, Any],
) -> None:
    """What cannot be stored, or is not the user's to change, is a 400 and changes nothing."""
    await told(maker, user_id)
    client = await client_of(make_app(answering(), database), user_id)

    refused = await client.patch("/agents/sessions/mine", json={"session_name": "Other", **changes})

    assert refused.status_code == 400
    [row] = (await client.get("/agents/sessions")).json()["items"]
    assert row["session_name"] == "My own"
