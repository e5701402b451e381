"""Sending a command to Redis until its outcome is known, and never too late.

One deadline holds for all that an operation sends, from its start: for waiting for a
connection, for what redis-py sends again by itself, and for what is sent again here. What
may be sent again either was not executed, as Redis says, or carries a token.

This module knows redis-py, and nothing of sessions.
"""

from __future__ import annotations

import asyncio
import random
import re
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from redis.asyncio import RedisCluster
from redis.client import NEVER_DECODE
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ClusterDownError,
    ClusterError,
    ConnectionError,
    MasterDownError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TimeoutError,
    TryAgainError,
)

from openai_agents_session._pauses import RETRY_SECONDS
from openai_agents_session._settle import settle

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from openai_agents_session._redis_client import Client

PATIENCE_SECONDS = 50.0
"""How long one operation may go on, resends included."""

UNDECODED = {NEVER_DECODE: True}  # one record that is not UTF-8 would fail the whole reply

# Both are ConnectionErrors in redis-py.
FINAL = (AuthenticationError, AuthorizationError)

FAILURES = (RedisError, RedisClusterException, AttributeError)
"""What is caught of redis-py; see ``told``."""

# Nothing was executed, for as long as the cluster moves the slot. redis-py follows MOVED,
# ASK and TRYAGAIN sixteen times, and then says that its "TTL" is exhausted.
_MOVING = (ClusterError, TryAgainError)

# The connection broke, and a token tells what became of the command; or nothing was executed.
_PASSING = (ConnectionError, TimeoutError, ClusterDownError, RedisClusterException)

# Nothing was executed either. Redis before 7 puts the code of a script's error behind "-",
# in the middle of its text, and redis-py has no class for all of them.
_DEMOTED = (ReadOnlyError, MasterDownError)
_CODE = re.compile(r"(?:^|[ :]-)(BUSY|MASTERDOWN|NOREPLICAS|READONLY|TRYAGAIN|CLUSTERDOWN) ")


def deadline_from_now() -> float:
    """Return when an operation that begins now must end, in the event loop's time."""
    return asyncio.get_running_loop().time() + PATIENCE_SECONDS


def sent(here: Callable[[], Client], deadline: float, *command: Any) -> Awaitable[Any]:
    """Send a command, and again while its answer is lost or the server says to come back.

    That is for about a second after the first failure, and while the slot moves in a
    cluster until the deadline.

    redis-py sends with ``asyncio.wait_for``, which up to Python 3.11 returns as if
    nothing had been when a cancellation meets a result. 3.11 counts cancellations, so
    none is lost; 3.10 does not, and there a command has a task of its own.

    Args:
        here: gives the client whose connections may be used here and now.
        deadline: nothing is sent after it, in the event loop's time.
        command: what is sent; a write must be safe to be sent again.

    Raises:
        redis.exceptions.RedisError, redis.exceptions.RedisClusterException: as the last
            attempt ended; ``TimeoutError`` at the deadline.
    """
    attempts = before(deadline, partial(_attempts, here, deadline, command))
    return attempts if sys.version_info >= (3, 11) else settle(attempts)


async def before(deadline: float, sending: Callable[[], Awaitable[Any]]) -> Any:
    """Give up at the deadline, also in the middle of what redis-py itself sends again.

    Raises:
        redis.exceptions.TimeoutError: at the deadline.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task(loop)
    over = False

    def give_up() -> None:
        nonlocal over
        over = True
        if task:
            task.cancel()

    # asyncio.timeout would do, at three times the cost, which every operation pays.
    patience = loop.call_at(deadline, give_up)
    try:
        return await sending()
    except asyncio.CancelledError:
        if not over:
            raise
        if task and sys.version_info >= (3, 11):
            task.uncancel()
        raise out_of_patience() from None
    finally:
        patience.cancel()


def out_of_patience() -> TimeoutError:
    """Return the error for an operation that is past its deadline."""
    return TimeoutError(f"Redis gave no answer for {PATIENCE_SECONDS:.0f} seconds")


def told(client: Client, failure: Exception) -> Exception:
    """Return what is to be told of a failure of ``client.execute_command``.

    A cluster's client closes its connections when the slots have moved, also those that
    other tasks are using, and trips over that.
    """
    if not isinstance(failure, AttributeError):
        return failure
    if not isinstance(client, RedisCluster):
        raise failure
    error = ConnectionError("redis-py closed the connection while it was used")
    error.__cause__ = failure
    return error


async def _attempts(here: Callable[[], Client], deadline: float, command: tuple[Any, ...]) -> Any:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task(loop)
    heard = _cancellations(task)
    soon = pause = 0.0
    while loop.time() < deadline:
        client = here()
        try:
            answer = await client.execute_command(*command, **UNDECODED)
        except FAILURES as exc:
            answer = told(client, exc)
        if _cancellations(task) > heard:
            raise asyncio.CancelledError
        if not isinstance(answer, Exception):
            return answer
        if _is_moving(answer):
            soon = 0.0
        else:
            soon = soon or loop.time() + RETRY_SECONDS
            if loop.time() > soon or not is_passing(answer):
                raise answer
            await leave_demoted(client, answer)
        # At once after the first loss; then later and later, and not in step with others.
        await asyncio.sleep(pause * random.random())  # noqa: S311 - no secret
        pause = min(2 * pause or 0.02, 0.4)
    raise out_of_patience()


def is_passing(error: Exception) -> bool:
    """Return whether it may be another answer in a moment."""
    # A cluster that cannot be connected to is told of with its reason as the cause.
    if isinstance(error, FINAL) or isinstance(error.__cause__, FINAL):
        return False
    return isinstance(error, (*_PASSING, *_MOVING, *_DEMOTED)) or _code(error) is not None


def _is_moving(error: Exception) -> bool:
    down = isinstance(error, ClusterDownError) or _code(error) == "CLUSTERDOWN"
    return not down and (isinstance(error, _MOVING) or _code(error) == "TRYAGAIN")


async def leave_demoted(client: Client, error: Exception) -> None:
    """Let go of the idle connections if they lead to what is a replica now.

    Behind an address that stays, a new connection leads to the new primary.
    """
    demoted = isinstance(error, _DEMOTED) or _code(error) in ("READONLY", "MASTERDOWN")
    if demoted and not isinstance(client, RedisCluster):
        if client.connection is not None:  # of a single_connection_client
            await client.connection.disconnect()
        await client.connection_pool.disconnect(inuse_connections=False)


def _code(error: Exception) -> str | None:
    found = _CODE.search(str(error)) if isinstance(error, ResponseError) else None
    return found and found[1]


def _cancellations(task: asyncio.Task[Any] | None) -> int:
    return task.cancelling() if task and sys.version_info >= (3, 11) else 0
