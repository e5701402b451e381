"""How records are spread over pages, and references over pages of references. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from openai_agents_session.dynamodb._state import Attribute, PageRef, Token, size_of, texts_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

FIRST_PAGE_BYTES = 44 * 1024
"""Of a conversation's first page, unless asked otherwise: it is one item, read and written with
one request, for as long as that is cheap. Twenty turns of 2 KB fit."""

LATER_PAGE_BYTES = 8 * 1024
"""Of its other pages. Smaller ones make an append cheaper, and reading everything dearer."""

PAGE_OVERHEAD = 384
"""Bytes of a page that are none of its records': its key, the session's id, a dozen tokens, and
what the attributes' names take. With them it fills read units of 4 KiB, and not one byte more."""

PART_BYTES = 300 * 1024
"""Of a record's part, and of any page that is not one of ``page_bytes``. An item has 400 KB
at most (AWS documentation, "Quotas in Amazon DynamoDB"), and the id, the tokens and the
references need some of it; and three times as much, as botocore escapes text that is not
ASCII, stays within ``BODY_BYTES``."""

REFERENCES_PER_PAGE = 64
"""In a page of references."""

KEPT_REFERENCES = 16
"""How many of each level stay in the item at least: its newest pages are read at once."""

MISSING: Attribute = {"NULL": True}
"""Stands for a record that was in a page which is not there any more."""

_CONTINUES = 0b10_000000  # begins a byte of UTF-8 that begins no character


@dataclass(frozen=True)
class Room:
    """How many bytes of records an item takes before they move to pages.

    Attributes:
        first: while it has no pages.
        later: when it has.
    """

    first: int
    later: int

    @classmethod
    def of(cls, page_bytes: int | None) -> Room:
        """Return what pages of such a size mean; None for the default."""
        first, later = (page_bytes,) * 2 if page_bytes else (FIRST_PAGE_BYTES, LATER_PAGE_BYTES)
        return cls(first - PAGE_OVERHEAD, later - PAGE_OVERHEAD)

    def beside(self, pages: tuple[PageRef, ...]) -> int:
        """Return what an item takes that has these pages."""
        return self.later if pages else self.first


@dataclass(frozen=True)
class Page:
    """What is in a page.

    Attributes:
        records: its records, or a part of one.
        writes: tokens of writes that the session's item remembered before.
        since: writes that began later are in ``writes`` or noted after it, if they were done.
        refs: in place of all that, the references in a page of references.
    """

    records: list[Attribute] = field(default_factory=list, repr=False)
    writes: frozenset[bytes] = frozenset()
    since: int = 0
    refs: tuple[PageRef, ...] = ()

    @property
    def until(self) -> int:
        """Up to when the tokens are complete: what its item said, once the page was stored."""
        return max([self.since, *(Token(each).stamp for each in self.writes)])


def group_references(
    refs: tuple[PageRef, ...],
) -> tuple[tuple[PageRef, ...], list[tuple[PageRef, Page]]]:
    """Move old references into pages of references, so that an item never has many.

    Returns:
        The references that are left, and the pages to be stored.
    """
    pages: list[tuple[PageRef, Page]] = []
    upper, lower, level = [*refs], [], 0
    while upper:
        start = max((at for at, ref in enumerate(upper, 1) if ref.level > level), default=0)
        upper, run = upper[:start], upper[start:]
        while len(run) >= KEPT_REFERENCES + REFERENCES_PER_PAGE:
            group, run = run[:REFERENCES_PER_PAGE], run[REFERENCES_PER_PAGE:]
            ref = PageRef.new(sum(each.count for each in group), level + 1)
            pages.append((ref, Page(refs=tuple(group))))
            upper.append(ref)
        lower = run + lower
        level += 1
    return tuple(lower), pages


def distribute(
    records: list[Attribute], room: Room, kept: tuple[PageRef, ...]
) -> tuple[list[tuple[list[Attribute], int]], list[Attribute]]:
    """Distribute records over new pages and the item, which may have pages already.

    The oldest records fill large pages. What is left fills small ones, and the rest stays.

    Returns:
        As ``pack``.
    """
    if size_of(records) <= room.beside(kept):
        return [], records
    large, rest = pack(records, room.first)
    small, rest = pack(rest, room.later)
    return large + small, rest


def pack(
    records: Iterable[Attribute], limit: int
) -> tuple[list[tuple[list[Attribute], int]], list[Attribute]]:
    """Distribute records over pages of at most so many bytes.

    Returns:
        For each page its records and how many begin in it; and the records that follow
        the last page. A record larger than a page is a page of its own, or several.
    """
    pages: list[tuple[list[Attribute], int]] = []
    rest: list[Attribute] = []
    room = limit
    for record in records:
        size = size_of([record])
        if size > room and rest:
            pages.append((rest, len(rest)))
            rest, room = [], limit
        if size > limit:
            pages += [([part], count) for part, count in _parts(record)]
        else:
            rest.append(record)
            room -= size
    return pages, rest


def join(refs: Sequence[PageRef], pages: Sequence[Page | None]) -> list[Attribute]:
    """Return the records of consecutive pages, with the parts of large ones joined.

    Each record of a missing page becomes one that cannot be read.
    """
    records: list[Attribute] = []
    for ref, page in zip(refs, pages, strict=True):
        if page is None:
            if ref.count:
                records += [MISSING] * ref.count
            elif records:
                records[-1] = MISSING
        elif ref.count:
            records += page.records
        elif records and records[-1] is not MISSING:
            records[-1] = {"S": "".join(texts_of([records[-1], *page.records]))}
    return records


def _parts(record: Attribute) -> Iterator[tuple[Attribute, int]]:
    if "S" not in record:
        yield record, 1
        return
    text = record["S"].encode()
    start = 0
    while start < len(text):
        end = start + PART_BYTES
        while end < len(text) and text[end] & 0b11_000000 == _CONTINUES:
            end -= 1
        yield {"S": text[start:end].decode()}, 0 if start else 1
        start = end
