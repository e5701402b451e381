"""A server that is told to end at once, while a run is under way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest
from agents import Agent, function_tool
from agents.testing import ScriptedModel, assistant_message, function_call

from openai_agents_session import DatabaseSession
from tests.litestar.conftest import make_app
from tests.litestar.test_runs import contents, noting, serving

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import async_sessionmaker

TURN = ["user", "function_call", "function_call_output"]


@pytest.mark.parametrize(("route", "stored"), [("chat", [*TURN, "message"]), ("chat/stream", TURN)])
async def test_a_server_that_waits_for_nobody_stores_what_it_was_at(
    database: str, user_id: UUID, maker: async_sessionmaker, route: str, stored: list[str]
) -> None:
    """Requests are cancelled when uvicorn's patience ends; the tool at work ends, and is stored."""
    working, ends = asyncio.Event(), asyncio.Event()

    @function_tool
    async def work() -> str:
        """Take until the requests are cancelled: the application's end comes after that."""
        working.set()
        await ends.wait()
        return "done"

    call = function_call("work", "{}", call_id="call_1")
    model = ScriptedModel([[call], [assistant_message("Done.")]])
    app = noting(make_app(Agent(name="Slow", model=model, tools=[work]), database), ends)

    async with serving(app, user_id, timeout_graceful_shutdown=0) as client:
        asking = asyncio.create_task(
            client.post(f"/agents/sessions/a/{route}", json={"message": "Go"})
        )
        await working.wait()
    with pytest.raises(httpx.HTTPError):
        await asking  # it was cut

    assert await contents(DatabaseSession("a", user_id, maker)) == stored
