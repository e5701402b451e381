"""Reading and writing one conversation's item, atomically and exactly once.

A write is one conditional ``UpdateItem``. Two kinds of condition:

- An append asks that the item still takes it: there is room, and its time is not over.
  Appends of many writers do not get into each other's way.
- Any other write asks that the item is still the ``version`` that was read.

``_item`` says how each is done exactly once.

This module knows nothing of what is in a record.
"""

from __future__ import annotations

import time
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING

from openai_agents_session._base import Pauses
from openai_agents_session.dynamodb._calls import FAILED, PATIENCE_SECONDS, ConditionFailedError
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
    conditional,
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


class Conversation:
    """One session's item and its pages.

    Args:
        table: where they are.
        session_id: the item's key.
        ttl: seconds that the conversation lives after a write; None leaves its time alone.
        room: what the records may take of the item before they go into a page.
    """

    def __init__(self, table: Table, session_id: str, ttl: int | None, room: Room) -> None:
        self._table = table
        self._key = {"session_id": {"S": session_id}}
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
            ttl = self._expiry()
            taken = head is None or takes(head, size, self._room, ttl)
            if head and (not taken or head.outworn):
                await self._commit(head, self.packed(head.window, head.records + records), token)
                return
            start = getrandbits(48)
            request = extension(records, token, size=size, room=self._room, ttl=ttl, start=start)
            if await self._item.update(token, request) and head:
                self._item.seen = replace(
                    head,
                    exists=True,
                    records=head.records + records,
                    version=(head.version or start) + 1,
                    writes=head.writes | {token},
                    ttl=head.ttl if ttl is None else ttl,
                    created_at=head.created_at or moment(token.stamp),
                )

        await self._item.write(attempt, self._item.seen)

    async def change(self, plan: Callable[[Head], Awaitable[Change | None]]) -> None:
        """Change the conversation as ``plan`` says of what was read, until that is what it is.

        The plan is asked again for each state that is met; None from it changes nothing.
        """

        async def attempt(head: Head | None, token: Token) -> None:
            head = head or await self._item.read()
            change = await plan(head)
            if change is not None:
                await self._commit(head, change, token)

        await self._item.write(attempt)

    async def swap(self, head: Head, change: Change) -> bool:
        """Change the conversation if it is still what was read; say whether it was."""
        if head.as_of_now() is not head:
            return False
        try:
            await self._commit(head, change, Token.after(head.since))
        except SupersededError:
            return False
        return True

    async def clear(self) -> None:
        """Delete the conversation, and then its pages.

        A conversation that began after the first attempt is another one: an attempt that
        comes late must not delete it.
        """
        seen = self._item.seen or Head()
        began = max(moment(time.time_ns() // 10**6), seen.created_at)
        condition = (
            "attribute_not_exists(#page_of) AND "
            "(attribute_not_exists(#created_at) OR #created_at <= :began)"
        )
        pauses = Pauses(0.01, 0.25)
        while True:
            await pauses.wait()
            try:
                answer = await self._table.call(
                    "delete_item",
                    Key=self._key,
                    ReturnValues="ALL_OLD",
                    **conditional(condition, {":began": {"S": began}}),
                )
            except ConditionFailedError as refusal:
                head = await self._item.refused(refusal)
                if refusal.resent:
                    break
                if pauses.elapsed > PATIENCE_SECONDS:
                    raise refusal.error from None
                began = max(began, head.created_at)  # another clock is ahead
            else:
                # Nothing comes back when it was the first attempt that deleted the item.
                old = Head.parse(answer.get("Attributes", {}))
                seen = old if old.exists else seen
                break
        self._item.seen = None
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
        window, pages = change.window, [*change.pages]
        ttl: float | None = self._expiry()
        if ttl is None and not head.expired:
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
            writes=writes | {token},
            since=since,
            ttl=ttl,
            pages_until=pages_until if refs else None,
            created_at=head.created_at,
        )
        if head.expired or not head.created_at:
            after = replace(after, created_at=moment(token.stamp))
        stored = [ref for ref, _ in new]
        try:
            await self._item.pages.put(new, until)
        except FAILED:
            await self._item.pages.discard(stored)
            raise
        if await self._item.update(token, replacement(head, after, change.removed, token), stored):
            self._item.seen = after
        await self._item.pages.discard(head.pages + head.left, named=refs)

    def _expiry(self) -> int | None:
        return None if self._ttl is None else int(time.time()) + self._ttl
