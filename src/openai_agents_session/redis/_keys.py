"""How the keys of conversations are named, so that what belongs together shares a slot; pure.

``__init__`` lists them.
"""

from __future__ import annotations

from binascii import b2a_base64
from functools import cache, cached_property, lru_cache
from hashlib import sha256
from itertools import count, product
from os import urandom
from typing import NamedTuple
from urllib.parse import quote

from redis.crc import key_slot

DEFAULT_KEY_PREFIX = "openai_agents_session"

_LEASES = (b"!", b"+", b"=")
"""What follows the brace in the keys of a lease on a user's conversation."""


def checked_key_prefix(key_prefix: str) -> str:
    """Return how keys begin, or say what is wrong with it.

    Raises:
        TypeError: it is no text.
        ValueError: it is empty.
    """
    if not isinstance(key_prefix, str):
        raise TypeError(f"key_prefix must be a str, not {type(key_prefix).__name__}")
    if not key_prefix:
        raise ValueError("key_prefix must not be empty")
    return key_prefix


def list_key(key_prefix: str, session_id: str) -> bytes:
    """Return the key of the list of a conversation that has no user."""
    return f"{key_prefix}:{session_id}".encode()


class LeaseKeys(NamedTuple):
    """The keys of one conversation's lease, in its slot.

    Attributes:
        lease: of the name of the holder.
        queue: of those who wait, by when they came.
        due: of the same, by when they have to come back.
    """

    lease: bytes
    queue: bytes
    due: bytes


def lease_keys(key: bytes) -> LeaseKeys:
    """Return the keys of the lease on a conversation that has no user.

    They name the whole key of its list: others may have the same hash tag.
    """
    tag = hash_tag(key)
    return LeaseKeys(*(b"{%b}~%b~%b" % (tag, each, key) for each in (b"lease", b"queue", b"due")))


class UserKeys:
    """The keys of one user's conversations, all in one slot.

    The user is percent-encoded and stands in the first braces, which alone Redis Cluster hashes
    (or what is in braces of the prefix, for all users). What follows the brace tells the keys
    apart: nothing, or one of ``:~^!+=``. So no id reaches another user's keys.

    Args:
        key_prefix: how all keys begin.
        user_id: any text.

    Attributes:
        index: the key of the sorted set of the user's session ids.
    """

    def __init__(self, key_prefix: str, user_id: str) -> None:
        self.index = f"{key_prefix}@{{{quote(user_id, safe='')}}}".encode()

    def list(self, session_id: bytes) -> bytes:
        """Return the key of a conversation's list."""
        return b"%b:%b" % (self.index, session_id)

    def about(self, session_id: bytes) -> bytes:
        """Return the key of the hash of what is said about a conversation."""
        return b"%b~%b" % (self.index, session_id)

    def of(self, session_id: str) -> tuple[bytes, bytes]:
        """Return the keys of a conversation's list and hash."""
        named = session_id.encode()
        return self.list(named), self.about(named)

    def lease(self, session_id: bytes) -> LeaseKeys:
        """Return the keys of the lease on a conversation."""
        return LeaseKeys(*(b"%b%b%b" % (self.index, sign, session_id) for sign in _LEASES))

    def has(self, key: bytes) -> bool:
        """Whether a key that begins like these is one of them."""
        sign = key[len(self.index) : len(self.index) + 1]
        return sign in (b"", b":", b"~", b"^") or self.is_of_lease(key)

    def is_of_lease(self, key: bytes) -> bool:
        """Whether one of the keys belongs to a lease."""
        return key[len(self.index) : len(self.index) + 1] in _LEASES

    def id_of(self, key: bytes) -> bytes | None:
        """Return the session id in the key of a list or a hash; None in another one."""
        kind = key[len(self.index) : len(self.index) + 1]
        return key[len(self.index) + 1 :] if kind in (b":", b"~") else None

    def new_token(self) -> bytes:
        """Return the key of a new token, which says nothing about the user."""
        return self._anonymous + new_token()

    def token_of(self, name: bytes) -> bytes:
        """Return the key of the token that is always a name's, which says nothing about either."""
        return self._anonymous + token_of(name)

    def new_private_token(self) -> bytes:
        """Return the key of a new token that will hold what is the user's, for ``erase``."""
        return b"%b^%b" % (self.index, new_token())

    @cached_property
    def _anonymous(self) -> bytes:
        return b"{%b}~" % _word_of_slot(key_slot(self.index))


def new_token() -> bytes:
    """Return 20 random characters."""
    return b2a_base64(urandom(15), newline=False)


def token_of(name: bytes) -> bytes:
    """Return 20 characters that look as random, and are always the same for a name."""
    return b2a_base64(sha256(name).digest()[:15], newline=False)


def hash_tag(key: bytes) -> bytes:
    """Return what between braces sends another key to this key's slot.

    The rule is of the Redis Cluster specification: what stands between the first ``{``
    and the next ``}`` is hashed alone, if there is anything.
    """
    tag, closing, _ = key.partition(b"{")[2].partition(b"}")
    if closing and tag:
        return tag
    if b"}" not in key:
        return key
    return _number_of_slot(key_slot(key))


@cache
def _number_of_slot(slot: int) -> bytes:
    numbers = (b"%d" % number for number in count())
    return next(number for number in numbers if key_slot(number) == slot)


@lru_cache(4096)
def _word_of_slot(slot: int) -> bytes:
    """Return four letters that hash to a slot, in microseconds.

    The CRC that makes the slot is linear: of texts of one length, that of ``xyaa ^ aazw ^ aaaa``
    is that of the three, combined in the same way. So the halves of a word are found apart.
    """
    ends = _second_halves()
    sought = slot ^ key_slot(b"aaaa")
    halves = ((half, sought ^ key_slot(half + b"aa")) for half in ends.values())
    return next(half + ends[rest] for half, rest in halves if rest in ends)


@cache
def _second_halves() -> dict[int, bytes]:
    halves = (bytes(pair) for pair in product(b"abcdefghijklmnopqrstuvwxyz", repeat=2))
    return {key_slot(b"aa" + half): half for half in halves}
