"""DynamoDBConversation: one conversation as an item and its pages, written exactly once.

A write is one conditional ``UpdateItem``. Two kinds of condition:

- An append asks that the item still takes it: there is room, and its time is not over.
  Appends of many writers do not get into each other's way.
- Any other write asks that the item is still the ``version`` that was read.

``_history`` reads, ``_writer`` writes, and ``_item`` says how each write is done exactly once.
"""

from __future__ import annotations

import time
from copy import copy
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar

from openai_agents_session._conversation import UnreadableError
from openai_agents_session.dynamodb._history import Found, History
from openai_agents_session.dynamodb._item import Item
from openai_agents_session.dynamodb._lease import DynamoDBClaim
from openai_agents_session.dynamodb._lease_item import LeaseItem
from openai_agents_session.dynamodb._owner import NOBODY, Owner
from openai_agents_session.dynamodb._state import (
    Attribute,
    ItemState,
    Token,
    getrandbits,
    size_of,
    timestamp,
)
from openai_agents_session.dynamodb._updates import append_update, clear_update, cleared, has_room
from openai_agents_session.dynamodb._writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from typing_extensions import Self

    from openai_agents_session.dynamodb._driver import Table
    from openai_agents_session.dynamodb._packing import Room

_T = TypeVar("_T")


class DynamoDBConversation:
    """One session's item and its pages.

    Args:
        table: where they are.
        key: the item's key.
        ttl: seconds that the conversation lives after a write; None leaves its time alone.
        room: what the records may take of the item before they go into a page.
        owner: whose the conversation is.
    """

    resends = True

    def __init__(
        self, table: Table, key: str, ttl: int | None, room: Room, owner: Owner = NOBODY
    ) -> None:
        self._ttl = ttl
        self._room = room
        self._owner = owner
        self._lease = LeaseItem(table, key, owner)
        self._use(Item(table, key, owner.user))

    def _use(self, item: Item) -> None:
        self._item = item
        self._history = History(item)
        self._writer = Writer(item, self._ttl, self._room, self._owner)

    async def read(self, newest: int | None) -> Found:
        """Return the newest records, those of the item in any case."""
        return await self._history.now(newest or inf)

    async def append(self, records: Sequence[bytes]) -> None:
        """Append a batch."""
        await self._append(stored(records))

    async def pop(self, parse: Callable[[bytes | str], _T | None]) -> _T | None:
        """Remove the newest record, if the item is still what was read; else read again."""
        popped: _T | None = None

        async def attempt(item: ItemState | None, token: Token) -> None:
            nonlocal popped
            found = await self._history.of(item or await self._item.read_to_write(), 1)
            popped = parse(found.records[-1]) if found.records else None
            if popped is not None:
                await self._writer.commit(found, found.stored[:-1], token)
            elif found.records:
                raise UnreadableError

        await self._writer.write(attempt, again=False)
        return popped

    async def remove(self, found: Found, index: int) -> bool:
        """Remove one record, if the conversation is still what was read."""
        return await self._swap(found, found.stored[:index] + found.stored[index + 1 :])

    async def replace(self, records: Sequence[bytes]) -> None:
        """Put records in the place of whatever there is."""
        new = stored(records)

        async def attempt(item: ItemState | None, token: Token) -> None:
            item = item or await self._item.read_to_write()
            if new or (item.exists and not item.cleared):
                await self._writer.commit(replace(Found.of(item), older=()), new, token)

        await self._writer.write(attempt)

    async def swap(
        self, found: Found, start: int, records: Sequence[bytes], *, drop: int = 0
    ) -> bool:
        """Put records in the place of others, if the conversation is still what was read."""
        return await self._swap(found, found.stored[drop:start] + stored(records))

    async def clear(self) -> None:
        """Remove the conversation from the item, then delete its pages."""
        seen = self._item.last_seen or ItemState()

        async def attempt(item: ItemState | None, token: Token) -> None:
            nonlocal seen
            if item and (item.cleared or not item.exists):
                return
            names = {token}
            if item and token.stamp <= item.since:
                token = Token.after(item.since)
            request = clear_update(token, names, getrandbits(48))
            answer = await self._item.update(token, request)
            if answer:  # else it was an earlier attempt, and what was there before is not told
                seen = ItemState.parse(answer["Attributes"])
                self._item.last_seen = cleared(seen, request)

        await self._item.write(attempt)
        await self._item.pages.discard(seen.pages, named=())

    async def ping(self) -> bool:
        """Return whether DynamoDB answers and the table is there."""
        return await self._item.ping()

    def claim(self, holder: str, seconds: int) -> DynamoDBClaim:
        """Return what one holder asks of the lease."""
        return DynamoDBClaim(
            self._lease,
            item=self._item,
            owner=self._owner,
            fenced=self._fenced,
            holder=holder,
            seconds=seconds,
        )

    async def busy(self) -> float | None:
        """Return for how many seconds the lease may still be held at most; None if it isn't."""
        lease = await self._lease.read()
        return float(lease.seconds) if lease.holder else None

    def _fenced(self, claim: DynamoDBClaim) -> Self:
        """Return this conversation, for writes that ask for a claim's fence."""
        fenced = copy(self)
        fenced._use(self._item.fenced(claim))
        if claim.begun:
            fenced._item.last_seen = claim.begun
        return fenced

    async def _append(
        self,
        added: list[Attribute],
        *,
        begins: bool = True,
        changes: Mapping[str, Any] | None = None,
    ) -> bool:
        """Append records, none of them to set only what every write sets.

        Args:
            added: the records.
            begins: whether a conversation begins where there is none.
            changes: what is said about it from now on; only where none begins.

        Returns:
            Whether there is a conversation then: False where there was none and none began.
        """
        size = size_of(added)
        there = True

        async def attempt(item: ItemState | None, token: Token) -> None:
            nonlocal there
            known = item or self._item.last_seen
            unknown = known is None and size > self._room.first
            if unknown or (not begins and item is None and known and not known.is_there):
                known = item = await self._item.read_to_write()
            there = begins or known is None or known.is_there
            if not there:
                return
            lasts = self._writer.seconds_to_live(known)
            ttl = None if lasts is None else int(time.time()) + lasts
            taken = known is None or has_room(known, size, self._room, ttl)
            if known and (not taken or known.has_stale_tokens or token.stamp <= known.since):
                found = Found.of(known)
                there = begins or found.is_there
                if there:
                    await self._writer.commit(found, found.stored + added, token, changes=changes)
                return
            start = getrandbits(48)
            request = append_update(
                added,
                token,
                size=size,
                room=self._room,
                ttl=ttl,
                start=start,
                owner=self._owner,
                begins=begins,
                changes=changes,
            )
            answer = await self._item.update(token, request, ttl=lasts)
            if answer and changes is not None:
                self._item.last_seen = ItemState.parse(answer["Attributes"])
            elif answer and known:
                self._item.last_seen = replace(
                    known,
                    exists=True,
                    records=known.records + added,
                    version=(known.version or start) + 1,
                    writes=known.writes | {token},
                    ttl=known.ttl if ttl is None else ttl,
                    created_at=known.created_at or timestamp(token.stamp),
                )

        await self._writer.write(attempt)
        return there

    async def _swap(self, found: Found, stored: list[Attribute]) -> bool:
        """Put records in the place of what was found; return whether it was still there."""
        done = False

        async def attempt(item: ItemState | None, token: Token) -> None:
            nonlocal done
            done = item is None and found.ended == found.item.has_ended
            if done:
                await self._writer.commit(found, stored, token)

        return await self._writer.write(attempt, again=False) and done


def stored(records: Sequence[bytes]) -> list[Attribute]:
    """Return records as they lie in an item."""
    return [{"S": record.decode()} for record in records]
