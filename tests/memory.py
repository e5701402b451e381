"""The smallest backend: conversations in a dictionary. What has no ``await`` in it is atomic."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from openai_agents_session._arguments import checked_ttl
from openai_agents_session._conversation import Found, UnreadableError
from openai_agents_session._session import BaseSession

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_T = TypeVar("_T")

Store: TypeAlias = "dict[str, tuple[list[bytes | str], float | None]]"
"""For each session id its records, oldest first, and when they expire (epoch seconds)."""


class MemorySession(BaseSession):
    """A conversation in a dictionary, which the sessions of one process share."""

    def __init__(
        self, session_id: str, store: Store, ttl: int | None = None, *, session_settings: Any = None
    ) -> None:
        super().__init__(session_id, session_settings)
        self._conversation = MemoryConversation(store, session_id, checked_ttl("ttl", ttl))


class MemoryConversation:
    """One conversation, at its session id."""

    resends = False

    def __init__(self, store: Store, session_id: str, ttl: int | None) -> None:
        self._store, self._session_id, self._ttl = store, session_id, ttl

    def _now(self) -> tuple[list[bytes | str], float | None]:
        records, until = self._store.get(self._session_id, ([], None))
        return ([], None) if until and until <= time.time() else (records, until)

    def _write(self, records: list[bytes | str]) -> None:
        until = self._now()[1] if self._ttl is None else time.time() + self._ttl
        self._store[self._session_id] = records, until
        if not records:
            del self._store[self._session_id]

    async def read(self, newest: int | None) -> Found:
        """Return the newest records, after the others have had their turn."""
        await asyncio.sleep(0)
        return Found(self._now()[0][-(newest or 0) :])

    async def append(self, records: Sequence[bytes]) -> None:
        """Add records to the end."""
        self._write([*self._now()[0], *records])

    async def pop(self, parse: Callable[[bytes | str], _T | None]) -> _T | None:
        """Remove the newest record and return its item."""
        records, _ = self._now()
        if not records:
            return None
        item = parse(records[-1])
        if item is None:
            raise UnreadableError
        self._write(records[:-1])
        return item

    async def remove(self, found: Found, index: int) -> bool:
        """Remove one record, if it and all after it are unchanged."""
        return await self.swap(found, index, found.records[index + 1 :])

    async def replace(self, records: Sequence[bytes]) -> None:
        """Put records in the place of all."""
        self._write([*records])

    async def swap(
        self, found: Found, start: int, records: Sequence[bytes | str], *, drop: int = 0
    ) -> bool:
        """Put records in the place of the newest, if these are unchanged."""
        now, expected = self._now()[0], [*found.records[start:]]
        end = len(now) - len(expected)
        if end < drop or now[end:] != expected:
            return False
        self._write([*now[drop:end], *records])
        return True

    async def clear(self) -> None:
        """Remove every record."""
        self._store.pop(self._session_id, None)

    async def ping(self) -> bool:
        """Return True: a dictionary always answers."""
        return True
