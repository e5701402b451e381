"""How to test an application that keeps its conversations in Redis: no server, no API.

uv run --all-extras pytest docs/examples/testing_your_app.py

fakeredis stands in for Redis (`pip install "fakeredis[lua]"`: with Lua the session does
just what it does on a real one), and the SDK's ScriptedModel for the model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import fakeredis
import pytest
from agents import Agent, Model, RunConfig, Runner
from agents.testing import ScriptedModel, assistant_message

from openai_agents_session import RedisSession

if TYPE_CHECKING:
    from redis.asyncio import Redis


async def reply(client: Redis, user: str, message: str, model: Model | None = None) -> str:
    """Answer a user's message: the code under test."""
    session = RedisSession(f"chat-{user}", client, ttl=3600)
    agent = Agent(name="Assistant", model=model)
    # Tracing would ask for an API key.
    config = RunConfig(tracing_disabled=True)
    result = await Runner.run(agent, message, session=session, run_config=config)
    return str(result.final_output)


@pytest.mark.asyncio
async def test_the_second_message_brings_the_first_along() -> None:
    """What was said before is part of what the model is given."""
    model = ScriptedModel([[assistant_message("Hello Ada.")], [assistant_message("You are Ada.")]])
    async with fakeredis.FakeAsyncRedis() as client:
        await reply(client, "ada", "I am Ada.", model)
        assert await reply(client, "ada", "Who am I?", model) == "You are Ada."

    assert model.last_call is not None
    said = [item.get("content") for item in model.last_call.input if item.get("role") == "user"]
    assert said == ["I am Ada.", "Who am I?"]


@pytest.mark.asyncio
async def test_users_do_not_see_each_other() -> None:
    """Another user's conversation starts empty, and both expire."""
    model = ScriptedModel([[assistant_message("Hello.")], [assistant_message("Who are you?")]])
    async with fakeredis.FakeAsyncRedis() as client:
        await reply(client, "ada", "I am Ada.", model)
        await reply(client, "bob", "Who am I?", model)
        assert model.last_call is not None
        assert "Ada" not in str(model.last_call.input)
        assert 0 < await client.ttl("openai_agents_session:chat-bob") <= 3600
