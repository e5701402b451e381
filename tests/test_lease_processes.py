"""The processes that take turns find out what a careless store does."""

from __future__ import annotations

import asyncio
import fcntl
import pickle
from contextlib import asynccontextmanager
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from openai_agents_session._session import BaseSession
from tests.lease_processes import check, turns_taken
from tests.memory import MemoryConversation, Store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from pathlib import Path


class FileConversation:
    """The dictionary of ``tests.memory``, in a file that is locked for each operation.

    Args:
        path: of the file.
        without: "a fence", "turns", or nothing.
    """

    resends = False
    holder = ""

    def __init__(self, path: Path, without: str) -> None:
        self._path, self._without = path, without

    @asynccontextmanager
    async def locked(self) -> AsyncGenerator[MemoryConversation]:
        """Read the file, and write what has become of it."""
        with self._path.with_suffix(".lock").open("w") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    await asyncio.sleep(0.0005)
            store = pickle.loads(self._path.read_bytes()) if self._path.exists() else Store()
            conversation = MemoryConversation(store, "s", None)
            conversation.holder = self.holder
            yield conversation
            new = self._path.with_suffix(".new")
            new.write_bytes(pickle.dumps(store))
            new.rename(self._path)  # whole, also if the process is killed

    async def read(self, newest: int | None) -> Any:
        async with self.locked() as conversation:
            return await conversation.read(newest)

    async def append(self, records: Sequence[bytes]) -> None:
        async with self.locked() as conversation:
            await conversation.append(records)

    def claim(self, holder: str, seconds: int) -> FileClaim:
        return FileClaim(self, holder, seconds, self._without)


class FileClaim:
    """One holder's claim on the lease."""

    def __init__(
        self, conversation: FileConversation, holder: str, seconds: int, without: str
    ) -> None:
        self._conversation, self._asked = conversation, (holder, seconds)
        self._without = without

    async def acquire(self, comes_back_in: float) -> int:
        if self._without == "turns":
            return 0
        async with self._conversation.locked() as conversation:
            return await conversation.claim(*self._asked).acquire(comes_back_in)

    async def renew(self) -> bool:
        if self._without == "turns":
            return True
        async with self._conversation.locked() as conversation:
            return await conversation.claim(*self._asked).renew()

    async def release(self) -> None:
        async with self._conversation.locked() as conversation:
            await conversation.claim(*self._asked).release()

    def fenced(self) -> FileConversation:
        fenced = copy(self._conversation)
        if not self._without:
            fenced.holder = self._asked[0]
        return fenced


class FileSession(BaseSession):
    """A conversation in a file."""

    def __init__(self, path: Path, without: str) -> None:
        super().__init__("s", None)
        self._conversation: Any = FileConversation(path, without)


@asynccontextmanager
async def opened(path: Path, without: str) -> AsyncGenerator[FileSession]:
    yield FileSession(path, without)


async def test_a_store_with_leases_that_fence_passes(tmp_path: Path) -> None:
    """Holders are killed and stopped, and nothing of what they wrote later is there."""
    shared = partial(opened, tmp_path / "store", "")
    report = await turns_taken(shared, tmp_path, runs=30, kills=1, stops=1)
    check(report)

    assert len(report.done) >= 30
    assert len(report.kills) == len(report.stops) == 1
    assert report.errors == []
    assert sum(each.get("answer") == "lost" for each in report.history) >= 1


@pytest.mark.parametrize("without", ["a fence", "turns"])
async def test_a_store_without_is_found_out(tmp_path: Path, without: str) -> None:
    """One that lets a holder that stood still go on writing, and one where all hold the lease."""
    shared = partial(opened, tmp_path / "store", without)
    report = await turns_taken(shared, tmp_path, runs=8, kills=0, stops=1, own_clocks=False)

    with pytest.raises(AssertionError, match=r"contiguous|is there|not linearizable"):
        check(report)
