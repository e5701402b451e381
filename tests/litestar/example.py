"""The example application as the tests run it, and clients of it."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from tests.servers import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Generator

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "litestar_app.py"
SECRET = "a secret of thirty-two characters"
# Not the name of the OpenAPI example, which schemathesis registers with a password of its own.
ADA = {"name": "ada.lovelace", "password": "a-password-of-ada"}
BOB = {"name": "bob", "password": "a-password-of-bob"}


def data(directory: Path) -> Path:
    """The example's file, where this is the user's cache directory."""
    return directory / "openai-agents-session" / "chat.db"


@contextmanager
def running(directory: Path, port: int | None = None, **environment: str) -> Generator[str]:
    """Run the example as its reader does, and yield where it answers."""
    port = port or free_port()
    hidden = {"OPENAI_API_KEY", "DATABASE_URL", "JWT_SECRET"}
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    with (directory / "log").open("w+") as log:
        process = subprocess.Popen(
            [sys.executable, str(EXAMPLE), str(port)],
            cwd=directory,
            env={
                **kept,
                "PYTHONUTF8": "1",
                "LOGINS_A_MINUTE": "10000",
                "XDG_CACHE_HOME": str(directory),
                **environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:

            def answers() -> bool:
                assert process.poll() is None, (directory / "log").read_text()
                return "Uvicorn running" in (directory / "log").read_text()

            wait_until(answers, "the example", 90)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)


@contextmanager
def logged_in(site: str, who: dict[str, str]) -> Generator[httpx.Client]:
    """A client with the cookie of a user, who is registered if need be."""
    with httpx.Client(base_url=site, timeout=60) as client:
        assert client.post("/register", json=who).status_code in {204, 409}
        assert client.post("/login", json=who).status_code == 204
        yield client
