"""What the replay tokens cost in memory: the live ones, as many as writes in their life."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

from redis.asyncio import BlockingConnectionPool, Redis

from openai_agents_session import RedisSession
from openai_agents_session._serializer import serialize
from openai_agents_session.redis import DEFAULT_KEY_PREFIX
from openai_agents_session.redis._conversation import TOKEN_SECONDS
from tests.benchmarks.conversation import turn
from tests.benchmarks.measure import table

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Write = Callable[[str], Awaitable[object]]

WRITERS = 20


async def run(url: str, writes_a_second: int, sessions: int) -> str:
    """Write what a token's life sees, with tokens and without, on an empty server of our own."""
    ids = [f"user-{uuid.uuid4()}" for _ in range(sessions)]
    writes = writes_a_second * TOKEN_SECONDS
    texts = serialize(turn(0))
    async with Redis(connection_pool=BlockingConnectionPool.from_url(url)) as client:

        async def without(session_id: str) -> None:
            await client.rpush(f"{DEFAULT_KEY_PREFIX}:{session_id}", *texts)

        async def with_token(session_id: str) -> None:
            await RedisSession(session_id, client).add_items(turn(0))

        plain, _ = await _memory_after(client, ids, writes, without)
        total, keys = await _memory_after(client, ids, writes, with_token)
    tokens = keys - sessions
    each = (total - plain) / tokens
    rows = [
        ["live tokens measured", f"{tokens:,} of {writes:,}"],
        ["memory for each", f"{each:,.0f} bytes"],
        [f"at {writes_a_second:,} writes a second", f"{each * writes / 1e6:.1f} MB"],
    ]
    return table([f"{writes:,} writes to {sessions:,} sessions", "figure"], rows)


async def _memory_after(
    client: Redis, ids: list[str], writes: int, write: Write
) -> tuple[int, int]:
    """The memory in use and the number of keys when all is written to an empty server."""
    # Connections and the script stay, so they must be there before.
    await asyncio.gather(*(write(ids[0]) for _ in range(WRITERS)))
    await client.execute_command("FLUSHALL", "SYNC")  # Valkey would free it in its own time
    before = (await client.info("memory"))["used_memory"]
    queue = iter(ids[number % len(ids)] for number in range(writes))

    async def writer() -> None:
        for session_id in queue:
            await write(session_id)

    await asyncio.gather(*(writer() for _ in range(WRITERS)))
    # The keys first: a token that expires in between makes each look cheaper, not dearer.
    keys = await client.dbsize()
    return (await client.info("memory"))["used_memory"] - before, keys
