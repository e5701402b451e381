"""A session's list in Redis: one typed function for each thing that is done to it.

    {key_prefix}:{session_id}   list of records, oldest first; expires ttl seconds after a write
    {<that key>}~<token>        string, one for each write of the last minutes: the write's answer

Every write is one script (``lua/``), sent with a random token. A script that arrives
again, because an answer was lost and redis-py or this library sent it once more, finds
its token and changes nothing. Both keys hash to one slot, as Redis Cluster asks.

Where the server offers no scripts, writes are transactions (``MULTI``/``EXEC``) without
a token: everything holds but exactly once, so such a write is never sent again.

This module knows Redis and nothing of items: records are bytes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from binascii import b2a_base64
from functools import cache, partial
from hashlib import sha1
from importlib.resources import files
from itertools import count
from os import urandom
from typing import TYPE_CHECKING, Any, NamedTuple

from redis.crc import key_slot
from redis.exceptions import ConnectionError, NoScriptError, OutOfMemoryError, ResponseError

from openai_agents_session._base import settle_after
from openai_agents_session._redis_sending import (
    FINAL,
    UNDECODED,
    before,
    deadline_from_now,
    sent,
)
from openai_agents_session._redis_transaction import write
from openai_agents_session._settle import settle

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from openai_agents_session._redis_client import Clients
    from openai_agents_session._redis_transaction import Command, Plan

TOKEN_SECONDS = 180
"""How long the server remembers a write: longer than a command can be on its way. One is
sent for at most 50 seconds (``PATIENCE_SECONDS``), after which its connection is closed, and
Linux gives up what a closed connection could not deliver after 102 seconds more
(``tcp_orphan_retries`` in the kernel's ip-sysctl)."""

SCRIPTS_AGAIN_SECONDS = 60.0
"""How long scripts are left alone that the server has refused."""

_logger = logging.getLogger("openai_agents_session")


class _Script:
    """A file of ``lua/``, and the digest by which a server that has run it knows it."""

    def __init__(self, name: str) -> None:
        text = (files("openai_agents_session") / "lua" / f"{name}.lua").read_text()
        lines = (line.partition("--")[0].strip() for line in text.splitlines())
        self.text = "\n".join(filter(None, lines)).encode()  # comments need not travel
        self.digest = sha1(self.text).hexdigest()  # noqa: S324 - the digest that EVALSHA takes


_APPEND, _CLEAR, _POP = _Script("append"), _Script("clear"), _Script("pop")
_REPLACE, _RESTORE, _SWAP = _Script("replace"), _Script("restore"), _Script("swap")


class Popped(NamedTuple):
    """What came of a pop.

    Attributes:
        settled: False when only the caller can tell whether the newest record is readable:
            then nothing changed.
        record: what was removed; None from an empty list.
        token: names the pop, for putting the record back.
    """

    settled: bool
    record: bytes | None = None
    token: bytes = b""


class RedisList:
    """The list of one session.

    Args:
        clients: gives the client to send with.
        key: the list's key.
        ttl: seconds that the list lives after a write; None leaves its expiry alone.
    """

    def __init__(self, clients: Clients, key: str, ttl: int | None) -> None:
        self._here = clients.here
        self._key = key.encode()
        self._token_stem = b"{" + _hash_tag(self._key) + b"}~"
        self._ttl = ttl
        self._seconds = (b"%d" % TOKEN_SECONDS, b"%d" % (ttl or 0))
        self._notes = clients.notes

    async def read(self, start: int, stop: int) -> list[bytes]:
        """Return the records from one index to another, both included, as ``LRANGE`` counts."""
        return await self._sent("LRANGE", self._key, start, stop)

    async def length(self) -> int:
        """Return how many records there are."""
        return await self._sent("LLEN", self._key)

    async def exists(self) -> bool:
        """Return whether there is any record; asked for a sign of life, so without patience."""
        command = ("EXISTS", self._key)
        try:
            return bool(await self._here().execute_command(*command, **UNDECODED))
        except FINAL:
            raise
        except ConnectionError:  # perhaps of a connection that was closed while it was idle
            return bool(await self._here().execute_command(*command, **UNDECODED))

    async def append(self, records: Sequence[bytes]) -> None:
        """Append a batch."""
        deadline = deadline_from_now()
        if await self._run(deadline, _APPEND, *records) is _NO_SCRIPTS:
            await self._push(deadline, *records)

    async def clear(self) -> None:
        """Delete the list."""
        deadline = deadline_from_now()
        if await self._run(deadline, _CLEAR) is _NO_SCRIPTS:
            await self._empty(deadline)

    async def pop(self) -> Popped:
        """Remove the newest record if it looks like a JSON object, from { to }."""
        token = self._new_token()
        answer = await self._run(deadline_from_now(), _POP, token=token)
        if answer is _NO_SCRIPTS or answer == 0:
            return Popped(settled=False)
        return Popped(settled=True, record=answer, token=token)

    async def put_back(self, popped: Popped) -> None:
        """Undo a pop. Should the process end before, the record is lost."""
        deadline, record = deadline_from_now(), popped.record or b""
        if await self._run(deadline, _RESTORE, record, token=popped.token) is _NO_SCRIPTS:
            await self._push(deadline, record)

    async def replace(self, records: Sequence[bytes]) -> None:
        """Put a batch in the place of everything."""
        deadline = deadline_from_now()
        if await self._run(deadline, _REPLACE, *records) is _NO_SCRIPTS:
            if records:
                commands = self._expiring(*self._replacement(records))
                await self._unscripted(deadline, lambda _: commands)
            else:
                await self._empty(deadline)

    async def swap(
        self, oldest: Sequence[bytes], newest: Sequence[bytes], records: Sequence[bytes]
    ) -> bool:
        """Drop the oldest records and put others in the place of the newest, in one step.

        Returns:
            False, and nothing changed, when the list does not begin with ``oldest`` or
            does not end with ``newest`` any more.
        """
        deadline = deadline_from_now()
        arguments = (len(oldest), len(newest), *oldest, *newest, *records)
        answer = await self._run(deadline, _SWAP, *arguments)
        if answer is _NO_SCRIPTS:
            return await self._unscripted_swap(deadline, oldest, newest, records)
        return answer == 1

    async def _run(
        self, deadline: float, script: _Script, *arguments: int | bytes, token: bytes = b""
    ) -> Any:
        """Run a write script once, whatever becomes of its answers and of the caller."""
        notes = self._notes
        if time.monotonic() < notes.refused_until:
            return _NO_SCRIPTS
        operands = (2, self._key, token or self._new_token(), *self._seconds, *arguments)
        try:
            if script in notes.sent:
                try:
                    return await self._sent_by(deadline, "EVALSHA", script.digest, *operands)
                except NoScriptError:
                    pass  # it was restarted, or this is another node of the cluster
            answer = await self._sent_by(deadline, "EVAL", script.text, *operands)
        except asyncio.CancelledError as cancellation:
            # What was sent may be done or not. Sent again, it is done, and once.
            return await settle_after(
                self._sent_by(deadline, "EVAL", script.text, *operands), cancellation
            )
        except ResponseError as exc:
            if not _scripts_refused(exc):
                raise
            notes.refused_until = time.monotonic() + SCRIPTS_AGAIN_SECONDS
            if not notes.warned:
                notes.warned = True
                _logger.warning(
                    "The Redis server refuses scripts (EVAL): writes use MULTI/EXEC instead, and "
                    "an answer that is lost may double or lose a write."
                )
            return _NO_SCRIPTS
        notes.sent.add(script)
        notes.warned = False
        return answer

    def _new_token(self) -> bytes:
        return self._token_stem + b2a_base64(urandom(15), newline=False)

    def _sent(self, *command: Any) -> Awaitable[Any]:
        return self._sent_by(deadline_from_now(), *command)

    def _sent_by(self, deadline: float, *command: Any) -> Awaitable[Any]:
        return sent(self._here, deadline, *command)

    async def _unscripted(
        self, deadline: float, plan: Plan, read: Command | None = None, *, alone: bool = False
    ) -> list[Any] | None:
        """Write without scripts; ``LLEN`` refuses a key of another type before that."""
        read = read or ("LLEN", self._key)
        writing = partial(write, self._here, self._key, read, plan, alone=alone)
        return await settle(before(deadline, writing))

    def _expiring(self, *commands: Command) -> list[Command]:
        expiry = [] if self._ttl is None else [("EXPIRE", self._key, self._ttl)]
        return [*commands, *expiry]

    def _replacement(self, records: Sequence[bytes]) -> list[Command]:
        """The commands that leave these records alone in the list, and its expiry as it is."""
        return [("RPUSH", self._key, *records), ("LTRIM", self._key, -len(records), -1)]

    async def _push(self, deadline: float, *records: bytes) -> None:
        commands = self._expiring(("RPUSH", self._key, *records))
        await self._unscripted(deadline, lambda _: commands, alone=len(commands) == 1)

    async def _empty(self, deadline: float) -> None:
        await self._unscripted(deadline, lambda _: [("LTRIM", self._key, 1, 0)], alone=True)

    async def _unscripted_swap(
        self,
        deadline: float,
        oldest: Sequence[bytes],
        newest: Sequence[bytes],
        records: Sequence[bytes],
    ) -> bool:
        def plan(found: list[bytes]) -> list[Command] | None:
            end = len(found) - len(newest)
            if end < len(oldest) or found[: len(oldest)] != [*oldest] or found[end:] != [*newest]:
                return None
            if end == len(oldest) and records:
                return self._expiring(*self._replacement(records))
            if end == len(oldest):
                return [("LTRIM", self._key, 1, 0)]
            pushing = [("RPUSH", self._key, *records)] if records else []
            return self._expiring(("LTRIM", self._key, len(oldest), end - 1), *pushing)

        try:
            replies = await self._unscripted(deadline, plan, ("LRANGE", self._key, 0, -1))
        except OutOfMemoryError:
            if oldest or [*records] != [*newest[1:]]:
                raise
            return await self._removed(deadline, newest[0])
        return replies is not None

    async def _removed(self, deadline: float, record: bytes) -> bool:
        """Remove a record on a full server, which takes no transaction that would free memory."""
        removal = ("LREM", self._key, -1, record)
        replies = await self._unscripted(deadline, lambda _: [removal], alone=True)
        if replies == [0]:
            return False
        if self._ttl is not None:
            await self._unscripted(deadline, lambda _: self._expiring(), alone=True)
        return True


_NO_SCRIPTS = object()


def _scripts_refused(error: ResponseError) -> bool:
    """Whether the server has no EVAL, or an ACL forbids it; the keys are another matter."""
    text = str(error).lower()
    unknown = "unknown command" in text and "eval" in text
    return unknown or ("no permissions to run" in text and "'eval" in text)


def _hash_tag(key: bytes) -> bytes:
    """Return what between braces sends another key to this key's slot.

    The rule is of the Redis Cluster specification: what stands between the first ``{``
    and the next ``}`` is hashed alone, if there is anything.
    """
    tag, closing, _ = key.partition(b"{")[2].partition(b"}")
    if closing and tag:
        return tag
    if b"}" not in key:
        return key
    return _tag_of_slot(key_slot(key))


@cache
def _tag_of_slot(slot: int) -> bytes:
    numbers = (b"%d" % number for number in count())
    return next(number for number in numbers if key_slot(number) == slot)
