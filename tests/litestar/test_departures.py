"""Clients that go away, servers that end, conversations that are deleted under a run."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from advanced_alchemy.extensions.litestar import EngineConfig, SQLAlchemyAsyncConfig
from agents import Agent, function_tool
from agents.testing import ModelStep, ScriptedModel, assistant_message, function_call
from litestar.di import Provide

from openai_agents_session import AgentSessionService, DatabaseSession
from openai_agents_session._web import runs
from tests.litestar.conftest import SlowAgent, answering, make_app
from tests.litestar.example import events
from tests.litestar.test_runs import contents, serving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from uuid import UUID

    import httpx
    from litestar.types import ASGIApp, Receive, Scope, Send
    from sqlalchemy.ext.asyncio import async_sessionmaker

    from openai_agents_session._web.runs import Event

many = pytest.param(320, 1.0, marks=pytest.mark.slow)


def counting(app: ASGIApp, requests: list[int]) -> ASGIApp:
    """The application, and a count of the requests that it is at work on."""

    async def counted(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await app(scope, receive, send)
        requests[0] += 1
        try:
            return await app(scope, receive, send)
        finally:
            requests[0] -= 1

    return counted


async def say_and_leave(
    address: httpx.URL, user_id: UUID, name: str, after: float, *, answered: bool
) -> bool:
    """Post a message and close the connection; return whether there was a 200.

    Args:
        address: of the server.
        user_id: who says it.
        name: of the conversation.
        after: how many seconds to stay.
        answered: begin to count them only with the answer's first line.
    """
    body = json.dumps({"message": name}).encode()
    head = (
        f"POST /agents/sessions/{name}/chat/stream HTTP/1.1\r\nHost: x\r\nX-User: {user_id}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(head.encode() + body)
    answer = await reader.readline() if answered else b""
    with suppress(asyncio.TimeoutError):
        answer += await asyncio.wait_for(reader.read(), after)
    writer.transport.abort()
    return answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(("clients", "longest"), [(40, 0.1), many])
async def test_whoever_leaves_has_said_it(
    database: str, user_id: UUID, maker: async_sessionmaker, clients: int, longest: float
) -> None:
    """A message that was answered with 200 is stored with its turn, and no other turn begins."""
    all_left = asyncio.Event()
    second_turns: list[Any] = []

    @function_tool
    async def work() -> str:
        """Take as long as there are clients."""
        await all_left.wait()
        return "done"

    def respond(call: Any) -> Any:
        if any(item.get("type") == "function_call_output" for item in call.input):
            second_turns.append(call.input)
            return [assistant_message("never asked")]
        return [function_call("work", "{}", call_id="call_1")]

    steps = [ModelStep.respond(respond)] * (3 * clients)
    agent = Agent(name="Slow", model=ScriptedModel(steps), tools=[work])
    requests = [0]
    # So many writers on one file of SQLite may have to wait for longer than by default.
    patient = {"timeout": 60} if database.startswith("sqlite") else {}
    config = SQLAlchemyAsyncConfig(
        connection_string=database, engine_config=EngineConfig(connect_args=patient)
    )
    app: Any = counting(make_app(agent, config), requests)
    async with serving(app, user_id) as client:
        answered = await asyncio.gather(
            *(
                say_and_leave(
                    client.base_url, user_id, f"s{n}", longest * n / clients, answered=n % 2 == 0
                )
                for n in range(clients)
            )
        )
        while requests[0]:  # noqa: ASYNC110 - the server sets no event
            await asyncio.sleep(0.01)
        all_left.set()
        while runs._running:
            await asyncio.gather(*runs._running)

    assert sum(answered) >= clients / 2
    whole = ["user", "function_call", "function_call_output"]
    for number, was_answered in enumerate(answered):
        stored = await contents(DatabaseSession(f"s{number}", user_id, maker))
        assert stored == whole or (not was_answered and stored == []), number
    assert second_turns == []


async def test_a_client_that_leaves_before_the_first_event(
    sqlite_database: str, user_id: UUID, maker: async_sessionmaker
) -> None:
    """The answer's 200 says that the message is heard, whoever waits for a word of it."""
    del sqlite_database
    session = DatabaseSession("s", user_id, maker)
    agent = answering("Heard.")

    stream: AsyncGenerator[Event] = await runs.begin(agent, "Hi", session, {}, lambda event: event)
    await stream.aclose()
    await asyncio.gather(*runs._running)

    assert await contents(session) == ["user", "message"]


async def test_a_cancelled_request_leaves_a_whole_run(
    user_id: UUID, maker: async_sessionmaker
) -> None:
    """As at a shutdown that does not wait: what has begun is drained, with a stream or without."""
    slow = SlowAgent("Done.")
    session = DatabaseSession("s", user_id, maker)
    asking = asyncio.create_task(runs.answer(slow.agent, "Go", session, {}))
    await slow.working.wait()

    asking.cancel()
    await asyncio.wait({asking})
    assert asking.cancelled()
    slow.go_on.set()
    await runs.drain()

    whole = ["user", "function_call", "function_call_output", "message"]
    assert await contents(session) == whole


async def test_an_abandoned_run_that_fails_says_nothing(
    sqlite_database: str,
    user_id: UUID,
    maker: async_sessionmaker,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nobody takes its error, and asyncio, which would log that, has none to log."""
    del sqlite_database
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def fail(_: Any) -> Any:
        asked.set()
        await go_on.wait()
        raise RuntimeError("my own words")

    agent = Agent(name="Failing", model=ScriptedModel([ModelStep.respond(fail)]))
    session = DatabaseSession("s", user_id, maker)
    asking = asyncio.create_task(runs.answer(agent, "Go", session, {}))
    await asked.wait()
    asking.cancel()
    await asyncio.wait({asking})
    go_on.set()
    await runs.drain()

    assert "failed: builtins.RuntimeError" in caplog.text
    assert "my own words" not in caplog.text


async def test_a_conversation_deleted_under_a_run_stays_deleted(
    database: str, user_id: UUID, stranger_id: UUID, maker: async_sessionmaker
) -> None:
    """The later items make no new one without its name; the client is told that there is none."""

    @function_tool
    async def delete() -> str:
        """Delete the conversation, as the user might in another tab."""
        async with maker() as db:
            await AgentSessionService(db).delete("a", user_id=user_id)
        return "done"

    call = function_call("delete", "{}", call_id="call_1")
    model = ScriptedModel([[call]] * 2)
    agent = Agent(name="Assistant", model=model, tools=[delete])
    theirs = DatabaseSession("a", stranger_id, maker)
    await theirs.add_items([{"role": "user", "content": "theirs"}])
    told = {"status_code": 404, "detail": "There is no such conversation."}

    async with serving(make_app(agent, database), user_id) as client:
        for kind in ("chat", "chat/stream"):
            answered = await client.post(f"/agents/sessions/a/{kind}", json={"message": "Go"})

            assert (answered.json() if kind == "chat" else events(answered.text)[-1][1]) == told
            assert (await client.get("/agents/sessions")).json()["total"] == 0
    assert await contents(theirs) == ["user"]


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


@pytest.mark.parametrize("kind", ["chat", "chat/stream"])
async def test_a_tool_that_needs_approval(
    client_of: Callable[..., Any], sqlite_database: str, user_id: UUID, kind: str
) -> None:
    """There is no way to approve it here: 409, with the names of the tools that wait."""

    @function_tool(needs_approval=True)
    def send_money() -> str:
        """Send it."""
        return "sent"

    @function_tool(needs_approval=True)
    def delete_all() -> str:
        """Delete it."""
        return "deleted"

    calls = [function_call(name, "{}", call_id=name) for name in ("send_money", "delete_all")]
    agent = Agent(name="A", model=ScriptedModel([calls]), tools=[send_money, delete_all])
    client = await client_of(make_app(agent, sqlite_database), user_id)

    answered = await client.post(f"/agents/sessions/a/{kind}", json={"message": "Go"})

    told = answered.json() if kind == "chat" else events(answered.text)[-1][1]
    assert told == {
        "status_code": 409,
        "detail": "The agent waits for an approval of delete_all, send_money.",
    }


async def test_a_user_id_of_the_wrong_type_is_named(
    client_of: Callable[..., Any], sqlite_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is a mistake of the application's, which finds in the log what is right."""
    app = make_app(answering(), sqlite_database, user_id=Provide(lambda: 7, sync_to_thread=False))
    client = await client_of(app)

    answered = await client.post("/agents/sessions/a/chat", json={"message": "Go"})

    assert answered.status_code == 500
    assert "user_id must be a UUID, as AgentSession.user_id is, not int" in caplog.text
