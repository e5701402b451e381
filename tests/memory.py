"""The smallest backend: conversations in a dictionary. What has no ``await`` in it is atomic."""

from __future__ import annotations

import asyncio
import time
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from openai_agents_session._arguments import checked_ttl
from openai_agents_session._conversation import Found, LostError, UnreadableError
from openai_agents_session._session import BaseSession

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_T = TypeVar("_T")


class Store(dict[str, tuple["list[bytes | str]", "float | None"]]):
    """For each session id its records, oldest first, and when they expire (epoch seconds)."""

    def __init__(self) -> None:
        super().__init__()
        self.leases = Leases()


class Leases(dict[Any, "Turns"]):
    """The leases of conversations, by whatever names these."""

    def __init__(self) -> None:
        super().__init__()
        self.over: set[str] = set()
        """Holders that have released."""

    def holder(self, name: Any) -> str:
        """Return who holds the lease on a conversation now; "" for nobody."""
        turns = self.get(name)
        return turns.holder if turns and time.monotonic() < turns.until else ""


@dataclass
class Turns:
    """Who holds a lease, and who waits for it. Times are those of ``time.monotonic``."""

    holder: str = ""
    until: float = 0.0
    waiting: dict[str, float] = field(default_factory=dict)
    """Holders in the order they came, with when each has to come back."""


class MemoryClaim:
    """One holder's claim on a lease in a dictionary."""

    def __init__(self, conversation: MemoryConversation, holder: str, seconds: int) -> None:
        self._conversation, self._holder, self._seconds = conversation, holder, seconds
        self._leases, self._name = conversation.leases, conversation.name

    async def acquire(self, comes_back_in: float) -> int:
        """Take the lease, or a place in the queue."""
        await asyncio.sleep(0)
        holder, now = self._leases.holder(self._name), time.monotonic()
        if holder == self._holder:
            return 0
        if self._holder in self._leases.over:
            return 1
        turns = self._leases.setdefault(self._name, Turns())
        turns.waiting = {each: until for each, until in turns.waiting.items() if until > now}
        if not holder and next(iter(turns.waiting), self._holder) == self._holder:
            turns.waiting.pop(self._holder, None)
            turns.holder, turns.until = self._holder, now + self._seconds
            return 0
        turns.waiting[self._holder] = now + comes_back_in
        place = [*turns.waiting].index(self._holder) + 1
        if not comes_back_in:
            del turns.waiting[self._holder]
        return place

    async def renew(self) -> bool:
        """Let the lease's time begin anew."""
        if self._leases.holder(self._name) != self._holder:
            return False
        self._leases[self._name].until = time.monotonic() + self._seconds
        return True

    async def release(self) -> None:
        """Give the lease back, or leave the queue."""
        self._leases.over.add(self._holder)
        turns = self._leases.get(self._name, Turns())
        turns.waiting.pop(self._holder, None)
        if turns.holder == self._holder:
            turns.holder = ""
        if not (turns.holder or turns.waiting):
            self._leases.pop(self._name, None)

    def fenced(self) -> MemoryConversation:
        """Return the conversation for the holder alone."""
        conversation = copy(self._conversation)
        conversation.holder = self._holder
        return conversation


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
    holder = ""
    """Who alone may write through this object; "" for anybody."""

    def __init__(self, store: Store, session_id: str, ttl: int | None) -> None:
        self._store, self._session_id, self._ttl = store, session_id, ttl
        self.leases: Leases = store.leases
        self.name: Any = session_id
        """What its lease is called."""

    def _now(self) -> tuple[list[bytes | str], float | None]:
        records, until = self._store.get(self._session_id, ([], None))
        return ([], None) if until and until <= time.time() else (records, until)

    def _check_lease(self) -> None:
        if self.holder and self.leases.holder(self.name) != self.holder:
            raise LostError

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
        self._check_lease()
        self._write([*self._now()[0], *records])

    async def pop(self, parse: Callable[[bytes | str], _T | None]) -> _T | None:
        """Remove the newest record and return its item."""
        self._check_lease()
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
        self._check_lease()
        self._write([*records])

    async def swap(
        self, found: Found, start: int, records: Sequence[bytes | str], *, drop: int = 0
    ) -> bool:
        """Put records in the place of the newest, if these are unchanged."""
        self._check_lease()
        now, expected = self._now()[0], [*found.records[start:]]
        end = len(now) - len(expected)
        if end < drop or now[end:] != expected:
            return False
        self._write([*now[drop:end], *records])
        return True

    async def clear(self) -> None:
        """Remove every record."""
        self._check_lease()
        self._store.pop(self._session_id, None)

    async def ping(self) -> bool:
        """Return True: a dictionary always answers."""
        return True

    def claim(self, holder: str, seconds: int) -> MemoryClaim:
        """Return a holder's claim on the lease."""
        return MemoryClaim(self, holder, seconds)

    async def busy(self) -> float | None:
        """Return for how long the lease is held."""
        if not self.leases.holder(self.name):
            return None
        return self.leases[self.name].until - time.monotonic()
