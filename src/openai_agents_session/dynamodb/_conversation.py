"""Reading and writing one conversation's item, atomically and exactly once.

A write is one conditional ``UpdateItem``. Two kinds of condition:

- An append asks that the item still takes it: there is room, and its time is not over.
  Appends of many writers do not get into each other's way.
- Any other write asks that the item is still the ``version`` that was read.

``_item`` says how each is done exactly once.

This module knows nothing of what is in a record.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING

from openai_agents_session.dynamodb._calls import FAILED
from openai_agents_session.dynamodb._head import (
    Attribute,
    Change,
    Head,
    PageRef,
    Token,
    Window,
    getrandbits,
    moment,
    remembered,
    size_of,
)
from openai_agents_session.dynamodb._item import Item, SupersededError
from openai_agents_session.dynamodb._packing import Page, Room, fold, join, pack, spread
from openai_agents_session.dynamodb._updates import (
    beginning,
    clearance,
    extension,
    outlives,
    replacement,
    takes,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from openai_agents_session.dynamodb._calls import Table

DAY = 24 * 3600
"""Seconds by which a page outlives its session at least."""

LATE_SECONDS, LATE_SHARE = 1.0, 0.01
"""How much less time a conversation may have than it should, in seconds or of its whole time.
A write that took longer has it set anew."""

MOST_LATE = 3
"""How often a write is done that took longer than the conversation lives."""

AHEAD_SECONDS = 2
"""By how much an append may find the conversation to live longer than it would set, as the clock
of another machine is ahead, and leaves it at that."""


class Conversation:
    """One session's item and its pages.

    Args:
        table: where they are.
        session_id: the item's key.
        ttl: seconds that the conversation lives after a write; None leaves its time alone.
        room: what the records may take of the item before they go into a page.
    """

    def __init__(self, table: Table, session_id: str, ttl: int | None, room: Room) -> None:
        self._ttl = ttl
        self._room = room
        self._item = Item(table, session_id)

    async def read(self) -> Head:
        """Return what the item says now."""
        return await self._item.read()

    async def ping(self) -> None:
        """Ask for a sign of life."""
        await self._item.ping()

    async def reach(self, head: Head, missing: float, window: Window | None = None) -> Window:
        """Return the newest part of the conversation.

        Args:
            head: the item.
            missing: how many records more than ``window`` it has at least, if there are so
                many; infinity for all.
            window: a shorter one; without it, that of the item alone.

        Raises:
            SupersededError: a page is gone, and the item says another thing by now.
        """
        window = window or head.window
        kept, refs, pages = await self._item.pages.newest(window.kept, missing)
        if None in pages:
            now = await self._item.read()
            if now.version != head.version:
                raise SupersededError(now, LookupError("a page is gone"))
        since = head.since if window.since is None else window.since
        for page in reversed(pages):
            if page is None or page.until < since:
                break  # some tokens are lost: only what began after those is certain
            since = page.since
        return Window(
            kept,
            join(refs, pages) + window.records,
            window.writes.union(*(page.writes for page in pages if page)),
            since,
        )

    async def append(self, records: list[Attribute]) -> None:
        """Append a batch."""
        size = size_of(records)

        async def attempt(head: Head | None, token: Token) -> None:
            if head is None and size > self._room.first:
                head = await self._item.read()
            head = head and head.as_of_now()
            lasts = self._lasts(head)
            ttl = None if lasts is None else int(time.time()) + lasts
            taken = head is None or takes(head, size, self._room, ttl)
            if head and (not taken or head.outworn or token.stamp <= head.since):
                await self._commit(head, self.packed(head.window, head.records + records), token)
                return
            start = getrandbits(48)
            request = extension(records, token, size=size, room=self._room, ttl=ttl, start=start)
            if await self._item.update(token, request, ttl=lasts) and head:
                self._item.seen = replace(
                    head,
                    exists=True,
                    records=head.records + records,
                    version=(head.version or start) + 1,
                    writes=head.writes | {token},
                    ttl=head.ttl if ttl is None else ttl,
                    created_at=head.created_at or moment(token.stamp),
                )

        await self._lasting(attempt, seen=True)

    async def change(self, plan: Callable[[Head], Awaitable[Change | None]], *, adds: bool) -> None:
        """Change the conversation as ``plan`` says of what was read, until that is what it is.

        Args:
            plan: is asked again for each state that is met; None from it changes nothing.
            adds: whether there is more than before in what it makes of a conversation.
        """

        async def attempt(head: Head | None, token: Token) -> None:
            head = head or await self._item.read()
            change = await plan(head)
            if change is not None:
                await self._commit(head, change, token)

        await self._lasting(attempt, again=adds)

    async def swap(self, head: Head, change: Change) -> bool:
        """Change the conversation if it is still what was read; say whether it was."""
        if head.as_of_now() is not head:
            return False
        clock, token = asyncio.get_running_loop().time, Token.after(head.since)
        began = clock()
        try:
            await self._commit(head, change, token)
        except SupersededError:
            return False
        return not await self._was_late(token, clock() - began)

    async def clear(self) -> None:
        """Leave nothing of the conversation, and then of its pages."""
        seen = self._item.seen or Head()

        async def attempt(head: Head | None, token: Token) -> None:
            nonlocal seen
            if head and (head.cleared or not head.exists):
                return
            names = {token}
            if head and token.stamp <= head.since:
                token = Token.after(head.since)
            start = getrandbits(48)
            request = clearance(token, names, start)
            answer = await self._item.update(token, request)
            if answer:  # else it was an earlier attempt, and what was there before is not told
                seen = Head.parse(answer["Attributes"])
                self._item.seen = Head(
                    exists=True,
                    cleared=True,
                    version=(start if seen.version is None else seen.version) + 1,
                    writes=seen.writes | names | {token},
                    since=seen.since,
                    ttl=int(request["ExpressionAttributeValues"][":until"]["N"]),
                )

        await self._item.write(attempt)
        await self._item.pages.discard(seen.pages + seen.left, named=())

    def packed(self, window: Window, records: list[Attribute]) -> Change:
        """Return the change that puts these records in the place of what was read."""
        pages, rest = spread(records, self._room, window.kept)
        return Change(window, rest, pages)

    async def _commit(self, head: Head, change: Change, token: Token) -> None:
        """Write a change of the item as it was read: new pages, the item, old pages.

        Raises:
            SupersededError: it is not as it was read any more.
        """
        head = await self._begun(head, change)
        window, pages = change.window, [*change.pages]
        ttl: float | None = None if self._ttl is None else int(time.time()) + self._ttl
        if ttl is None and not head.over:
            ttl = head.ttl
        until = pages_until = None if ttl is None else ttl + max(self._ttl or 0, DAY)
        kept = window.kept
        if kept and head.pages_until is None and ttl is not None:
            # They never expire. To give them a time before the item has one might cut off a
            # conversation that then keeps none, so the item gets others.
            before = Window(kept, [], window.writes, window.since)
            window = await self.reach(head, inf, before)
            older, rest = pack(window.records, self._room.first)
            pages = [*older, *([(rest, len(rest))] if rest else []), *pages]
            kept = ()
        elif kept and not outlives(head.pages_until, ttl):
            await self._item.pages.extend(await self._item.pages.beneath(kept), until)
        elif kept and until is not None and head.pages_until is not None:
            pages_until = min(until, head.pages_until)

        writes, since = remembered(
            head.writes | window.writes, head.since if window.since is None else window.since
        )
        new = [(PageRef.new(count), Page(records, since=since)) for records, count in pages]
        if new:
            new[-1] = (new[-1][0], replace(new[-1][1], writes=writes))
            since = max([since, *(Token(each).stamp for each in writes)])
            writes = frozenset()
        names = {token}
        if token.stamp <= since:  # it began before a write that is done: it would pass for old
            token = Token.after(since)
        refs = kept + tuple(ref for ref, _ in new)
        folded, of_references = fold(refs)
        new += of_references

        after = Head(
            exists=True,
            records=change.records,
            pages=folded,
            version=(head.version or getrandbits(48)) + 1,
            writes=writes | names | {token},
            since=since,
            ttl=ttl,
            pages_until=pages_until if refs else None,
            created_at=head.created_at,
        )
        if head.over or not head.created_at:
            after = replace(after, created_at=moment(token.stamp))
        stored = [ref for ref, _ in new]
        try:
            await self._item.pages.put(new, until)
        except FAILED:
            await self._item.pages.discard(stored)
            raise
        request = replacement(head, after, change.removed, token)
        if await self._item.update(token, request, ttl=self._ttl, known=head, stored=stored):
            self._item.seen = after
        await self._item.pages.discard(head.pages + head.left, named=refs)

    async def _begun(self, head: Head, change: Change) -> Head:
        """Return the item; if pages are to be stored and there is none, make one that is empty.

        A page is named only by an item whose version was there before the page was stored.
        Who deletes pages that nobody names changes the version first: so a page that gets
        named is there, however long its writer stood still.
        """
        if head.exists or not change.pages:
            return head
        token = Token.after(0)
        answer = await self._item.update(token, beginning(token, getrandbits(48)))
        if answer is None:
            raise SupersededError(await self._item.read(), LookupError("there is an item"))
        return Head.parse(answer["Attributes"])

    async def _lasting(
        self,
        attempt: Callable[[Head | None, Token], Awaitable[None]],
        *,
        seen: bool = False,
        again: bool = True,
    ) -> None:
        """Write, and see to it that what was written has its time.

        Args:
            attempt: the write.
            seen: whether it may begin with what this object has seen.
            again: whether to write once more where the time was over before the answer came.

        Raises:
            TimeoutError: it was so again and again.
        """
        for _ in range(MOST_LATE):
            token, took = await self._item.write(attempt, self._item.seen if seen else None)
            if not await self._was_late(token, took) or not again:
                return
        raise asyncio.TimeoutError(
            f"a write takes longer than the conversation lives: {self._ttl} s (ttl_seconds)"
        )

    async def _was_late(self, token: Token, took: float) -> bool:
        """Return whether the time of what was written is over already; else see to it.

        It counts from when the request was sent. Where the answer took long, it is set anew.
        """
        if not self._is_long(took):
            return False
        head = await self._item.read()
        if token in head.writes and not head.expired:

            async def renew(head: Head | None, renewal: Token) -> None:
                head = head or await self._item.read()
                if not head.over and token in head.writes:
                    await self._commit(head, Change(head.window, head.records), renewal)

            _, took = await self._item.write(renew)
            if not self._is_long(took):
                return False
            head = await self._item.read()
        return token in head.writes and head.expired

    def _is_long(self, took: float) -> bool:
        return self._ttl is not None and took >= max(LATE_SECONDS, self._ttl * LATE_SHARE)

    def _lasts(self, head: Head | None) -> int | None:
        """Return for how many seconds from now an append lets the conversation live."""
        if self._ttl is None:
            return None
        if head is None or head.over or head.ttl is None:
            return self._ttl
        ahead = int(head.ttl) - int(time.time()) - self._ttl
        return self._ttl + (ahead if 0 < ahead <= AHEAD_SECONDS else 0)
