"""The command: ``python -m tests.benchmarks [NAME]``; ``--help`` says which there are."""

from __future__ import annotations

import argparse
import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING

from tests.benchmarks import (
    databases,
    dynamodb,
    imports,
    leases,
    serializing,
    sessions,
    stores,
    tokens,
)
from tests.dynamodb.emulators import forget_machine_settings
from tests.servers import RedisServer, find_binary

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_SERVER = "redis" if find_binary("redis") else "valkey"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one benchmark, by default that of the command line, and print its Markdown table."""
    options = _parser().parse_args(arguments)
    if options.benchmark == "import":
        print(imports.run(options.iterations or 50))
    elif options.benchmark == "serializer":
        print(asyncio.run(serializing.run(options.iterations or 50)))
    elif options.benchmark == "dynamodb":
        forget_machine_settings()
        names = options.emulator or ["local", "dynalite"]
        print(dynamodb.run(names, options.iterations or 5, options.scale))
    elif options.benchmark == "database":
        print(asyncio.run(databases.run(options.url, options.iterations or 200, options.scale)))
    elif options.benchmark == "stores":
        forget_machine_settings()
        with ExitStack() as stack:
            url = options.url or stack.enter_context(RedisServer(options.server)).url
            print(asyncio.run(stores.run(url, options.conversations, options.iterations or 200)))
    elif options.benchmark == "leases":
        forget_machine_settings()
        with ExitStack() as stack:
            url = options.url or stack.enter_context(RedisServer(options.server)).url
            waiters, iterations = options.waiters, options.iterations or 2000
            print(asyncio.run(leases.run(url, iterations, waiters, options.scale)))
    elif options.benchmark == "tokens":
        with RedisServer(options.server) as server:
            print(asyncio.run(tokens.run(server.url, options.writes, options.sessions)))
    elif options.url:
        print(asyncio.run(sessions.run(options.url, options.iterations or 500, options.scale)))
    else:
        with RedisServer(options.server) as server:
            run = sessions.run(server.url, options.iterations or 500, options.scale)
            print(asyncio.run(run))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    add = parser.add_argument
    add("benchmark", nargs="?", default="sessions", choices=_BENCHMARKS, help=_BENCHMARKS_HELP)
    add("--server", default=DEFAULT_SERVER, choices=["redis", "valkey"], help="started for the run")
    add("--url", help=_URL_HELP)
    add("--iterations", type=int, help="runs of each operation (a fifth for the long read)")
    add("--scale", type=int, default=1, help="divide the sizes of the long histories")
    add("--writes", type=int, default=1000, help="tokens: writes a second")
    add("--sessions", type=int, default=1000, help="tokens: sessions that are written to")
    add("--conversations", type=int, default=10_000, help="stores: how many there are in all")
    add("--waiters", type=int, default=50, help="leases: how many wait for one")
    add("--emulator", action="append", choices=["dynalite", "local"], help=_EMULATOR_HELP)
    return parser


_BENCHMARKS = ["sessions", "stores", "leases", "import", "tokens"]
_BENCHMARKS += ["serializer", "dynamodb", "database"]
_URL_HELP = (
    "sessions: a server to measure on, touching own keys only; database: an empty one; stores, "
    "leases: whatever open_store takes"
)
_EMULATOR_HELP = "dynamodb: started for the run, given again for another (default: both)"
_BENCHMARKS_HELP = "what to measure (default: sessions)"

if __name__ == "__main__":
    main()
