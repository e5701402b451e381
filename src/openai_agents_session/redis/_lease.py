"""A conversation's lease in Redis: who holds it, who waits for it, and the fence of its writes.

    {…}~lease~<list's key>   string, the holder's name; expires with the lease
    {…}~queue~<list's key>   sorted set of those who wait, by when they came
    {…}~due~<list's key>     the same, by when they have to come back; both expire with the last
    {…}~<token>              string, for the minutes of a token, the same for a holder: it has had
                             its lease, or has given up; what it sent before takes nothing any more

A user's have ``!``, ``+`` and ``=`` behind the user, and then the session id (``_keys``).

Time is the server's. Each of ``acquire``, ``renew`` and ``release`` is one script, which does
nothing when it comes again. A fenced write is the script of the write behind a line that reads the
lease.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

from openai_agents_session._conversation import LostError
from openai_agents_session.redis._driver import Operation
from openai_agents_session.redis._scripts import TOKEN_SECONDS, Script

if TYPE_CHECKING:
    from collections.abc import Callable

    from openai_agents_session._conversation import Conversation
    from openai_agents_session.redis._clients import Clients
    from openai_agents_session.redis._keys import LeaseKeys

_ACQUIRE, _RENEW, _RELEASE = Script("clock", "acquire"), Script("renew"), Script("release")

_NEEDS = "A lease needs"
_LOST = -2


class Fence:
    """Lets writes be done only while a lease is held.

    Args:
        lease: the key of the lease.
        holder: who has to hold it.
    """

    def __init__(self, lease: bytes, holder: bytes) -> None:
        self._lease, self._holder = lease, holder

    async def run(
        self,
        script: Script,
        operation: Operation,
        clients: Clients,
        keys: tuple[bytes, ...],
        *arguments: int | bytes,
    ) -> Any:
        """Run the script of a write, whose second key is its token.

        Raises:
            LostError: the lease is not held, and the write was not done before.
            redis.exceptions.ResponseError: the server refuses it.
        """
        operands = (*arguments, self._holder)
        answer = await _fenced(script).run(
            operation, clients.scripts, (*keys, self._lease), *operands, needs=_NEEDS
        )
        if answer == _LOST:
            raise LostError
        return answer


@cache
def _fenced(script: Script) -> Script:
    return Script("fence", script.text)


class RedisClaim:
    """What one holder asks of a conversation's lease.

    Args:
        clients: give the client to send with.
        keys: the lease's.
        token: the key of the holder's token.
        holder: names the holder.
        seconds: how long the lease lives without being renewed.
        fenced_by: returns the conversation behind a fence.
    """

    def __init__(
        self,
        clients: Clients,
        keys: LeaseKeys,
        token: bytes,
        holder: bytes,
        seconds: int,
        *,
        fenced_by: Callable[[Fence], Conversation],
    ) -> None:
        self._clients = clients
        self._lease = keys.lease
        self._keys = (keys.lease, token, keys.queue, keys.due)
        self._holder = holder
        self._milliseconds = 1000 * seconds
        self._fenced_by = fenced_by

    async def acquire(self, comes_back_in: float) -> int:
        """Take the lease, or a place in the queue."""
        back = math.ceil(1000 * comes_back_in)
        asked = (self._holder, self._milliseconds, back, TOKEN_SECONDS)
        return await self._run(_ACQUIRE, self._keys, *asked)

    async def renew(self) -> bool:
        """Let the lease's time begin anew, if it is still held."""
        return await self._run(_RENEW, (self._lease,), self._holder, self._milliseconds) == 1

    async def release(self) -> None:
        """Give the lease back, or leave the queue."""
        await self._run(_RELEASE, self._keys, self._holder, TOKEN_SECONDS)

    def fenced(self) -> Conversation:
        """Return the conversation whose writes read the lease first."""
        return self._fenced_by(Fence(self._lease, self._holder))

    async def _run(self, script: Script, keys: tuple[bytes, ...], *arguments: int | bytes) -> Any:
        operation, scripts = Operation(self._clients), self._clients.scripts
        return await script.run(operation, scripts, keys, *arguments, needs=_NEEDS)
