"""What the tests need and no Python package has: fetched once, and kept for all test runs.

It lies in the user's cache directory, one directory for each name and version, which whole
test runs and xdist workers share.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DOWNLOAD_SECONDS = 540.0  # a slow network; DynamoDB Local is 50 MB in eighty files


class DownloadError(Exception):
    """Something cannot be had on this machine; the message has the reason."""


def downloaded(name: str, fetch: Callable[[Path], None]) -> Path:
    """The directory of a download, made whole or not at all by the first who comes.

    Args:
        name: what it is, with its version.
        fetch: is given an empty directory to fill, if there is none of this name yet.

    Raises:
        DownloadError: from ``fetch``.
    """
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = Path(home) / "openai-agents-session-tests"
    target = cache / name
    if target.is_dir():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            with tempfile.TemporaryDirectory(dir=cache, ignore_cleanup_errors=True) as temporary:
                unfinished = Path(temporary) / name
                unfinished.mkdir()
                fetch(unfinished)
                unfinished.rename(target)
    return target


def npm_package(name: str, version: str) -> Path:
    """The directory of an npm package, with those that it needs beside it.

    Raises:
        DownloadError: npm is missing, or could not install it.
    """
    options = ("--no-audit", "--no-fund", "--ignore-scripts", "--prefix", ".")

    def fetch(directory: Path) -> None:
        run("npm", "install", *options, f"{name}@{version}", at=directory)

    return downloaded(f"{name}-{version}", fetch) / "node_modules" / name


def run(*command: str, at: Path, env: Mapping[str, str] | None = None) -> None:
    """Run a command that fetches something, in a directory.

    Args:
        command: its name and arguments.
        at: the directory.
        env: variables that it gets beside those of this process.

    Raises:
        DownloadError: it is missing, failed or took too long; the message has its output.
    """
    try:
        subprocess.run(
            command,
            cwd=at,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DOWNLOAD_SECONDS,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        raise DownloadError(f"{' '.join(command)} failed:\n{error.output}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DownloadError(f"{' '.join(command)} failed: {error}") from error
