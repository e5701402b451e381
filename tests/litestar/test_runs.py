"""Runs: what is streamed, what an error tells, and clients that go away."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn
from agents import (
    Agent,
    GuardrailFunctionOutput,
    InputGuardrail,
    MaxTurnsExceeded,
    function_tool,
)
from agents.testing import ModelStep, ScriptedModel, assistant_message, function_call
from litestar.logging import LoggingConfig
from openai import OpenAIError
from sqlalchemy.exc import OperationalError

from openai_agents_session import DatabaseSession
from openai_agents_session.litestar import _runs
from tests.litestar.conftest import answering, make_app
from tests.litestar.test_example import events
from tests.servers import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from uuid import UUID

    from litestar import Litestar
    from sqlalchemy.ext.asyncio import async_sessionmaker

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
    (ConnectionRefusedError("sk-very-secret said my own words"), 503),
]


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize(("error", "status"), ERRORS, ids=lambda value: type(value).__name__)
async def test_an_error_tells_nothing(
    *,
    client_of: Callable[..., Any],
    database: str,
    user_id: UUID,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    status: int,
    debug: bool,
) -> None:
    """Status and a fixed sentence: neither answer nor log has a word of the error's."""
    log = LoggingConfig(log_exceptions="always", configure_root_logger=False)
    app = make_app(failing(error), database, logging_config=log)
    app.debug = debug
    client = await client_of(app, user_id)

    with caplog.at_level(logging.INFO):
        plain = await client.post("/agents/sessions/a/chat", json={"message": "my own words"})
        streamed = await client.post(
            "/agents/sessions/a/chat/stream", json={"message": "my own words"}
        )

    assert plain.status_code == status
    [(name, told)] = events(streamed.text)
    assert (name, told["status_code"]) == ("error", status)
    if not debug:  # Litestar's page for developers has the lines of the source as well
        assert plain.json() == told
    kinds = [r.getMessage() for r in caplog.records if r.name == "openai_agents_session"]
    assert len(kinds) == 2
    assert f"session 'a' failed: {type(error).__module__}.{type(error).__name__}" in kinds[0]
    ours = [r.getMessage() for r in caplog.records if not r.name.startswith("openai.")]
    everything = [plain.text, streamed.text, *capfd.readouterr(), *ours]
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
    monkeypatch.setattr(_runs, "PING_SECONDS", 0.01)

    async def slowly(_: Any) -> Any:
        await asyncio.sleep(0.2)
        return [assistant_message("At last.")]

    model = ScriptedModel([ModelStep.respond(slowly)])
    client = await client_of(make_app(Agent(name="Slow", model=model), database), user_id)

    streamed = await client.post("/agents/sessions/a/chat/stream", json={"message": "Hi"})

    assert streamed.text.count(": still at it\r\n\r\n") >= 2
    assert events(streamed.text)[-1][1]["response"] == "At last."


# -- On a real server: clients that go away --------------------------------------------------


class Server(uvicorn.Server):
    """uvicorn in the test's own loop; signals are pytest's."""

    def capture_signals(self) -> Any:
        return nullcontext()


@asynccontextmanager
async def serving(app: Litestar, user: UUID) -> AsyncGenerator[httpx.AsyncClient]:
    """A real server, and a client of it."""
    server = Server(uvicorn.Config(app, port=free_port(), log_config=None, lifespan="on"))
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
    working, go_on = asyncio.Event(), asyncio.Event()

    @function_tool
    async def work() -> str:
        """Take a while."""
        working.set()
        await go_on.wait()
        return "done"

    call = function_call("work", "{}", call_id="call_1")
    model = ScriptedModel([[call], [assistant_message("never asked")]])
    app = make_app(Agent(name="Slow", model=model, tools=[work]), database)
    session = DatabaseSession("a", user_id, maker)
    body = {"message": "Go"}

    async with serving(app, user_id) as client:
        request = client.build_request("POST", "/agents/sessions/a/chat/stream", json=body)
        streamed = await client.send(request, stream=True)
        await working.wait()
        await streamed.aclose()  # closes the connection
        go_on.set()
        await asyncio.gather(*_runs._running)

        assert await contents(session) == ["user", "function_call", "function_call_output"]
        assert model.remaining_steps == 1
        again = await client.post("/agents/sessions/a/chat", json={"message": "Still there?"})
        assert again.json()["response"] == "never asked"
        assert not _runs._running
