"""Three emulators of DynamoDB, each a real server on loopback: moto, dynalite, DynamoDB Local.

None is DynamoDB, and each is wrong somewhere else: ``test_emulators.py`` says where. moto
comes with the development dependencies and runs in this process. dynalite is fetched with
npm, DynamoDB Local with Maven (``tests.downloads``). The first test that needs them fetches
them; ``python -m tests.dynamodb.emulators install`` does it beforehand.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from tests.downloads import downloaded, npm_package, run
from tests.servers import HOST, ended_with_us, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from _typeshed.wsgi import StartResponse, WSGIEnvironment
    from aiobotocore.session import AioSession
    from moto.server import ThreadedMotoServer

_Test = TypeVar("_Test", bound="Callable[..., Any]")

REGION = "eu-central-1"
DYNALITE_VERSION = "4.0.0"
# 3.1.0 runs on Java 17, and all it depends on could be had.
LOCAL_VERSION = "3.1.0"
LOCAL_MAIN = "software.amazon.dynamodb.services.local.main.ServerRunner"
POM = f"""<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>tests</groupId>
  <artifactId>dynamodb-local</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>software.amazon.dynamodb</groupId>
      <artifactId>DynamoDBLocal</artifactId>
      <version>{LOCAL_VERSION}</version>
    </dependency>
  </dependencies>
</project>
"""


@dataclass(frozen=True)
class Emulator:
    """A running emulator, whoever started it."""

    name: str
    """ "moto", "dynalite" or "local"."""
    url: str

    @property
    def has_ttl(self) -> bool:
        """Whether a table's TTL can be set; dynalite knows no UpdateTimeToLive.

        moto deletes no expired item. DynamoDB Local deletes them every ten seconds.
        """
        return self.name != "dynalite"


def names() -> list[str]:
    """The emulators to test on: with ``CI`` set all three, else those this machine can run."""
    everywhere = "CI" in os.environ
    with_npm = all(map(shutil.which, ("node", "npm")))
    with_java = bool(external_local()) or all(map(shutil.which, ("java", "mvn")))
    chosen = {"moto": True, "dynalite": everywhere or with_npm, "local": everywhere or with_java}
    return [name for name, use in chosen.items() if use]


def servers() -> list[str]:
    """Those that are servers of their own: moto is slow, and stands in where there is no other."""
    return names()[1:] or names()


def best() -> list[str]:
    """Amazon's own, or what comes nearest: for what is the same whatever the store."""
    return names()[-1:]


def run_on(chosen: list[str]) -> Callable[[_Test], _Test]:
    """Run a test on these emulators, whatever its class or module says: the last one always."""

    def mark(test: _Test) -> _Test:
        setattr(test, "EMULATORS", chosen)  # noqa: B010 - a function has no such attribute
        return test

    return mark


def external_local() -> str:
    """The URL of a DynamoDB Local that somebody else runs; empty if nobody does."""
    return os.environ.get("DYNAMODB_LOCAL_URL", "").rstrip("/")


def running(name: str) -> AbstractContextManager[Emulator]:
    """Run an emulator, installed first if need be, for the duration of a ``with``."""
    return {"moto": _moto, "dynalite": _dynalite, "local": _local}[name]()


@cache
def _session() -> AioSession:
    """One for the process: it reads the description of the service once, for 0.15 s."""
    return get_session()


def create_client(url: str, **config: Any) -> AbstractAsyncContextManager[Any]:
    """A client with botocore's defaults, except as said; to be entered by the caller."""
    return _session().create_client(
        "dynamodb",
        region_name=REGION,
        endpoint_url=url,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=AioConfig(**config) if config else None,
    )


async def create_table(client: Any, name: str) -> None:
    """Create a table as sessions need it, without the library, and wait until it is active."""
    answer = await client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "session_id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "session_id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    if answer["TableDescription"]["TableStatus"] != "ACTIVE":  # on dynalite alone
        waiter = client.get_waiter("table_exists")
        await waiter.wait(TableName=name, WaiterConfig={"Delay": 0.01, "MaxAttempts": 1000})


def forget_machine_settings() -> None:
    """Let no AWS profile, variable or HTTP proxy of the machine decide what the tests do."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
    for name in ("no_proxy", "NO_PROXY"):
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), HOST, "localhost")))


def install(name: str) -> str:
    """Fetch an emulator if it is not there yet, and say where it is.

    Raises:
        DownloadError: it cannot be had; the message has the reason.
    """
    if name == "dynalite":
        return str(npm_package("dynalite", DYNALITE_VERSION))
    if name == "local" and not external_local():
        return str(downloaded(f"dynamodb-local-{LOCAL_VERSION}", _fetch_local))
    return external_local() if name == "local" else "a development dependency"


@contextlib.contextmanager
def _moto() -> Generator[Emulator]:
    from moto.server import ThreadedMotoServer  # noqa: PLC0415  # most of a second

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else a line for each request
    server = ThreadedMotoServer(ip_address=HOST, port=0, verbose=False)
    server.start()
    _serve_one_at_a_time(server)
    try:
        _, port = server.get_host_and_port()
        yield Emulator("moto", f"http://{HOST}:{port}")
    finally:
        server.stop()


def _serve_one_at_a_time(server: ThreadedMotoServer) -> None:
    """Take from moto what no DynamoDB does: an item lost between two requests at once.

    It reads, checks and writes an item without a lock, in a thread for each request: of 300
    concurrent appends to one list, three to fourteen were lost.
    """
    listener = server._server
    assert listener is not None
    application, lock = listener.app, threading.Lock()

    def locked(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        with lock:
            return application(environ, start_response)

    listener.app = locked


def _dynalite() -> AbstractContextManager[Emulator]:
    directory = Path(install("dynalite"))

    def command(port: int) -> list[str]:
        return [
            *("node", str(directory / "cli.js")),
            *("--host", HOST),
            *("--port", str(port)),
            *("--createTableMs", "0"),
            *("--deleteTableMs", "0"),
            *("--updateTableMs", "0"),
        ]

    return _process("dynalite", command)


def _local() -> AbstractContextManager[Emulator]:
    if external_local():
        _await_answer(external_local())
        return contextlib.nullcontext(Emulator("local", external_local()))
    libraries = Path(install("local")) / "libraries"

    def command(port: int) -> list[str]:
        return [
            "java",
            "-XX:+UseSerialGC",  # two cores are shared by the workers' servers
            "-XX:TieredStopAtLevel=1",  # it lives for minutes: to compile better costs more
            "-XX:-UsePerfData",  # writes outside the server's own directory
            "-Xmx768m",
            "-Djava.io.tmpdir=.",
            f"-Djava.library.path={libraries}",
            f"-Dsqlite4java.library.path={libraries}",
            *("-cp", str(libraries / "*")),
            LOCAL_MAIN,
            *("-inMemory", "-sharedDb", "-disableTelemetry"),
            *("-port", str(port)),
        ]

    return _process("local", command)


@contextlib.contextmanager
def _process(name: str, command: Callable[[int], list[str]]) -> Generator[Emulator]:
    """Run a server process, on another port if somebody was faster, until the ``with`` ends."""
    directory = Path(tempfile.mkdtemp(prefix="oas-"))
    log = directory / "log"
    process: subprocess.Popen[bytes] | None = None
    guard = contextlib.ExitStack()

    def start() -> str:
        nonlocal process
        port = free_port()
        with log.open("wb") as output:
            process = subprocess.Popen(
                command(port),
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for pytest, which then ends the server
            )
        guard.close()  # of one that found its port taken
        guard.enter_context(ended_with_us(process, directory))
        return f"http://{HOST}:{port}"

    def ready() -> bool:
        nonlocal url
        if process is not None and process.poll() is not None:
            written = log.read_text(errors="replace")
            if "address already in use" not in written.lower():
                raise RuntimeError(f"{name} ended at start:\n{written}")
            url = start()
        return _answers(url)

    try:
        url = start()
        wait_until(ready, f"{name} at {url}")
        yield Emulator(name, url)
    finally:
        guard.close()
        if process is not None:
            process.kill()  # all it has is in memory
            process.wait()
        shutil.rmtree(directory, ignore_errors=True)


def _await_answer(url: str) -> None:
    wait_until(lambda: _answers(url), f"DynamoDB Local at {url}")


def _answers(url: str) -> bool:
    """Whether an HTTP server is there; what it thinks of the request does not matter."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or HOST, parts.port, timeout=5)
    try:
        connection.request("GET", "/")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def _fetch_local(directory: Path) -> None:
    (directory / "pom.xml").write_text(POM)
    # The native libraries of its SQLite are among the dependencies.
    goal = ("dependency:copy-dependencies", "-DoutputDirectory=libraries")
    run("mvn", "--batch-mode", "--quiet", *goal, at=directory)


def _main() -> None:
    if sys.argv[1:] != ["install"]:
        sys.exit("usage: python -m tests.dynamodb.emulators install")
    for name in names():
        print(f"{name}: {install(name)}", flush=True)


if __name__ == "__main__":
    _main()
