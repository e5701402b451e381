"""The smallest store: the conversations of many users in a dictionary."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TypeAlias

from openai_agents_session._arguments import checked_id, checked_ttl
from openai_agents_session._catalog import (
    ConversationInfo,
    CursorError,
    Erased,
    SessionNotFoundError,
)
from openai_agents_session._session import BaseSession
from openai_agents_session._store import BaseStore
from tests.memory import Leases, MemoryConversation, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from openai_agents_session._catalog import Cursor, Forked, Found


@dataclass
class Entry:
    """What is stored of a conversation."""

    records: list[bytes | str] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)
    created: float = 0.0
    updated: float = 0.0
    until: float | None = None


Key: TypeAlias = tuple[str | None, str]


class MemoryStore(BaseStore):
    """Conversations in a dictionary."""

    def __init__(self, ttl: int | None = None, *, session_settings: Any = None) -> None:
        self._catalog = self.catalog = MemoryCatalog(checked_ttl("ttl", ttl), session_settings)


class StoredSession(BaseSession):
    """A conversation of a store."""

    def __init__(self, conversation: MemoryConversation, session_id: str, settings: Any) -> None:
        super().__init__(session_id, settings)
        self._conversation = conversation


class StoredConversation(MemoryConversation):
    """A conversation in a catalog's dictionary."""

    def __init__(self, catalog: MemoryCatalog, key: Key, about: Any, *, recreate: bool) -> None:
        super().__init__(Store(), key[1], None)
        self.leases, self.name = catalog.leases, key
        self._catalog, self._at, self._about = catalog, key, about
        self._recreate, self._seen = recreate, False

    def _now(self) -> tuple[list[bytes | str], float | None]:
        entry = self._catalog.entry(self._at)
        self._seen |= bool(entry and entry.records)
        return (entry.records, entry.until) if entry else ([], None)

    def _write(self, records: list[bytes | str]) -> None:
        if records and self._seen and not (self._recreate or self._catalog.entry(self._at)):
            raise SessionNotFoundError("the conversation was deleted meanwhile")
        self._catalog.write(self._at, lambda _: records, self._about, begins=bool(records))
        self._seen |= bool(records)

    async def clear(self) -> None:
        """Remove every record."""
        self._check_lease()
        self._write([])


class MemoryCatalog:
    """A dictionary of conversations. What has no ``await`` in it is atomic."""

    resends = False

    def __init__(self, ttl: int | None, session_settings: Any) -> None:
        self.entries: dict[Key, Entry] = {}
        self.leases = Leases()
        self.ttl = ttl
        self._settings = session_settings
        self._clock = 0.0

    def now(self) -> float:
        """Return the time, later than it was the last time."""
        self._clock = max(time.time(), self._clock + 1e-6)
        return self._clock

    def entry(self, key: Key) -> Entry | None:
        """Return what there is and has not expired."""
        entry = self.entries.get(key)
        return None if entry is None or (entry.until and entry.until <= time.time()) else entry

    def write(
        self,
        key: Key,
        change: Callable[[list[bytes | str]], list[bytes | str]],
        about: Mapping[str, Any],
        *,
        begins: bool,
    ) -> None:
        """Change the records of a conversation, and begin it where there is none."""
        now, entry = self.now(), self.entry(key)
        if entry is None and begins:
            entry = self.entries[key] = Entry(about={**about}, created=now)
        if entry is not None:
            entry.records = change(entry.records)
            entry.updated = now
            entry.until = entry.until if self.ttl is None else now + self.ttl
            if key[0] is None and not entry.records:
                del self.entries[key]

    def checked_user(self, user_id: Any) -> str:
        """Return any text that is not empty."""
        return checked_id("user_id", user_id)

    def session(
        self,
        user: str | None,
        session_id: str,
        about: Mapping[str, Any],
        *,
        recreate: bool,
        session_settings: Any,
    ) -> BaseSession:
        """Return a session on the dictionary."""
        conversation = StoredConversation(self, (user, session_id), about, recreate=recreate)
        return StoredSession(conversation, session_id, session_settings or self._settings)

    def _info(self, key: Key, entry: Entry) -> ConversationInfo:
        times = (entry.created, entry.updated, entry.until)
        return ConversationInfo(
            key[1],
            key[0],
            **entry.about,
            item_count=len(entry.records),
            **dict(
                zip(
                    ("created_at", "updated_at", "expires_at"),
                    (each and datetime.fromtimestamp(each, timezone.utc) for each in times),
                    strict=True,
                )
            ),
        )

    async def page(
        self,
        user: str,
        limit: int,
        cursor: Cursor | None,
        *,
        active: bool | None,
        search: str | None,
    ) -> Found:
        """Return the newest of a user's."""
        await asyncio.sleep(0)
        if search is not None:
            raise NotImplementedError("a dictionary cannot search; list without search")
        after = _checked(cursor, [float, str])
        found = sorted(
            ((entry.updated, key[1], entry) for key, entry in self._live() if key[0] == user),
            reverse=True,
            key=lambda each: each[:2],
        )
        rows = [
            (updated, session_id, entry)
            for updated, session_id, entry in found
            if (after is None or [updated, session_id] < after)
            and active in {None, entry.about.get("is_active", True)}
        ]
        conversations = [self._info((user, each[1]), each[2]) for each in rows[:limit]]
        more = len(rows) > limit
        return conversations, [*rows[limit - 1][:2]] if more else None

    def _live(self) -> list[tuple[Key, Entry]]:
        return [(key, entry) for key in self.entries if (entry := self.entry(key))]

    async def count(self, user: str, *, active: bool | None, search: str | None) -> int | None:
        """Return None: a store need not know."""
        del user, active, search

    async def get(self, user: str, session_id: str) -> ConversationInfo | None:
        """Return what is known."""
        entry = self.entry((user, session_id))
        return None if entry is None else self._info((user, session_id), entry)

    async def update(
        self, user: str, session_id: str, changes: Mapping[str, Any]
    ) -> ConversationInfo | None:
        """Change what is said about it."""
        if entry := self.entry((user, session_id)):
            entry.about = {**entry.about, **changes}
            self.write((user, session_id), lambda records: records, {}, begins=False)
        return await self.get(user, session_id)

    async def delete(self, user: str, session_id: str) -> bool:
        """Delete it."""
        found = self.entry((user, session_id)) is not None
        self.entries.pop((user, session_id), None)
        return found

    async def fork(self, user: str, session_id: str, new_id: str, items: int | None) -> Forked:
        """Copy it."""
        source = self.entry((user, session_id))
        if source is None:
            return "missing"
        if self.entry((user, new_id)):
            return "taken"
        copied = source.records[:items]
        self.entries.pop((user, new_id), None)
        self.write((user, new_id), lambda _: copied, source.about, begins=True)
        return "done"

    async def erase(self, user: str) -> Erased:
        """Delete all of a user's."""
        found = [(key, entry) for key, entry in self._live() if key[0] == user]
        for key in [key for key in self.entries if key[0] == user]:
            del self.entries[key]
        for key in [key for key in self.leases if key[0] == user]:
            del self.leases[key]
        return Erased(user, len(found), sum(len(entry.records) for _, entry in found))

    async def records(
        self, user: str, session_id: str, newest: int, before: int | None
    ) -> Sequence[tuple[int, bytes | str, None]] | None:
        """Return records with their index."""
        entry = self.entry((user, session_id))
        if entry is None:
            return None
        return [(at, each, None) for at, each in enumerate(entry.records)][:before][-newest:]

    async def scan(self, limit: int, cursor: Cursor | None) -> Found:
        """Return some of all."""
        (start,) = _checked(cursor, [int]) or [0]
        found = [self._info(key, entry) for key, entry in self._live()][start:]
        return found[:limit], [start + limit] if len(found) > limit else None

    async def ping(self) -> bool:
        """Return True: a dictionary always answers."""
        return True

    async def setup(self) -> None:
        """Do nothing: a dictionary needs nothing."""


def _checked(cursor: Cursor | None, types: list[type]) -> Cursor | None:
    if cursor is not None and [type(value) for value in cursor] != types:
        raise CursorError("cursor must be the cursor of a page of this list, or None")
    return cursor
