"""A real PostgreSQL for the tests, 15 or newer, on a port that nobody else holds.

PostgreSQL refuses to run as root; there it runs as the user ``postgres``, which Debian's
package makes. Data lies in a directory of its own, and nothing is left behind.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

from tests.servers import HOST, Started, ended_with_us, free_port, wait_until

if TYPE_CHECKING:
    from typing_extensions import Self

USER = "tester"
WITH_PASSWORD = "visitor"
"""A user who has to give a password; the test makes the role."""

EMPTY = """
DO $$ DECLARE schema text; BEGIN
    PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid();
    FOR schema IN
        SELECT nspname FROM pg_namespace
        WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'
    LOOP
        EXECUTE format('DROP SCHEMA %I CASCADE', schema);
    END LOOP;
    CREATE SCHEMA public;
    GRANT USAGE ON SCHEMA public TO PUBLIC;
END $$
"""
"""Leaves of a database what a new one has."""


def find_binaries() -> Path | None:
    """The directory of ``initdb`` and ``postgres``, the newest where there are several."""
    if on_path := shutil.which("initdb"):
        return Path(on_path).resolve().parent
    found = Path("/usr/lib/postgresql").glob("*/bin/initdb")  # where Debian puts them
    newest = max(found, key=lambda path: float(path.parts[-3]), default=None)
    return newest.parent if newest else None


class PostgresServer(Started):
    """One server process; ``restart`` keeps port and data."""

    def __init__(self) -> None:
        binaries = find_binaries()
        if binaries is None:
            raise FileNotFoundError("no PostgreSQL: neither initdb on the PATH nor Debian's")
        self.port = 0
        self._binaries = binaries
        self._owner: dict[str, Any] = {}
        self._directory = Path(tempfile.mkdtemp(prefix="oas-pg-"))
        self._process: subprocess.Popen[Any] | None = None
        self._empty: list[str] = []
        self._guard = contextlib.ExitStack()
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            self._owner = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            os.chown(self._directory, account.pw_uid, account.pw_gid)

    def url(self, database: str) -> str:
        """The SQLAlchemy URL of a database."""
        return f"postgresql+asyncpg://{USER}@{HOST}:{self.port}/{database}"

    def start(self) -> Self:
        """Make a cluster, start it, and wait until it answers."""
        options = ["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", f"-U{USER}"]
        subprocess.run(
            [str(self._binaries / "initdb"), *options, str(self._directory / "data")],
            check=True,
            capture_output=True,
            cwd=self._directory,
            **self._owner,
        )
        rules = self._directory / "data" / "pg_hba.conf"
        first = f"host all {WITH_PASSWORD} all scram-sha-256\n"
        rules.write_text(first + rules.read_text())
        self.port = free_port()
        return self.launch()

    def launch(self) -> Self:
        """Start the process, on another port if somebody was faster."""
        settings = {
            "listen_addresses": HOST,
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": "200",
            "shared_buffers": "32MB",
        }
        given = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self._directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    str(self._binaries / "postgres"),
                    *("-D", str(self._directory / "data"), "-p", str(self.port)),
                    *given,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._directory,
                start_new_session=True,  # Ctrl-C is for pytest, which then ends the server
                **self._owner,
            )
        self._guard.close()  # of one that found its port taken
        self._guard.enter_context(ended_with_us(self._process, self._directory))
        wait_until(self._ready, f"PostgreSQL on port {self.port}")
        return self

    def stop(self, *, how: signal.Signals = signal.SIGINT) -> None:
        """End the server as an operator would who is in a hurry: connections are cut."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._guard.close()

    def restart(self) -> Self:
        """Stop, and start on the same port with the same data."""
        self.stop()
        return self.launch()

    def crash(self) -> Self:
        """End at once (``SIGQUIT``), without writing what is in memory, and recover."""
        self.stop(how=signal.SIGQUIT)
        return self.launch()

    def close(self) -> None:
        """End the server and remove its data."""
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    async def create_database(self) -> str:
        """Return the URL of an empty database: one that was given back, or a new one."""
        if self._empty:
            return self._empty.pop()
        name = f"test_{uuid.uuid4().hex}"
        # Copying files takes half the time of writing them to the log, PostgreSQL's default.
        await self._run("postgres", f"CREATE DATABASE {name} STRATEGY file_copy")
        return self.url(name)

    async def give_back(self, url: str) -> None:
        """Empty a database, whoever is still connected to it: a new one takes six times as long."""
        await self._run(url.rpartition("/")[2], EMPTY)
        self._empty.append(url)

    async def _run(self, database: str, statement: str) -> None:
        connection = await asyncpg.connect(host=HOST, port=self.port, user=USER, database=database)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def _ready(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            log = (self._directory / "log").read_text(errors="replace")
            if "ddress already in use" not in log:
                raise RuntimeError(f"PostgreSQL ended at start:\n{log}")
            self.port = free_port()
            self.launch()
            return True
        pg_isready = [str(self._binaries / "pg_isready"), "-q", "-h", HOST, "-p", str(self.port)]
        return subprocess.run(pg_isready, check=False).returncode == 0
