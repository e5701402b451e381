"""Sending to Redis until the outcome is known, and never too late.

An operation has one deadline, which counts from its beginning. It holds for waiting for a
connection, for what redis-py sends again by itself, and for what is sent again here. Only what
was not executed, as Redis says, or carries a token is sent again.

Where scripts are refused, a write is a transaction, and has no token:

    WATCH key, a read, MULTI    one round trip; where anything is refused, nothing is done
    the commands, EXEC          the second; EXEC does nothing if the key has changed

redis-py's own pipeline will not do: it sends MULTI together with the commands, which are
carried out one by one where MULTI is forbidden; its errors quote the commands, which are
the conversation; and it sends again by itself what has no token.
"""

from __future__ import annotations

import asyncio
import re
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from redis.asyncio import RedisCluster
from redis.client import NEVER_DECODE
from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    ClusterDownError,
    ClusterError,
    ConnectionError,
    MasterDownError,
    MovedError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    SlotNotCoveredError,
    TimeoutError,
    TryAgainError,
    WatchError,
)

from openai_agents_session._pauses import Pauses
from openai_agents_session._settle import is_carried, settle

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from redis.asyncio.connection import AbstractConnection

    from openai_agents_session.redis._clients import Client, Clients

Command: TypeAlias = tuple[Any, ...]

_T = TypeVar("_T")

PATIENCE_SECONDS = 50.0
"""How long one operation may go on, resends included."""

_UNDECODED = {NEVER_DECODE: True}  # one record that is not UTF-8 would fail the whole reply

# Both are ConnectionErrors in redis-py.
_LOGIN = (AuthenticationError, AuthorizationError)

# Nothing was executed: another writer was faster, or a cluster moves the slot. redis-py follows
# MOVED, ASK and TRYAGAIN sixteen times, and then says that its "TTL" is exhausted.
_MOVING = (ClusterError, TryAgainError, WatchError)

# Nothing was executed either. redis-py has no class for all of these codes, and Redis before 7
# puts the code of a script's error behind "-", in the middle of its text.
_CODES = {
    ClusterDownError: "CLUSTERDOWN",
    MasterDownError: "MASTERDOWN",
    ReadOnlyError: "READONLY",
}
_CODE = re.compile(r"(?:^|[ :]-)(BUSY|MASTERDOWN|NOREPLICAS|READONLY|TRYAGAIN|CLUSTERDOWN) ")

# The connection broke, and a token tells what became of the command; or nothing was executed.
_BROKEN = (ConnectionError, TimeoutError, RedisClusterException)


async def _noticing_closed(attempt: Awaitable[_T]) -> _T:
    """Await what is sent, and say so where its connection was closed under it.

    A cluster's client closes its connections when the slots have moved, also those that other
    tasks are using, and redis-py trips over that. In Python 3.12 and the first releases of 3.13
    asyncio trips over writing to a connection that was reset.

    Raises:
        redis.exceptions.ConnectionError: the connection was closed.
    """
    try:
        return await attempt
    except (AttributeError, TypeError) as exc:
        if not str(exc).startswith("'NoneType' object"):
            raise
        raise ConnectionError("the connection was closed while it was used") from exc


def undecoded(client: Client, *command: Any, **options: Any) -> Awaitable[Any]:
    """Send a command; texts in its reply stay bytes."""
    return client.execute_command(*command, **options, **_UNDECODED)


async def answers(clients: Clients, *command: Any) -> bool:
    """Return whether the server answers a command that changes nothing; without patience.

    Raises:
        redis.exceptions.RedisError: it answers with an error, such as a refused login.
    """

    async def failure() -> Exception | None:
        try:
            await _noticing_closed(undecoded(clients.current(), *command))
        except (ConnectionError, TimeoutError) as exc:
            if isinstance(exc, _LOGIN):
                raise
            return exc
        return None

    first = await failure()  # perhaps of a connection that was closed while it was idle
    return not first or (isinstance(first, ConnectionError) and not await failure())


class Operation:
    """All that one operation of a session sends.

    Errors are those of redis-py, as the last attempt ended; ``TimeoutError`` at the deadline.

    Args:
        clients: give the client to send with.
    """

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + PATIENCE_SECONDS
        self._is_late = False

    async def send(self, *command: Any) -> Any:
        """Send a command, and again while its answer is lost or the server says to come back.

        That is for about a second after the first failure, and while the slot moves in a
        cluster until the deadline.

        Args:
            command: a read, or a write that does nothing when it comes again.
        """
        return await self.attempt(lambda client: undecoded(client, *command))

    async def ask_all(self, commands: Sequence[Command]) -> list[Any]:
        """Send reads at once, as ``send`` does, in a cluster to all its nodes.

        Returns:
            Their replies; an error that is the answer to one stands among them.
        """

        async def attempt(client: Client) -> list[Any]:
            async with client.pipeline(transaction=False) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command, **_UNDECODED)
                return await pipeline.execute(raise_on_error=False)

        return await self.attempt(attempt)

    async def attempt(self, attempt: Callable[[Client], Awaitable[_T]]) -> _T:
        """Make an attempt, and again as ``send`` does.

        Args:
            attempt: sends what does nothing when it comes again.
        """

        async def attempts() -> _T:
            try:
                return await self._attempts(attempt)
            except asyncio.CancelledError:
                if self._is_late or not is_carried():
                    raise
            # The answer to a write is lost, which is to be carried to its outcome.
            return await self._attempts(attempt)

        if sys.version_info < (3, 11) and not is_carried():  # see _cancellations
            return await settle(self._in_time(attempts()))
        return await self._in_time(attempts())

    async def transact(
        self,
        key: bytes,
        read: Command,
        plan: Callable[[Any], Sequence[Command] | None],
        *,
        alone: bool = False,
    ) -> list[Any] | None:
        """Read, decide and write in one step, or not at all.

        What failed before the commands were sent, or was refused, is tried again for about a
        second; where another writer was faster, it is begun anew.

        Args:
            key: what is read and written.
            read: the command whose reply the decision rests on.
            plan: makes the commands from that reply; None when there is nothing to do.
            alone: the plan is one command, which is a step of itself: it is sent without a
                transaction, into which a full server takes nothing at all.

        Returns:
            The replies to the commands; None when there was nothing to do.
        """
        is_sent = False

        async def attempt(client: Client) -> list[Any] | None:
            nonlocal is_sent
            is_sent = False
            try:
                async with _connection(client, key) as connection:
                    opening = [read] if alone else [("WATCH", key), read, ("MULTI",)]
                    found = await _exchange(connection, opening)
                    commands = plan(found[0 if alone else 1])
                    is_sent = True
                    if alone:
                        return await _exchange(connection, commands or ())
                    *_, replies = await _exchange(connection, [*(commands or ()), ("EXEC",)])
            except (AskError, MovedError):
                if not isinstance(client, RedisCluster):
                    raise
                is_sent = False
                # This makes redis-py look where the slot is now.
                await undecoded(client, *read)
                raise TryAgainError from None
            if commands is None:
                return None
            if replies is None:  # another writer was faster
                is_sent = False
                raise WatchError
            return _without_error(replies)

        # A task of its own: cut off by a cancellation, this could not be sent again.
        return await settle(self._in_time(self._attempts(attempt, lambda: not is_sent)))

    async def _in_time(self, sending: Awaitable[_T]) -> _T:
        """Give up at the deadline, also in the middle of what redis-py itself sends again."""
        task = asyncio.current_task(self._loop)

        def give_up() -> None:
            self._is_late = True
            if task:
                task.cancel()

        # asyncio.timeout would do, at three times the cost, which every operation pays.
        patience = self._loop.call_at(self._deadline, give_up)
        try:
            return await sending
        except asyncio.CancelledError:
            if not self._is_late:
                raise
            if task and sys.version_info >= (3, 11):
                task.uncancel()
        finally:
            patience.cancel()
        raise TimeoutError(f"Redis gave no answer for {PATIENCE_SECONDS:.0f} seconds")

    async def _attempts(
        self,
        attempt: Callable[[Client], Awaitable[_T]],
        may_resend: Callable[[], bool] = lambda: True,
    ) -> _T:
        """Try again for as long as that helps.

        Args:
            attempt: one attempt.
            may_resend: whether it may be made again after an error that is no answer of Redis.
        """
        task = asyncio.current_task(self._loop)
        cancellations = _cancellations(task)
        pauses: Pauses | None = None
        while not self._is_late:
            client = self._clients.current()
            error: Exception | None = None
            try:
                answer = await _noticing_closed(attempt(client))
            except (RedisError, RedisClusterException) as exc:
                error = exc
            if _cancellations(task) > cancellations:
                break
            if error is None:
                return answer
            if not isinstance(error, ResponseError) and not may_resend():
                raise error
            pauses = pauses or Pauses(0.02, 0.4)
            if _is_moving(error):
                pauses.forget_failures()
            else:
                if not (pauses.may_retry() and is_passing(error)):
                    raise error
                await _leave_demoted(client, error)
            await pauses.wait()  # not at all after the first failure
        raise asyncio.CancelledError


def _cancellations(task: asyncio.Task[Any] | None) -> int:
    """Return how often a task was cancelled, as far as Python counts that.

    Up to Python 3.11, redis-py's ``asyncio.wait_for`` returns as if nothing had been when a
    cancellation meets a result. 3.11 counts cancellations, so that none is lost. 3.10 does not,
    and there a command has a task of its own.
    """
    return task.cancelling() if task and sys.version_info >= (3, 11) else 0


def is_passing(error: Exception) -> bool:
    """Return whether it may be another answer in a moment."""
    # A cluster that cannot be connected to is told of with its reason as the cause.
    if isinstance(error, _LOGIN) or isinstance(error.__cause__, _LOGIN):
        return False
    return isinstance(error, _BROKEN) or _is_moving(error) or _code(error) is not None


def _is_moving(error: Exception) -> bool:
    if type(error) in _MOVING or _code(error) == "TRYAGAIN":
        return True
    # A script has looked at a key that is not in its KEYS, which has moved before the others.
    return isinstance(error, ResponseError) and "access a non local key" in str(error)


def _code(error: Exception) -> str | None:
    found = _CODE.search(str(error)) if isinstance(error, ResponseError) else None
    return found[1] if found else _CODES.get(type(error))


async def _leave_demoted(client: Client, error: Exception) -> None:
    """Let go of the idle connections if they lead to what is a replica now.

    Behind an address that stays, a new connection leads to the new primary.
    """
    if _code(error) in ("READONLY", "MASTERDOWN") and not isinstance(client, RedisCluster):
        if client.connection is not None:  # of a single_connection_client
            await client.connection.disconnect()
        await client.connection_pool.disconnect(inuse_connections=False)


@asynccontextmanager
async def _connection(client: Client, key: bytes) -> AsyncGenerator[AbstractConnection]:
    """Lend a connection to the server that holds the key; left in a mess, it is closed."""
    if isinstance(client, RedisCluster):
        await client.initialize()
        node = client.get_node_from_key(key.decode())
        if node is None:
            raise SlotNotCoveredError("no node of the cluster holds the key's slot")
        connection = node.acquire_connection()
    else:
        connection = await client.connection_pool.get_connection()
    try:
        yield connection
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    finally:
        if isinstance(client, RedisCluster):
            node.release(connection)
        else:
            await client.connection_pool.release(connection)


async def _exchange(connection: AbstractConnection, commands: Sequence[Command]) -> list[Any]:
    """Send commands at once and return their replies, or raise the first that is an error."""
    await connection.send_packed_command(connection.pack_commands(commands))
    return _without_error([await _reply(connection) for _ in commands])


async def _reply(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response(disable_decoding=True)
    except ResponseError as exc:  # the replies to the other commands follow
        return exc


def _without_error(replies: list[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies
