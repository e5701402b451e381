"""Two agents share one session: a handoff and a tool call become part of the history.

uv run --all-extras docs/examples/tools_and_handoffs.py
"""

from __future__ import annotations

import asyncio

from agents import Agent, Runner, function_tool, set_tracing_disabled
from local_model import choose_model
from local_servers import redis_url

from openai_agents_session import RedisSession


@function_tool
def refund_order(order_id: str) -> str:
    """Pay an order back."""
    return f"order {order_id} is refunded"


billing = Agent(
    name="Billing agent",
    instructions="You handle refunds, with your tool.",
    tools=[refund_order],
    model=choose_model(),
)
triage = Agent(
    name="Triage agent",
    instructions="You greet customers. Hand everything about billing over.",
    handoffs=[billing],
    model=choose_model(),
)


async def main(url: str) -> None:
    """Let the first agent hand over, then ask the second one about what the first heard."""
    set_tracing_disabled(disabled=True)
    async with RedisSession.from_url("handoff-demo", url, ttl=3600) as session:
        await session.clear_session()
        for message in ["Hello, my name is Ada.", "Billing, please: refund order A17."]:
            result = await Runner.run(triage, message, session=session)
            print(f"{result.last_agent.name}: {result.final_output}")

        # The session belongs to no agent: this one was not there when Ada introduced herself.
        result = await Runner.run(billing, "What is my name?", session=session)
        print(f"{result.last_agent.name}: {result.final_output}")

        for item in await session.get_items():
            print("  stored:", item.get("role") or item.get("type"), item.get("name", ""))
        await session.clear_session()


if __name__ == "__main__":
    with redis_url() as url:
        asyncio.run(main(url))
