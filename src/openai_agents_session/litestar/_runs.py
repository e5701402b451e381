"""Runs of an agent for a request: the answer, or the events as they come."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from typing import TYPE_CHECKING, Any

from agents import Runner
from litestar.response import ServerSentEventMessage
from openai.types.responses import ResponseTextDeltaEvent
from pydantic_core import to_jsonable_python

from openai_agents_session.litestar._errors import failure

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from agents import Agent, RunResultStreaming
    from agents.memory import Session

_logger = logging.getLogger("openai_agents_session")

PING_SECONDS = 15.0
"""After so long without an event, a comment tells proxies that the stream is alive."""

SHUTDOWN_SECONDS = 20.0
"""So long a shutdown waits for turns whose clients went away."""

_running: set[asyncio.Task[None]] = set()
"""The event loop alone would forget a task that nobody waits for."""


async def answer(
    agent: Agent[Any], message: str, session: Session, options: Mapping[str, Any]
) -> Any:
    """Run the agent and return its final output, as JSON can hold it.

    Raises:
        litestar.exceptions.HTTPException: the run failed.
    """
    try:
        result = await Runner.run(agent, message, session=session, **options)
        return _plain(to_jsonable_python(result.final_output))
    except Exception as error:  # noqa: BLE001 - whatever it is, it may quote what is private
        raise failure(error, _name(session)) from None


async def events(
    agent: Agent[Any], message: str, session: Session, options: Mapping[str, Any]
) -> AsyncGenerator[ServerSentEventMessage]:
    """Run the agent and yield its words as they come.

        delta    {"text"}                     a piece of the answer
        done     {"response", "session_id"}   the answer, as the other route gives it
        error    {"status_code", "detail"}    in place of ``done``, when the run failed

    When the client goes away, the turn that is under way is carried to its end and stored,
    so that the history has it; no other one begins.
    """
    try:
        result = Runner.run_streamed(agent, message, session=session, **options)
    except Exception as error:  # noqa: BLE001 - the client is told, whatever it is
        yield _failed(error, session)
        return
    queue: asyncio.Queue[ServerSentEventMessage | None] = asyncio.Queue()
    pump = asyncio.create_task(_pump(result, session, queue))
    _running.add(pump)
    pump.add_done_callback(_running.discard)
    try:
        while True:
            try:
                event = await asyncio.wait_for(queue.get(), PING_SECONDS)
            except asyncio.TimeoutError:
                event = ServerSentEventMessage(data=None, comment="still at it")
            if event is None:
                return
            yield event
    finally:
        result.cancel(mode="after_turn")


async def drain() -> None:
    """Wait for the turns whose clients went away, ``SHUTDOWN_SECONDS`` at most."""
    loop = asyncio.get_running_loop()
    turns = {task for task in _running if task.get_loop() is loop}
    if turns:
        _, left = await asyncio.wait(turns, timeout=SHUTDOWN_SECONDS)
        if left:
            _logger.warning("The shutdown did not wait for %d turns to be stored", len(left))


async def _pump(
    result: RunResultStreaming,
    session: Session,
    queue: asyncio.Queue[ServerSentEventMessage | None],
) -> None:
    """Put a run's events into the queue, None at the end."""
    try:
        async for event in result.stream_events():
            if event.type == "raw_response_event" and isinstance(
                event.data, ResponseTextDeltaEvent
            ):
                queue.put_nowait(_event("delta", text=event.data.delta))
        response = _plain(to_jsonable_python(result.final_output))
        queue.put_nowait(_event("done", response=response, session_id=session.session_id))
    except Exception as error:  # noqa: BLE001 - the client is told, whatever it is
        queue.put_nowait(_failed(error, session))
    finally:
        queue.put_nowait(None)


def _name(session: Session) -> str:
    return f"The agent's run for session {session.session_id!r}"


def _failed(error: Exception, session: Session) -> ServerSentEventMessage:
    told = failure(error, _name(session))
    return _event("error", status_code=told.status_code, detail=told.detail)


def _event(name: str, **data: Any) -> ServerSentEventMessage:
    return ServerSentEventMessage(event=name, data=json.dumps(data))


def _plain(value: Any) -> Any:
    """Replace what Python has and JSON in UTF-8 has not: lone surrogates, NaN and infinity."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {_plain(key): _plain(each) for key, each in value.items()}
    return value
