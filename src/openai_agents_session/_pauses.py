"""How long to try again, and how long to wait between two attempts."""

from __future__ import annotations

import asyncio
import random

RETRY_SECONDS = 1.0
"""How long this library tries again, after the client library has given up for the first time."""


class Pauses:
    """Time between attempts: each pause is longer, and not in step with other writers.

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
        self._end = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since the first attempt began."""
        return self._clock() - self._began

    def may_retry(self) -> bool:
        """Return whether to try again: for ``RETRY_SECONDS`` after the first call of this."""
        self._end = self._end or self.elapsed + RETRY_SECONDS
        return self.elapsed <= self._end

    def forget_failures(self) -> None:
        """Let the next call of ``may_retry`` be the first."""
        self._end = 0.0

    async def wait(self) -> bool:
        """Wait for the next attempt, not at all for the first; return whether it waited."""
        pause = self._pause
        self._pause = min(2 * pause or self._first, self._longest)
        if pause:
            await asyncio.sleep(pause * random.random())  # noqa: S311 - no secret
        return pause > 0
