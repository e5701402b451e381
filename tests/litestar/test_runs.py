"""Runs: what is streamed, what an error tells, and clients that go away."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig
from agents import (
    Agent,
    MaxTurnsExceeded,
    function_tool,
)
from agents.testing import ScriptedModel, assistant_message, function_call
from litestar import Litestar
from litestar.di import Provide
from litestar.logging import LoggingConfig
from litestar.plugins import InitPlugin
from openai import OpenAIError
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from openai_agents_session import DatabaseSession
from openai_agents_session.litestar import AgentSessionsPlugin
from tests.litestar.conftest import HeaderAuthentication, make_app
from tests.web.agents import answering, failing
from tests.web.serving import events, noting, serving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from uuid import UUID

    from litestar.config.app import AppConfig
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


@pytest.mark.parametrize("route", ["chat", "chat/stream"])
async def test_a_database_without_leases_yet_says_what_to_run(
    *,
    client_of: Callable[..., Any],
    database: str,
    user_id: UUID,
    maker: async_sessionmaker,
    caplog: pytest.LogCaptureFixture,
    route: str,
) -> None:
    """After an upgrade without the migration, chats answer 503 and the log names the command."""
    client = await client_of(make_app(answering("never said"), database), user_id)
    await DatabaseSession("a", user_id, maker).add_items([{"role": "user", "content": "Hi"}])
    async with maker() as session, session.begin():
        await session.execute(text("DROP TABLE agent_session_lease"))

    answered = await client.post(f"/agents/sessions/a/{route}", json={"message": "Hi"})

    sentence = "The conversation is not available right now."
    assert answered.status_code == 503
    assert answered.json() == {"status_code": 503, "detail": sentence}
    [line] = [r.getMessage() for r in caplog.records if r.name == "openai_agents_session"]
    assert line.startswith("Taking the lease on session 'a' failed: sqlalchemy.exc.")
    assert "python -m openai_agents_session.database upgrade" in line
    assert (await client.get("/agents/sessions/a/messages")).status_code == 200

    without = make_app(answering("Yes."), database, lease_wait=None)
    client = await client_of(without, user_id)
    answered = await client.post("/agents/sessions/a/chat", json={"message": "Hi"})
    assert answered.json()["response"] == "Yes."


# -- On a real server: clients that go away --------------------------------------------------


async def contents(session: DatabaseSession) -> list[str]:
    """What a conversation holds, in short."""
    return [str(item.get("type", item.get("role"))) for item in await session.get_items()]


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
