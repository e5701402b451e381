"""A streamed answer: it is printed as it comes, and stored when it is complete.

uv run --all-extras docs/examples/streaming.py
"""

from __future__ import annotations

import asyncio

from agents import Agent, Runner, set_tracing_disabled
from local_model import choose_model
from local_servers import redis_url
from openai.types.responses import ResponseTextDeltaEvent

from openai_agents_session import RedisSession


async def main(url: str) -> None:
    """Stream two answers, the second of which depends on the first turn."""
    set_tracing_disabled(disabled=True)
    agent = Agent(name="Assistant", instructions="Be brief.", model=choose_model())
    async with RedisSession.from_url("streaming-demo", url, ttl=3600) as session:
        await session.clear_session()
        for message in ["Good morning, Redis!", "What did I say first?"]:
            print(f"you:    {message}\nagent:  ", end="")
            result = Runner.run_streamed(agent, message, session=session)
            # The turn is stored by the time this loop ends, so read the stream to its end.
            async for event in result.stream_events():
                if event.type == "raw_response_event" and isinstance(
                    event.data, ResponseTextDeltaEvent
                ):
                    print(event.data.delta, end="", flush=True)
            print()
        print("stored:", [item.get("role") for item in await session.get_items()])
        await session.clear_session()


if __name__ == "__main__":
    with redis_url() as url:
        asyncio.run(main(url))
