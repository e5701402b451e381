"""A TCP proxy that loses a server's answers to writes, after the server has made them.

It understands just enough RESP to know where a request or a reply ends and which
requests write. A lost answer was read from the server in full, so the server has
certainly done the write; then the client's connection is cut and nothing of that
answer is passed on.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections import Counter, deque
from itertools import repeat
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator
    from types import TracebackType

    from typing_extensions import Self

    from tests.servers import Endpoint

HOST = "127.0.0.1"
WRITES = frozenset({b"EVAL", b"EVALSHA", b"EXEC", b"RPOP", b"RPUSH", b"UNLINK"})
NOT_DONE = (b"-", b"+QUEUED", b"*-1", b"_")
"""How an answer begins when nothing was written: an error; a command that waits for EXEC;
null, of an EXEC that gave up."""

_LENGTH_OF_STRING = frozenset(b"$=!")
_LENGTH_OF_ARRAY = {ord("*"): 1, ord("~"): 1, ord(">"): 1, ord("%"): 2}


def one_in(chances: int, seed: int) -> Iterator[bool]:
    """Lose one answer in so many, at random but the same ones for the same seed."""
    draw = random.Random(seed)
    while True:
        yield draw.randrange(chances) == 0


def first(losses: int) -> Iterator[bool]:
    """Lose the first answers and no more."""
    yield from repeat(True, losses)
    yield from repeat(False)


class Proxy:
    """Accepts connections on a port of its own; a base for proxies of any protocol.

    Args:
        reset: cut with RST, as a crash does; otherwise with FIN, as a restart does.
    """

    LIMIT: ClassVar[int] = 2**16
    """How many bytes are read ahead of a client at most."""

    def __init__(self, *, reset: bool = False) -> None:
        self.port = 0
        self._reset = reset
        self._tasks: set[asyncio.Task[None]] = set()
        self._bugs: list[Exception] = []
        """Errors of the proxy's own, of which the first is raised when it closes."""

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._accept, HOST, 0, limit=self.LIMIT)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._listener.wait_closed()
        if self._bugs:
            raise self._bugs[0]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # Also after one that was cancelled before it began; then nobody waits for the rest.
        task.add_done_callback(
            lambda task: writer.transport.abort() if task.cancelled() else writer.close()
        )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection; it is closed afterwards."""
        raise NotImplementedError

    def _cut_off(self, client: asyncio.StreamWriter) -> None:
        if self._reset:
            ends: socket.socket = client.get_extra_info("socket")
            ends.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.transport.abort()
        else:
            client.close()


class FaultyProxy(Proxy):
    """Stands before a server, and loses answers.

    Args:
        server: where it forwards to.
        losses: says for each answer to a write in turn whether it is lost.
        reset: cut with RST, as a crash does; otherwise with FIN, as a restart does.
        before_cut: runs after the server has answered and before the client can know.
    """

    def __init__(
        self,
        server: Endpoint,
        losses: Iterable[bool] = (),
        *,
        reset: bool = False,
        before_cut: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(reset=reset)
        self.losses = iter(losses)
        self.cuts = 0
        self.writes = 0
        """Writes that the server has answered, lost answers included, errors not."""
        self.requests: Counter[str] = Counter()
        self.bytes_passed = 0
        """In both directions."""
        self.host = HOST
        self._server = server
        self._before_cut = before_cut
        self._answers_flow = asyncio.Event()
        self._answers_flow.set()
        self._held = asyncio.Event()

    @property
    def url(self) -> str:
        """The URL of the server as seen through the proxy."""
        return f"redis://{self.host}:{self.port}/0"

    def hold(self) -> None:
        """From now on keep all answers back, as a server that hangs does."""
        self._held.clear()
        self._answers_flow.clear()

    def release(self) -> None:
        """Pass on what was kept back, and what follows."""
        self._answers_flow.set()

    async def an_answer_held(self) -> None:
        """Wait until an answer has arrived from the server and is kept back."""
        await self._held.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward in both directions until either side ends or the proxy cuts."""
        try:
            from_server, to_server = await asyncio.open_connection(
                self._server.host, self._server.port
            )
        except OSError:  # the server is down: the client sees its connection end
            return
        asked: deque[bytes] = deque()  # the commands whose answers are outstanding
        ways = [
            asyncio.ensure_future(self._forward_requests(reader, to_server, asked)),
            asyncio.ensure_future(self._forward_answers(from_server, writer, asked)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            writer.close()
            to_server.close()
            for way in ways:
                way.cancel()
            for outcome in await asyncio.gather(*ways, return_exceptions=True):
                # An end that broke off is as intended; anything else is the proxy's own.
                if isinstance(outcome, Exception) and not isinstance(outcome, OSError):
                    self._bugs.append(outcome)

    async def _forward_requests(
        self, client: asyncio.StreamReader, server: asyncio.StreamWriter, asked: deque[bytes]
    ) -> None:
        unread = bytearray()
        while data := await client.read(2**16):
            unread += data
            for request in _frames(unread):
                name = _command_name(request)
                self.requests[name.decode()] += 1
                asked.append(name)
            await self._before_delivery()
            self.bytes_passed += len(data)
            server.write(data)
            await server.drain()

    async def _before_delivery(self) -> None:
        """Run before what has arrived from a client is passed on to the server."""

    async def _forward_answers(
        self, server: asyncio.StreamReader, client: asyncio.StreamWriter, asked: deque[bytes]
    ) -> None:
        unread = bytearray()
        while data := await server.read(2**16):
            unread += data
            for answer in _frames(unread):
                pushed = answer.startswith(b">")  # RESP3: said by the server without being asked
                done = not pushed and asked.popleft() in WRITES and not answer.startswith(NOT_DONE)
                self.writes += done
                if done and next(self.losses, False):
                    await self._cut(client)
                    return
                if not self._answers_flow.is_set():
                    self._held.set()
                    await self._answers_flow.wait()
                self.bytes_passed += len(answer)
                client.write(answer)
            await client.drain()

    async def _cut(self, client: asyncio.StreamWriter) -> None:
        self.cuts += 1
        if self._before_cut is not None:
            await self._before_cut()
        self._cut_off(client)


def _frames(unread: bytearray) -> Iterator[bytes]:
    """Take the complete requests or replies off the front of what has arrived."""
    while (end := _end_of_frame(unread, 0)) is not None:
        yield bytes(unread[:end])
        del unread[:end]


def _end_of_frame(data: bytearray, start: int) -> int | None:
    """The index behind the RESP value that begins at an index; None if more is to come."""
    line_end = data.find(b"\r\n", start)
    if line_end < 0:
        return None
    end = line_end + 2
    kind = data[start]
    if kind in _LENGTH_OF_STRING:
        length = int(data[start + 1 : line_end])
        end += length + 2 if length >= 0 else 0
        return end if end <= len(data) else None
    if kind in _LENGTH_OF_ARRAY:
        for _ in range(_LENGTH_OF_ARRAY[kind] * max(int(data[start + 1 : line_end]), 0)):
            value_end = _end_of_frame(data, end)
            if value_end is None:
                return None
            end = value_end
    return end


def _command_name(request: bytes) -> bytes:
    """The name, the third line: before it stand the array's length and its own."""
    return request.split(b"\r\n", 3)[2].upper()
