"""An HTTP proxy between botocore and an emulator that makes faults on purpose.

It looks at the operation that a request names in ``X-Amz-Target`` and asks the test what is to
go wrong with it. A lost answer was read from the emulator in full, so the emulator has
certainly executed the request; then the client's connection is cut and nothing of that answer
is passed on. The client's connections are kept alive as the emulator keeps them. Each request
has its own connection to the emulator, so that none meets one which the emulator closed for
idleness: a fault that nobody asked for.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from itertools import count
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from tests.dynamodb.emulators import create_client
from tests.faults import Proxy
from tests.servers import HOST

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

WRITES = frozenset({"UpdateItem", "PutItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems"})
PATIENCE = 60.0
"""Seconds to wait for a request that a test counts on."""
LONGEST = 2**25
"""What a request or an answer may hold at most; DynamoDB's own limit is 16 MB."""


Kind = Literal[
    "none",
    "lose answer",
    "lose late",
    "cut before",
    "strand",
    "hang",
    "delay",
    "delay answer",
    "refuse",
]


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request; made by the names below."""

    kind: Kind
    event: asyncio.Event | None = None
    status: int = 0
    body: bytes = b""
    done: bool = False
    """Of a refusal: whether the request is executed all the same."""
    loses: Callable[[bool], bool] | None = None
    """Of a lost answer: whether it is lost, given whether it says that the request succeeded."""


LOSE_ANSWER = Fault("lose answer")
"""The emulator executes the request; the connection is cut, and nobody hears the answer."""
CUT_BEFORE = Fault("cut before")
"""The connection is cut, and the emulator never sees the request."""
HANG = Fault("hang")
"""Nothing happens until ``release``; then the emulator executes, even if the client has left."""


def delay_until(event: asyncio.Event) -> Fault:
    """The emulator sees the request when the event is set, even if the client has left."""
    return Fault("delay", event)


def strand_until(event: asyncio.Event) -> Fault:
    """The connection is cut, and the emulator executes the request at the event all the same."""
    return Fault("strand", event)


def delay_answer_until(event: asyncio.Event) -> Fault:
    """The emulator executes the request at once; the client hears of it at the event."""
    return Fault("delay answer", event)


def lose_answer_at(event: asyncio.Event) -> Fault:
    """The emulator executes the request at once; the connection is cut at the event."""
    return Fault("lose late", event)


def refuse_done(status: int, code: str, message: str = "refused by the test") -> Fault:
    """The emulator executes the request, and the client is told of an error instead."""
    return replace(refuse(status, code, message), done=True)


def refuse(status: int, code: str, message: str = "refused by the test") -> Fault:
    """The request is answered with an error of DynamoDB's and not executed."""
    body = {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": message}
    return Fault("refuse", status=status, body=json.dumps(body).encode())


Plan = Callable[[str, int], Fault | None]
"""Says what goes wrong with a request: its operation, and how many of that operation have come."""


def no_faults(_operation: str, _number: int) -> Fault | None:
    """Nothing goes wrong."""
    return None


def on(fault: Fault, operation: str, *numbers: int) -> Plan:
    """One fault, at these requests of an operation, the first being 1; at each if none is named."""

    def plan(name: str, number: int) -> Fault | None:
        return fault if name == operation and (not numbers or number in numbers) else None

    return plan


def from_the(number: int, fault: Fault) -> Plan:
    """One fault at every request from this one on, the first being 1, whatever they ask for."""
    seen = count(1)

    def plan(_name: str, _number: int) -> Fault | None:
        return fault if next(seen) >= number else None

    return plan


def only_the(number: int, fault: Fault) -> Plan:
    """One fault at this request, the first being 1, whatever it asks for."""
    seen = count(1)

    def plan(_name: str, _number: int) -> Fault | None:
        return fault if next(seen) == number else None

    return plan


def each_of(*plans: Plan) -> Plan:
    """Several plans at once; the first that has a fault decides."""

    def plan(name: str, number: int) -> Fault | None:
        faults = [each(name, number) for each in plans]
        return next((fault for fault in faults if fault), None)

    return plan


def one_in(
    chances: int, seed: int, fault: Fault = LOSE_ANSWER, operations: frozenset[str] = WRITES
) -> Plan:
    """One fault in so many requests, at random but the same ones for the same seed."""
    draw = random.Random(seed)

    def plan(name: str, _number: int) -> Fault | None:
        return fault if name in operations and draw.randrange(chances) == 0 else None

    return plan


def lose_one_in(chances: int, seed: int) -> Plan:
    """Lose one in so many answers to writes, at random.

    Successes and errors have each their own draws. So of the first successes as many are lost
    for the same seed, whatever order several writers take.
    """
    draws = {succeeded: random.Random(2 * seed + succeeded) for succeeded in (False, True)}
    fault = replace(LOSE_ANSWER, loses=lambda succeeded: draws[succeeded].randrange(chances) == 0)
    return lambda name, _number: fault if name in WRITES else None


@asynccontextmanager
async def behind(
    url: str, plan: Plan = no_faults, *, reset: bool = False, **config: Any
) -> AsyncGenerator[tuple[FaultyHTTPProxy, Any]]:
    """A proxy before an emulator, and a client that knows only the proxy."""
    async with (
        FaultyHTTPProxy(url, plan, reset=reset) as proxy,
        create_client(proxy.url, **config) as client,
    ):
        yield proxy, client


class FaultyHTTPProxy(Proxy):
    """Stands before an emulator, and makes faults.

    Args:
        url: where it forwards to.
        plan: says for each request what goes wrong with it; it may be replaced at any time.
        reset: cut with RST, as a crash does; otherwise with FIN, as a restart does.
    """

    LIMIT = LONGEST

    def __init__(self, url: str, plan: Plan = no_faults, *, reset: bool = False) -> None:
        super().__init__(reset=reset)
        parts = urlsplit(url)
        self.plan = plan
        self.requests: Counter[str] = Counter()
        """Requests by operation, resent ones and those that came to nothing included."""
        self.faults: Counter[str] = Counter()
        """Faults made, by kind."""
        self.lost_successes = 0
        """Lost answers that said the request was executed; the others were errors."""
        self.connections = 0
        """How many connections clients have opened."""
        self._host, self._target_port = parts.hostname or HOST, parts.port or 80
        self._released = asyncio.Event()
        self._waiting = 0
        self._executed = 0
        self._changed = asyncio.Condition()

    @property
    def url(self) -> str:
        """The URL of the emulator as seen through the proxy."""
        return f"http://{HOST}:{self.port}"

    def release(self) -> None:
        """Let go of every request that hangs, and hold none from now on."""
        self._released.set()

    async def waiting(self, number: int = 1) -> None:
        """Wait until so many requests, or answers, are being held back at once.

        Raises:
            TimeoutError: they do not come.
        """

        async def wait() -> None:
            async with self._changed:
                await self._changed.wait_for(lambda: self._waiting >= number)

        await asyncio.wait_for(wait(), PATIENCE)

    async def executed(self, number: int) -> None:
        """Wait until the emulator has executed so many requests, whoever hears of it.

        Raises:
            TimeoutError: it does not.
        """

        async def wait() -> None:
            async with self._changed:
                await self._changed.wait_for(lambda: self._executed >= number)

        await asyncio.wait_for(wait(), PATIENCE)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        super()._accept(reader, writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request after the other until either side ends or the proxy cuts."""
        try:
            while (request := await _read_message(reader)) is not None:
                if not await self._handle(request, writer):
                    return
        except OSError:
            pass  # an end broke off, or the emulator is down: the client sees its connection end
        except Exception as error:  # noqa: BLE001  # the proxy's own: raised when it closes
            self._bugs.append(error)

    async def _handle(self, request: Message, client: asyncio.StreamWriter) -> bool:
        """Answer a request, or not; whether the connection can take another one."""
        operation = request.headers.get("x-amz-target", "").rpartition(".")[2]
        self.requests[operation] += 1
        fault = self.plan(operation, self.requests[operation]) or Fault("none")
        if fault.kind != "none":
            self.faults[fault.kind] += fault.loses is None  # else when it is known
        if fault.kind in {"cut before", "strand"}:
            self._cut_off(client)
            if fault.event is not None:
                await self._hold(fault.event)
                await self._ask(request)
            return False
        if fault.kind == "refuse":
            if fault.done:
                await self._ask(request)
            return await _pass_on(_refusal(fault), client)
        if fault.kind in {"hang", "delay"}:
            await self._hold(fault.event or self._released)
        answer = await self._ask(request)
        if fault.event is not None and fault.kind == "lose late":
            await self._hold(fault.event)
        if self._is_lost(answer, fault):
            self._cut_off(client)
            return False
        if fault.event is not None and fault.kind == "delay answer":
            await self._hold(fault.event)
        return await _pass_on(answer, client)

    def _is_lost(self, answer: Message, fault: Fault) -> bool:
        if fault.kind not in {"lose answer", "lose late"}:
            return False
        succeeded = answer.status == HTTPStatus.OK
        if fault.loses is not None:
            if not fault.loses(succeeded):
                return False
            self.faults[fault.kind] += 1
        self.lost_successes += succeeded
        return True

    async def _hold(self, event: asyncio.Event) -> None:
        await self._count_waiting(1)
        try:
            await event.wait()
        finally:
            await self._count_waiting(-1)

    async def _count_waiting(self, more: int) -> None:
        async with self._changed:
            self._waiting += more
            self._changed.notify_all()

    async def _ask(self, request: Message) -> Message:
        reader, writer = await asyncio.open_connection(self._host, self._target_port, limit=LONGEST)
        try:
            writer.write(request.raw)
            await writer.drain()
            answer = await _read_message(reader, answer=True)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        if answer is None:
            raise ConnectionError("the emulator closed the connection without an answer")
        async with self._changed:
            self._executed += 1
            self._changed.notify_all()
        return answer


@dataclass(frozen=True)
class Message:
    """A request or an answer, as it came."""

    raw: bytes
    start_line: str
    headers: dict[str, str]

    @property
    def status(self) -> int:
        """The status of an answer."""
        return int(self.start_line.split(" ", 2)[1])

    @property
    def is_last(self) -> bool:
        """Whether the connection ends with this answer."""
        said = self.headers.get("connection", "").lower()
        return said == "close" or (self.start_line.startswith("HTTP/1.0") and said != "keep-alive")


async def _read_message(reader: asyncio.StreamReader, *, answer: bool = False) -> Message | None:
    """Read one message to its end; None if the other side left instead of sending one."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    start_line, *lines = raw.decode("latin-1").strip().split("\r\n")
    pairs = (line.split(":", 1) for line in lines)
    headers = {name.strip().lower(): value.strip() for name, value in pairs}
    try:
        if "content-length" in headers:
            raw += await reader.readexactly(int(headers["content-length"]))
        elif headers.get("transfer-encoding", "").lower() == "chunked":
            raw += await _read_chunks(reader)
        elif answer:
            raw += await reader.read()  # it ends where the connection does
    except asyncio.IncompleteReadError as error:
        raise ConnectionError("the message broke off") from error
    return Message(raw, start_line, headers)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    raw = b""
    size = -1
    while size != 0:  # the last chunk is empty, and nobody sends trailers after it
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        raw += line + await reader.readexactly(size + 2)
    return raw


def _refusal(fault: Fault) -> Message:
    start_line = f"HTTP/1.1 {fault.status} Refused"
    headers = {
        "content-type": "application/x-amz-json-1.0",
        "content-length": str(len(fault.body)),
        "x-amzn-requestid": "refused",
    }
    lines = [start_line, *(f"{name}: {value}" for name, value in headers.items())]
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"
    return Message(head + fault.body, start_line, headers)


async def _pass_on(answer: Message, client: asyncio.StreamWriter) -> bool:
    """Send an answer to the client; whether the connection can take another request."""
    client.write(answer.raw)
    await client.drain()
    return not answer.is_last
