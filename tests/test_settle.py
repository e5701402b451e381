"""A write is carried to its outcome before a cancellation is delivered (P10)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from openai_agents_session import _settle
from openai_agents_session._settle import settle

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine


class Write:
    """A write that waits for its store's answer.

    Attributes:
        begun: it waits.
        answer: what it waits for.
        done: whether it came to its outcome.
    """

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.answer = asyncio.Event()
        self.done = False

    async def __call__(self) -> str:
        self.begun.set()
        await self.answer.wait()
        self.done = True
        return "written"


def test_asyncio_run_waits_for_a_write_under_way() -> None:
    """At its end asyncio.run cancels every task; a write that has begun is done all the same."""
    writes: list[Write] = []

    async def main() -> None:
        write = Write()
        writes.append(write)
        writing = asyncio.create_task(settle(write()))
        await write.begun.wait()
        # The answer comes when this coroutine has ended, and the tasks are cancelled.
        asyncio.get_running_loop().call_later(0.05, write.answer.set)
        assert not writing.done()

    asyncio.run(main())

    assert writes[0].done


async def test_the_write_returns_what_it_returns() -> None:
    """Where nobody is cancelled, the caller gets the outcome, an error included."""
    write = Write()
    write.answer.set()

    assert await settle(write()) == "written"

    async def fail() -> None:
        raise OSError("the store's own words")

    with pytest.raises(OSError, match="the store's own words"):
        await settle(fail())


async def in_a_scope(body: Callable[[], Coroutine[Any, Any, None]], began: asyncio.Event) -> None:
    """Cancel as `anyio.move_on_after` does, and Starlette when a client goes away."""
    with anyio.CancelScope() as scope:

        async def cancel() -> None:
            await began.wait()
            scope.cancel()

        cancelling = asyncio.create_task(cancel())
        await body()
    assert scope.cancelled_caught
    await cancelling


async def in_a_task_group(
    body: Callable[[], Coroutine[Any, Any, None]], began: asyncio.Event
) -> None:
    """Cancel a group of tasks, one of which writes."""
    async with anyio.create_task_group() as group:
        group.start_soon(body)
        await began.wait()
        group.cancel_scope.cancel()


@pytest.mark.parametrize("cancelled", [in_a_scope, in_a_task_group])
async def test_anyio_does_not_keep_the_event_loop_busy(
    monkeypatch: pytest.MonkeyPatch, cancelled: Callable[..., Awaitable[None]]
) -> None:
    """While a write settles the event loop rests, though anyio cancels in each of its turns."""
    loop, write = asyncio.get_running_loop(), Write()
    turns, call_soon = 0, loop.call_soon

    def counted(*args: Any, **kwargs: Any) -> asyncio.Handle:
        nonlocal turns
        turns += 1
        return call_soon(*args, **kwargs)

    async def body() -> None:
        loop.call_later(0.1, write.answer.set)
        await settle(write())

    monkeypatch.setattr(loop, "call_soon", counted)
    await cancelled(body, write.begun)

    assert write.done
    assert turns < 100  # without rest there are thousands


async def test_a_write_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller is told of the cancellation in time, and the write is cancelled then."""
    assert _settle.GIVE_UP_SECONDS < _settle.SETTLE_SECONDS <= 5
    monkeypatch.setattr(_settle, "SETTLE_SECONDS", 0.04)
    monkeypatch.setattr(_settle, "GIVE_UP_SECONDS", 0.02)
    write = Write()
    running = asyncio.ensure_future(write())
    caller = asyncio.create_task(settle(running))
    await write.begun.wait()

    caller.cancel()
    await asyncio.wait({caller})

    assert caller.cancelled()
    assert running.cancelled()
    assert not write.done


async def test_the_time_to_give_up_is_part_of_the_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that does not even end when it is given up takes no more than five seconds."""
    waited: list[float] = []

    async def still_running(task: asyncio.Future[Any], seconds: float) -> bool:
        waited.append(seconds)
        return task.done()

    monkeypatch.setattr(_settle, "_is_done", still_running)
    write = Write()
    caller = asyncio.create_task(settle(write()))
    await write.begun.wait()
    caller.cancel()
    await asyncio.wait({caller})

    assert caller.cancelled()
    assert sum(waited) == _settle.SETTLE_SECONDS == 5
