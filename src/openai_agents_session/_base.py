"""What every backend's session has in common: arguments, settings, cancellation."""

from __future__ import annotations

import asyncio
import logging
import random
import sys
from abc import abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from agents.memory import SessionABC, SessionSettings
from agents.memory.session_settings import coerce_session_settings
from anyio import CancelScope

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from agents import TResponseInputItem
    from typing_extensions import Self

MAX_TTL = 10**10
"""Seconds, over 300 years: stores compute the moment of expiry and fail beyond their range."""

RETRY_SECONDS = 1.0
"""How long this library tries again, after the client library has given up for the first time."""

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

_ITEM_METHODS = ("get_items", "add_items", "pop_item", "clear_session")

_T = TypeVar("_T")

_logger = logging.getLogger("openai_agents_session")


class BaseSession(SessionABC):
    """A session that checks its arguments and closes only what it opened.

    Args:
        session_id: names the conversation; any non-empty text.
        session_settings: the SDK's ``SessionSettings`` or a dict of its fields; None stands
            for ``SessionSettings()``, which limits nothing.
    """

    def __init__(
        self, session_id: str, session_settings: SessionSettings | dict[str, Any] | None
    ) -> None:
        self.session_id = checked_session_id(session_id)
        # The SDK's Runner calls methods of the settings, so a dict must not stay one. Its own
        # sessions have settings where none are given.
        self.session_settings = coerce_session_settings(
            SessionSettings() if session_settings is None else session_settings
        )

    @abstractmethod
    async def replace_items(self, items: list[TResponseInputItem]) -> None:
        """Put ``items`` in the place of the whole history, in one atomic step."""

    @abstractmethod
    async def ping(self) -> bool:
        """Return whether the store answers."""

    @abstractmethod
    async def close(self) -> None:
        """Close what this session opened itself; a client that was passed in stays open."""

    async def _atomic_replace_items(self, items: list[TResponseInputItem]) -> bool:
        """Replace the history for the SDK's compaction.

        ``OpenAIResponsesCompactionSession`` looks this hook up on the session's type
        (``agents/memory/openai_responses_compaction_session.py``).

        Returns:
            True when the replacement is committed; False for a subclass with item
            methods of its own, which must not be bypassed: the SDK then uses those.
        """
        if self._has_own_item_methods() and not self._overrides("replace_items"):
            return False
        await self.replace_items(items)
        return True

    async def _get_compaction_snapshot(
        self,
        limit: int,
        *,
        prune_prefix: Callable[[TResponseInputItem], bool] | None = None,
    ) -> CompactionSnapshot | None:
        """Return the newest items and a way to replace their end, for the SDK's compaction.

        ``OpenAIResponsesCompactionSession`` asks for this hook by name; without it, it
        compacts only a history that matches its last exchange from the first item on.

        Args:
            limit: how many items at most.
            prune_prefix: says whether an item may go when the replacement is committed;
                the oldest items go, up to the first that may not.

        Returns:
            None for a subclass with item methods of its own, and where a record cannot
            be read: the SDK then does without.
        """
        if self._has_own_item_methods():
            return None
        return await self._snapshot(limit, prune_prefix)

    @abstractmethod
    async def _snapshot(
        self, limit: int, prune_prefix: Callable[[TResponseInputItem], bool] | None
    ) -> CompactionSnapshot | None: ...

    def _newest_readable(
        self, items: list[TResponseInputItem | None], wanted: int
    ) -> tuple[int, list[TResponseInputItem]]:
        """Return where the newest readable items begin, and those; warn of what is passed over.

        Args:
            items: what was deserialized, None where a record cannot be read.
            wanted: how many at most.
        """
        indexes = [index for index, item in enumerate(items) if item is not None][-wanted:]
        first = indexes[0] if len(indexes) == wanted else 0
        readable = [item for item in items[first:] if item is not None]
        _logger.warning(
            "Passed over %d unreadable record(s) of session %r",
            len(items) - first - len(readable),
            self.session_id,
        )
        return first, readable

    def _has_own_item_methods(self) -> bool:
        return any(map(self._overrides, _ITEM_METHODS))

    def _overrides(self, method: str) -> bool:
        """Whether a subclass outside this package defines the method."""
        package = __name__.partition(".")[0]
        owner = next(cls for cls in type(self).__mro__ if method in vars(cls))
        return owner.__module__.partition(".")[0] != package

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(session_id={self.session_id!r})"


@dataclass(frozen=True)
class CompactionSnapshot:
    """What the SDK reads of a snapshot: ``agents/memory/session.py::_CompactionSnapshot``."""

    items: list[TResponseInputItem]
    complete: bool
    replace_suffix: Callable[[int, list[TResponseInputItem]], Awaitable[bool]]


def checked_session_id(session_id: str) -> str:
    """Return a session's id, or say what is wrong with it.

    Raises:
        TypeError: it is no text.
        ValueError: it is empty, or has a lone surrogate.
    """
    if not isinstance(session_id, str):
        raise TypeError(f"session_id must be a str, not {type(session_id).__name__}")
    if not session_id:
        raise ValueError("session_id must not be empty")
    try:
        session_id.encode()
    except UnicodeEncodeError:
        raise ValueError(
            "session_id must be text that UTF-8 can encode; it has a lone surrogate"
        ) from None
    return session_id


def checked_ttl(name: str, ttl: int | None) -> int | None:
    """Return a time to live in seconds as it was passed, or say what is wrong with it.

    Raises:
        TypeError: it is not an integer.
        ValueError: it is not positive, or beyond what a store can compute with.
    """
    if ttl is None:
        return None
    if not isinstance(ttl, int) or isinstance(ttl, bool):
        raise TypeError(f"{name} must be an int in seconds or None, not {type(ttl).__name__}")
    if not 0 < ttl <= MAX_TTL:
        raise ValueError(f"{name} must be from 1 to {MAX_TTL} seconds, or None; got {ttl}")
    return ttl


async def settle(
    write: Awaitable[_T],
    cancellation: asyncio.CancelledError | None = None,
    *,
    resends: bool = False,
) -> _T:
    """Run a write to its outcome before a cancellation of the caller is delivered.

    That holds at the end of ``asyncio.run`` too, which cancels all tasks. A store that hangs
    does not hold the caller for ever: ``SETTLE_SECONDS`` after the cancellation, at the
    latest, the write is given up, and its outcome stays unknown. One that does not even end
    then, such as a thread that waits for a lock, is left to itself.

    Args:
        write: what to run.
        cancellation: one that has arrived already; it is raised in any case.
        resends: whether the write sends its request again when it is cancelled and
            ``is_carried``. Where the end of ``asyncio.run`` has cancelled a task of the
            client library, the first request may never be answered.

    Returns:
        What the write returns.

    Raises:
        asyncio.CancelledError: the caller was cancelled, before or meanwhile.
    """
    task = asyncio.ensure_future(write)
    # asyncio.run cancels the tasks that are registered, and waits for them: so it waits for the
    # caller, which waits for this one (Python's documentation, "Extending asyncio").
    asyncio.tasks._unregister_task(task)
    _carried.add(task)
    task.add_done_callback(_carried.discard)
    if cancellation is None:
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as exc:
            cancellation = exc
    if cancellation is None:
        return task.result()
    with CancelScope(shield=True):  # anyio cancels again in every turn of the event loop
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
    raise cancellation


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


class Pauses:
    """Time between attempts: each pause longer, and not in step with other writers.

    Args:
        first: seconds of the first pause at most.
        longest: seconds of any later one at most.
    """

    def __init__(self, first: float, longest: float) -> None:
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock()
        self._first = first
        self._longest = longest
        self._pause = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since the first attempt began."""
        return self._clock() - self._began

    async def wait(self) -> bool:
        """Wait for the next attempt, not at all for the first; return whether it waited."""
        pause = self._pause
        self._pause = min(2 * pause or self._first, self._longest)
        if pause:
            await asyncio.sleep(pause * random.random())  # noqa: S311 - no secret
        return pause > 0


def add_note(error: BaseException, note: str) -> None:
    """Say more about an error without making another one of it."""
    if sys.version_info >= (3, 11):
        error.add_note(note)
    else:  # notes are not printed there
        error.args = (f"{error.args[0]}\n{note}", *error.args[1:])
