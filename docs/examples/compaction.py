"""A long conversation that shrinks: the SDK's compaction session on a RedisSession.

uv run --all-extras docs/examples/compaction.py

Compaction is a service of the OpenAI API. Without OPENAI_API_KEY a stand-in takes its
place here, which only counts what it was given: a real summary needs the real service.
"""

from __future__ import annotations

import asyncio
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from agents import Agent, Runner, set_tracing_disabled
from agents.memory import OpenAIResponsesCompactionSession
from local_model import choose_model
from local_servers import redis_url

from openai_agents_session import RedisSession

if TYPE_CHECKING:
    from openai import AsyncOpenAI


async def compact(*, input: list[Any], **_: Any) -> Any:  # noqa: A002 - the API's own word
    """Stand in for the API's `responses.compact`."""
    summary = {"role": "assistant", "content": f"(in short: {len(input)} items were here)"}
    return SimpleNamespace(output=[summary], usage=None)


STAND_IN: Any = SimpleNamespace(responses=SimpleNamespace(compact=compact))


async def main(url: str, client: AsyncOpenAI | None = None) -> None:
    """Talk until the history is compacted; ``client`` defaults to the SDK's own."""
    set_tracing_disabled(disabled=True)
    agent = Agent(name="Assistant", instructions="Be brief.", model=choose_model())
    async with RedisSession.from_url("compaction-demo", url, ttl=3600) as store:
        await store.clear_session()
        session = OpenAIResponsesCompactionSession(
            "compaction-demo",
            store,
            client=client,
            compaction_mode="input",  # send what is stored here, not what the API remembers
            should_trigger_compaction=lambda seen: len(seen["compaction_candidate_items"]) >= 3,
        )
        for message in ["One.", "Two.", "Three.", "Four."]:
            await Runner.run(agent, message, session=session)
            # The stored history was replaced in one atomic step, or not at all.
            print(f"after {message!r}: {len(await store.get_items())} items stored")
        print("the oldest is now:", (await store.get_items())[0])
        await store.clear_session()


if __name__ == "__main__":
    with redis_url() as url:
        asyncio.run(main(url, None if os.environ.get("OPENAI_API_KEY") else STAND_IN))
