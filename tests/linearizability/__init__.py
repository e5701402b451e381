"""Is a history of a leased conversation linearizable? Porcupine says so, and no code of ours.

A history is what several processes asked of a conversation, when, and what they were answered. It
is linearizable if all of it could have happened one after the other, each operation at a moment
between its call and its answer, and all with these answers. ``main.go`` says what an operation
does to a log that leases fence; Porcupine (``go.mod``), a library in Go that others test their
databases with, searches for the order. It is compiled once, with the Go of the development
dependencies. The first test that needs it does that; ``python -m tests.linearizability`` does it
beforehand.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from tests.downloads import downloaded, run

if TYPE_CHECKING:
    from collections.abc import Iterable

Operation: TypeAlias = "dict[str, Any]"
"""What was asked and answered, as ``main.go`` describes it."""

SOURCES = [Path(__file__).with_name(name) for name in ("main.go", "go.mod", "go.sum")]


def assert_linearizable(history: Iterable[Operation]) -> None:
    """Assert that there is an order in which all of it could have happened."""
    answer = checked(history)
    assert answer["verdict"] == "linearizable", answer


def checked(history: Iterable[Operation]) -> dict[str, Any]:
    """Return the verdict on a history, and some operations that stand in the way.

    Raises:
        DownloadError: the checker cannot be compiled here.
    """
    lines = "\n".join(map(json.dumps, history))
    assert lines  # of no operation, nothing is proven
    said = subprocess.run([install()], input=lines, stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(said.stdout)
    return answer


def install() -> Path:
    """Compile the checker, if that was not done yet, and return its path.

    Raises:
        DownloadError: the module proxy cannot be reached, or Go fails; the message says why.
    """
    version = hashlib.sha256(b"".join(source.read_bytes() for source in SOURCES)).hexdigest()[:12]
    return downloaded(f"linearizability-{version}", _compile) / "checker"


def _compile(directory: Path) -> None:
    go = str(Path(sysconfig.get_path("scripts")) / "go")
    with tempfile.TemporaryDirectory() as temporary:
        # What the compiler keeps beside its result, 50 MB, goes away.
        env = {
            "CGO_ENABLED": "0",
            "GOCACHE": f"{temporary}/cache",
            "GOPATH": f"{temporary}/path",
            "GOTOOLCHAIN": "local",
        }
        command = (go, "build", "-modcacherw", "-buildvcs=false", "-o", str(directory / "checker"))
        run(*command, at=SOURCES[0].parent, env=env)
