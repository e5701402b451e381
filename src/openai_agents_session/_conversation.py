"""What a backend has to bring: one conversation, as a list of records in its store.

A record is the JSON text of one item. Nothing here knows what is in it. ``BaseSession`` makes a
session of a ``Conversation``: it serializes items, counts and skips, and carries writes to their
end. So a backend says only how its store does the operations below.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_T = TypeVar("_T")


class UnreadableError(Exception):
    """The newest record cannot be read, so it was not popped."""


class LostError(Exception):
    """The lease is not held any more, so a fenced write has changed nothing."""


@dataclass(frozen=True)
class Found:
    """The newest records of a conversation, as they were read.

    A backend adds what it needs to recognize them again: a version, or keys of rows.

    Attributes:
        records: the records, oldest first.
    """

    records: Sequence[bytes | str]


class Conversation(Protocol):
    """One conversation in one store.

    Each operation is atomic: other readers and writers see it whole or not at all. Each write is
    done exactly once, also where its answer is lost and the request is sent again, and restarts
    the time to live. A conversation whose time is over is empty, and a write begins a new one.

    Errors of the store are raised as its client library raises them. Before a request is sent, the
    connection's event loop and process are checked (``_home``).
    """

    resends: bool
    """Whether a write that is cancelled sends its request again while ``settle`` carries it."""

    async def read(self, newest: int | None) -> Any:
        """Return a ``Found`` with at least the newest records asked for, as of one moment.

        Args:
            newest: how many, at least 1. None stands for all.

        Returns:
            Fewer records than that only where the conversation has no more.
        """

    async def append(self, records: Sequence[bytes]) -> None:
        """Add records to the end, together and in order.

        Args:
            records: at least one.
        """

    async def pop(self, parse: Callable[[bytes | str], _T | None]) -> _T | None:
        """Remove the newest record and return what it parses to.

        Args:
            parse: returns None for a record that cannot be read.

        Returns:
            None where there is no record.

        Raises:
            UnreadableError: the newest record cannot be read. It is where it was.
        """

    async def remove(self, found: Any, index: int) -> bool:
        """Remove one record, if it and all after it are still as they were read.

        Args:
            found: what ``read`` returned.
            index: which of its records.

        Returns:
            Whether it was removed.
        """

    async def replace(self, records: Sequence[bytes]) -> None:
        """Put records in the place of the whole conversation.

        Args:
            records: none of them empties it.
        """

    async def swap(
        self, found: Any, start: int, records: Sequence[bytes], *, drop: int = 0
    ) -> bool:
        """Put records in the place of the newest ones, if these are still as they were read.

        Args:
            found: what ``read`` returned.
            start: the first of its records to replace.
            records: what comes in their place.
            drop: how many of the oldest records to remove in the same step. More than 0 only
                where ``found`` is the whole conversation.

        Returns:
            Whether they were replaced.
        """

    async def clear(self) -> None:
        """Remove every record."""

    async def ping(self) -> bool:
        """Return whether the store answers.

        Raises:
            Exception: it answers with an error, such as a refused login.
        """

    def claim(self, holder: str, seconds: int) -> Claim:
        """Return what one holder asks of the conversation's lease; sends nothing.

        Args:
            holder: a text of ASCII letters and digits that nobody else has.
            seconds: how long the lease lives without being renewed.
        """

    async def busy(self) -> float | None:
        """Return for how many seconds somebody still holds the lease; None if nobody does.

        A store without a clock returns how long it may be at most.
        """


class Claim(Protocol):
    """What one holder asks of a conversation's lease.

    The lease is no part of the conversation: there may be one before the first write, and it is
    neither listed nor forked. Time is the store's. Where the store has no clock, a lease is over
    for a waiter that has itself seen it without a renewal for as long as it lives.
    """

    async def acquire(self, comes_back_in: float) -> int:
        """Take the lease if it is free and nobody waits longer, else a place in the queue.

        To ask again is not to ask anew: a holder keeps its lease, a waiter its place.

        Args:
            comes_back_in: in how many seconds at most the holder asks again. Who is later than
                it said loses its place. 0 if it doesn't: then it is in no queue afterwards.

        Returns:
            0 if the lease is held then, else the place in the queue, 1 for the first.
        """

    async def renew(self) -> bool:
        """Let the lease's time begin anew; return False if it is not held any more."""

    async def release(self) -> None:
        """Give the lease back, or leave the queue.

        A copy of ``acquire`` that arrives later takes nothing.
        """

    def fenced(self) -> Conversation:
        """Return the conversation whose writes are done only while the lease is held.

        Each of its writes sees to that in the request that it sends anyway. One that was done
        while the lease was held, and is sent again after it, was done. Only after ``acquire`` has
        returned 0.

        Raises:
            LostError: by each write, if the lease is not held. It has changed nothing. Where the
                store has no clock, a lease that is over is held until somebody else takes it.
        """
