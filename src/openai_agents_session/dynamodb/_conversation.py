"""DynamoDBConversation: one conversation as an item and its pages, written exactly once.

A write is one conditional ``UpdateItem``. Two kinds of condition:

- An append asks that the item still takes it: there is room, and its time is not over.
  Appends of many writers do not get into each other's way.
- Any other write asks that the item is still the ``version`` that was read.

``_item`` says how each is done exactly once.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import inf
from typing import TYPE_CHECKING, TypeVar

from openai_agents_session import _conversation
from openai_agents_session._conversation import UnreadableError
from openai_agents_session.dynamodb._driver import FAILED
from openai_agents_session.dynamodb._item import Item, SupersededError
from openai_agents_session.dynamodb._packing import Page, Room, distribute, group_references, join
from openai_agents_session.dynamodb._state import (
    Attribute,
    ItemState,
    PageRef,
    Token,
    getrandbits,
    recent_tokens,
    size_of,
    texts_of,
    timestamp,
)
from openai_agents_session.dynamodb._updates import (
    append_update,
    clear_update,
    cleared,
    has_room,
    outlives,
    replace_update,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from openai_agents_session.dynamodb._driver import Table

DAY = 24 * 3600
"""Seconds by which a page outlives its session at least."""

LATE_SECONDS, LATE_SHARE = 1.0, 0.01
"""How much shorter than its time to live a conversation may live: in seconds, or as a share of it.
After a write that took longer than that, the time is set again."""

MAX_LATE_ATTEMPTS = 3
"""How often a write is done again that takes longer than the conversation lives."""

CLOCK_AHEAD_SECONDS = 2
"""How many seconds longer than its time to live a conversation may live. The clock of the machine
that wrote last may be ahead; an append then keeps that later time."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Found(_conversation.Found):
    """The newest records, as they were read: those of the item, and of as many pages as asked for.

    Attributes:
        item: the session's item.
        ended: whether its conversation had ended by then, so that there are no records.
        older: the pages before the records, which were not read.
        stored: the records as they are stored. One that is no text is an empty one in ``records``.
        writes: the tokens of the item and the pages that were read.
        since: since when these are complete.
    """

    item: ItemState
    ended: bool
    older: tuple[PageRef, ...]
    stored: list[Attribute] = field(repr=False)
    writes: frozenset[bytes]
    since: int

    @classmethod
    def of(cls, item: ItemState) -> Found:
        """Return what the item alone has of the conversation."""
        ended = item.has_ended
        stored, older = ([], ()) if ended else (item.records, item.pages)
        return cls(texts_of(stored), item, ended, older, stored, item.writes, item.since)


class DynamoDBConversation:
    """One session's item and its pages.

    Args:
        table: where they are.
        session_id: the item's key.
        ttl: seconds that the conversation lives after a write; None leaves its time alone.
        room: what the records may take of the item before they go into a page.
    """

    resends = True

    def __init__(self, table: Table, session_id: str, ttl: int | None, room: Room) -> None:
        self._ttl = ttl
        self._room = room
        self._item = Item(table, session_id)

    async def read(self, newest: int | None) -> Found:
        """Return the newest records, those of the item in any case."""
        while True:
            with suppress(SupersededError):  # then read what another writer has made of it
                return await self._found(await self._item.read(), newest or inf)

    async def append(self, records: Sequence[bytes]) -> None:
        """Append a batch."""
        added = _stored(records)
        size = size_of(added)

        async def attempt(item: ItemState | None, token: Token) -> None:
            item = item or self._item.last_seen
            if item is None and size > self._room.first:
                item = await self._item.read()
            lasts = self._seconds_to_live(item)
            ttl = None if lasts is None else int(time.time()) + lasts
            taken = item is None or has_room(item, size, self._room, ttl)
            if item and (not taken or item.has_stale_tokens or token.stamp <= item.since):
                found = Found.of(item)
                await self._commit(found, found.stored + added, token)
                return
            start = getrandbits(48)
            request = append_update(added, token, size=size, room=self._room, ttl=ttl, start=start)
            if await self._item.update(token, request, ttl=lasts) and item:
                self._item.last_seen = replace(
                    item,
                    exists=True,
                    records=item.records + added,
                    version=(item.version or start) + 1,
                    writes=item.writes | {token},
                    ttl=item.ttl if ttl is None else ttl,
                    created_at=item.created_at or timestamp(token.stamp),
                )

        await self._write(attempt)

    async def pop(self, parse: Callable[[bytes | str], _T | None]) -> _T | None:
        """Remove the newest record, if the item is still what was read; else read again."""
        popped: _T | None = None

        async def attempt(item: ItemState | None, token: Token) -> None:
            nonlocal popped
            found = await self._found(item or await self._item.read(), 1)
            popped = parse(found.records[-1]) if found.records else None
            if popped is not None:
                await self._commit(found, found.stored[:-1], token)
            elif found.records:
                raise UnreadableError

        await self._write(attempt, again=False)
        return popped

    async def remove(self, found: Found, index: int) -> bool:
        """Remove one record, if the conversation is still what was read."""
        return await self._swap(found, found.stored[:index] + found.stored[index + 1 :])

    async def replace(self, records: Sequence[bytes]) -> None:
        """Put records in the place of whatever there is."""
        stored = _stored(records)

        async def attempt(item: ItemState | None, token: Token) -> None:
            item = item or await self._item.read()
            if stored or (item.exists and not item.cleared):
                await self._commit(replace(Found.of(item), older=()), stored, token)

        await self._write(attempt)

    async def swap(
        self, found: Found, start: int, records: Sequence[bytes], *, drop: int = 0
    ) -> bool:
        """Put records in the place of others, if the conversation is still what was read."""
        return await self._swap(found, found.stored[drop:start] + _stored(records))

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

    async def _found(self, item: ItemState, newest: float) -> Found:
        """Return the newest records of an item and its pages."""
        found = Found.of(item)
        return await self._read_older(found, newest - len(found.stored))

    async def _read_older(self, found: Found, missing: float) -> Found:
        """Return what was found with the records of older pages before it.

        Args:
            found: what was read already.
            missing: how many records more, if there are so many; infinity for all.

        Raises:
            SupersededError: a page is gone, and the item says another thing by now.
        """
        older, refs, pages = await self._item.pages.newest(found.older, missing)
        if None in pages:
            now = await self._item.read()
            if now.version != found.item.version:
                raise SupersededError(now)
        since = found.since
        for page in reversed(pages):
            if page is None or page.until < since:
                break  # some tokens are lost: only what began after those is certain
            since = page.since
        stored = join(refs, pages) + found.stored
        writes = found.writes.union(*(page.writes for page in pages if page))
        texts = texts_of(stored)
        return Found(texts, found.item, found.ended, older, stored, writes, since)

    async def _swap(self, found: Found, stored: list[Attribute]) -> bool:
        """Put records in the place of what was found; return whether it was still there."""
        done = False

        async def attempt(item: ItemState | None, token: Token) -> None:
            nonlocal done
            done = item is None and found.ended == found.item.has_ended
            if done:
                await self._commit(found, stored, token)

        return await self._write(attempt, again=False) and done

    async def _commit(self, found: Found, records: list[Attribute], token: Token) -> None:
        """Put records in the place of what was found: new pages, the item, old pages.

        Raises:
            SupersededError: the item is not as it was read any more.
        """
        if not found.item.exists and size_of(records) > self._room.first:
            found = Found.of(await self._create_empty())
        item = found.item
        ttl: float | None = None if self._ttl is None else int(time.time()) + self._ttl
        if ttl is None and not found.ended:
            ttl = item.ttl
        until = pages_until = None if ttl is None else ttl + max(self._ttl or 0, DAY)
        if found.older and item.pages_until is None and ttl is not None:
            # These pages never expire. With a time to live they would be deleted too early if the
            # item then doesn't get one, because this write fails. So new pages replace them.
            found = await self._read_older(replace(found, stored=[]), inf)
            records = found.stored + records
        elif found.older and not outlives(item.pages_until, ttl):
            await self._item.pages.extend(await self._item.pages.with_nested(found.older), until)
        elif found.older and until is not None and item.pages_until is not None:
            pages_until = min(until, item.pages_until)

        after, new = self._move_to_pages(found, records)
        names = {token}
        if token.stamp <= after.since:  # else it would pass for one that was done before
            token = Token.after(after.since)
        after = replace(
            after,
            version=(item.version or getrandbits(48)) + 1,
            writes=after.writes | names | {token},
            ttl=ttl,
            pages_until=pages_until if after.pages else None,
            created_at=(not found.ended and item.created_at) or timestamp(token.stamp),
        )
        stored = [ref for ref, _ in new]
        try:
            await self._item.pages.put(new, until)
        except FAILED:
            await self._item.pages.discard(stored)
            raise
        request = replace_update(item, after, token, ended=found.ended)
        if await self._item.update(token, request, ttl=self._ttl, known=item, stored=stored):
            self._item.last_seen = after
        await self._item.pages.discard(item.pages, named=[*found.older, *stored])

    def _move_to_pages(
        self, found: Found, records: list[Attribute]
    ) -> tuple[ItemState, list[tuple[PageRef, Page]]]:
        """Move the records that the item has no room for into pages, and its tokens with them.

        Returns:
            The item with what stays there, and the pages to be stored.
        """
        writes, since = recent_tokens(found.writes, found.since)
        packed, records = distribute(records, self._room, found.older)
        new = [(PageRef.new(count), Page(moved, since=since)) for moved, count in packed]
        if new:
            new[-1] = (new[-1][0], replace(new[-1][1], writes=writes))
            since = max([since, *(Token(each).stamp for each in writes)])
            writes = frozenset()
        refs, folded = group_references(found.older + tuple(ref for ref, _ in new))
        after = ItemState(exists=True, records=records, pages=refs, writes=writes, since=since)
        return after, new + folded

    async def _create_empty(self) -> ItemState:
        """Make an item that is empty, where there is none and pages are to be stored.

        An item refers to a page only if its version is still the one from before the page was
        stored. ``remove_orphaned_pages`` changes the version before it deletes a page. So a page
        that an item refers to is there, however slow its writer was.
        """
        token = Token.after(0)
        request = clear_update(token, {token}, getrandbits(48), exists=False)
        if await self._item.update(token, request) is None:
            raise SupersededError(await self._item.read())
        return cleared(ItemState(), request)

    async def _write(
        self, attempt: Callable[[ItemState | None, Token], Awaitable[None]], *, again: bool = True
    ) -> bool:
        """Write, and make sure that the conversation lives for its whole time to live.

        Args:
            attempt: the write.
            again: whether to write again if the conversation expired before the answer arrived.

        Returns:
            False if it expired, and is not written again.

        Raises:
            TimeoutError: it expired each time.
        """
        for _ in range(MAX_LATE_ATTEMPTS):
            if not await self._expired_meanwhile(*await self._item.write(attempt)):
                return True
            if not again:
                return False
        raise asyncio.TimeoutError(
            f"a write takes longer than the conversation lives: {self._ttl} s (ttl_seconds)"
        )

    async def _expired_meanwhile(self, token: Token, took: float) -> bool:
        """Return whether the conversation expired before the answer to its write arrived.

        Its time to live counts from when the request was sent. After a slow answer it is set
        again.
        """
        if not self._took_long(took):
            return False
        item = await self._item.read()
        if token in item.writes and not item.has_expired:

            async def renew(item: ItemState | None, renewal: Token) -> None:
                found = Found.of(item or await self._item.read())
                if not found.ended and token in found.item.writes:
                    await self._commit(found, found.stored, renewal)

            _, took = await self._item.write(renew)
            if not self._took_long(took):
                return False
            item = await self._item.read()
        return token in item.writes and item.has_expired

    def _took_long(self, took: float) -> bool:
        return self._ttl is not None and took >= max(LATE_SECONDS, self._ttl * LATE_SHARE)

    def _seconds_to_live(self, state: ItemState | None) -> int | None:
        """Return for how many seconds from now an append lets the conversation live."""
        if self._ttl is None:
            return None
        if state is None or state.has_ended or state.ttl is None:
            return self._ttl
        ahead = int(state.ttl) - int(time.time()) - self._ttl
        return self._ttl + (ahead if 0 < ahead <= CLOCK_AHEAD_SECONDS else 0)


def _stored(records: Sequence[bytes]) -> list[Attribute]:
    return [{"S": record.decode()} for record in records]
