"""Each method of a RedisSession, without an agent.

uv run --all-extras docs/examples/redis_basics.py
"""

from __future__ import annotations

import asyncio

import redis.asyncio as redis
from local_servers import redis_url

from openai_agents_session import RedisSession


async def main(url: str) -> None:
    """Write, read, take back, replace and forget a conversation."""
    async with redis.from_url(url) as client:
        session = RedisSession("basics-demo", client, ttl=3600)
        await session.clear_session()

        # A batch is written whole or not at all, and exactly once.
        await session.add_items([{"role": "user", "content": "one"}])
        await session.add_items(
            [
                {"role": "assistant", "content": "two"},
                {"role": "user", "content": "three"},
            ]
        )
        print("all:      ", [item.get("content") for item in await session.get_items()])
        print("newest 2: ", [item.get("content") for item in await session.get_items(limit=2)])

        popped = await session.pop_item()  # the newest, and no other caller gets it
        print("popped:   ", popped and popped.get("content"))

        # What is stored is one list, whose expiry every write moves to an hour from now.
        print("TTL:      ", await client.ttl("openai_agents_session:basics-demo"), "s")

        # The whole history is swapped in one step: no reader sees it half done.
        await session.replace_items([{"role": "user", "content": "a summary"}])
        print("replaced: ", [item.get("content") for item in await session.get_items()])

        await session.clear_session()
        print("cleared:  ", await session.get_items(), "- popped:", await session.pop_item())


if __name__ == "__main__":
    with redis_url() as url:
        asyncio.run(main(url))
