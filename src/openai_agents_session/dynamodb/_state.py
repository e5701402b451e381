"""What a session's item says, and what a write makes of it.

Values and pure functions; nothing here talks to DynamoDB. A record is an element of a
list as DynamoDB writes it, ``{"S": text}``; one of another type is a record that nobody
can read.
"""

from __future__ import annotations

import time
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from datetime import datetime, timezone
from os import urandom
from random import SystemRandom
from typing import TYPE_CHECKING, Any, TypeAlias

from openai_agents_session._serializer import split_array

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Attribute: TypeAlias = "dict[str, Any]"
"""A value in DynamoDB's typed JSON, such as ``{"S": "text"}``."""

WRONG_CLOCK_SECONDS = 300
"""By how much a clock may be wrong: AWS takes no request that is signed more than five minutes
before or after its own time (AWS IAM User Guide, "Signing AWS API requests")."""

REMEMBERED_SECONDS = 600
"""How long a write is remembered: as long as DynamoDB itself remembers the token of a
transaction (AWS documentation, "Idempotency" of ``TransactWriteItems``). A request that has
been on its way for longer was signed too long ago."""

REMEMBERED_WRITES = 1024
"""How many writes an item remembers, at most, for that long; each takes 13 bytes."""

NEWEST_WRITES = 64
"""How many of them it remembers for longer. They also tell what time it is."""

STALE_WRITES = 64
"""How many tokens more an item may have before an append drops the old ones."""

MAX_TOKENS = REMEMBERED_WRITES + STALE_WRITES
"""How many tokens an item may have. With more, an append drops the old ones first."""

MAX_REFERENCES = 512
"""How many references an item may have before an append moves them to pages of their own. Items
that this version wrote never have so many."""

NEVER = "~"
"""In the place of ``updated_at`` where there is no conversation to list: it sorts after every
moment."""

_TOKEN_BYTES = 12
_NONCE_BITS = 35  # for the writes of one millisecond to one conversation
_NAME_BYTES = 9  # 72 random bits: nobody guesses them, and none come twice
NAME_LENGTH = 12  # of those bytes in base64


getrandbits = SystemRandom().getrandbits  # of the system: forked processes share no state


class Token(bytes):
    """Names one write: when it began, in milliseconds, and something random."""

    __slots__ = ()

    @classmethod
    def after(cls, stamp: int) -> Token:
        """Return a token of now, or of just after ``stamp`` where another clock is ahead."""
        began = max(time.time_ns() // 10**6, stamp + 1)
        return cls.of(began, getrandbits(_NONCE_BITS))

    @classmethod
    def of(cls, stamp: int, nonce: int) -> Token:
        """Return a token of these numbers; tokens sort like their stamps.

        Seven bits a byte make it ASCII: dynalite compares binary values as text.
        """
        number = stamp << _NONCE_BITS | nonce
        return cls(number >> 7 * place & 0x7F for place in reversed(range(_TOKEN_BYTES)))

    @property
    def stamp(self) -> int:
        """When the write began, in milliseconds since 1970."""
        number = 0
        for byte in self:
            number = number << 7 | byte & 0x7F
        return number >> _NONCE_BITS


@dataclass(frozen=True)
class PageRef:
    """How a session's item names a page.

    Attributes:
        name: the end of the page's key.
        count: how many records begin in it; 0 for a further part of a large one.
        level: 0 for a page of records; 1 for a page of references to such pages, 2 for one of
            references to those, and so on: then ``count`` is that of all beneath it.
    """

    name: str
    count: int
    level: int = 0

    @classmethod
    def new(cls, count: int, level: int = 0) -> PageRef:
        """Name a page that is about to be stored."""
        return cls(urlsafe_b64encode(urandom(_NAME_BYTES)).decode(), count, level)

    @classmethod
    def parse(cls, text: str) -> PageRef:
        """Return what ``str`` made a text of."""
        count, name, *level = text.split(".")
        return cls(name, int(count), *map(int, level))

    def __str__(self) -> str:
        return f"{self.count}.{self.name}" + (f".{self.level}" if self.level else "")


@dataclass(frozen=True)
class ItemState:
    """A session's item, as it is stored.

    Attributes:
        stored: the attributes that stand for the whole where there is no ``version``.
        exists: whether there is an item.
        cleared: whether it has no conversation: it was cleared, or is about to begin.
        records: the newest records, oldest first.
        pages: where the others are, oldest first.
        version: changes with every write; None where there is none.
        writes: tokens of the last writes.
        since: writes that began later, in milliseconds, are in ``writes`` if they were done.
        ttl: when the item expires, in epoch seconds.
        pages_until: when the first of its pages does.
        created_at: when the conversation began.
        updated_at: when it was last written to.
        user: whose it is; None for one without a user.
        about: what a user's conversation says of itself; see ``about_value``.
        lease: the fence of the lease's holder; "" where there is none.
    """

    stored: dict[str, Attribute] = field(default_factory=dict, repr=False)
    exists: bool = False
    cleared: bool = False
    records: list[Attribute] = field(default_factory=list, repr=False)
    pages: tuple[PageRef, ...] = ()
    version: int | None = None
    writes: frozenset[bytes] = frozenset()
    since: int = 0
    ttl: float | None = None
    pages_until: float | None = None
    created_at: str = ""
    updated_at: str = ""
    user: str | None = None
    about: dict[str, Any] = field(default_factory=dict, repr=False)
    lease: str = ""

    @classmethod
    def parse(cls, attributes: dict[str, Attribute]) -> ItemState:
        """Return what an item's attributes say; ``{}`` where there is no item."""
        if not attributes:
            return cls()
        return cls(
            stored={
                name: attributes[name]
                for name in ("items", "conversation_data")
                if name in attributes
            },
            exists=True,
            cleared="cleared_at" in attributes,
            records=_records(attributes),
            pages=references_of(attributes),
            version=_number(attributes, "version"),
            writes=frozenset(map(bytes, attributes.get("writes", {}).get("BS", ()))),
            since=_number(attributes, "writes_since") or 0,
            ttl=_seconds(attributes, "ttl"),
            pages_until=_seconds(attributes, "pages_until"),
            created_at=attributes.get("created_at", {}).get("S", ""),
            updated_at=attributes.get("updated_at", {}).get("S", ""),
            user=attributes["user"].get("S", "") if "user" in attributes else None,
            about=about_of(attributes),
            lease=attributes.get("lease", {}).get("S", ""),
        )

    @property
    def has_expired(self) -> bool:
        """Whether its time is over by now."""
        return self.ttl is not None and self.ttl <= int(time.time())

    @property
    def has_ended(self) -> bool:
        """Whether a write begins a new conversation now."""
        return self.cleared or self.has_expired

    @property
    def is_there(self) -> bool:
        """Whether there is a conversation now, be it an empty one."""
        return self.exists and not self.has_ended

    @property
    def size(self) -> int:
        """Bytes that the records take in the item."""
        return size_of(self.records)

    @property
    def count(self) -> int:
        """How many records the conversation has."""
        return len(self.records) + sum(page.count for page in self.pages)

    @property
    def has_stale_tokens(self) -> bool:
        """Whether an append should drop its old tokens, as there are many."""
        if len(self.writes) < STALE_WRITES:
            return False
        kept, _ = recent_tokens(self.writes, 0)
        return len(self.writes) - len(kept) >= STALE_WRITES


def references_of(attributes: dict[str, Attribute]) -> tuple[PageRef, ...]:
    """Return the references in an item, or in a page of references."""
    return tuple(PageRef.parse(text["S"]) for text in attributes.get("pages", {}).get("L", ()))


def references_value(refs: Iterable[PageRef]) -> Attribute:
    """Return the attribute that ``references_of`` reads."""
    return {"L": [{"S": str(ref)} for ref in refs]}


def about_of(attributes: dict[str, Attribute]) -> dict[str, Any]:
    """Return what an item says about its conversation, without what is as it is by default."""
    said = attributes.get("about", {}).get("M", {})
    return {name: value.get("S", value.get("BOOL")) for name, value in said.items()}


def about_value(about: Mapping[str, Any]) -> Attribute:
    """Return the attribute that ``about_of`` reads: a map, which is empty where nothing is said.

    It has no name that is None, and ``is_active`` only where that is False.
    """
    return {
        "M": {
            name: {"BOOL": value} if isinstance(value, bool) else {"S": value}
            for name, value in about.items()
            if is_said(name, value)
        }
    }


def is_said(name: str, value: Any) -> bool:
    """Whether a value is stored: it is not what an item without it says."""
    return value is not None and not (name == "is_active" and value)


def size_of(records: Iterable[Attribute]) -> int:
    """Return the bytes that these elements of a list take in an item.

    An element takes its own bytes and one more (AWS documentation, "DynamoDB item sizes
    and formats").
    """
    return sum(_size(record) for record in records)


def texts_of(records: Iterable[Attribute]) -> list[str]:
    """Return the JSON texts; an empty one, which no JSON is, for what is no text."""
    return [record.get("S", "") for record in records]


def recent_tokens(writes: Iterable[bytes], since: int) -> tuple[frozenset[bytes], int]:
    """Return the tokens to keep, and since when none is missing.

    A writer's clock may be wrong, so none is asked. A token is old if enough others are younger
    by more than any two clocks can differ.
    """
    newest_first = [Token(token) for token in sorted(writes, reverse=True)]
    kept = newest_first[:REMEMBERED_WRITES]
    if len(kept) > NEWEST_WRITES:
        now = kept[NEWEST_WRITES - 1].stamp
        oldest = now - (REMEMBERED_SECONDS + 2 * WRONG_CLOCK_SECONDS) * 1000
        kept = [token for token in kept if token.stamp >= oldest]
    if len(kept) < len(newest_first):
        # Always later than before: the tokens that are dropped here are in no page, so no page
        # continues from this moment. A token may be older than ``since``.
        since = max(since + 1, newest_first[len(kept)].stamp)
    return frozenset(kept), since


def timestamp(stamp: int) -> str:
    """Return milliseconds since 1970 as a text that sorts like the number."""
    return datetime.fromtimestamp(stamp / 1000, timezone.utc).isoformat(timespec="milliseconds")


def _records(attributes: dict[str, Attribute]) -> list[Attribute]:
    old = attributes.get("conversation_data")
    if old is not None and "items" not in attributes:
        texts = split_array(old.get("S", ""))
        return [old] if texts is None else [{"S": text} for text in texts]
    items = attributes.get("items", {"L": []})
    return items.get("L", [items])


def _number(attributes: dict[str, Attribute], name: str) -> int | None:
    text = attributes.get(name, {}).get("N")
    return None if text is None else int(text)


def _seconds(attributes: dict[str, Attribute], name: str) -> float | None:
    """Return a number that something else may have written, and with a fraction."""
    text = attributes.get(name, {}).get("N")
    if text is None:
        return None
    return int(text) if text.lstrip("-").isdigit() else float(text)


def _size(record: Attribute) -> int:
    text = record.get("S")
    if text is None:
        return len(str(record))
    return (len(text) if text.isascii() else len(text.encode())) + 1
