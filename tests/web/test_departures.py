"""Clients that go away, servers that end, conversations that are deleted under a run."""

from __future__ import annotations

import asyncio
import gc
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from agents import Agent, function_tool
from agents.testing import ModelStep, ScriptedModel, assistant_message, function_call

from openai_agents_session._web import runs
from tests.web.agents import SlowAgent, answering
from tests.web.serving import events, lifespan, noting, serving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from openai_agents_session._web.runs import Event
    from tests.web.places import Place

TURN = ["user", "function_call", "function_call_output"]

many = pytest.param(320, 1.0, marks=pytest.mark.slow)


def counting(app: Any, requests: list[int]) -> Any:
    """The application, and a count of the requests that it is at work on."""

    async def counted(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await app(scope, receive, send)
        requests[0] += 1
        try:
            return await app(scope, receive, send)
        finally:
            requests[0] -= 1

    return counted


async def say_and_leave(
    address: httpx.URL, user: str, name: str, after: float, *, answered: bool
) -> bool:
    """Post a message and close the connection; return whether there was a 200.

    Args:
        address: of the server.
        user: who says it.
        name: of the conversation.
        after: how many seconds to stay.
        answered: begin to count them only with the answer's first line.
    """
    body = json.dumps({"message": name}).encode()
    head = (
        f"POST /agents/sessions/{name}/chat/stream HTTP/1.1\r\nHost: x\r\nX-User: {user}\r\n"
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
    make_app: Any, place: Place, user: str, clients: int, longest: float
) -> None:
    """A message that was answered with 200 is stored with its turn, and no other turn begins."""
    all_left = asyncio.Event()
    second_turns: list[Any] = []
    at_work: list[None] = []

    @function_tool
    async def work() -> str:
        """Take as long as there are clients."""
        at_work.append(None)
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
    async with serving(counting(make_app(agent, place.source), requests), user) as client:
        answered = await asyncio.gather(
            *(
                say_and_leave(
                    client.base_url, user, f"s{n}", longest * n / clients, answered=n % 2 == 0
                )
                for n in range(clients)
            )
        )
        # Each run is in its first turn then, also one that began when its client had left.
        while requests[0] or len(at_work) < len(runs._running):  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.01)
        all_left.set()
        while runs._running:
            await asyncio.gather(*runs._running)

    assert sum(answered) >= clients / 2
    for number, was_answered in enumerate(answered):
        stored = await place.stored(user, f"s{number}")
        assert stored == TURN or (not was_answered and stored == []), number
    assert second_turns == []


async def test_a_client_that_goes_away_leaves_a_whole_turn(
    make_app: Any, place: Place, user: str
) -> None:
    """The tool that is at work ends and is stored with its call; no other turn begins."""
    slow = SlowAgent("never asked")

    async with serving(make_app(slow.agent, place.source), user) as client:
        request = client.build_request(
            "POST", "/agents/sessions/a/chat/stream", json={"message": "Go"}
        )
        streamed = await client.send(request, stream=True)
        await slow.working.wait()
        await streamed.aclose()  # closes the connection
        slow.go_on.set()
        await asyncio.gather(*runs._running)

        assert await place.stored(user, "a") == TURN
        assert slow.model.remaining_steps == 1
        again = await client.post("/agents/sessions/a/chat", json={"message": "Still there?"})
        assert again.json()["response"] == "never asked"
        assert not runs._running


@pytest.mark.parametrize("sending", [False, True], ids=["before an event", "while it is sent"])
async def test_a_stream_ends_with_its_request(
    make_app: Any, place: Place, user: str, *, sending: bool
) -> None:
    """Its run hears of it then, and not when Python collects what nobody has any more."""
    slow = SlowAgent("never asked")
    app = make_app(slow.agent, place.source)
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/agents/sessions/a/chat/stream",
        "raw_path": b"/agents/sessions/a/chat/stream",
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"host", b"test"),
            (b"content-type", b"application/json"),
            (b"x-user", user.encode()),
        ],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "state": {},
    }
    said = [{"type": "http.request", "body": b'{"message": "Go"}', "more_body": False}]
    left, never = asyncio.Event(), asyncio.Event()

    async def receive() -> Any:
        if said:
            return said.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if sending == (message["type"] == "http.response.body"):
            left.set()
        if message.get("body"):
            await never.wait()  # as to a client that doesn't read

    gc.disable()
    try:
        async with lifespan(app):
            await app(scope, receive, send)
            await slow.working.wait()
            slow.go_on.set()
            await asyncio.gather(*runs._running)
    finally:
        gc.enable()

    assert await place.stored(user, "a") == TURN


async def test_a_client_that_does_not_wait_leaves_a_whole_run(
    make_app: Any, place: Place, user: str
) -> None:
    """Without a stream nobody notices, and all of the run is stored."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(_: Any) -> Any:
        asked.set()
        await go_on.wait()
        return [assistant_message("At last.")]

    agent = Agent(name="Slow", model=ScriptedModel([ModelStep.respond(slowly)]))

    async with serving(make_app(agent, place.source), user) as client:
        waiting = asyncio.create_task(
            client.post("/agents/sessions/a/chat", json={"message": "Go"})
        )
        await asked.wait()
        waiting.cancel()  # closes the connection
        await asyncio.wait([waiting])
        go_on.set()
    # A server that stops waits for what it has begun.
    assert await place.stored(user, "a") == ["user", "message"]


async def test_a_client_that_leaves_before_the_first_event(memory: Place, user: str) -> None:
    """The answer's 200 says that the message is heard, whoever waits for a word of it."""
    session = memory.store.user(user).session("a")

    stream: AsyncGenerator[Event] = await runs.begin(
        answering("Heard."), "Hi", session, {}, lambda event: event, lease_wait=0
    )
    await stream.aclose()
    await asyncio.gather(*runs._running)

    assert await memory.stored(user, "a") == ["user", "message"]


async def test_a_cancelled_request_leaves_a_whole_run(memory: Place, user: str) -> None:
    """As at a shutdown that does not wait: what has begun is drained, with a stream or without."""
    slow = SlowAgent("Done.")
    session = memory.store.user(user).session("a")
    asking = asyncio.create_task(runs.answer(slow.agent, "Go", session, {}, lease_wait=0))
    await slow.working.wait()

    asking.cancel()
    await asyncio.wait({asking})
    assert asking.cancelled()
    slow.go_on.set()
    await runs.drain()

    assert await memory.stored(user, "a") == [*TURN, "message"]


async def test_an_abandoned_run_that_fails_says_nothing(
    memory: Place, user: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody takes its error, and asyncio, which would log that, has none to log."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def fail(_: Any) -> Any:
        asked.set()
        await go_on.wait()
        raise RuntimeError("my own words")

    agent = Agent(name="Failing", model=ScriptedModel([ModelStep.respond(fail)]))
    session = memory.store.user(user).session("a")
    asking = asyncio.create_task(runs.answer(agent, "Go", session, {}, lease_wait=0))
    await asked.wait()
    asking.cancel()
    await asyncio.wait({asking})
    go_on.set()
    await runs.drain()

    assert "failed: builtins.RuntimeError" in caplog.text
    assert "my own words" not in caplog.text


async def test_a_conversation_deleted_under_a_run_stays_deleted(
    make_app: Any, place: Place, user: str, stranger: str
) -> None:
    """The later items make no new one without its name; the client is told that there is none."""

    @function_tool
    async def delete() -> str:
        """Delete the conversation, as the user might in another tab."""
        assert await place.store.user(user).delete("a")
        return "done"

    call = function_call("delete", "{}", call_id="call_1")
    agent = Agent(name="Assistant", model=ScriptedModel([[call]] * 2), tools=[delete])
    await place.said(stranger, "a", "theirs")
    told = {"status_code": 404, "detail": "There is no such conversation."}

    async with serving(make_app(agent, place.source), user) as client:
        for kind in ("chat", "chat/stream"):
            answered = await client.post(f"/agents/sessions/a/{kind}", json={"message": "Go"})

            assert (answered.json() if kind == "chat" else events(answered.text)[-1][1]) == told
            assert (await client.get("/agents/sessions")).json()["items"] == []
    assert await place.stored(stranger, "a") == ["user"]


# -- Shutdowns -------------------------------------------------------------------------------


async def test_a_shutdown_waits_for_a_turn_without_a_client(
    make_app: Any, place: Place, user: str
) -> None:
    """A tool that is at work ends and is stored, before the store is closed."""
    slow = SlowAgent("never asked")
    ends = asyncio.Event()
    app = noting(make_app(slow.agent, place.source), ends)

    async def go_on() -> None:
        await ends.wait()
        await asyncio.sleep(0.1)
        slow.go_on.set()

    async with serving(app, user) as client:
        request = client.build_request(
            "POST", "/agents/sessions/a/chat/stream", json={"message": "Go"}
        )
        streamed = await client.send(request, stream=True)
        await slow.working.wait()
        await streamed.aclose()
        going_on = asyncio.create_task(go_on())

    await going_on
    assert await place.stored(user, "a") == TURN


@pytest.mark.parametrize(("route", "stored"), [("chat", [*TURN, "message"]), ("chat/stream", TURN)])
async def test_a_server_that_waits_for_nobody_stores_what_it_was_at(
    make_app: Any, place: Place, user: str, route: str, stored: list[str]
) -> None:
    """Requests are cancelled when uvicorn's patience ends; the tool at work ends, and is stored."""
    # The tool takes until the requests are cancelled: the application's end comes after that.
    slow = SlowAgent("Done.")
    app = noting(make_app(slow.agent, place.source), slow.go_on)

    async with serving(app, user, timeout_graceful_shutdown=0) as client:
        asking = asyncio.create_task(
            client.post(f"/agents/sessions/a/{route}", json={"message": "Go"})
        )
        await slow.working.wait()
    with pytest.raises(httpx.HTTPError):
        await asking  # it was cut

    assert await place.stored(user, "a") == stored


async def test_a_shutdown_does_not_wait_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After its time it ends, and the log says what it left behind."""
    monkeypatch.setattr(runs, "SHUTDOWN_SECONDS", 0.01)
    task = asyncio.create_task(asyncio.Event().wait())
    monkeypatch.setattr(runs, "_running", {task})

    await runs.drain()

    assert "The shutdown did not wait for 1 turns to be stored" in caplog.text
    task.cancel()
