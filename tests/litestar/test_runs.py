"""Runs: what is streamed, what an error tells, and clients that go away."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import msgspec
import pytest
import uvicorn
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig
from agents import (
    Agent,
    GuardrailFunctionOutput,
    InputGuardrail,
    MaxTurnsExceeded,
    ToolGuardrailFunctionOutput,
    ToolOutputImage,
    ToolOutputText,
    function_tool,
    tool_input_guardrail,
    tool_output_guardrail,
)
from agents.testing import ModelStep, ScriptedModel, assistant_message, function_call
from litestar import Litestar
from litestar.di import Provide
from litestar.logging import LoggingConfig
from litestar.plugins import InitPlugin
from openai import OpenAIError
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from openai_agents_session import DatabaseSession
from openai_agents_session._web import runs
from openai_agents_session._web.errors import UnavailableError, WebError, quietly
from openai_agents_session.litestar import AgentSessionsPlugin
from tests.litestar.conftest import HeaderAuthentication, SlowAgent, answering, make_app
from tests.litestar.example import events
from tests.servers import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from uuid import UUID

    from litestar.config.app import AppConfig
    from litestar.types import ASGIApp, Receive, Scope, Send
    from sqlalchemy.ext.asyncio import async_sessionmaker

LOUD = LoggingConfig(
    log_exceptions="always",
    configure_root_logger=False,
    handlers={"queue_listener": {"class": "logging.NullHandler"}},  # without its thread
    loggers={"litestar": {"level": "INFO", "handlers": [], "propagate": True}},
)
"""Every exception is logged with its traceback, where the tests see it."""


def logged(caplog: pytest.LogCaptureFixture) -> str:
    """All that was logged, tracebacks included, but for the SDK's own model clients."""
    ours = [record for record in caplog.records if not record.name.startswith("openai.")]
    return "\n".join(logging.Formatter("%(name)s %(message)s").format(record) for record in ours)


SECRETS = ["sk-very-secret", "my own words"]


async def refuse(*_: Any) -> GuardrailFunctionOutput:
    """Trip on every message."""
    return GuardrailFunctionOutput(output_info="my own words", tripwire_triggered=True)


def failing(error: Exception) -> Agent[Any]:
    """An agent whose model raises, which the SDK may try twice."""
    return Agent(name="Failing", model=ScriptedModel([ModelStep.raise_error(error)] * 5))


ERRORS = [
    (OpenAIError("Incorrect API key: sk-very-secret, for: my own words"), 502),
    (MaxTurnsExceeded("sk-very-secret said my own words"), 502),
    (RuntimeError("sk-very-secret said my own words"), 502),
    (OperationalError("INSERT 'sk-very-secret'", {"x": "my own words"}, Exception("x")), 503),
    (ConnectionRefusedError("sk-very-secret said my own words"), 502),  # the model's, here
]


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize(("error", "status"), ERRORS, ids=lambda value: type(value).__name__)
async def test_an_error_tells_nothing(
    *,
    client_of: Callable[..., Any],
    sqlite_database: str,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    status: int,
    debug: bool,
) -> None:
    """Status and a fixed sentence: neither answer nor log has a word of the error's."""
    app = make_app(failing(error), sqlite_database, logging_config=LOUD)
    app.debug = debug
    client = await client_of(app, uuid4())

    with caplog.at_level(logging.INFO):
        plain = await client.post("/agents/sessions/a/chat", json={"message": "my own words"})
        streamed = await client.post(
            "/agents/sessions/a/chat/stream", json={"message": "my own words"}
        )

    assert plain.status_code == status
    [(name, told)] = events(streamed.text)
    assert (name, told["status_code"]) == ("error", status)
    assert plain.json() == told
    kinds = [r.getMessage() for r in caplog.records if r.name == "openai_agents_session"]
    assert len(kinds) == 2
    assert f"session 'a' failed: {type(error).__module__}.{type(error).__name__}" in kinds[0]
    assert "Traceback" in logged(caplog)
    everything = [plain.text, streamed.text, *capfd.readouterr(), logged(caplog)]
    assert not [secret for secret in SECRETS for text in everything if secret in text]


async def test_a_refusal_is_no_failure(
    client_of: Callable[..., Any],
    database: str,
    user_id: UUID,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A guardrail's tripwire is 422, and nothing that an operator should look at."""
    agent = answering("never said")
    agent.input_guardrails = [InputGuardrail(refuse)]
    client = await client_of(make_app(agent, database), user_id)

    plain = await client.post("/agents/sessions/a/chat", json={"message": "Hi"})
    streamed = await client.post("/agents/sessions/a/chat/stream", json={"message": "Hi"})

    assert plain.json() == {"status_code": 422, "detail": "The agent refused the message."}
    assert events(streamed.text)[-1] == ("error", plain.json())
    assert not [r for r in caplog.records if r.name == "openai_agents_session"]


@pytest.mark.parametrize("at", ["input", "output"])
async def test_a_tools_guardrail_refuses_as_well(
    client_of: Callable[..., Any], sqlite_database: str, at: str
) -> None:
    """What it stops is a refusal, and no failure."""

    @tool_input_guardrail
    def before(_: Any) -> ToolGuardrailFunctionOutput:
        return ToolGuardrailFunctionOutput.raise_exception("my own words")

    @tool_output_guardrail
    def after(_: Any) -> ToolGuardrailFunctionOutput:
        return ToolGuardrailFunctionOutput.raise_exception("my own words")

    @function_tool(
        tool_input_guardrails=[before] if at == "input" else [],
        tool_output_guardrails=[after] if at == "output" else [],
    )
    def work() -> str:
        """Do it."""
        return "done"

    model = ScriptedModel([[function_call("work", "{}", call_id="call_1")]] * 2)
    agent = Agent(name="Guarded", model=model, tools=[work])
    client = await client_of(make_app(agent, sqlite_database), uuid4())

    plain = await client.post("/agents/sessions/a/chat", json={"message": "Hi"})
    streamed = await client.post("/agents/sessions/b/chat/stream", json={"message": "Hi"})

    assert plain.json() == {"status_code": 422, "detail": "The agent refused the message."}
    assert events(streamed.text)[-1] == ("error", plain.json())


async def test_a_run_that_does_not_begin_is_a_failed_one(
    client_of: Callable[..., Any], sqlite_database: str
) -> None:
    """Options that no run takes are the server's mistake, which both routes tell alike."""
    options = Provide(lambda: {"session": None}, sync_to_thread=False)
    app = make_app(answering(), sqlite_database, run_options=options)
    client = await client_of(app, uuid4())

    plain = await client.post("/agents/sessions/a/chat", json={"message": "Hi"})
    streamed = await client.post("/agents/sessions/a/chat/stream", json={"message": "Hi"})

    assert plain.json() == {"status_code": 502, "detail": "The agent could not answer."}
    assert streamed.status_code == 200
    assert events(streamed.text) == [("error", plain.json())]


class Reading(BaseModel):
    """An output with numbers that JSON has not."""

    values: list[float]


@pytest.mark.parametrize(
    ("output_type", "said", "told"),
    [
        (None, "half \ud83d of it", "half \ufffd of it"),
        (None, "\ud83d\ude00", "\U0001f600"),
        (Reading, '{"values": [NaN, 1.5, -Infinity]}', {"values": [None, 1.5, None]}),
    ],
)
async def test_an_answer_is_always_json(
    client_of: Callable[..., Any], sqlite_database: str, output_type: Any, said: str, told: Any
) -> None:
    """What JSON in UTF-8 has not is replaced, and the turn is stored and answered."""
    model = ScriptedModel([[assistant_message(said)]] * 2)
    agent = Agent(name="Odd", model=model, output_type=output_type)
    client = await client_of(make_app(agent, sqlite_database), uuid4())

    plain = await client.post("/agents/sessions/a/chat", json={"message": "Hi"})
    streamed = await client.post("/agents/sessions/b/chat/stream", json={"message": "Hi"})

    assert plain.json() == {"response": told, "session_id": "a"}
    assert strictly(streamed.text) == {"response": told, "session_id": "b"}
    for session_id in ("a", "b"):
        messages = await client.get(f"/agents/sessions/{session_id}/messages")
        assert [message["role"] for message in messages.json()] == ["user", "assistant"]


def strictly(text: str) -> Any:
    """The data of a stream's last event, read by a parser that takes no more than JSON."""
    return msgspec.json.decode(text.rpartition("data: ")[2])


@pytest.mark.parametrize("debug", [False, True])
async def test_a_broken_database_tells_nothing(
    *,
    client_of: Callable[..., Any],
    database: str,
    user_id: UUID,
    maker: async_sessionmaker,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    debug: bool,
) -> None:
    """Every route answers 503 in the same words; no log has any of the request's."""
    config = SQLAlchemyAsyncConfig(connection_string=database)  # which would show parameters
    app = make_app(answering("never said"), config, logging_config=LOUD)
    app.debug = debug
    client = await client_of(app, user_id)
    async with maker() as session, session.begin():
        await session.execute(text("DROP TABLE session_message"))
        await session.execute(text("DROP TABLE agent_session"))

    secret = "my own words"
    answers = [
        await client.get("/agents/sessions", params={"search": secret}),
        await client.get("/agents/sessions/a/messages"),
        await client.patch("/agents/sessions/a", json={"session_name": secret}),
        await client.delete("/agents/sessions/a"),
        await client.post("/agents/sessions/a/chat", json={"message": secret}),
    ]

    sentence = "The conversation is not available right now."
    for answered in answers:
        assert answered.json() == {"status_code": 503, "detail": sentence}
    ours = [r.getMessage() for r in caplog.records if r.name == "openai_agents_session"]
    assert [line.split(" failed")[0] for line in ours] == [
        "Listing the conversations",
        "Reading session 'a'",
        "Changing session 'a'",
        "Deleting session 'a'",
        "The agent's run for session 'a'",
    ]
    assert "Traceback" in logged(caplog)
    assert secret not in logged(caplog) + "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (FileNotFoundError("no such socket, said my own words"), UnavailableError),
        (asyncio.TimeoutError("my own words"), UnavailableError),
        (OperationalError("SELECT 'my own words'", {}, Exception("x")), UnavailableError),
        (
            type("CannotConnectNowError", (Exception,), {"sqlstate": "57P03"})("my own words"),
            UnavailableError,
        ),
        (ValueError("my own words"), WebError),
    ],
    ids=["file", "time", "statement", "driver", "mistake"],
)
def test_what_a_database_raises_is_the_cause_of_nothing(
    error: Exception, told: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    """What the event loop, the driver and SQLAlchemy raise is told alike, without a word of it."""
    with pytest.raises(told) as raised, quietly("Reading"):
        raise error

    assert type(raised.value) is told
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
    assert "my own words" not in caplog.text


async def test_a_failed_run_can_be_followed_by_another(
    client_of: Callable[..., Any], database: str, user_id: UUID
) -> None:
    """The conversation goes on where it was."""
    model = ScriptedModel([RuntimeError("x"), [assistant_message("Here I am.")]])
    client = await client_of(make_app(Agent(name="A", model=model), database), user_id)

    first = await client.post("/agents/sessions/a/chat", json={"message": "One"})
    second = await client.post("/agents/sessions/a/chat", json={"message": "Two"})

    assert (first.status_code, second.status_code) == (502, 200)
    assert [m["content"] for m in (await client.get("/agents/sessions/a/messages")).json()][
        -2:
    ] == [
        "Two",
        "Here I am.",
    ]


async def test_a_stream_is_kept_alive(
    client_of: Callable[..., Any],
    database: str,
    user_id: UUID,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While the model thinks, comments are sent, which clients pass over."""
    monkeypatch.setattr(runs, "PING_SECONDS", 0.01)

    async def slowly(_: Any) -> Any:
        await asyncio.sleep(0.2)
        return [assistant_message("At last.")]

    model = ScriptedModel([ModelStep.respond(slowly)])
    client = await client_of(make_app(Agent(name="Slow", model=model), database), user_id)

    streamed = await client.post("/agents/sessions/a/chat/stream", json={"message": "Hi"})

    assert streamed.text.count(": still at it\r\n\r\n") >= 2
    assert events(streamed.text)[-1][1]["response"] == "At last."


async def test_a_stream_tells_of_tools(sqlite_database: str, user_id: UUID) -> None:
    """A call is told before the tool runs, then its output, as the messages have them."""
    slow = SlowAgent("It is done.")
    async with serving(make_app(slow.agent, sqlite_database), user_id) as client:
        body = {"message": "Go"}
        async with client.stream("POST", "/agents/sessions/a/chat/stream", json=body) as streamed:
            parts, text = streamed.aiter_text(), ""
            while "\r\n\r\n" not in text:
                text += await anext(parts)
            assert not slow.go_on.is_set()
            [(name, called)] = events(text)
            slow.go_on.set()
            text += "".join([part async for part in parts])
        messages = (await client.get("/agents/sessions/a/messages")).json()

    assert name == "tool_call"
    fields = ("tool_call_id", "tool_name", "content")
    assert called == {field: messages[1][field] for field in fields}
    [_, output, *_, done] = events(text)
    fields = ("tool_call_id", "content")
    assert output == ("tool_output", {field: messages[2][field] for field in fields})
    assert output[1]["content"] == "done"
    assert done[0] == "done"


@function_tool
def look() -> list[ToolOutputText | ToolOutputImage]:
    """Give a text with a lone surrogate, a picture and another text."""
    picture = ToolOutputImage(image_url="https://example.com/a.png")
    return [ToolOutputText(text="a\ud800"), picture, ToolOutputText(text="b")]


async def test_a_stream_tells_the_words_of_a_tool(
    client_of: Callable[..., Any], sqlite_database: str, user_id: UUID
) -> None:
    """A picture has none, and what UTF-8 cannot hold is replaced."""
    call = function_call("look", "{}", call_id="call_1")
    model = ScriptedModel([[call], [assistant_message("Seen.")]])
    agent = Agent(name="Looking", model=model, tools=[look])
    client = await client_of(make_app(agent, sqlite_database), user_id)

    streamed = await client.post("/agents/sessions/a/chat/stream", json={"message": "Look"})

    [output] = [data for name, data in events(streamed.text) if name == "tool_output"]
    assert output == {"tool_call_id": "call_1", "content": "a?\nb"}


# -- On a real server: clients that go away --------------------------------------------------


class Server(uvicorn.Server):
    """uvicorn in the test's own loop; signals are pytest's."""

    def capture_signals(self) -> Any:
        return nullcontext()


@asynccontextmanager
async def serving(app: ASGIApp, user: UUID, **options: Any) -> AsyncGenerator[httpx.AsyncClient]:
    """A real server, with uvicorn's options, and a client of it."""
    # Older releases bring a deprecated WebSocket protocol along, which nobody speaks here.
    options |= {"port": free_port(), "log_config": None, "lifespan": "on", "ws": "none"}
    config = uvicorn.Config(app, **options)
    server = Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        assert not task.done()
        await asyncio.sleep(0.01)
    address = f"http://127.0.0.1:{server.config.port}"
    try:
        async with httpx.AsyncClient(
            base_url=address, headers={"X-User": str(user)}, timeout=60
        ) as client:
            yield client
    finally:
        server.should_exit = True
        await task


async def contents(session: DatabaseSession) -> list[str]:
    """What a conversation holds, in short."""
    return [str(item.get("type", item.get("role"))) for item in await session.get_items()]


async def test_a_client_that_goes_away_leaves_a_whole_turn(
    database: str, user_id: UUID, maker: async_sessionmaker
) -> None:
    """The tool that is at work ends and is stored with its call; no other turn begins."""
    slow = SlowAgent("never asked")
    session = DatabaseSession("a", user_id, maker)
    body = {"message": "Go"}

    async with serving(make_app(slow.agent, database), user_id) as client:
        request = client.build_request("POST", "/agents/sessions/a/chat/stream", json=body)
        streamed = await client.send(request, stream=True)
        await slow.working.wait()
        await streamed.aclose()  # closes the connection
        slow.go_on.set()
        await asyncio.gather(*runs._running)

        assert await contents(session) == ["user", "function_call", "function_call_output"]
        assert slow.model.remaining_steps == 1
        again = await client.post("/agents/sessions/a/chat", json={"message": "Still there?"})
        assert again.json()["response"] == "never asked"
        assert not runs._running


async def test_a_client_that_does_not_wait_leaves_a_whole_run(
    database: str, user_id: UUID, maker: async_sessionmaker
) -> None:
    """Without a stream nobody notices, and all of the run is stored."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(_: Any) -> Any:
        asked.set()
        await go_on.wait()
        return [assistant_message("At last.")]

    model = ScriptedModel([ModelStep.respond(slowly), [assistant_message("Yes.")]])
    session = DatabaseSession("a", user_id, maker)

    async with serving(make_app(Agent(name="Slow", model=model), database), user_id) as client:
        waiting = asyncio.create_task(
            client.post("/agents/sessions/a/chat", json={"message": "Go"})
        )
        await asked.wait()
        waiting.cancel()  # closes the connection
        await asyncio.wait([waiting])
        go_on.set()
    # A server that stops waits for what it has begun.
    assert await contents(session) == ["user", "message"]


def noting(app: ASGIApp, ends: asyncio.Event) -> ASGIApp:
    """The application, and a note of when the server tells it to end."""

    async def noted(scope: Scope, receive: Receive, send: Send) -> None:
        async def receiving() -> Any:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                ends.set()
            return message

        await app(scope, receiving, send)

    return noted


@pytest.mark.parametrize("plugin_first", [True, False])
async def test_a_shutdown_waits_for_a_turn_without_a_client(
    database: str, user_id: UUID, maker: async_sessionmaker, *, plugin_first: bool
) -> None:
    """A tool that is at work ends and is stored, before the database is closed."""
    working, ends = asyncio.Event(), asyncio.Event()
    order: list[str] = []

    @function_tool
    async def work() -> str:
        """Take a while."""
        working.set()
        await ends.wait()
        await asyncio.sleep(0.2)
        order.append("worked")
        return "done"

    @asynccontextmanager
    async def closing(_: Any) -> AsyncGenerator[None]:
        yield
        order.append("closed")

    class Database(InitPlugin):
        def on_app_init(self, app_config: AppConfig) -> AppConfig:
            app_config.lifespan.append(closing)
            return app_config

    call = function_call("work", "{}", call_id="call_1")
    model = ScriptedModel([[call], [assistant_message("never asked")]])
    agent = Agent(name="Slow", model=model, tools=[work])
    plugins: list[Any] = [AgentSessionsPlugin(agent, database), Database()]
    app = Litestar(
        plugins=plugins if plugin_first else plugins[::-1],
        middleware=[HeaderAuthentication],
        on_shutdown=[lambda: order.append("down")],
        logging_config=None,
    )

    async with serving(noting(app, ends), user_id) as client:
        request = client.build_request(
            "POST", "/agents/sessions/a/chat/stream", json={"message": "Go"}
        )
        streamed = await client.send(request, stream=True)
        await working.wait()
        await streamed.aclose()

    assert order == ["worked", "closed", "down"]
    stored = await contents(DatabaseSession("a", user_id, maker))
    assert stored == ["user", "function_call", "function_call_output"]


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
