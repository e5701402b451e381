"""Quick start: a conversation that is kept in a store and continued by another process.

    uv run --all-extras docs/examples/quickstart.py [--backend redis|dynamodb|database]
        [--session-id ID] [--reset]

Redis: REDIS_URL names the server. Without it, an embedded Valkey is started for the run;
its data lies in a file under ~/.cache, so that the next run goes on where this one ends.
DynamoDB: DYNAMODB_ENDPOINT_URL names the service. Without it, an embedded moto server is
started for the run; its data is gone with it.
SQL: DATABASE_URL names the database, such as postgresql+asyncpg://user:password@host/name.
Without it, a SQLite file under ~/.cache.
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
from importlib import import_module
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from agents import Agent, Runner, function_tool, set_tracing_disabled
from local_model import choose_model, text_of

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from openai_agents_session import DatabaseSession, DynamoDBSession, RedisSession

    Opened = AbstractAsyncContextManager[RedisSession | DynamoDBSession | DatabaseSession]

FIRST_RUN = ["Hello! My name is Ada.", "What is the weather in Lisbon?", "What is my name?"]
LATER_RUN = ["I am back. What is the weather in Oslo?", "Do you still know my name?"]
SECOND_PROCESS = ["What did I say first?"]


@function_tool
def get_weather(city: str) -> str:
    """Return today's weather in a city."""
    forecast = {"Lisbon": "sunny, 24 °C", "Oslo": "snow, -3 °C"}
    return f"{city}: {forecast.get(city, 'cloudy, 15 °C')}"


async def talk(opened: Opened, *, second: bool = False, reset: bool = False) -> None:
    """Say a few things to the agent. All that is remembered is in the session."""
    async with opened as session:
        if reset:
            await session.clear_session()
        known = len(await session.get_items())
        print(f"\nProcess {os.getpid()} finds {known} items in session {session.session_id!r}.")

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


def show(where: str, first: int, records: list[str], ttl: int | None) -> None:
    """Print what lies in the store: a JSON text for each item, and the expiry if there is one."""
    print(f"\n{where}; the newest:")
    for number, record in list(enumerate(records, first))[-12:]:
        print_item(json.loads(record), f"{number:4}.", f"({len(record.encode())} bytes)")
    if ttl is not None:
        print(f"\nRemaining TTL: {ttl} s. Every write starts it anew.")


def print_item(item: Any, before: str = "  ", after: str = "") -> None:
    """Print a conversation item, in the form in which the session stores it, as a line."""
    kind, words = item.get("role") or item.get("type"), text_of(item)
    if kind == "function_call":
        words = f"{item['name']}({item['arguments']})"
    elif kind == "function_call_output":
        words = str(item["output"])
    print(f"{before} {kind:<20}  {shorten(words, 90, placeholder=' …')}  {after}".rstrip())


def main() -> None:
    """Talk, let a second process go on talking, and show what is stored."""
    parser = argparse.ArgumentParser(description="A conversation that is kept in a store.")
    parser.add_argument("--backend", choices=["redis", "dynamodb", "database"], default="redis")
    parser.add_argument("--session-id", default="quickstart", help="which conversation to continue")
    parser.add_argument("--reset", action="store_true", help="forget the conversation first")
    parser.add_argument("--second", metavar="ADDRESS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    store: Any = import_module(f"quickstart_{options.backend}")  # and no driver of another store
    set_tracing_disabled(True)

    if options.second:
        address = os.environ[options.second]
        asyncio.run(talk(store.open_session(address, options.session_id), second=True))
        return
    with store.address() as address:
        print(f"Model: {'a local one' if choose_model() else 'OpenAI, by OPENAI_API_KEY'}")
        asyncio.run(talk(store.open_session(address, options.session_id), reset=options.reset))
        sys.stdout.flush()
        # The second process gets the session's id and the store's address: no history.
        same = ["--backend", options.backend, "--session-id", options.session_id]
        subprocess.run(
            [sys.executable, __file__, "--second", store.VARIABLE, *same],
            env={**os.environ, store.VARIABLE: address},
            check=True,
        )
        show(*asyncio.run(store.stored(address, options.session_id)))
        print(store.AFTERWARDS)


if __name__ == "__main__":
    main()
