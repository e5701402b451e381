"""A session's pages: read, stored and deleted. ``__init__`` says what is in one.

A page is stored under a random name before the session's item refers to it. So it does no harm
to store it twice, and no page is ever in the way of a session.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from openai_agents_session.dynamodb._driver import FAILED, ConditionFailedError
from openai_agents_session.dynamodb._packing import Page
from openai_agents_session.dynamodb._state import (
    NAME_LENGTH,
    NEVER,
    Attribute,
    PageRef,
    references_of,
    references_value,
    timestamp,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openai_agents_session.dynamodb._driver import Table

BODY_BYTES = 1_000_000
"""Of the pages in one request. aiohttp holds the event loop while it sends a body of more
than 1 MiB, and warns of it (``aiohttp/payload.py``)."""

_logger = logging.getLogger("openai_agents_session")
_READ_AT_ONCE = 100  # BatchGetItem (AWS API reference)
_WRITTEN_AT_ONCE = 25  # BatchWriteItem (AWS API reference)


class Pages:
    """The pages of one session.

    Args:
        table: where they are.
        session_id: the key of the session's item.
        user: whose they are; they then say so, and ``erase`` finds them by the index.
    """

    def __init__(self, table: Table, session_id: str, user: str | None = None) -> None:
        self._table = table
        self._session_id = session_id
        self._owner: dict[str, Attribute] = {}
        if user is not None:
            self._owner = {"user": {"S": user}, "updated_at": {"S": NEVER}}

    async def put(self, pages: Sequence[tuple[PageRef, Page]], until: float | None) -> None:
        """Store pages, to expire at an epoch second or never."""
        created_at = timestamp(time.time_ns() // 10**6)
        requests = []
        for ref, page in pages:
            item: dict[str, Attribute] = {
                **self._key(ref),
                "page_of": {"S": self._session_id},
                "created_at": {"S": created_at},
                **self._owner,
            }
            if page.refs:
                item["pages"] = references_value(page.refs)
            else:
                item["items"] = {"L": page.records}
                item["writes_since"] = {"N": str(page.since)}
            if page.writes:
                item["writes"] = {"BS": sorted(page.writes)}
            if until is not None:
                item["ttl"] = {"N": str(until)}
            requests.append({"PutRequest": {"Item": item}})
        await self._write(requests)

    async def read(self, refs: Sequence[PageRef]) -> list[Page | None]:
        """Return the pages, in order; None for one that is not there."""
        found: dict[str, dict[str, Attribute]] = {}
        for start in range(0, len(refs), _READ_AT_ONCE):
            keys = [self._key(ref) for ref in refs[start:][:_READ_AT_ONCE]]
            for item in await self._table.read_batch(keys):
                found[item["session_id"]["S"][-NAME_LENGTH:]] = item
        return [_parsed(found.get(ref.name)) for ref in refs]

    async def newest(
        self, refs: tuple[PageRef, ...], missing: float
    ) -> tuple[tuple[PageRef, ...], tuple[PageRef, ...], list[Page | None]]:
        """Read the last pages that have so many records, or all.

        Returns:
            The references before them, those to them, and the pages; None for one that is
            not there.
        """
        read: dict[str, Page | None] = {}
        while True:
            start, left = len(refs), missing
            while start > 0 and left > 0:
                start -= 1
                left -= refs[start].count
            kept, taken = refs[:start], refs[start:]
            unread = [ref for ref in taken if ref.name not in read]
            for ref, page in zip(unread, await self.read(unread), strict=True):
                read[ref.name] = page
            pages = [read[ref.name] for ref in taken]
            if not any(ref.level for ref in taken):
                return kept, taken, pages
            refs = kept + _expanded(taken, pages)

    async def with_nested(
        self, refs: Sequence[PageRef], but: Sequence[PageRef] = ()
    ) -> list[PageRef]:
        """Return these references and all in their pages, each once.

        References in ``but``, and all in their pages, are left out.
        """
        found: dict[str, PageRef] = {}
        without = {ref.name for ref in but}
        while refs:
            refs = [ref for ref in refs if ref.name not in without]
            found.update((ref.name, ref) for ref in refs)
            deep = [ref for ref in refs if ref.level]
            refs = _expanded(deep, await self.read(deep))
        return list(found.values())

    async def delete(self, refs: Sequence[PageRef]) -> None:
        """Delete pages; some may be gone already."""
        await self._write([{"DeleteRequest": {"Key": self._key(ref)}} for ref in refs])

    async def discard(
        self, refs: Sequence[PageRef], named: Sequence[PageRef] | None = None
    ) -> None:
        """Delete pages that no item refers to. A failure is logged and not raised.

        Args:
            refs: the pages.
            named: if an item has referred to them, the references that it has now. Everything
                below ``refs`` is deleted as well, except what is below these.
        """
        try:
            if named is not None:
                refs = await self.with_nested(refs, but=named)
            await self.delete(refs)
        except FAILED as exc:
            _logger.warning(
                "Left %d unused page(s) of session %r for remove_orphaned_pages: %s",
                len(refs),
                self._session_id,
                type(exc).__name__,
            )

    async def extend(self, refs: Sequence[PageRef], until: float | None) -> None:
        """Let pages expire at a later epoch second, or never."""
        change: dict[str, Any] = {
            "UpdateExpression": "REMOVE #ttl",
            "ConditionExpression": "attribute_exists(page_of)",
        }
        if until is not None:
            change = {
                "UpdateExpression": "SET #ttl = :until",
                "ConditionExpression": "#ttl < :until",  # a late writer must not take time away
                "ExpressionAttributeValues": {":until": {"N": str(until)}},
            }
        for ref in refs:
            with contextlib.suppress(ConditionFailedError):  # it is gone, as a reader will find out
                await self._table.call(
                    "update_item",
                    Key=self._key(ref),
                    ExpressionAttributeNames={"#ttl": "ttl"},
                    **change,
                )

    async def _write(self, requests: list[dict[str, Any]]) -> None:
        batch: list[dict[str, Any]] = []
        room = BODY_BYTES
        for request in requests:
            size = len(json.dumps(request, default=str))
            if batch and (size > room or len(batch) == _WRITTEN_AT_ONCE):
                await self._table.write_batch(batch)
                batch, room = [], BODY_BYTES
            batch.append(request)
            room -= size
        if batch:
            await self._table.write_batch(batch)

    def _key(self, ref: PageRef) -> dict[str, Attribute]:
        return {"session_id": {"S": f"{self._session_id}~{ref.name}"}}


def _expanded(refs: Sequence[PageRef], pages: Sequence[Page | None]) -> tuple[PageRef, ...]:
    """Replace each reference to a page of references by what is in that page.

    A page that is missing counts as one page of records that is missing.
    """
    found: list[PageRef] = []
    for ref, page in zip(refs, pages, strict=True):
        found += page.refs if page and ref.level else [replace(ref, level=0)]
    return tuple(found)


def _parsed(item: dict[str, Attribute] | None) -> Page | None:
    if item is None:
        return None
    writes = frozenset(map(bytes, item.get("writes", {}).get("BS", ())))
    if "pages" in item:
        return Page(refs=references_of(item))
    return Page(item["items"]["L"], writes, int(item["writes_since"]["N"]))
