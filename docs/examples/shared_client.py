"""One client for many conversations, as a web server would keep it.

uv run --all-extras docs/examples/shared_client.py

Nothing here depends on a web framework: a `Chat` is made when the server starts, `reply`
is called by the request handlers, and any number of server processes may do the same.
"""

from __future__ import annotations

import asyncio

from agents import Agent, Runner, set_tracing_disabled
from local_model import choose_model
from local_servers import redis_url
from redis.asyncio import BlockingConnectionPool, Redis

from openai_agents_session import RedisSession


class Chat:
    """What the server holds on to: one agent and one client, whatever the number of users."""

    def __init__(self, url: str) -> None:
        # A blocking pool makes a request wait for a free connection instead of failing.
        pool = BlockingConnectionPool.from_url(url, max_connections=10)
        self.client = Redis.from_pool(pool)
        self.agent = Agent(name="Assistant", instructions="Be brief.", model=choose_model())

    async def reply(self, user: str, message: str) -> str:
        """Answer a request. Making a session costs nothing: no connection, no command."""
        # The id says whose conversation it is: take the user from the login, not the request.
        session = RedisSession(f"chat-{user}", self.client, ttl=3600)
        result = await Runner.run(self.agent, message, session=session)
        return str(result.final_output)


async def main(url: str) -> None:
    """Serve twenty users at once."""
    set_tracing_disabled(disabled=True)
    users = [f"user{number}" for number in range(20)]
    chat = Chat(url)
    async with chat.client:  # closed when the server ends
        await asyncio.gather(*(chat.reply(user, f"My name is {user}.") for user in users))
        answers = await asyncio.gather(*(chat.reply(user, "What is my name?") for user in users))
        for user, answer in list(zip(users, answers, strict=True))[:3]:
            print(f"{user}: {answer}")
        right = sum(user in answer for user, answer in zip(users, answers, strict=True))
        print(f"{right} of {len(users)} users were recognised, over one pool of 10 connections")
        await asyncio.gather(
            *(RedisSession(f"chat-{user}", chat.client).clear_session() for user in users)
        )


if __name__ == "__main__":
    with redis_url() as url:
        asyncio.run(main(url))
