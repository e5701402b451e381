"""Agents that need no model provider."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from typing import Any

from agents import Agent, function_tool
from agents.testing import ModelStep, ScriptedModel, assistant_message, function_call


def answering(*answers: str) -> Agent[Any]:
    """An agent that gives these answers, one after the other."""
    steps = [[assistant_message(text)] for text in answers]
    return Agent(name="Assistant", instructions="Be brief.", model=ScriptedModel(steps))


def last_input(agent: Agent[Any]) -> Any:
    """What the agent's model was given the last time."""
    assert isinstance(agent.model, ScriptedModel)
    assert agent.model.last_call is not None
    return agent.model.last_call.input


def failing(error: Exception) -> Agent[Any]:
    """An agent whose model raises, which the SDK may try twice."""
    return Agent(name="Failing", model=ScriptedModel([ModelStep.raise_error(error)] * 5))


@function_tool
def weather(city: str) -> str:
    """Look it up."""
    return f"21 degrees in {city}"


def looking_up(*answers: str) -> Agent[Any]:
    """An agent that looks up the weather in Paris, and then gives these answers."""
    call = function_call("weather", '{"city": "Paris"}', call_id="call_1")
    steps = [[call], *([assistant_message(text)] for text in answers)]
    return Agent(name="Weather", model=ScriptedModel(steps), tools=[weather])


class SlowAgent:
    """An agent whose tool sets ``working`` when it begins, and ends once ``go_on`` is set.

    Args:
        answer: what it says when the tool has ended.
    """

    def __init__(self, answer: str) -> None:
        self.working, self.go_on = asyncio.Event(), asyncio.Event()

        @function_tool
        async def work() -> str:
            """Take a while."""
            self.working.set()
            await self.go_on.wait()
            return "done"

        call = function_call("work", "{}", call_id="call_1")
        self.model = ScriptedModel([[call], [assistant_message(answer)]])
        self.agent = Agent(name="Slow", model=self.model, tools=[work])


class BusyAgent:
    """An agent that works on each message with a tool, until it may go on, and echoes it then.

    Attributes:
        working: for each message, set when the tool has begun.
        go_on: for each message, what the tool waits for.
        heard: the messages in the order in which the model was first asked about them.
    """

    def __init__(self) -> None:
        self.working: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.go_on: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.heard: list[str] = []

        @function_tool
        async def work(message: str) -> str:
            """Take a while."""
            self.working[message].set()
            await self.go_on[message].wait()
            return f"done: {message}"

        steps = [ModelStep.respond(self._respond)] * 100
        self.agent: Agent[Any] = Agent(name="Busy", model=ScriptedModel(steps), tools=[work])

    def _respond(self, call: Any) -> Any:
        message = [item["content"] for item in call.input if item.get("role") == "user"][-1]
        if call.input[-1].get("type") == "function_call_output":
            return [assistant_message(f"echo: {message}")]
        self.heard.append(message)
        arguments = json.dumps({"message": message})
        return [function_call("work", arguments, call_id=f"call_{len(self.heard)}")]
