"""One conversation in Redis: its keys, and a script for each write.

    {key_prefix}:{session_id}   list of records, oldest first; expires ttl seconds after a write
    {<that key>}~<token>        string, one for each write of the last minutes: the write's answer

Every write is one script (``lua/``), sent with a random token. A script that arrives
again, because an answer was lost and redis-py or this library sent it once more, finds
its token and changes nothing. Both keys hash to one slot, as Redis Cluster asks.

Where the server offers no scripts, writes are transactions (``MULTI``/``EXEC``) without
a token: everything holds but exactly once, so such a write is never sent again.
"""

from __future__ import annotations

import logging
import time
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from redis.exceptions import OutOfMemoryError, ResponseError

from openai_agents_session._conversation import Found, UnreadableError
from openai_agents_session.redis._driver import Operation, answers
from openai_agents_session.redis._keys import hash_tag, lease_keys, new_token, token_of
from openai_agents_session.redis._lease import RedisClaim
from openai_agents_session.redis._scripts import TOKEN_SECONDS, Script, are_refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from typing_extensions import Self

    from openai_agents_session.redis._clients import Clients
    from openai_agents_session.redis._driver import Command
    from openai_agents_session.redis._keys import LeaseKeys
    from openai_agents_session.redis._lease import Fence

    _Unscripted: TypeAlias = Callable[[Operation], Awaitable[Any]]

_T = TypeVar("_T")

SCRIPTS_AGAIN_SECONDS = 60.0
"""How long scripts are left alone that the server has refused."""

_logger = logging.getLogger("openai_agents_session")

APPEND, POP, REPLACE = Script("append"), Script("pop"), Script("replace")
RESTORE, SWAP = Script("restore"), Script("swap")


class RedisConversation:
    """One conversation: the list at its key.

    Args:
        clients: give the client to send with.
        key: the list's key.
        ttl: seconds that the list lives after a write; None leaves its expiry alone.
    """

    resends = True
    _fence: Fence | None = None
    """Of the conversation of a lease's holder: lets its writes be done while the lease is held."""

    def __init__(self, clients: Clients, key: bytes, ttl: int | None) -> None:
        self._clients = clients
        self.key = key
        self._token_stem = b"{" + hash_tag(key) + b"}~"
        self._seconds = (b"%d" % TOKEN_SECONDS, b"%d" % (ttl or 0))
        self._expiry: list[Command] = [] if ttl is None else [("EXPIRE", self.key, ttl)]

    async def read(self, newest: int | None) -> Found:
        """Return the newest records, in one ``LRANGE``."""
        start = 0 if newest is None else -newest
        return Found(await Operation(self._clients).send("LRANGE", self.key, start, -1))

    async def append(self, records: Sequence[bytes]) -> None:
        """Add records to the end."""
        await self._write(APPEND, *records, unscripted=self._push(records))

    async def pop(self, parse: Callable[[bytes | str], _T | None]) -> _T | None:
        """Remove the newest record; the script takes it if it looks like a JSON object."""
        token = self._new_pop_token()
        record = await self._write(POP, token=token, unscripted=self._leave)
        if record is None:
            return None
        if record == 0:  # it is still there: only the client can tell whether it can be read
            raise UnreadableError
        item = parse(record)
        if item is None:
            # Should the process end before, what is lost is a record that nobody can read.
            await self._write(RESTORE, record, token=token, unscripted=self._push([record]))
            raise UnreadableError
        return item

    async def remove(self, found: Found, index: int) -> bool:
        """Remove one record: put those after it in the place of it and them."""
        after: Any = found.records[index + 1 :]
        return await self.swap(found, index, after)

    async def replace(self, records: Sequence[bytes]) -> None:
        """Put records in the place of all."""
        unscripted = self._transaction(*self._replacement(records))
        await self._write(REPLACE, *records, unscripted=unscripted)

    async def swap(
        self, found: Found, start: int, records: Sequence[bytes], *, drop: int = 0
    ) -> bool:
        """Put records in the place of the newest, and drop the oldest, if all are unchanged."""
        oldest: Any = found.records[:drop]
        newest: Any = found.records[start:]
        arguments = (len(oldest), len(newest), *oldest, *newest, *records)
        unscripted = partial(self._swap, oldest, newest, records)
        return await self._write(SWAP, *arguments, unscripted=unscripted) == 1

    async def clear(self) -> None:
        """Delete the list."""
        await self.replace(())

    async def ping(self) -> bool:
        """Return whether the server that holds the list answers."""
        return await answers(self._clients, "EXISTS", self.key)

    def claim(self, holder: str, seconds: int) -> RedisClaim:
        """Return what one holder asks of the conversation's lease."""
        name = holder.encode()
        token = self._token_of(b"%b~%b" % (self.key, name))
        return RedisClaim(
            self._clients, self._lease_keys(), token, name, seconds, fenced_by=self._fenced_by
        )

    async def busy(self) -> float | None:
        """Return for how many seconds the lease is held, in one ``PTTL``."""
        left = await Operation(self._clients).send("PTTL", self._lease_keys().lease)
        return left / 1000 if left > 0 else None

    def _fenced_by(self, fence: Fence) -> Self:
        fenced = copy(self)
        fenced._fence = fence
        return fenced

    def _lease_keys(self) -> LeaseKeys:
        return lease_keys(self.key)

    # -------------------------------------------------------------------- with scripts

    async def _write(
        self,
        script: Script,
        *arguments: int | bytes,
        unscripted: _Unscripted,
        token: bytes = b"",
    ) -> Any:
        """Run a script, or do the same without where the server refuses scripts.

        Raises:
            LostError: the lease is not held that lets this be done.
        """
        operation, scripts = Operation(self._clients), self._clients.scripts
        keys = (self.key, token or self._new_token())
        operands = (*self._seconds, *arguments)
        if self._fence is not None:
            return await self._fence.run(script, operation, self._clients, keys, *operands)
        if time.monotonic() < scripts.refused_until:
            return await unscripted(operation)
        try:
            answer = await script.run(operation, scripts, keys, *operands)
        except ResponseError as exc:
            if not are_refused(exc):
                raise
        else:
            scripts.refused_until = 0.0
            return answer
        if not scripts.refused_until:
            _logger.warning(
                "The Redis server refuses scripts (EVAL): writes use MULTI/EXEC instead, and "
                "an answer that is lost may double or lose a write."
            )
        scripts.refused_until = time.monotonic() + SCRIPTS_AGAIN_SECONDS
        return await unscripted(operation)

    def _new_token(self) -> bytes:
        return self._token_stem + new_token()

    def _token_of(self, name: bytes) -> bytes:
        return self._token_stem + token_of(name)

    def _new_pop_token(self) -> bytes:
        """Return a token that will hold the record."""
        return self._new_token()

    # ----------------------------------------------------------------- without scripts

    def _transaction(self, *commands: Command) -> _Unscripted:
        """Write whatever there is; ``LLEN`` refuses a key of another type before that."""
        length, alone = ("LLEN", self.key), len(commands) == 1
        return lambda operation: operation.transact(
            self.key, length, lambda _: commands, alone=alone
        )

    def _push(self, records: Sequence[bytes]) -> _Unscripted:
        return self._transaction(("RPUSH", self.key, *records), *self._expiry)

    def _replacement(self, records: Sequence[bytes]) -> list[Command]:
        if not records:
            return [("LTRIM", self.key, 1, 0)]
        # Trimming, not deleting, keeps an expiry that something else has set.
        trim = ("LTRIM", self.key, -len(records), -1)
        return [("RPUSH", self.key, *records), trim, *self._expiry]

    async def _leave(self, _: Operation) -> int:
        """Answer as ``pop.lua`` does where only the client can tell."""
        return 0

    async def _swap(
        self,
        oldest: Sequence[bytes],
        newest: Sequence[bytes],
        records: Sequence[bytes],
        operation: Operation,
    ) -> bool:
        def plan(found: list[bytes]) -> list[Command] | None:
            end = len(found) - len(newest)
            if end < len(oldest) or found[: len(oldest)] != [*oldest] or found[end:] != [*newest]:
                return None
            if end == len(oldest):
                return self._replacement(records)
            pushing = [("RPUSH", self.key, *records)] if records else []
            return [("LTRIM", self.key, len(oldest), end - 1), *pushing, *self._expiry]

        everything = ("LRANGE", self.key, 0, -1)
        try:
            return await operation.transact(self.key, everything, plan) is not None
        except OutOfMemoryError:
            if oldest or [*records] != [*newest[1:]]:
                raise
        # A full server takes no transaction, not even one that removes a record.
        removed = await self._transaction(("LREM", self.key, -1, newest[0]))(operation)
        for expiry in self._expiry if removed == [1] else ():
            await self._transaction(expiry)(operation)
        return removed == [1]
