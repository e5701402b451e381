"""The contenders as processes: this library, release 0.1.0, and one item by hand."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator

ROOT = Path(__file__).parents[2]
RELEASE = "0.1.0"
PINNED = ("aiobotocore", "botocore", "aiohttp", "openai-agents")


@dataclass(frozen=True)
class Bill:
    """What one operation took.

    Attributes:
        read: read units.
        write: write units, those of refused conditional writes included.
        refused: the write units of these.
        requests: the names of the requests that were sent.
        seconds: on the clock.
        items: how many were read.
        error: what the client raised instead.
    """

    read: float
    write: float
    refused: float
    requests: list[str]
    seconds: float = 0.0
    items: int | None = None
    error: str = ""

    @property
    def sealed(self) -> bool:
        """Whether a page was stored."""
        return "BatchWriteItem" in self.requests


class Peer:
    """A process that runs ``dynamodb_driver``."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def open(self, session_id: str, **options: Any) -> None:
        """Make a session object, which has read nothing yet."""
        self._ask("open", session_id, options)

    def add(self, start: int, turns: int = 1) -> Bill:
        """Append turns as one batch."""
        return Bill(**self._ask("add", start, turns))

    def get(self, limit: int | None = None) -> Bill:
        """Read the newest items, or all."""
        return Bill(**self._ask("get", limit))

    def _ask(self, *command: object) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        with contextlib.suppress(BrokenPipeError):  # then there is no answer either
            stdin.write(json.dumps(command) + "\n")
            stdin.flush()
        line = stdout.readline()
        if not line:
            raise RuntimeError(f"a contender ended: {self._process.wait()}")
        return json.loads(line)


@contextlib.contextmanager
def running(url: str, table: str, layout: str, python: str = sys.executable) -> Generator[Peer]:
    """Run a contender on an emulator's table for the duration of a ``with``."""
    command = [python, "-m", "tests.benchmarks.dynamodb_driver", url, table, layout]
    hidden = {"PYTHONPATH", "VIRTUAL_ENV"}
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in hidden},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Peer(process)
        finally:
            process.kill()


@contextlib.contextmanager
def release() -> Generator[str]:
    """Install the release into an environment of its own, and name its interpreter.

    All that could make a difference is of the same versions as here.
    """
    uv = os.environ.get("UV", "uv")
    with tempfile.TemporaryDirectory(prefix="oas-") as directory:
        python = str(Path(directory, "venv", "bin", "python"))
        pins = [f"{name}=={version(name)}" for name in PINNED]
        for command in (
            [uv, "venv", "--python", sys.executable, "venv"],
            [uv, "pip", "install", "--python", python, f"openai-agents-session=={RELEASE}", *pins],
        ):
            # In a directory of its own, so that this project's settings are not meant.
            done = subprocess.run(
                command, cwd=directory, capture_output=True, text=True, check=False, timeout=300
            )
            if done.returncode:
                raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
        yield python
