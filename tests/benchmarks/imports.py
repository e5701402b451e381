"""What ``import openai_agents_session`` adds to a bare interpreter."""

from __future__ import annotations

import subprocess
import sys
from statistics import median
from time import perf_counter

from tests.benchmarks.measure import table

STATEMENTS = {
    "bare interpreter": "pass",
    "import openai_agents_session": "import openai_agents_session",
    "from openai_agents_session import RedisSession": (
        "from openai_agents_session import RedisSession"
    ),
}


def run(iterations: int) -> str:
    """Start interpreters in turn and return a table of median times and differences."""
    times: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for statement in STATEMENTS.values():
        _milliseconds(statement)  # files into the page cache, bytecode onto the disk
    for number in range(iterations):
        for name, statement in STATEMENTS.items():
            # The last one takes over a second; its figure is for information.
            if name != list(STATEMENTS)[-1] or number % 10 == 0:
                times[name].append(_milliseconds(statement))
    bare = median(times["bare interpreter"])
    rows = [
        [f"`{name}`", f"{median(values):.1f} ms", f"{median(values) - bare:+.1f} ms"]
        for name, values in times.items()
    ]
    return table(["interpreter", "median", "over a bare one"], rows)


def _milliseconds(statement: str) -> float:
    start = perf_counter()
    subprocess.run([sys.executable, "-I", "-c", statement], check=True)
    return (perf_counter() - start) * 1000
