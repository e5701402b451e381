"""Runs of an agent for a request: the answer or the events, and errors that tell nothing.

An error of a run may quote the conversation, a key or a statement with its parameters. So
none of it reaches the client or the log, and none of it is the cause of what does.
"""

from __future__ import annotations

import asyncio
import json
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from agents import Runner
from agents.exceptions import InputGuardrailTripwireTriggered, OutputGuardrailTripwireTriggered
from litestar.exceptions import HTTPException
from litestar.response import ServerSentEventMessage
from litestar.status_codes import (
    HTTP_422_UNPROCESSABLE_ENTITY,
    HTTP_502_BAD_GATEWAY,
    HTTP_503_SERVICE_UNAVAILABLE,
)
from openai.types.responses import ResponseTextDeltaEvent
from pydantic_core import to_jsonable_python
from sqlalchemy.exc import SQLAlchemyError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from agents import Agent, RunResultStreaming
    from agents.memory import Session

_logger = logging.getLogger("openai_agents_session")

PING_SECONDS = 15.0
"""After so long without an event, a comment tells proxies that the stream is alive."""

_running: set[asyncio.Task[None]] = set()
"""The event loop alone would forget a task that nobody waits for."""


class RefusedException(HTTPException):
    """A guardrail stopped the run."""

    status_code = HTTP_422_UNPROCESSABLE_ENTITY
    detail = "The agent refused the message."


class AgentFailedException(HTTPException):
    """The run failed: the model, a tool, or the agent itself."""

    status_code = HTTP_502_BAD_GATEWAY
    detail = "The agent could not answer."


class UnavailableException(HTTPException):
    """The conversation could not be read or written."""

    status_code = HTTP_503_SERVICE_UNAVAILABLE
    detail = "The conversation cannot be continued right now."


def failure(error: Exception, session_id: str) -> HTTPException:
    """Return what the client is told of an error, and tell the operator its kind."""
    if isinstance(error, (InputGuardrailTripwireTriggered, OutputGuardrailTripwireTriggered)):
        return RefusedException()
    kind = type(error)
    _logger.warning(
        "The agent's run for session %r failed: %s.%s",
        session_id,
        kind.__module__,
        kind.__qualname__,
    )
    unavailable = isinstance(error, (SQLAlchemyError, ConnectionError))
    return UnavailableException() if unavailable else AgentFailedException()


async def answer(
    agent: Agent[Any], message: str, session: Session, options: Mapping[str, Any]
) -> Any:
    """Run the agent and return its final output, as JSON can hold it.

    Raises:
        litestar.exceptions.HTTPException: the run failed.
    """
    try:
        result = await Runner.run(agent, message, session=session, **options)
        return to_jsonable_python(result.final_output)
    except Exception as error:  # noqa: BLE001 - whatever it is, it may quote what is private
        raise failure(error, session.session_id) from None


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
    queue: asyncio.Queue[ServerSentEventMessage | None] = asyncio.Queue()
    run: list[RunResultStreaming] = []
    start = partial(Runner.run_streamed, agent, message, session=session, **options)
    pump = asyncio.create_task(_pump(start, session.session_id, queue, run))
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
        if run:
            run[0].cancel(mode="after_turn")


async def _pump(
    start: Callable[[], RunResultStreaming],
    session_id: str,
    queue: asyncio.Queue[ServerSentEventMessage | None],
    run: list[RunResultStreaming],
) -> None:
    """Start a run, note it, and put its events into the queue, None at the end."""
    try:
        result = start()
        run.append(result)
        async for event in result.stream_events():
            if event.type == "raw_response_event" and isinstance(
                event.data, ResponseTextDeltaEvent
            ):
                queue.put_nowait(_event("delta", text=event.data.delta))
        response = to_jsonable_python(result.final_output)
        queue.put_nowait(_event("done", response=response, session_id=session_id))
    except Exception as error:  # noqa: BLE001 - the client is told, whatever it is
        failed = failure(error, session_id)
        queue.put_nowait(_event("error", status_code=failed.status_code, detail=failed.detail))
    finally:
        queue.put_nowait(None)


def _event(name: str, **data: Any) -> ServerSentEventMessage:
    return ServerSentEventMessage(event=name, data=json.dumps(data))
