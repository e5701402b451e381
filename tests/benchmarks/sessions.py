"""The operations of a session, beside the SDK's, a hand-written MULTI and the bare commands."""

from __future__ import annotations

import json
import os
import platform
import uuid
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Protocol

from agents.extensions.memory import RedisSession as SDKRedisSession
from redis.asyncio import Redis, from_url

from openai_agents_session import RedisSession
from openai_agents_session._serializer import serialize
from tests.benchmarks.conversation import conversation, turn
from tests.benchmarks.measure import figure, medians, table

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agents import TResponseInputItem

TTL = 3600
HEADER = [
    *("operation", "this library", "SDK", "MULTI by hand", "floor"),
    *("ours / SDK", "target", "ours / floor", "target", "commands on the wire"),
]


class Contender(Protocol):
    """The operations that are measured."""

    async def add_items(self, items: list[TResponseInputItem]) -> object: ...
    async def get_items(self, limit: int | None = None) -> list[Any]: ...
    async def pop_item(self) -> object: ...
    async def clear_session(self) -> object: ...


class ByHand:
    """What one writes without a library: one MULTI/EXEC a write, JSON by the standard library."""

    def __init__(self, client: Redis, key: str) -> None:
        self.client, self.key = client, key

    async def add_items(self, items: list[TResponseInputItem]) -> object:
        async with self.client.pipeline(transaction=True) as pipe:
            pipe.rpush(self.key, *map(json.dumps, items))
            pipe.expire(self.key, TTL)
            return await pipe.execute()

    async def get_items(self, limit: int | None = None) -> list[Any]:
        return [json.loads(text) for text in await self.client.lrange(self.key, -(limit or 0), -1)]

    async def pop_item(self) -> object:
        async with self.client.pipeline(transaction=True) as pipe:
            pipe.rpop(self.key)
            pipe.expire(self.key, TTL)
            text, _ = await pipe.execute()
        return json.loads(text)

    async def clear_session(self) -> object:
        return await self.client.unlink(self.key)


class Floor(ByHand):
    """The bare commands with the bytes that this library stores: no JSON, no expiry."""

    def __init__(self, client: Redis, key: str) -> None:
        super().__init__(client, key)
        self._batch: list[TResponseInputItem] = []
        self._texts: list[bytes] = []

    async def add_items(self, items: list[TResponseInputItem]) -> object:
        if items is not self._batch:  # once, while warming up
            self._batch, self._texts = items, serialize(items)
        return await self.client.rpush(self.key, *self._texts)

    async def get_items(self, limit: int | None = None) -> list[Any]:
        return await self.client.lrange(self.key, -(limit or 0), -1)

    async def pop_item(self) -> object:
        return await self.client.rpop(self.key)


@dataclass(frozen=True)
class Row:
    """One operation and how it is measured."""

    name: str
    operation: Callable[[Contender], Awaitable[object]]
    stored: int
    """Items in the session before, and one for each run where the operation removes one."""
    iterations: int
    sdk_target: float
    floor_target: float | None = None


def rows(iterations: int, scale: int) -> list[Row]:
    """The operations, with so many iterations and the sizes divided by ``scale``."""
    batch = turn(0)
    many, most = 2_000 // scale, 10_000 // scale
    return [
        Row("add_items, a turn of 4", lambda s: s.add_items(batch), 0, iterations, 0.2, 1.5),
        Row(f"get_items of {many:,}", lambda s: s.get_items(), many, iterations // 5, 0.45),
        Row(f"get_items(limit=20) of {most:,}", lambda s: s.get_items(20), most, iterations, 1),
        Row("pop_item", lambda s: s.pop_item(), 2 * iterations, iterations, 1),
    ]


async def run(url: str, iterations: int, scale: int = 1) -> str:
    """Measure every row on the server of a URL and return the report."""
    prefix = f"benchmark-{uuid.uuid4().hex}"
    async with from_url(url) as client:
        contenders: dict[str, Contender] = {
            "ours": RedisSession("user-1", client, f"{prefix}-ours", TTL),
            "SDK": SDKRedisSession(
                "user-1", redis_client=client, key_prefix=f"{prefix}-sdk", ttl=TTL
            ),
            "MULTI": ByHand(client, f"{prefix}-multi"),
            "floor": Floor(client, f"{prefix}-floor"),
        }
        try:
            lines = [await _measure(client, contenders, row) for row in rows(iterations, scale)]
        finally:
            for contender in contenders.values():
                await contender.clear_session()
        return f"{await _setting(client)}\n\n{table(HEADER, lines)}"


async def _measure(client: Redis, contenders: dict[str, Contender], row: Row) -> list[str]:
    items = conversation(row.stored)
    for contender in contenders.values():
        await contender.clear_session()
        if items:
            await contender.add_items(items)
    answers = [await row.operation(contender) for contender in contenders.values()]
    if isinstance(answers[0], list):  # they do the same work, or the comparison says nothing
        lengths = {len(answer) for answer in answers if isinstance(answer, list)}
        assert len(lengths) == 1, f"{row.name}: {lengths} items"
    time = await medians(
        {name: _bind(row, contender) for name, contender in contenders.items()},
        max(row.iterations, 1),
        warmup=max(row.iterations // 10, 1),
    )
    commands = [await _commands(client, row, contender) for contender in contenders.values()]
    return [
        row.name,
        *(f"{figure(time[name])} µs" for name in contenders),
        f"{time['ours'] / time['SDK']:.2f}",
        f"≤ {row.sdk_target}",
        f"{time['ours'] / time['floor']:.2f}",
        f"≤ {row.floor_target}" if row.floor_target else "",
        " / ".join(map(str, commands)),
    ]


def _bind(row: Row, contender: Contender) -> Callable[[], Awaitable[object]]:
    return lambda: row.operation(contender)


async def _commands(client: Redis, row: Row, contender: Contender) -> int:
    """Count the commands that the client sends for one operation; a script is one."""
    begin, end = uuid.uuid4().hex, uuid.uuid4().hex
    sent: list[str] = []
    async with client.monitor() as monitor:
        await client.echo(begin)  # on the connection that is now the pool's other one
        await row.operation(contender)
        await client.echo(end)
        async for command in monitor.listen():
            if end in command["command"]:
                break
            if command["client_type"] != "lua":
                sent.append(command["command"])
    after = next(number for number, command in enumerate(sent) if begin in command)
    return len(sent) - after - 1


async def _setting(client: Redis) -> str:
    info = await client.info("server")
    server = info.get("server_name", "redis").capitalize()
    number = info.get("valkey_version") or info["redis_version"]
    return (
        f"Medians, interleaved in one run; {server} {number} on this machine "
        f"({os.cpu_count()} cores), Python {platform.python_version()}, "
        f"redis-py {version('redis')} with hiredis {version('hiredis')}, "
        f"openai-agents {version('openai-agents')}. "
        "Commands on the wire: this library / SDK / MULTI by hand / floor."
    )
