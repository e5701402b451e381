"""A proxy between a driver and PostgreSQL that makes faults on purpose.

It reads the messages of both sides (PostgreSQL's documentation, "Frontend/Backend Protocol")
and asks the test about each request what is to go wrong with it. A lost answer was given in
full, so the server has certainly done what was asked; the client sees its connection end.
"""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from tests.faults import Proxy
from tests.servers import HOST

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
Fault: TypeAlias = Literal["lose answer", "cut before", "late"]
"""``late`` cuts the client first, and forwards the request when the test releases it."""

_ENDS = (OSError, asyncio.IncompleteReadError)
"""Either side has gone, and so does the other."""


@dataclass(frozen=True)
class Request:
    """What a client sent up to the end of a request."""

    messages: bytes

    @property
    def commits(self) -> bool:
        """Whether it ends a transaction for good."""
        query = self.messages[5:].lstrip(b"\0")  # before it, the name of a prepared statement
        return query.startswith(b"COMMIT")  # and not "BEGIN … READ COMMITTED"


class PostgresProxy(Proxy):
    """Stands before a server on a port of its own.

    Args:
        url: of a database, as SQLAlchemy takes it.
        choose: says for each request what goes wrong with it; None for nothing.
    """

    def __init__(self, url: str, choose: Callable[[Request], Fault | None]) -> None:
        super().__init__()
        self.choose = choose
        self.faults = 0
        self.faulty = asyncio.Event()
        """The first fault has been made."""
        self.released = asyncio.Event()
        """Late requests wait for it."""
        self._start, _, rest = url.rpartition("@")
        self._server, _, self._database = rest.partition("/")

    @property
    def url(self) -> str:
        """The URL of the database as seen through the proxy."""
        plain = "ssl=disable" if "+asyncpg:" in self._start else "sslmode=disable"
        return f"{self._start}@{HOST}:{self.port}/{self._database}?{plain}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self._server.partition(":")
        with suppress(*_ENDS):
            answers, server = await asyncio.open_connection(host, int(port))
            try:
                await self._relay((reader, writer), (answers, server))
            finally:
                server.close()

    async def _relay(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Pass on requests and answers until either side ends or a request goes wrong."""
        lost = asyncio.Event()
        answers = asyncio.ensure_future(_pass_on(server[0], client[1], lost))
        requests = asyncio.ensure_future(self._ask(client, server[1], answers, lost))
        try:
            await asyncio.wait({answers, requests}, return_when=asyncio.FIRST_COMPLETED)
            if lost.is_set():  # the server may still have something to do
                await requests
        finally:
            for task in (answers, requests):
                task.cancel()
            for outcome in await asyncio.gather(answers, requests, return_exceptions=True):
                if isinstance(outcome, Exception) and not isinstance(outcome, _ENDS):
                    self._bugs.append(outcome)

    async def _ask(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: asyncio.StreamWriter,
        answers: asyncio.Future[None],
        lost: asyncio.Event,
    ) -> None:
        server.write(await _startup(client[0]))
        async for request, unsent in _requests(client[0]):
            fault = self.choose(request) if request else None
            if fault is not None:
                self.faults += 1
                self.faulty.set()
                lost.set()
            if fault == "cut before":
                return
            if fault == "late":
                client[1].close()
                await self.released.wait()
            server.write(unsent)
            if fault is not None:
                await asyncio.wait({answers})
                return


async def _startup(client: asyncio.StreamReader) -> bytes:
    """Return the first message, which has no type."""
    length = await client.readexactly(4)
    return length + await client.readexactly(struct.unpack("!I", length)[0] - 4)


async def _requests(
    client: asyncio.StreamReader,
) -> AsyncGenerator[tuple[Request | None, bytes]]:
    """Yield what is to be sent on, and the request that it ends, if it ends one."""
    messages = unsent = b""
    while True:
        kind, message = await _message(client)
        messages += message
        unsent += message
        if kind in b"QSX":
            yield Request(messages), unsent
            messages = unsent = b""
        elif kind == b"H":  # the client wants to know the types before it goes on
            yield None, unsent
            unsent = b""


async def _pass_on(
    server: asyncio.StreamReader, client: asyncio.StreamWriter, lost: asyncio.Event
) -> None:
    """Pass on answers; those that are lost up to the one that says that the server waits."""
    while True:
        kind, message = await _message(server)
        if not lost.is_set():
            client.write(message)
        elif kind == b"Z":
            return


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readexactly(5)
    kind, length = struct.unpack("!cI", head)
    return kind, head + await reader.readexactly(length - 4)
