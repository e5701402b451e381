"""A session's list in Redis: one typed function for each thing that is done to it.

    {key_prefix}:{session_id}   list of records, oldest first; expires ttl seconds after a write
    {<that key>}~<token>        string, one for each write of the last minute: the write's answer

Every write is one script (``lua/``), sent with a random token. A script that arrives
again, because an answer was lost and redis-py or this module sent it once more, finds
its token and changes nothing. Both keys hash to one slot, as Redis Cluster asks.

Where the server offers no scripts, writes are transactions (``MULTI``/``EXEC``) without
a token: everything holds but exactly once, so such a write is never sent again.

This module knows redis-py and nothing of items: records are bytes.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
from binascii import b2a_base64
from functools import cache
from hashlib import sha1
from importlib.resources import files
from itertools import count
from os import urandom
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from redis.asyncio import RedisCluster
from redis.client import NEVER_DECODE
from redis.crc import key_slot
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ClusterDownError,
    ConnectionError,
    NoScriptError,
    RedisError,
    ResponseError,
    TimeoutError,
    WatchError,
)

from openai_agents_session._base import RETRY_SECONDS, settle

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from redis.asyncio import Redis

TOKEN_SECONDS = 60
"""How long the server remembers a write."""

PATIENCE_SECONDS = 50.0
"""How long one operation may go on, resends included: less than ``TOKEN_SECONDS``, so
that no write is sent again after its token is gone."""

_RETRIED = (ConnectionError, TimeoutError, ClusterDownError)
_FINAL = (AuthenticationError, AuthorizationError)  # both are ConnectionErrors in redis-py

_logger = logging.getLogger("openai_agents_session")


class _Script:
    """A file of ``lua/``, and the digest by which a server that has run it knows it."""

    def __init__(self, name: str) -> None:
        text = (files("openai_agents_session") / "lua" / f"{name}.lua").read_text()
        lines = (line.partition("--")[0].strip() for line in text.splitlines())
        self.text = "\n".join(filter(None, lines)).encode()  # comments need not travel
        self.digest = sha1(self.text).hexdigest()  # noqa: S324 - the digest that EVALSHA takes


_APPEND, _CLEAR, _POP = _Script("append"), _Script("clear"), _Script("pop")
_REPLACE, _SWAP = _Script("replace"), _Script("swap")


class _ClientNotes:
    """What was learnt of a client, for all sessions on it.

    Attributes:
        refused: whether the server takes no scripts.
        sent: the scripts that it was sent, and so knows, unless it was restarted.
        resends: whether redis-py sends commands again by itself.
    """

    def __init__(self, client: Redis | RedisCluster) -> None:
        self.refused = False
        self.sent: set[_Script] = set()
        self.resends = isinstance(client, RedisCluster) or any(
            client.get_connection_kwargs().get(option)
            for option in ("retry", "retry_on_error", "retry_on_timeout")
        )


_notes: WeakKeyDictionary[Redis | RedisCluster, _ClientNotes] = WeakKeyDictionary()


class RedisList:
    """The list of one session.

    Args:
        client: an asynchronous redis-py client.
        key: the list's key.
        ttl: seconds that the list lives after a write; None leaves its expiry alone.
    """

    def __init__(self, client: Redis | RedisCluster, key: str, ttl: int | None) -> None:
        self._client = client
        self._key = key.encode()
        self._token_stem = b"{" + _hash_tag(self._key) + b"}~"
        self._ttl = ttl
        self._seconds = (b"%d" % TOKEN_SECONDS, b"%d" % (ttl or 0))
        self._notes = _notes.get(client) or _notes.setdefault(client, _ClientNotes(client))

    async def read(self, start: int, stop: int) -> list[bytes]:
        """Return the records from one index to another, both included, as ``LRANGE`` counts."""
        return await self._sent_again("LRANGE", self._key, start, stop)

    async def length(self) -> int:
        """Return how many records there are."""
        return await self._sent_again("LLEN", self._key)

    async def exists(self) -> bool:
        """Return whether there is any record; asked once, for a sign of life."""
        return bool(await self._command("EXISTS", self._key))

    async def append(self, records: Sequence[bytes]) -> None:
        """Append a batch."""
        if await self._run(_APPEND, *records) is _NO_SCRIPTS:
            await settle(self._transaction(("RPUSH", self._key, *records)))

    async def clear(self) -> None:
        """Delete the list."""
        if await self._run(_CLEAR) is _NO_SCRIPTS:
            # Like LLEN in the script, and unlike UNLINK, it refuses a key of another type.
            await settle(self._command("LTRIM", self._key, 1, 0))

    async def pop(self) -> tuple[bool, bytes | None]:
        """Remove the newest record if it looks like a JSON object, from { to }.

        Returns:
            (True, the record); (True, None) from an empty list; (False, None) when only
            the caller can tell whether the newest record is readable: then nothing changed.
        """
        answer = await self._run(_POP)
        if answer is _NO_SCRIPTS or answer == 0:
            return False, None
        return True, answer

    async def replace(self, records: Sequence[bytes]) -> None:
        """Put a batch in the place of everything."""
        if await self._run(_REPLACE, *records) is _NO_SCRIPTS:
            await settle(self._transaction(*self._replacement(records)))

    async def swap(
        self, oldest: Sequence[bytes], newest: Sequence[bytes], records: Sequence[bytes]
    ) -> bool:
        """Drop the oldest records and put others in the place of the newest, in one step.

        Returns:
            False, and nothing changed, when the list does not begin with ``oldest`` or
            does not end with ``newest`` any more.
        """
        arguments = (len(oldest), len(newest), *oldest, *newest, *records)
        answer = await self._run(_SWAP, *arguments)
        if answer is _NO_SCRIPTS:
            return await settle(self._watched_swap(oldest, newest, records))
        return answer == 1

    async def _run(self, script: _Script, *arguments: int | bytes) -> Any:
        """Run a write script once, whatever becomes of its answers and of the caller."""
        notes = self._notes
        if notes.refused:
            return _NO_SCRIPTS
        token = self._token_stem + b2a_base64(urandom(15), newline=False)
        operands = (2, self._key, token, *self._seconds, *arguments)
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            if script in notes.sent:
                try:
                    return await self._sent_again("EVALSHA", script.digest, *operands)
                except NoScriptError:
                    pass  # it was restarted, or this is another node of the cluster
            answer = await self._sent_again("EVAL", script.text, *operands)
        except asyncio.CancelledError as cancellation:
            if clock() - began > PATIENCE_SECONDS:
                raise  # the token may be gone, and what was sent stays as it is
            # What was sent may be done or not. Sent again, it is done, and once.
            return await settle(self._sent_again("EVAL", script.text, *operands), cancellation)
        except ResponseError as exc:
            if not _scripts_refused(exc):
                raise
            if not notes.refused:
                notes.refused = True
                _logger.warning(
                    "The Redis server refuses scripts (EVAL): writes use MULTI/EXEC instead, and "
                    "an answer that is lost may double or lose a write."
                )
            return _NO_SCRIPTS
        notes.sent.add(script)
        return answer

    def _command(self, *command: Any) -> Awaitable[Any]:
        return self._client.execute_command(*command, **_UNDECODED)

    def _sent_again(self, *command: Any) -> Awaitable[Any]:
        """Send a command, and again while its answer is lost, for about a second.

        redis-py sends with ``asyncio.wait_for``, which up to Python 3.11 returns as if
        nothing had been when a cancellation meets a result. 3.11 counts cancellations, so
        none is lost; 3.10 does not, and there a command has a task of its own.

        Raises:
            redis.exceptions.ConnectionError, redis.exceptions.TimeoutError: as the last
                attempt ended, or after ``PATIENCE_SECONDS``.
        """
        attempts = _attempts(self._client, command)
        if self._notes.resends:
            attempts = _in_time(attempts)
        return attempts if sys.version_info >= (3, 11) else settle(attempts)

    async def _transaction(self, *commands: tuple[Any, ...]) -> None:
        async with self._client.pipeline(transaction=True) as pipe:
            self._queue(pipe, *commands)
            await pipe.execute()

    def _queue(self, pipe: Any, *commands: tuple[Any, ...]) -> None:
        for command in commands:
            pipe.execute_command(*command)
        if self._ttl is not None:
            pipe.execute_command("EXPIRE", self._key, self._ttl)

    def _replacement(self, records: Sequence[bytes]) -> list[tuple[Any, ...]]:
        """The commands that leave these records alone in the list, and its expiry as it is."""
        if not records:
            return [("LTRIM", self._key, 1, 0)]
        return [("RPUSH", self._key, *records), ("LTRIM", self._key, -len(records), -1)]

    async def _watched_swap(
        self, oldest: Sequence[bytes], newest: Sequence[bytes], records: Sequence[bytes]
    ) -> bool:
        """``swap`` without scripts: read under ``WATCH``, then one transaction."""
        async with self._client.pipeline(transaction=True) as pipe:
            await pipe.watch(self._key)
            reading: Any = pipe.execute_command("LRANGE", self._key, 0, -1, **_UNDECODED)
            found: list[bytes] = await reading
            end = len(found) - len(newest)
            if end < len(oldest) or found[: len(oldest)] != [*oldest] or found[end:] != [*newest]:
                return False
            pipe.multi()
            self._queue(pipe, *self._replacement([*found[len(oldest) : end], *records]))
            try:
                await pipe.execute()
            except WatchError:
                return False
            return True


_NO_SCRIPTS = object()
_UNDECODED = {NEVER_DECODE: True}  # one record that is not UTF-8 would fail the whole reply


def _scripts_refused(error: ResponseError) -> bool:
    """Whether the server has no EVAL, or an ACL forbids it; the keys are another matter."""
    text = str(error).lower()
    unknown = "unknown command" in text and "eval" in text
    return unknown or ("no permissions to run" in text and "'eval" in text)


async def _attempts(client: Redis | RedisCluster, command: tuple[Any, ...]) -> Any:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task(loop)
    heard = _cancellations(task)
    began = loop.time()
    end = pause = 0.0
    while True:
        try:
            answer = await client.execute_command(*command, **_UNDECODED)
        except RedisError as exc:
            answer = exc
        if _cancellations(task) > heard:
            raise asyncio.CancelledError
        if not isinstance(answer, RedisError):
            return answer
        end = end or min(loop.time() + RETRY_SECONDS, began + PATIENCE_SECONDS)
        if loop.time() > end or not isinstance(answer, _RETRIED) or isinstance(answer, _FINAL):
            raise answer
        # At once after the first loss; then later and later, and not in step with others.
        await asyncio.sleep(pause * random.random())  # noqa: S311 - no secret
        pause = min(2 * pause or 0.02, 0.4)


def _cancellations(task: asyncio.Task[Any] | None) -> int:
    return task.cancelling() if task and sys.version_info >= (3, 11) else 0


async def _in_time(attempts: Awaitable[Any]) -> Any:
    """Give up when patience is over, in the middle of what redis-py itself sends again."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task(loop)
    over = False

    def give_up() -> None:
        nonlocal over
        over = True
        if task:
            task.cancel()

    # asyncio.timeout would do, at three times the cost, which every operation pays.
    patience = loop.call_later(PATIENCE_SECONDS, give_up)
    try:
        return await attempts
    except asyncio.CancelledError:
        if not over:
            raise
        if task and sys.version_info >= (3, 11):
            task.uncancel()
        raise TimeoutError(f"Redis gave no answer for {PATIENCE_SECONDS:.0f} seconds") from None
    finally:
        patience.cancel()


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
