"""Leases: one run at a time on a conversation, and no write of a run that has lost its turn.

The store keeps who holds a conversation's lease and who waits for it (``Claim``). This module asks
the store for it, renews it in the background, and gives it back.

Waiting without hammering the store: a waiter has a place in a queue that the store keeps, and asks
the less often the further back it stands. Only the first may take a lease that is free. One that
doesn't come back when it said has left, or its process has died, and loses its place.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from anyio import fail_after

from openai_agents_session._arguments import checked_number, checked_seconds
from openai_agents_session._settle import settle

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable

    from openai_agents_session._conversation import Conversation

MAX_LEASE = 24 * 3600
"""Seconds that a lease may live without being renewed."""

FIRST_SECONDS, NEXT_SECONDS, LONGEST_SECONDS = 0.05, 0.1, 2.0
"""How long a waiter pauses before it asks again: the first in the queue; any other, for each place
before and including its own; any at most."""

LATE_SECONDS = 1.0
"""By how much a waiter may be late, beside the length of another pause."""

RETRY_SECONDS = 1.0
"""After how long a renewal is tried again that failed."""

RELEASE_SECONDS = 5.0
"""How long a block waits at its end for a store that hangs. The write under way is then settled."""

_T = TypeVar("_T")

_logger = logging.getLogger("openai_agents_session")


class SessionBusyError(Exception):
    """Somebody else holds the lease on the conversation, and still did at the end of the wait."""


class LeaseLostError(Exception):
    """The lease on the conversation is not held any more, so nothing was written.

    It was not renewed in time, and may be somebody else's by now; or its block has ended.
    """


class Lease:
    """One holder's turn on a conversation.

    Args:
        conversation: the conversation, as it is written to without a lease.
        session_id: names it, in errors.
        wait: how many seconds to wait for the lease.
        seconds: how long it lives without being renewed.

    Raises:
        TypeError: ``wait`` is no number, or ``seconds`` no integer.
        ValueError: ``wait`` is negative or not a number, or ``seconds`` not from 1 to a day's.
    """

    def __init__(
        self, conversation: Conversation, session_id: str, wait: float, seconds: int
    ) -> None:
        self._wait = checked_seconds("wait", wait)
        self._seconds = checked_number("seconds", seconds, 1, MAX_LEASE)
        # Made anew for each lease and never used again, so a late request names nobody else.
        self._claim = conversation.claim(os.urandom(12).hex(), self._seconds)
        self._resends = conversation.resends
        self._session_id = session_id
        self._until = 0.0
        self._lost = False

    @asynccontextmanager
    async def held(self) -> AsyncGenerator[Conversation]:
        """Hold the lease while a block runs; gives the conversation whose writes are fenced.

        Raises:
            SessionBusyError: it could not be had in time.
            Exception: the store's error, as its client library raises it.
        """
        await self._acquire()
        renewing = asyncio.create_task(self._keep())
        try:
            yield self._claim.fenced()
        finally:
            self._lost = True
            renewing.cancel()
            try:
                await asyncio.wait({renewing})
            finally:
                await self._release()

    def lost(self) -> LeaseLostError:
        """Return what a write raises that came too late; none is sent any more."""
        self._lost = True
        return LeaseLostError(
            f"the lease on the conversation {self._session_id!r} is not held any more: its block "
            f"has ended, or it was not renewed within {self._seconds} s (seconds); nothing was "
            "written"
        )

    @property
    def is_lost(self) -> bool:
        """Whether the lease was lost, or given back, or may have run out by now.

        What counts is the store's answer to a write. This knows earlier, at no request: the time
        is counted from before the last renewal was sent, so it is over here no later than there.
        """
        self._lost = self._lost or time.monotonic() >= self._until
        return self._lost

    async def _acquire(self) -> None:
        try:
            is_held = await self._wait_for_it()
        except BaseException:
            with suppress(Exception):  # it runs out by itself, and what was raised tells more
                await self._give_back()
            raise
        if not is_held:
            raise SessionBusyError(
                f"somebody else holds the lease on the conversation {self._session_id!r}, "
                f"and still did after {self._wait:g} s (wait)"
            )

    async def _wait_for_it(self) -> bool:
        began = time.monotonic()
        pause = LONGEST_SECONDS  # as long as the place is not known
        while True:
            asked = time.monotonic()
            left = began + self._wait - asked
            comes_back_in = LATE_SECONDS + 2 * pause if left > 0 else 0
            place = await self._settled(self._claim.acquire(comes_back_in))
            if place == 0:
                self._until = asked + self._seconds
                return True
            if left <= 0:
                return False
            pause = _pause_of(place)
            await asyncio.sleep(min(pause, left))

    async def _keep(self) -> None:
        """Renew the lease until it is lost, or this is cancelled."""
        pause = self._seconds / 3
        while True:
            await asyncio.sleep(pause)
            asked = time.monotonic()
            try:
                renewed = await self._settled(self._claim.renew())
            except Exception as error:  # noqa: BLE001 - whatever it is, the next one may succeed
                _logger.warning(
                    "The lease on session %r could not be renewed (%s); trying again",
                    self._session_id,
                    type(error).__name__,
                )
                pause = min(RETRY_SECONDS, self._seconds / 3)
            else:
                self._until = asked + self._seconds
                pause = max(0.0, asked + self._seconds / 3 - time.monotonic())
                self._lost = self._lost or not renewed
            if self.is_lost:
                return

    async def _release(self) -> None:
        try:
            await self._give_back()
        except Exception as error:  # noqa: BLE001 - the run itself is done, and its items are written
            _logger.warning(
                "The lease on session %r could not be released (%s); it runs out in %d s",
                self._session_id,
                type(error).__name__,
                self._seconds,
            )

    async def _give_back(self) -> None:
        with fail_after(RELEASE_SECONDS):
            await self._settled(self._claim.release())

    async def _settled(self, request: Awaitable[_T]) -> _T:
        return await settle(request, resends=self._resends)


def _pause_of(place: int) -> float:
    """Return how many seconds a waiter pauses; ``place`` is 1 for the first in the queue."""
    return FIRST_SECONDS if place == 1 else min(NEXT_SECONDS * place, LONGEST_SECONDS)
