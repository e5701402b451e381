"""A writer that goes on through crashes, and what the store must hold afterwards."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from redis.exceptions import RedisError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from agents import TResponseInputItem
    from typing_extensions import Self

    from openai_agents_session import RedisSession

BATCH_SIZE = 3


def batch_of(number: int) -> list[TResponseInputItem]:
    """A batch whose items say which they are."""
    batch = [{"role": "user", "content": f"{number}.{part}"} for part in range(BATCH_SIZE)]
    return cast("list[TResponseInputItem]", batch)


def numbers_of(items: Sequence[Any]) -> list[int]:
    """The numbers of the batches that a session holds; none torn, doubled or out of order."""
    numbers = [int(item["content"].partition(".")[0]) for item in items[::BATCH_SIZE]]
    assert list(items) == [item for number in numbers for item in batch_of(number)]
    assert numbers == sorted(set(numbers))
    return numbers


class Writer:
    """Writes numbered batches one after the other, in the background of a ``with`` block.

    After an error of redis-py's it goes on with the next batch; leaving the block ends it.
    """

    def __init__(self, session: RedisSession) -> None:
        self.acknowledged: list[int] = []
        self.errors: list[RedisError] = []
        self._session = session
        self._stopped = False
        self._progress = asyncio.Event()

    async def acknowledges(self, more: int) -> None:
        """Wait until so many more batches are acknowledged."""
        goal = len(self.acknowledged) + more
        while len(self.acknowledged) < goal:
            self._progress.clear()
            waiting = asyncio.ensure_future(self._progress.wait())
            await asyncio.wait({waiting, self._task}, return_when=asyncio.FIRST_COMPLETED)
            if self._task.done():
                waiting.cancel()
                self._task.result()

    async def __aenter__(self) -> Self:
        self._task = asyncio.ensure_future(self._run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped = True
        await self._task

    async def _run(self) -> None:
        number = 0
        while not self._stopped:
            await self._write(number)
            number += 1

    async def _write(self, number: int) -> None:
        try:
            await self._session.add_items(batch_of(number))
        except RedisError as error:  # nobody was told that it is there
            self.errors.append(error)
        else:
            self.acknowledged.append(number)
            self._progress.set()
