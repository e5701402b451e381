"""A conversation that Redis cannot read: the SDK's EncryptedSession on a RedisSession.

uv run --all-extras docs/examples/encrypted.py
"""

from __future__ import annotations

import asyncio
import os

from agents import Agent, Runner, set_tracing_disabled
from agents.extensions.memory import EncryptedSession
from cryptography.fernet import Fernet
from local_model import choose_model
from local_servers import redis_url

from openai_agents_session import RedisSession


async def main(url: str) -> None:
    """Talk through the encryption, and look at what is stored without the key."""
    set_tracing_disabled(disabled=True)
    # In earnest the key comes from a secret store: without it the history is lost.
    key = os.environ.get("SESSION_KEY") or Fernet.generate_key().decode()
    agent = Agent(name="Assistant", instructions="Be brief.", model=choose_model())

    async with RedisSession.from_url("encrypted-demo", url, ttl=3600) as store:
        await store.clear_session()
        # `ttl` is how old an item may be when it is read (600 s if you do not say);
        # the store's own `ttl` deletes the conversation as a whole.
        session = EncryptedSession("encrypted-demo", store, encryption_key=key, ttl=3600)
        for message in ["My secret number is 4711.", "What did I say first?"]:
            result = await Runner.run(agent, message, session=session)
            print(f"agent:   {result.final_output}")

        first, *_ = await store.get_items()
        print(f"in Redis: {str(first)[:70]}…")
        print("readable in Redis:", "4711" in str(await store.get_items()))

        # Only read with a key that may be wrong: a pop would delete all that it cannot read.
        wrong = EncryptedSession("encrypted-demo", store, encryption_key="another key", ttl=3600)
        print("with another key:", await wrong.get_items())
        await store.clear_session()


if __name__ == "__main__":
    with redis_url() as url:
        asyncio.run(main(url))
