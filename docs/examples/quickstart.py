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
from functools import partial
from importlib import import_module
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from agents import Agent, Runner, function_tool, set_tracing_disabled
from local_model import choose_model, text_of
from local_servers import database_url, dynamodb_url, redis_url
from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from openai_agents_session import DatabaseSession, DynamoDBSession, RedisSession

    Opened = AbstractAsyncContextManager[RedisSession | DynamoDBSession | DatabaseSession]

BACKENDS = {
    "redis": redis_url,
    "dynamodb": dynamodb_url,
    "database": partial(database_url, "quickstart"),
}
ADDRESS = "QUICKSTART_ADDRESS"  # the second process's environment: a URL may hold a password

FIRST_RUN = ["Hello! My name is Ada.", "What is the weather in Lisbon?", "What is my name?"]
LATER_RUN = ["I am back. What is the weather in Oslo?", "Do you still know my name?"]
SECOND_PROCESS = ["What did I say first?"]

console = Console(highlight=False)
if not console.is_terminal:  # then it writes plain text, and need not fold it
    console.width = 120
COLOURS = {
    "user": "bold cyan",
    "assistant": "bold green",
    "function_call": "yellow",
    "function_call_output": "yellow",
}


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
        found = f"Process {os.getpid()} finds {known} items in session {session.session_id!r}."
        console.print("", Text(found, "bold"), sep="\n")

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


def print_item(item: Any) -> None:
    """Print what was said or done, as soon as it was."""
    kind, words = kind_and_text(item)
    kind.align("left", 22)
    line = Table.grid()  # folds the words beside the kind
    line.add_row(kind, words)
    console.print(line)


def print_stored(where: str, first: int, records: list[str], ttl: int | None) -> None:
    """Print what lies in the store: a JSON text for each item, and the expiry if there is one."""
    table = Table(title=Text(where), title_justify="left", box=box.SIMPLE)
    table.add_column("no.", justify="right")
    table.add_column("kind")
    table.add_column("text", overflow="fold")
    table.add_column("bytes", justify="right")
    for number, record in list(enumerate(records, first))[-12:]:  # the newest
        size = str(len(record.encode()))
        table.add_row(str(number), *kind_and_text(json.loads(record)), size)
    console.print("", table, sep="\n")
    if ttl is None:
        console.print("There is no TTL: a SQL database keeps it until you delete it.")
    else:
        console.print(f"Remaining TTL: {ttl} s. Every write starts it anew.")


def kind_and_text(item: Any) -> tuple[Text, Text]:
    """Say what a conversation item is, in the form in which the session stores it."""
    kind, words = item.get("role") or item.get("type"), text_of(item)
    if kind == "function_call":
        words = f"{item['name']}({item['arguments']})"
    elif kind == "function_call_output":
        words = str(item["output"])
    return Text(kind, COLOURS.get(kind, "")), Text(shorten(words, 90, placeholder=" …"))


def main() -> None:
    """Talk, let a second process go on talking, and show what is stored."""
    parser = argparse.ArgumentParser(description="A conversation that is kept in a store.")
    parser.add_argument("--backend", choices=list(BACKENDS), default="redis")
    parser.add_argument("--session-id", default="quickstart", help="which conversation to continue")
    parser.add_argument("--reset", action="store_true", help="forget the conversation first")
    parser.add_argument("--second", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    store: Any = import_module(f"quickstart_{options.backend}")  # and no driver of another store
    set_tracing_disabled(True)

    if options.second:
        opened = store.open_session(os.environ[ADDRESS], options.session_id)
        asyncio.run(talk(opened, second=True))
        return
    with BACKENDS[options.backend]() as address:
        print(f"Model: {'a local one' if choose_model() else 'OpenAI, by OPENAI_API_KEY'}")
        asyncio.run(talk(store.open_session(address, options.session_id), reset=options.reset))

        told = "It is told the conversation's id and where the store is, and nothing that was said."
        console.print(
            "", Panel.fit(told, title="A new process remembers", style="magenta"), sep="\n"
        )
        sys.stdout.flush()
        same = ["--backend", options.backend, "--session-id", options.session_id]
        subprocess.run(
            [sys.executable, __file__, "--second", *same],
            env={**os.environ, ADDRESS: address},
            check=True,
        )
        print_stored(*asyncio.run(store.stored(address, options.session_id)))
        console.print(store.AFTERWARDS)


if __name__ == "__main__":
    main()
