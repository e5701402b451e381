"""Writing to Redis where no scripts may be run: one transaction, never sent again.

    WATCH key, a read, MULTI    one round trip; where anything is refused, nothing is done
    the commands, EXEC          the second; EXEC does nothing if the key has changed

redis-py's own pipeline will not do: it sends MULTI together with the commands, which are
carried out one by one where MULTI is forbidden; its errors quote the commands, which are
the conversation; and it sends again by itself what has no token.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeAlias

from redis.asyncio import RedisCluster
from redis.exceptions import AskError, MovedError, ResponseError, SlotNotCoveredError

from openai_agents_session._pauses import RETRY_SECONDS
from openai_agents_session._redis_sending import FAILURES, is_passing, leave_demoted, told

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from redis.asyncio.connection import AbstractConnection

    from openai_agents_session._redis_client import Client

    Command: TypeAlias = tuple[Any, ...]
    Plan: TypeAlias = Callable[[Any], Sequence[Command] | None]


async def write(
    here: Callable[[], Client],
    key: bytes,
    read: Command,
    plan: Plan,
    *,
    alone: bool = False,
) -> list[Any] | None:
    """Read, decide and write in one step, or not at all.

    What failed before the commands were sent, or was refused, is tried again for about a
    second; where another writer was faster, it is begun anew.

    Args:
        here: gives the client whose connections may be used here and now.
        key: what is read and written.
        read: the command whose reply the decision rests on.
        plan: makes the commands from that reply; None when there is nothing to do.
        alone: the plan is one command, which is a step of itself: it is sent without a
            transaction, into which a full server takes nothing at all.

    Returns:
        The replies to the commands; None when there was nothing to do.

    Raises:
        redis.exceptions.RedisError: as Redis or redis-py says. A broken connection leaves
            it open whether the commands were carried out.
    """
    loop = asyncio.get_running_loop()
    soon = pause = 0.0
    while True:
        client = here()
        begun, error = False, None
        try:
            async with _connection(client, key) as connection:
                opening = [read] if alone else [("WATCH", key), read, ("MULTI",)]
                found = await _exchange(connection, opening)
                commands = plan(found[0 if alone else 1])
                begun = True
                if alone:
                    return await _exchange(connection, commands or ())
                *_, replies = await _exchange(connection, [*(commands or ()), ("EXEC",)])
                if commands is None:
                    return None
                if replies is not None:
                    return _without_error(replies)
        except FAILURES as exc:
            error = told(client, exc)
        if error is None:
            pass  # another writer was faster
        elif begun and not isinstance(error, ResponseError):
            raise error
        elif isinstance(client, RedisCluster) and isinstance(error, (MovedError, AskError)):
            soon = 0.0
            with suppress(*FAILURES):  # this makes redis-py look where the slot is now
                await client.execute_command("EXISTS", key)
        else:
            soon = soon or loop.time() + RETRY_SECONDS
            if loop.time() > soon or not is_passing(error):
                raise error
            await leave_demoted(client, error)
        await asyncio.sleep(pause * random.random())  # noqa: S311 - no secret
        pause = min(2 * pause or 0.02, 0.4)


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
