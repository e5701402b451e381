"""The health route: what a load balancer is told."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from openai_agents_session._web import routes
from tests.memory_store import MemoryStore
from tests.web.agents import answering
from tests.web.places import Place

if TYPE_CHECKING:
    from tests.web.conftest import ClientOf

DOWN = {"status_code": 503, "detail": "The conversation is not available right now."}


async def test_a_store_that_answers_is_healthy(client_of: ClientOf, place: Place) -> None:
    """Nobody needs to be logged in to be told so, and it is all that is told."""
    client = await client_of(answering(), place)

    healthy = await client.get("/agents/health")

    assert (healthy.status_code, healthy.json()) == (200, {"status": "ok"})


async def refuse() -> bool:
    """Answer with an error that has something private in it."""
    raise RuntimeError("the password is s3cret")


async def deny() -> bool:
    """Say that nobody answers."""
    return False


async def hang() -> bool:
    """Give no answer."""
    await asyncio.Event().wait()
    return True


@pytest.mark.parametrize("ping", [refuse, deny, hang])
async def test_a_store_that_does_not_answer_is_not(
    client_of: ClientOf,
    ping: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The answer is 503 in fixed words, also where the store only hangs; the log says no more."""
    monkeypatch.setattr(routes, "HEALTH_SECONDS", 0.05)
    store = MemoryStore()
    monkeypatch.setattr(store, "ping", ping)
    client = await client_of(answering(), Place(store, store))

    down = await client.get("/agents/health")

    assert (down.status_code, down.json()) == (503, DOWN)
    assert "s3cret" not in caplog.text
