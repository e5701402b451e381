"""Runs of an agent for a request: the answer, or the events as they come."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from agents import Runner
from openai.types.responses import ResponseTextDeltaEvent
from pydantic_core import to_jsonable_python

from openai_agents_session._arguments import checked_seconds
from openai_agents_session._messages import words_of
from openai_agents_session._session import BaseSession
from openai_agents_session._web.errors import ApprovalNeededError, WebError, failure, quietly

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping

    from agents import Agent, RunResult, RunResultStreaming
    from agents.memory import Session
    from agents.stream_events import StreamEvent

_logger = logging.getLogger("openai_agents_session")

PING_SECONDS = 15.0
"""After so long without an event, a comment tells proxies that the stream is alive."""

SHUTDOWN_SECONDS = 20.0
"""So long a shutdown waits for turns whose clients went away."""

_T = TypeVar("_T")


class Event(NamedTuple):
    """A server-sent event.

    Attributes:
        name: what kind it is; empty for a comment, which clients pass over.
        data: JSON; or the comment's text.
    """

    name: str
    data: str


_PING = Event("", "still at it")

_running: set[asyncio.Task[Any]] = set()
"""The event loop alone would forget a task that nobody waits for."""


def checked_wait(lease_wait: float | None) -> float | None:
    """Return how long a message waits for the one before it; None for not at all.

    Raises:
        TypeError: it is no number.
        ValueError: it is negative or NaN.
    """
    return None if lease_wait is None else checked_seconds("lease_wait", lease_wait)


def checked_options(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return more arguments for the ``Runner``.

    Raises:
        ValueError: there is one among them that the route sets itself.
    """
    options = dict(options or {})
    if taken := {"starting_agent", "input", "session"} & set(options):
        raise ValueError(f"run_options must not have {', '.join(sorted(taken))}")
    return options


async def _leased(session: Session, wait: float | None) -> tuple[Session, AsyncExitStack]:
    """Take the lease on a conversation, for one run.

    Whoever is cancelled here waits no longer, and has said nothing.

    Args:
        session: the conversation. Only our own sessions have a lease: the SDK's
            ``EncryptedSession`` would pass on that of the session in it, which doesn't encrypt.
        wait: how many seconds to wait for it; None to take none.

    Returns:
        The session for the run, and what gives the lease back when it is closed.

    Raises:
        WebError: it could not be had in time, or the store is not available.
    """
    lease = AsyncExitStack()
    if wait is not None and isinstance(session, BaseSession):
        with quietly(f"Taking the lease on session {session.session_id!r}"):
            session = await lease.enter_async_context(session.lease(wait))
    return session, lease


async def answer(
    agent: Agent[Any],
    message: str,
    session: Session,
    options: Mapping[str, Any],
    *,
    lease_wait: float | None,
) -> Any:
    """Run the agent and return its final output, as JSON can hold it.

    When the request is cancelled, as at a shutdown, the run goes on to its end and is stored.

    Args:
        agent: the agent that answers.
        message: what the user says.
        session: the conversation.
        options: more arguments for the ``Runner``.
        lease_wait: how many seconds to wait for the conversation's lease; None to take none.

    Raises:
        WebError: the run failed, or did not begin.
    """
    held, lease = await _leased(session, lease_wait)

    async def run() -> Any:
        async with lease:
            try:
                result = await Runner.run(agent, message, session=held, **options)
                return _output(result)
            except Exception as error:  # noqa: BLE001 - whatever it is, it may quote what is private
                # Returned, since nobody may be there any more to be told: asyncio would log it.
                return failure(error, _name(session))

    outcome = await asyncio.shield(_kept(run()))
    if isinstance(outcome, WebError):
        raise outcome
    return outcome


async def begin(
    agent: Agent[Any],
    message: str,
    session: Session,
    options: Mapping[str, Any],
    sent_as: Callable[[Event], _T],
    *,
    lease_wait: float | None,
) -> AsyncGenerator[_T]:
    """Start a run and return its ``events``, all but the first.

    It is started before the client is told that all is well: one that goes away at once has
    said something all the same. And a generator that was not started would not hear of its end.

    Args:
        agent: the agent that answers.
        message: what the user says.
        session: the conversation.
        options: more arguments for the ``Runner``.
        sent_as: makes of an event what the framework sends.
        lease_wait: how many seconds to wait for the conversation's lease; None to take none.

    Raises:
        WebError: the lease could not be had in time, or the store is not available.
    """
    held, lease = await _leased(session, lease_wait)
    stream = events(agent, message, held, options, sent_as, lease=lease)
    await anext(stream)
    return cast("AsyncGenerator[_T]", stream)


async def events(
    agent: Agent[Any],
    message: str,
    session: Session,
    options: Mapping[str, Any],
    sent_as: Callable[[Event], _T],
    *,
    lease: AsyncExitStack,
) -> AsyncGenerator[_T | None]:
    """Run the agent and yield its words as they come; None first, when the run has begun.

        delta        {"text"}                                  a piece of the answer
        tool_call    {"tool_call_id", "tool_name", "content"}  before the tool runs
        tool_output  {"tool_call_id", "content"}               when it has run
        done         {"response", "session_id"}                the answer, as the other route's
        error        {"status_code", "detail"}                 in place of ``done``, on a failure

    A tool's ``content`` is what the messages of the conversation have: the arguments of a call,
    and the output in words.

    When the client goes away, the turn that is under way is carried to its end and stored,
    so that the history has it; no other one begins.

    Args:
        agent: the agent that answers.
        message: what the user says.
        session: the conversation.
        options: more arguments for the ``Runner``.
        sent_as: makes of an event what the framework sends.
        lease: is given back when the run has ended.
    """
    try:
        result = Runner.run_streamed(agent, message, session=session, **options)
    except Exception as error:  # noqa: BLE001 - the client is told, whatever it is
        told = _failed(error, session)
        await lease.aclose()
        yield None
        yield sent_as(told)
        return
    queue: asyncio.Queue[Event | None] = asyncio.Queue()
    gone = asyncio.Event()
    _kept(_pump(result, session, lease, queue, gone))
    try:
        yield None
        while True:
            try:
                event = await asyncio.wait_for(queue.get(), PING_SECONDS)
            except asyncio.TimeoutError:
                event = _PING
            if event is None:
                return
            yield sent_as(event)
    finally:
        gone.set()
        _end_after_turn(result)


def _end_after_turn(result: RunResultStreaming) -> None:
    """Let no other turn begin after the one under way; before the first, nothing is stored yet."""
    if result.current_turn > 0:
        result.cancel(mode="after_turn")


def _kept(run: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
    """Run something to its end, whatever becomes of its request."""
    task = asyncio.create_task(run)
    _running.add(task)
    task.add_done_callback(_running.discard)
    return task


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
    lease: AsyncExitStack,
    queue: asyncio.Queue[Event | None],
    gone: asyncio.Event,
) -> None:
    """Put a run's events into the queue, None at the end; ``gone``: nobody takes them there."""
    try:
        async with lease:  # it is free when the client hears of the end, and may send another
            try:
                async for event in result.stream_events():
                    if gone.is_set():
                        _end_after_turn(result)
                    if (told := _told(event)) is not None:
                        queue.put_nowait(told)
                last = _event("done", response=_output(result), session_id=session.session_id)
            except Exception as error:  # noqa: BLE001 - the client is told, whatever it is
                last = _failed(error, session)
        queue.put_nowait(last)
    finally:
        queue.put_nowait(None)


def _told(event: StreamEvent) -> Event | None:
    """Return what the client is told of an event of the run, or None."""
    if event.type == "raw_response_event":
        if isinstance(event.data, ResponseTextDeltaEvent):
            return _event("delta", text=event.data.delta)
    elif event.type == "run_item_stream_event" and event.name in {"tool_called", "tool_output"}:
        item: Any = event.item.to_input_item()
        call_id = item.get("call_id") or item.get("id")  # what runs at the model's side has no call
        if event.name == "tool_output":
            return _event("tool_output", tool_call_id=call_id, content=words_of(item.get("output")))
        return _event(
            "tool_call",
            tool_call_id=call_id,
            tool_name=item.get("name") or item["type"].removesuffix("_call"),
            content=words_of(item.get("arguments") or item.get("input")),
        )
    return None


def _output(result: RunResult | RunResultStreaming) -> Any:
    """Return what the agent answers.

    Raises:
        ApprovalNeededError: it does not, before calls of tools are approved.
    """
    if result.interruptions:
        names = sorted({str(one.name) for one in result.interruptions})
        raise ApprovalNeededError(f"The agent waits for an approval of {', '.join(names)}.")
    return _plain(to_jsonable_python(result.final_output))


def _name(session: Session) -> str:
    return f"The agent's run for session {session.session_id!r}"


def _failed(error: Exception, session: Session) -> Event:
    told = failure(error, _name(session))
    return _event("error", status_code=told.status_code, detail=told.detail)


def _event(name: str, **data: Any) -> Event:
    return Event(name, json.dumps(data))


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
