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
import secrets
import sys
from functools import cache
from hashlib import sha1
from importlib.resources import files
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

from redis.client import NEVER_DECODE
from redis.crc import key_slot
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ClusterDownError,
    ConnectionError,
    NoScriptError,
    ResponseError,
    TimeoutError,
    WatchError,
)

from openai_agents_session._base import settle

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from redis.asyncio import Redis, RedisCluster

TOKEN_SECONDS = 60
"""How long the server remembers a write."""

PATIENCE_SECONDS = 50.0
"""How long one operation may go on, resends included: less than ``TOKEN_SECONDS``, so
that no write is sent again after its token is gone."""

RETRY_SECONDS = 1.0
"""How long this module sends again, after redis-py has given up for the first time."""

_RETRIED = (ConnectionError, TimeoutError, ClusterDownError)
_NOT_RETRIED = (AuthenticationError, AuthorizationError)  # both are ConnectionErrors in redis-py

_logger = logging.getLogger("openai_agents_session")
_without_scripts: WeakSet[Redis | RedisCluster] = WeakSet()

_T = TypeVar("_T")


class _Script:
    """A file of ``lua/`` and the digest by which the server knows it."""

    def __init__(self, name: str) -> None:
        self.text = (files("openai_agents_session") / "lua" / f"{name}.lua").read_text()
        self.digest = sha1(self.text.encode()).hexdigest()  # noqa: S324 - as EVALSHA asks


_APPEND, _CLEAR, _POP = _Script("append"), _Script("clear"), _Script("pop")
_REPLACE, _SWAP = _Script("replace"), _Script("swap")


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

    async def read(self, start: int, stop: int) -> list[bytes]:
        """Return the records from one index to another, both included, as ``LRANGE`` counts."""
        return await _sent_again(lambda: self._command("LRANGE", self._key, start, stop))

    async def length(self) -> int:
        """Return how many records there are."""
        return await _sent_again(lambda: self._command("LLEN", self._key))

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
            await settle(self._command("UNLINK", self._key))

    async def pop(self) -> tuple[bool, bytes | None]:
        """Remove the newest record if it is plainly a JSON object.

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
            push = [("RPUSH", self._key, *records)] if records else []
            await settle(self._transaction(("UNLINK", self._key), *push))

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
        if self._client in _without_scripts:
            return _NO_SCRIPTS
        token = self._token_stem + secrets.token_urlsafe(16).encode()
        operands = (2, self._key, token, TOKEN_SECONDS, self._ttl or 0, *arguments)

        async def send() -> Any:
            try:
                return await self._command("EVALSHA", script.digest, *operands)
            except NoScriptError:  # the first time on this server, or since it started
                return await self._command("EVAL", script.text, *operands)

        try:
            return await _sent_again(send)
        except asyncio.CancelledError as cancellation:
            # What was sent may be done or not. Sent again, it is done, and once.
            return await settle(_sent_again(send), cancellation)
        except ResponseError as exc:
            if not _scripts_refused(exc):
                raise
            _without_scripts.add(self._client)
            _logger.warning(
                "The Redis server refuses scripts (EVALSHA): writes use MULTI/EXEC instead, and "
                "an answer that is lost may double or lose a write."
            )
            return _NO_SCRIPTS

    def _command(self, *arguments: Any) -> Awaitable[Any]:
        # Undecoded, because one record that is not UTF-8 would fail the whole reply.
        return self._client.execute_command(*arguments, **{NEVER_DECODE: True})

    async def _transaction(self, *commands: tuple[Any, ...]) -> None:
        async with self._client.pipeline(transaction=True) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            if self._ttl is not None:
                pipe.execute_command("EXPIRE", self._key, self._ttl)
            await pipe.execute()

    async def _watched_swap(
        self, oldest: Sequence[bytes], newest: Sequence[bytes], records: Sequence[bytes]
    ) -> bool:
        """``swap`` without scripts: read under ``WATCH``, then one transaction."""
        async with self._client.pipeline(transaction=True) as pipe:
            await pipe.watch(self._key)
            reading: Any = pipe.execute_command("LRANGE", self._key, 0, -1, **{NEVER_DECODE: True})
            found: list[bytes] = await reading
            end = len(found) - len(newest)
            if end < len(oldest) or found[: len(oldest)] != [*oldest] or found[end:] != [*newest]:
                return False
            pipe.multi()
            for _ in newest:
                pipe.execute_command("RPOP", self._key)
            if oldest:
                pipe.execute_command("LTRIM", self._key, len(oldest), -1)
            if records:
                pipe.execute_command("RPUSH", self._key, *records)
            if self._ttl is not None:
                pipe.execute_command("EXPIRE", self._key, self._ttl)
            try:
                await pipe.execute()
            except WatchError:
                return False
            return True


_NO_SCRIPTS = object()
_PATIENCE_OVER = "patience is over"


def _scripts_refused(error: ResponseError) -> bool:
    """Whether the server has no EVAL, or an ACL forbids it; the keys are another matter."""
    text = str(error).lower()
    unknown = "unknown command" in text and "eval" in text
    return unknown or ("no permissions to run" in text and "'eval" in text)


def _sent_again(send: Callable[[], Awaitable[_T]]) -> Awaitable[_T]:
    """Send an operation, and again while its answer is lost, for about a second.

    redis-py sends with ``asyncio.wait_for``, which up to Python 3.11 returns as if nothing
    had been when a cancellation meets a result. 3.11 counts cancellations, so none is
    lost; 3.10 does not, and there an operation has a task of its own.

    Raises:
        redis.exceptions.ConnectionError, redis.exceptions.TimeoutError: as the last
            attempt ended, or after ``PATIENCE_SECONDS``.
    """
    attempts = _attempts(send)
    return attempts if sys.version_info >= (3, 11) else settle(attempts)


async def _attempts(send: Callable[[], Awaitable[_T]]) -> _T:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task(loop)
    if task is None:
        raise RuntimeError("a session is used inside an asyncio task")
    heard = task.cancelling() if sys.version_info >= (3, 11) else 0
    began = loop.time()
    # asyncio.timeout would do, at three times the cost, which every operation pays.
    patience = loop.call_later(PATIENCE_SECONDS, task.cancel, _PATIENCE_OVER)
    try:
        for attempt in count():
            try:
                answer = await send()
                break
            except _NOT_RETRIED:
                raise
            except _RETRIED:
                if attempt and loop.time() - began > RETRY_SECONDS:
                    raise
            # At once after the first loss; then later and later, and not in step.
            jitter = random.random() if attempt else 0  # noqa: S311 - no secret
            await asyncio.sleep(min(0.02 * 2**attempt, 0.4) * jitter)
    except asyncio.CancelledError as exc:
        if exc.args != (_PATIENCE_OVER,):
            raise
        if sys.version_info >= (3, 11):
            task.uncancel()
        raise TimeoutError(f"Redis gave no answer for {PATIENCE_SECONDS:.0f} seconds") from None
    finally:
        patience.cancel()
    if sys.version_info >= (3, 11) and task.cancelling() > heard:
        raise asyncio.CancelledError
    return answer


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
