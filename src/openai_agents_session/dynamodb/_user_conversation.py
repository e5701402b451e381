"""UserConversation: a conversation of a user's, which is there until it is deleted or expires.

Clearing one leaves it in the user's list, with what is said about it. Deleting it leaves what a
clear leaves of a session without a user: a small item with the tokens, so that a late copy of an
append does not bring it back.
"""

from __future__ import annotations

import time
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, TypeVar

from openai_agents_session._catalog import SessionNotFoundError
from openai_agents_session.dynamodb._conversation import DynamoDBConversation, stored
from openai_agents_session.dynamodb._history import Found
from openai_agents_session.dynamodb._state import (
    MAX_TOKENS,
    Attribute,
    ItemState,
    PageRef,
    Token,
    getrandbits,
)
from openai_agents_session.dynamodb._updates import clear_update, cleared, empty_update

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from openai_agents_session.dynamodb._driver import Table
    from openai_agents_session.dynamodb._owner import Owner
    from openai_agents_session.dynamodb._packing import Room

_T = TypeVar("_T")


class UserConversation(DynamoDBConversation):
    """One conversation of a user's.

    Args:
        table: where it is.
        key: the item's key.
        ttl: seconds that it lives after a write; None leaves its time alone.
        room: what the records may take of the item before they go into a page.
        owner: whose it is, and what it says of itself when it begins.
        recreate: whether a write begins it again if this object has seen records of it, and it
            is not there any more.
    """

    def __init__(
        self,
        table: Table,
        key: str,
        ttl: int | None,
        room: Room,
        owner: Owner,
        *,
        recreate: bool = True,
    ) -> None:
        super().__init__(table, key, ttl, room, owner)
        self._recreate = recreate
        self._seen = False

    # ------------------------------------------------------------- what a session does otherwise

    async def read(self, newest: int | None) -> Found:
        """Return the newest records, those of the item in any case."""
        found = await super().read(newest)
        self._seen |= bool(found.records)
        return found

    async def append(self, records: Sequence[bytes]) -> None:
        """Append a batch.

        Raises:
            SessionNotFoundError: it is not there any more, and is not to begin again.
        """
        if not await self._append(stored(records), begins=self._begins):
            raise _gone()
        self._seen = True

    async def pop(self, parse: Callable[[bytes | str], _T | None]) -> _T | None:
        """Remove the newest record."""
        popped = await super().pop(parse)
        self._seen |= popped is not None
        return popped

    async def replace(self, records: Sequence[bytes]) -> None:
        """Put records in the place of whatever there is; none of them begin nothing.

        Raises:
            SessionNotFoundError: it is not there any more, and is not to begin again.
        """
        new = stored(records)
        begins = bool(new) and self._begins
        there = True

        async def attempt(item: ItemState | None, token: Token) -> None:
            nonlocal there
            found = Found.of(item or await self._item.read_to_write())
            there = begins or found.is_there
            if there:
                await self._writer.commit(replace(found, older=()), new, token)

        await self._writer.write(attempt)
        if new and not there:
            raise _gone()
        self._seen |= bool(new)

    async def clear(self) -> None:
        """Remove every record, then delete the pages. Nothing begins where nothing is."""
        unused = self._item.last_seen.pages if self._item.last_seen else ()

        async def attempt(item: ItemState | None, token: Token) -> None:
            nonlocal unused
            if item and not item.is_there:
                # By another clock it may be there, and goes on with its pages.
                unused = () if item.exists and not item.cleared else unused
                return
            lasts = self._writer.seconds_to_live(item or self._item.last_seen)
            ttl = None if lasts is None else int(time.time()) + lasts
            if item and not _takes_clear(item, token, ttl):
                unused = ()
                await self._writer.commit(replace(Found.of(item), older=()), [], token)
                return
            request = empty_update(token, self._owner, ttl)
            answer = await self._item.update(token, request, ttl=lasts)
            if answer:  # else it was an earlier attempt, and what was there before is not told
                before = ItemState.parse(answer["Attributes"])
                unused = before.pages
                self._item.last_seen = replace(
                    before,
                    records=[],
                    pages=(),
                    version=(before.version or 0) + 1,
                    writes=before.writes | {token},
                    ttl=before.ttl if ttl is None else ttl,
                    pages_until=None,
                )

        await self._writer.write(attempt)
        await self._item.pages.discard(unused, named=())

    # ------------------------------------------------------------- what a catalog does

    async def update(self, changes: Mapping[str, Any]) -> ItemState | None:
        """Change what is said about it, let its time begin anew, and return it; None if none."""
        if not await self._append([], begins=False, changes=changes):
            return None
        left = self._item.last_seen
        return left if left and not left.cleared else None

    async def delete(self) -> bool:
        """Delete it with its pages, and return whether there was one."""
        deleted = False
        unused: tuple[PageRef, ...] = ()

        async def attempt(item: ItemState | None, token: Token) -> None:
            nonlocal deleted, unused
            if item and (item.cleared or not item.exists):
                unused = item.pages  # of an earlier call that was cut off
                return
            expired = item is not None and item.has_expired
            names = {token}
            if item and token.stamp <= item.since:
                token = Token.after(item.since)
            request = clear_update(
                token, names, getrandbits(48), owner=self._owner, expired=expired
            )
            answer = await self._item.update(token, request)
            deleted = not expired
            if answer:
                before = ItemState.parse(answer["Attributes"])
                unused = before.pages
                self._item.last_seen = cleared(before, request)
            elif self._item.last_seen and self._item.last_seen.cleared:
                unused = self._item.last_seen.pages

        await self._item.write(attempt)
        await self._item.pages.discard(unused, named=())
        return deleted

    async def begin(self, records: list[Attribute]) -> bool:
        """Begin it with these records; return False if there is one already."""
        began = False

        async def attempt(item: ItemState | None, token: Token) -> None:
            nonlocal began
            found = Found.of(item or await self._item.read())
            began = not found.is_there
            if began:
                await self._writer.commit(found, records, token)

        await self._writer.write(attempt)
        return began

    async def records(
        self, end: int | None, newest: float = inf
    ) -> tuple[ItemState, list[Attribute], int] | None:
        """Return the newest of the first so many records, and the position of the first.

        Returns:
            The item, the records and the position; None where there is no conversation.
        """
        found, records, start = await self._history.before(end, newest)
        return (found.item, records, start) if found.is_there else None

    @property
    def _begins(self) -> bool:
        return self._recreate or not self._seen


def _takes_clear(item: ItemState, token: Token, ttl: int | None) -> bool:
    """Whether ``empty_update`` will do for such an item."""
    return (
        item.version is not None  # else something else has made it
        and len(item.writes) <= MAX_TOKENS
        and token.stamp > item.since
        and (ttl is None or item.ttl is None or item.ttl <= ttl)
    )


def _gone() -> SessionNotFoundError:
    return SessionNotFoundError("the conversation was deleted meanwhile, or has expired")
