"""Writing a conversation: what is read, changed, and put in its place, with its pages.

``_conversation`` says which writes there are, ``_item`` how each is done exactly once.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Any

from openai_agents_session._conversation import LostError
from openai_agents_session.dynamodb._driver import FAILED
from openai_agents_session.dynamodb._history import Found, History
from openai_agents_session.dynamodb._item import SupersededError
from openai_agents_session.dynamodb._packing import Page, Room, distribute, group_references
from openai_agents_session.dynamodb._state import (
    Attribute,
    ItemState,
    PageRef,
    Token,
    getrandbits,
    recent_tokens,
    size_of,
    timestamp,
)
from openai_agents_session.dynamodb._updates import (
    clear_update,
    cleared,
    outlives,
    replace_update,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from openai_agents_session.dynamodb._item import Item
    from openai_agents_session.dynamodb._owner import Owner

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


class Writer:
    """Writes to one conversation.

    Args:
        item: the session's item.
        ttl: seconds that the conversation lives after a write; None leaves its time alone.
        room: what the records may take of the item before they go into a page.
        owner: whose the conversation is.
    """

    def __init__(self, item: Item, ttl: int | None, room: Room, owner: Owner) -> None:
        self.item = item
        self._history = History(item)
        self._ttl = ttl
        self._room = room
        self._owner = owner

    async def commit(
        self,
        found: Found,
        records: list[Attribute],
        token: Token,
        *,
        changes: Mapping[str, Any] | None = None,
    ) -> None:
        """Put records in the place of what was found: new pages, the item, old pages.

        Args:
            found: what was read.
            records: what there is then, beside the pages that were found and not read.
            token: names the write.
            changes: what is said about the conversation from now on.

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
            found = await self._history.older(replace(found, stored=[]), inf)
            records = found.stored + records
        elif found.older and not outlives(item.pages_until, ttl):
            await self.item.pages.extend(await self.item.pages.with_nested(found.older), until)
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
            updated_at=timestamp(token.stamp),
            user=self._owner.user,
            lease=item.lease,
            about={**(item.about if found.is_there else self._owner.about), **(changes or {})},
        )
        stored = [ref for ref, _ in new]
        try:
            await self.item.pages.put(new, until)
        except FAILED:
            await self.item.pages.discard(stored)
            raise
        request = replace_update(item, after, token, ended=found.ended, owner=self._owner)
        if await self.item.update(token, request, ttl=self._ttl, known=item, stored=stored):
            self.item.last_seen = after
        await self.item.pages.discard(item.pages, named=[*found.older, *stored])

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
        request = clear_update(token, {token}, getrandbits(48), exists=False, owner=self._owner)
        if await self.item.update(token, request) is None:
            raise SupersededError(await self.item.read())
        return cleared(ItemState(), request)

    async def write(
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
            if not await self._expired_meanwhile(*await self.item.write(attempt)):
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
        item = await self.item.read()
        if token in item.writes and not item.has_expired:

            async def renew(item: ItemState | None, renewal: Token) -> None:
                found = Found.of(item or await self.item.read())
                if not found.ended and token in found.item.writes:
                    await self.commit(found, found.stored, renewal)

            try:
                _, took = await self.item.write(renew)
            except LostError:  # only now: it was written while the lease was held
                return False
            if not self._took_long(took):
                return False
            item = await self.item.read()
        return token in item.writes and item.has_expired

    def _took_long(self, took: float) -> bool:
        return self._ttl is not None and took >= max(LATE_SECONDS, self._ttl * LATE_SHARE)

    def seconds_to_live(self, state: ItemState | None) -> int | None:
        """Return for how many seconds from now an append lets the conversation live."""
        if self._ttl is None:
            return None
        if state is None or state.has_ended or state.ttl is None:
            return self._ttl
        ahead = int(state.ttl) - int(time.time()) - self._ttl
        return self._ttl + (ahead if 0 < ahead <= CLOCK_AHEAD_SECONDS else 0)
