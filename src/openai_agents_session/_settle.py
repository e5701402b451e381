"""Settling: a write that has begun is carried to its outcome, also when its caller is cancelled."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from anyio import CancelScope

if TYPE_CHECKING:
    from collections.abc import Awaitable

SETTLE_SECONDS = 5.0
"""How long a cancelled caller waits at most for a write that it had begun."""

GIVE_UP_SECONDS = 1.0
"""How much of that is for a write to end that is given up."""

RESEND_SECONDS = 1.0
"""After how much of it a write that can send its request again does so."""

_carried: set[asyncio.Future[Any]] = set()
"""The writes that are carried to their outcome."""

_given_up: set[asyncio.Future[Any]] = set()
"""The event loop alone would forget a task that nobody waits for."""

_T = TypeVar("_T")


async def settle(write: Awaitable[_T], *, resends: bool = False) -> _T:
    """Run a write to its outcome before a cancellation of the caller is delivered.

    That holds at the end of ``asyncio.run`` too, which cancels all tasks. A store that hangs
    does not hold the caller for ever: ``SETTLE_SECONDS`` after the cancellation, at the
    latest, the write is given up, and its outcome stays unknown. One that does not even end
    then, such as a thread that waits for a lock, is left to itself.

    Args:
        write: what to run.
        resends: whether the write sends its request again when it is cancelled and
            ``is_carried``. Where the end of ``asyncio.run`` has cancelled a task of the
            client library, the first request may never be answered.

    Returns:
        What the write returns.

    Raises:
        asyncio.CancelledError: the caller was cancelled meanwhile.
    """
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    task = loop.create_task(_run(write, done))
    # asyncio.run cancels the tasks that are registered, and waits for them: so it waits for the
    # caller, which waits for this one (Python's documentation, "Extending asyncio").
    asyncio.tasks._unregister_task(task)
    _carried.add(task)
    try:
        await done
    except asyncio.CancelledError:
        with CancelScope(shield=True):  # anyio cancels again in every turn of the event loop
            await _carry(task, resends=resends)
        raise
    finally:
        _carried.discard(task)
    return task.result()


async def _run(write: Awaitable[_T], done: asyncio.Future[None]) -> _T:
    try:
        return await write
    finally:
        if not done.done():  # told from in here, it wakes the caller a turn earlier
            done.set_result(None)


def is_carried() -> bool:
    """Whether this task is a write that is carried to its outcome.

    A cancellation in it does not mean that the write is to end, and counts as handled when
    this was asked.
    """
    task = asyncio.current_task()
    if task not in _carried:
        return False
    if sys.version_info >= (3, 11):
        while task.cancelling():
            task.uncancel()
    return True


async def _carry(task: asyncio.Future[Any], *, resends: bool) -> None:
    """Wait until a write is done, and give it up when that takes too long."""
    left = SETTLE_SECONDS - GIVE_UP_SECONDS
    if resends and not await _is_done(task, RESEND_SECONDS):
        task.cancel()
        left -= RESEND_SECONDS
    if not await _is_done(task, left):
        _carried.discard(task)
        _given_up.add(task)
        task.add_done_callback(_forget)
        task.cancel()
        await _is_done(task, GIVE_UP_SECONDS)
    if task.done():
        _forget(task)


async def _is_done(task: asyncio.Future[Any], seconds: float) -> bool:
    """Wait for a task that long, whatever else is cancelled; return whether it is done."""
    clock = asyncio.get_running_loop().time
    end = clock() + seconds
    while not task.done() and (left := end - clock()) > 0:
        with suppress(asyncio.CancelledError):
            await asyncio.wait({task}, timeout=left)
    return task.done()


def _forget(task: asyncio.Future[Any]) -> None:
    _given_up.discard(task)
    if not task.cancelled():
        task.exception()  # marks it as seen: the caller is told of the cancellation alone
