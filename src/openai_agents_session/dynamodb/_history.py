"""Reading a conversation: the newest records of its item, and those of pages before them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from openai_agents_session import _conversation
from openai_agents_session.dynamodb._item import SupersededError
from openai_agents_session.dynamodb._packing import join
from openai_agents_session.dynamodb._state import Attribute, ItemState, PageRef, texts_of

if TYPE_CHECKING:
    from openai_agents_session.dynamodb._item import Item


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

    @property
    def is_there(self) -> bool:
        """Whether there was a conversation."""
        return self.item.exists and not self.ended

    @classmethod
    def of(cls, item: ItemState) -> Found:
        """Return what the item alone has of the conversation."""
        ended = item.has_ended
        stored, older = ([], ()) if ended else (item.records, item.pages)
        return cls(texts_of(stored), item, ended, older, stored, item.writes, item.since)


class History:
    """The records of one conversation.

    Args:
        item: the session's item.
    """

    def __init__(self, item: Item) -> None:
        self.item = item

    async def now(self, newest: float) -> Found:
        """Return the newest records, those of the item in any case; infinity for all."""
        state: ItemState | None = None
        while True:
            state = state or await self.item.read()
            try:
                return await self.of(state, newest)
            except SupersededError as exc:
                state = exc.state  # what another writer has made of it

    async def of(self, item: ItemState, newest: float) -> Found:
        """Return the newest records of an item and its pages."""
        found = Found.of(item)
        return await self.older(found, newest - len(found.stored))

    async def older(self, found: Found, missing: float) -> Found:
        """Return what was found with the records of older pages before it.

        Args:
            found: what was read already.
            missing: how many records more, if there are so many; infinity for all.

        Raises:
            SupersededError: a page is gone, and the item says another thing by now.
        """
        older, refs, pages = await self.item.pages.newest(found.older, missing)
        if None in pages:
            now = await self.item.read()
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

    async def before(self, end: int | None, newest: float) -> tuple[Found, list[Attribute], int]:
        """Return the newest of the records before a position, which counts from the oldest.

        Of the pages after it only those are read that lie in one page of references with others.

        Args:
            end: the position; None for the end of the conversation.
            newest: how many records at most; infinity for all.

        Returns:
            What was found of the conversation, the records, and the position of the first.
        """
        while True:
            found = Found.of(await self.item.read())
            in_pages = sum(ref.count for ref in found.older)
            end_now = in_pages + len(found.stored)
            stop = end_now if end is None else min(end, end_now)
            refs = found.older if stop > in_pages else _up_to(found.older, stop)
            own = found.stored[: max(0, stop - in_pages)]
            beyond = max(0, sum(ref.count for ref in refs) - stop)
            try:
                read = await self.older(
                    replace(found, older=refs, stored=own), newest + beyond - len(own)
                )
            except SupersededError:
                continue
            records = read.stored[: len(read.stored) - beyond]
            records = records[max(0, len(records) - int(min(newest, len(records)))) :]
            return found, records, stop - len(records)


def _up_to(refs: tuple[PageRef, ...], end: int) -> tuple[PageRef, ...]:
    """Return the references to pages that have any of the first so many records."""
    start = 0
    for index, ref in enumerate(refs):
        # A further part of a record belongs to the one that ends just before it.
        if start > end or (start == end and (ref.count or not end)):
            return refs[:index]
        start += ref.count
    return refs
