"""A server that is told to end at once, while a run is under way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

from openai_agents_session import DatabaseSession
from tests.litestar.conftest import SlowAgent, make_app
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
    # The tool takes until the requests are cancelled: the application's end comes after that.
    slow = SlowAgent("Done.")
    app = noting(make_app(slow.agent, database), slow.go_on)

    async with serving(app, user_id, timeout_graceful_shutdown=0) as client:
        asking = asyncio.create_task(
            client.post(f"/agents/sessions/a/{route}", json={"message": "Go"})
        )
        await slow.working.wait()
    with pytest.raises(httpx.HTTPError):
        await asking  # it was cut

    assert await contents(DatabaseSession("a", user_id, maker)) == stored
