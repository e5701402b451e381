"""BaseSession: what a session means to the Agents SDK, whatever its store.

A backend derives from it, and sets ``_conversation``: how one conversation lies in its store.
"""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from agents.memory import SessionABC, SessionSettings
from agents.memory.session_settings import coerce_session_settings, resolve_session_limit

from openai_agents_session._arguments import checked_session_id
from openai_agents_session._conversation import LostError, UnreadableError
from openai_agents_session._lease import Lease
from openai_agents_session._serializer import deserialize, deserialize_all, serialize
from openai_agents_session._settle import settle

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from agents import TResponseInputItem
    from typing_extensions import Self

    from openai_agents_session._conversation import Conversation, Found

MAX_ITEMS = 2**31 - 1
"""More items than a conversation has; the SDK's compaction asks for so many."""

_ITEM_METHODS = ("get_items", "add_items", "pop_item", "clear_session")

_T = TypeVar("_T")

_logger = logging.getLogger("openai_agents_session")


class BaseSession(SessionABC):
    """A conversation in a store, for ``Runner.run(agent, "Hi", session=session)``.

    Args:
        session_id: names the conversation; any non-empty text.
        session_settings: the SDK's ``SessionSettings`` or a dict of its fields; None stands
            for ``SessionSettings()``, which limits nothing.
    """

    _conversation: Conversation
    _lease: Lease | None = None
    """Of a session that ``lease`` gave: the lease that its writes are fenced by."""

    def __init__(
        self, session_id: str, session_settings: SessionSettings | dict[str, Any] | None
    ) -> None:
        self.session_id = checked_session_id(session_id)
        # The SDK's Runner calls methods of the settings, so a dict must not stay one. Its own
        # sessions have settings where none are given.
        self.session_settings = coerce_session_settings(
            SessionSettings() if session_settings is None else session_settings
        )

    async def get_items(self, limit: int | None = None) -> list[TResponseInputItem]:
        """Return the conversation's newest items, oldest first.

        A record that cannot be read is skipped with a logged warning, and does not count.

        Args:
            limit: how many items at most; None takes the session's setting, then all.

        Returns:
            The items; ``[]`` where there are none, and for a limit of 0 or less.

        Raises:
            Exception: the store's error, as its client library raises it.
        """
        self._check_open()
        wanted = resolve_session_limit(limit, self.session_settings)
        if wanted is None:
            wanted = MAX_ITEMS
        if wanted <= 0:
            return []
        _, items, unreadable = await self._read(wanted)
        if not unreadable:
            return cast("list[TResponseInputItem]", items)[-wanted:]
        newest = [at for at, item in enumerate(items) if item is not None][-wanted:]
        oldest = newest[0] if len(newest) == wanted else 0
        self._warn(len(items) - oldest - len(newest))
        return [item for item in items[oldest:] if item is not None]

    async def add_items(self, items: list[TResponseInputItem]) -> None:
        """Append a batch, whole and contiguous, exactly once.

        Args:
            items: dicts or Pydantic models; none of them changes nothing at all.

        Raises:
            TypeError: an item holds what JSON cannot; nothing was written.
            Exception: the store's error, as its client library raises it.
        """
        self._check_open()
        records = serialize(items)
        if records:
            await self._write(self._conversation.append, records)

    async def pop_item(self) -> TResponseInputItem | None:
        """Remove and return the newest item; it goes to exactly one caller.

        Records that cannot be read are passed over and stay where they are.

        Returns:
            The item, or None where there is none.

        Raises:
            Exception: the store's error, as its client library raises it.
        """
        try:
            return await self._write(self._conversation.pop, deserialize)
        except UnreadableError:
            pass
        while True:
            found, items, unreadable = await self._read(1)
            if unreadable == len(items):
                self._warn(unreadable)
                return None
            index = max(at for at, item in enumerate(items) if item is not None)
            if await self._write(self._conversation.remove, found, index):
                self._warn(len(items) - 1 - index)
                return items[index]

    async def clear_session(self) -> None:
        """Delete the conversation; where there is none, nothing happens.

        Raises:
            Exception: the store's error, as its client library raises it.
        """
        await self._write(self._conversation.clear)

    async def replace_items(self, items: list[TResponseInputItem]) -> None:
        """Put a batch in the place of the whole conversation, in one atomic step.

        Args:
            items: dicts or Pydantic models; none of them empties the conversation.

        Raises:
            TypeError: an item holds what JSON cannot; nothing was written.
            Exception: the store's error, as its client library raises it.
        """
        await self._write(self._conversation.replace, serialize(items))

    def lease(self, wait: float = 30, seconds: int = 60) -> AbstractAsyncContextManager[Self]:
        """Hold the conversation, for one run at a time.

        ::

            async with session.lease(wait=30) as held:
                result = await Runner.run(agent, "Hi", session=held)

        The block gets a session of the same class. The lease is renewed in the background while
        the block runs, and ends with it; if the process dies, it runs out by itself. Waiters are
        served in about the order in which they came. Sessions that take no lease are not held
        back.

        Each write of the session that the block gets is done only while the lease is held: the
        request that writes asks for that, in the same step. Once the lease is lost, to time or
        to another holder, writes raise ``LeaseLostError`` and change nothing. Reads go on.

        Args:
            wait: how many seconds to wait for it at most; 0 for one attempt.
            seconds: how long it lives without being renewed, from 1 to 86400. It is renewed
                after a third of that.

        Raises:
            SessionBusyError: somebody else held it until the end of the wait.
            RuntimeError: this session holds the lease already, or can't have one: it is in a
                transaction of the caller's.
            TypeError, ValueError: an argument is not as above.
            Exception: the store's error, as its client library raises it.
        """
        if self._lease is not None:
            raise RuntimeError(
                f"the session {self.session_id!r} holds the lease already; use it as it is"
            )
        return self._leased(Lease(self._conversation, self.session_id, wait, seconds))

    async def busy(self) -> float | None:
        """Return for how many seconds somebody still holds the conversation's lease.

        A holder that is alive renews it, so it may last longer. DynamoDB has no clock: there it
        is how long the lease may still last at most.

        Returns:
            None where nobody holds it.

        Raises:
            Exception: the store's error, as its client library raises it.
        """
        self._check_open()
        return await self._conversation.busy()

    async def ping(self) -> bool:
        """Return whether the store answers.

        Raises:
            Exception: it answers with an error, such as a refused login.
        """
        return await self._conversation.ping()

    async def close(self) -> None:
        """Close what this session opened itself; a client that was passed in stays open."""

    @asynccontextmanager
    async def _leased(self, lease: Lease) -> AsyncGenerator[Self]:
        self._check_open()
        async with lease.held() as conversation:
            held = copy(self)
            held._conversation, held._lease = conversation, lease
            yield held

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
        found = await self._newest(limit + 1)  # with one more, to see whether these are all
        before = max(0, len(found.records) - limit)
        items, unreadable = deserialize_all(found.records[before:])
        if unreadable:
            return None

        async def replace_suffix(start: int, output: list[TResponseInputItem]) -> bool:
            if start >= len(items):
                return False
            new = serialize(output)
            read, first, drop = found, before + start, 0
            if prune_prefix and before:  # the oldest were not read then
                read = await self._newest(MAX_ITEMS)
                first += len(read.records) - len(found.records)
                if [*read.records[first:]] != [*found.records[before + start :]]:
                    return False
            if prune_prefix:
                drop = _prunable(read.records[:first], prune_prefix)
            return await self._write(self._conversation.swap, read, first, new, drop=drop)

        return CompactionSnapshot(
            cast("list[TResponseInputItem]", items), before == 0, replace_suffix
        )

    async def _read(self, wanted: int) -> tuple[Found, list[TResponseInputItem | None], int]:
        """Return the newest records, of which so many can be read if there are as many.

        Returns:
            The records; their items, with None for one that cannot be read; and how many
            those are.
        """
        newest = wanted
        while True:
            found = await self._newest(newest)
            items, unreadable = deserialize_all(found.records)
            if len(items) - unreadable >= wanted or len(items) < newest:
                return found, items, unreadable
            newest *= 2  # older records fill up

    async def _newest(self, count: int) -> Found:
        return await self._conversation.read(count if count < MAX_ITEMS else None)

    async def _write(self, write: Callable[..., Awaitable[_T]], *args: Any, **options: Any) -> _T:
        """Carry a write of the conversation to its outcome.

        Raises:
            LeaseLostError: the session's lease is lost; nothing was written.
        """
        lease = self._lease
        if lease is not None and lease.is_lost:
            raise lease.lost()
        try:
            return await settle(write(*args, **options), resends=self._conversation.resends)
        except LostError:
            raise LostError if lease is None else lease.lost() from None

    def _check_open(self) -> None:
        """Raise RuntimeError if ``close`` was called and the session needs what it closed."""

    def _warn(self, unreadable: int) -> None:
        if unreadable:
            _logger.warning(
                "Passed over %d unreadable record(s) of session %r", unreadable, self.session_id
            )

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


def _prunable(records: Sequence[bytes | str], may_go: Callable[[TResponseInputItem], bool]) -> int:
    """Return how many of the oldest records may go."""
    for index, record in enumerate(records):
        item = deserialize(record)
        if item is None or not may_go(item):
            return index
    return len(records)
