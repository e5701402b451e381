"""Forks of an interpreter are what interpreters are."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

from tests.interpreters import run_python

if TYPE_CHECKING:
    from pathlib import Path


def test_code_is_run_as_python_would(tmp_path: Path) -> None:
    """Arguments, environment, directory, both outputs and the exit code are its own."""
    code = "import os, sys; print(sys.argv, dict(os.environ), os.getcwd(), __name__); sys.exit('Ü')"
    done = run_python("-c", code, "an argument", env={"A": "B"}, cwd=tmp_path)

    assert done.stdout == f"['-c', 'an argument'] {{'A': 'B'}} {tmp_path} __main__\n"
    assert (done.returncode, done.stderr) == (1, "Ü\n")


def test_a_script_and_a_module_are_run(tmp_path: Path) -> None:
    """Each finds its neighbours, as Python's path has them."""
    (tmp_path / "neighbour.py").write_text("NAME = 'Ada'")
    (tmp_path / "script.py").write_text("import sys, neighbour; print(neighbour.NAME, *sys.argv)")

    by_path = run_python(tmp_path / "script.py", "1")
    by_name = run_python("-m", "script", "1", cwd=tmp_path)

    assert by_path.stdout == by_name.stdout == f"Ada {tmp_path / 'script.py'} 1\n"


def test_nothing_but_the_sdk_is_imported() -> None:
    """None of the drivers, of the tests, or of this library; and one leaves nothing to the next."""
    loaded = "import sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    run_python("-c", "import redis")
    names = run_python("-c", loaded).stdout.split()

    assert "agents" in names
    ours = {"tests", "pytest", "openai_agents_session", "redis", "aiobotocore", "sqlalchemy"}
    assert not ours & set(names)


def test_what_is_left_open_and_what_hangs_is_told() -> None:
    """A resource warning is printed; what takes too long is killed."""
    leaking = run_python("-c", "open('/dev/null')")
    hanging = run_python("-c", "import time; time.sleep(100)", timeout=0.1)

    assert "ResourceWarning: unclosed file" in leaking.stderr
    assert hanging.returncode == -signal.SIGKILL
    assert run_python("-c", "print(1)").stdout == "1\n"
    assert run_python("-c", "import sys; print(sys.executable)").stdout == f"{sys.executable}\n"
    assert run_python("-c", "import os; print(os.getppid())").stdout != f"{os.getpid()}\n"
