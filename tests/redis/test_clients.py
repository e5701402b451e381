"""One short conversation over every kind of client that redis-py offers."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.sentinel import Sentinel as SentinelClient

from openai_agents_session import RedisSession
from tests import servers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

pytestmark = pytest.mark.redis

Client: TypeAlias = "Redis | RedisCluster"
Opening: TypeAlias = AbstractAsyncContextManager[Client]

# Not UTF-8, so that a client which decodes replies cannot decode this one.
UNDECODABLE = b'{"role": "user", "content": "\xff\xfe"}'


@asynccontextmanager
async def from_url(server: servers.Endpoint, **options: Any) -> AsyncGenerator[Client, None]:
    """Make a client as most applications do."""
    async with Redis.from_url(server.url, **options) as client:
        yield client


@asynccontextmanager
async def from_host(server: servers.Endpoint, **options: Any) -> AsyncGenerator[Client, None]:
    """Make a client by host and port, which has retries of its own."""
    async with Redis(host=server.host, port=server.port, **options) as client:
        yield client


@asynccontextmanager
async def blocking_pool(server: servers.Endpoint, **options: Any) -> AsyncGenerator[Client, None]:
    """Make a client of two connections for which its users wait."""
    pool = BlockingConnectionPool.from_url(server.url, max_connections=2, **options)
    async with Redis.from_pool(pool) as client:
        yield client


SINGLE: dict[str, Callable[[servers.Endpoint], Opening]] = {
    "from_url": from_url,
    "from_url decoding": partial(from_url, decode_responses=True),
    "from_url RESP2": partial(from_url, protocol=2),
    "from_url RESP3": partial(from_url, protocol=3),
    "from_url RESP2 decoding": partial(from_url, protocol=2, decode_responses=True),
    "from_url RESP3 decoding": partial(from_url, protocol=3, decode_responses=True),
    "latin-1": partial(from_url, encoding="latin-1", decode_responses=True),
    "host": from_host,
    "host decoding": partial(from_host, decode_responses=True),
    "blocking pool": blocking_pool,
    "blocking pool decoding": partial(blocking_pool, decode_responses=True),
    "single connection": partial(from_url, single_connection_client=True),
}


@pytest.fixture(scope="module")
def sentinel(redis_binary: str) -> Iterator[servers.Sentinel]:
    """Start a primary and a Sentinel that watches it."""
    with servers.RedisServer(redis_binary) as primary, servers.Sentinel(primary) as sentinel:
        yield sentinel


async def converse(client: Client, key_prefix: str) -> None:
    """Go once through everything that a session does."""
    session = RedisSession("user: Zoë", client, key_prefix, ttl=1000)
    items: list[Any] = [
        {"role": "user", "content": f"Grüße {number} \ud83d"} for number in range(6)
    ]
    key = f"{key_prefix}:user: Zoë".encode()
    assert await session.ping() is True
    assert await session.get_items() == []

    await session.add_items(items[:4])
    await client.rpush(key, UNDECODABLE)
    await client.rpush(key, b"not JSON")
    await session.add_items(items[4:])

    assert await session.get_items() == items
    assert await session.get_items(limit=3) == items[3:]
    assert [await session.pop_item() for _ in range(3)] == items[:2:-1]
    assert await session.get_items(limit=9) == items[:3]
    assert await client.llen(key) == 5, "the unreadable records are to stay"
    assert 990_000 < await client.pttl(key) <= 1_000_000

    snapshot = await session._get_compaction_snapshot(10)
    assert snapshot is None, "there are records that the snapshot could not show"
    await session.replace_items(items[2:])
    snapshot = await session._get_compaction_snapshot(10)
    assert snapshot is not None
    assert snapshot.items == items[2:]
    assert await snapshot.replace_suffix(1, items[:1])
    assert await session.get_items() == [items[2], items[0]]
    assert 990_000 < await client.pttl(key) <= 1_000_000

    await session.clear_session()
    assert await session.get_items() == []
    assert await session.pop_item() is None
    assert await client.exists(key) == 0
    await session.close()
    assert await client.exists(key) == 0, "the client was closed with the session"


@pytest.mark.parametrize("kind", SINGLE)
async def test_client_of_one_server(
    redis_server: servers.Endpoint, key_prefix: str, kind: str
) -> None:
    """A session does the same over any client of one server."""
    async with SINGLE[kind](redis_server) as client:
        await converse(client, key_prefix)
    servers.sweep(redis_server, key_prefix)


@pytest.mark.parametrize("decode_responses", [False, True])
@pytest.mark.parametrize("protocol", [2, 3])
async def test_cluster_client(
    redis_cluster: servers.RedisCluster, key_prefix: str, decode_responses: bool, protocol: int
) -> None:
    """A session does the same over a cluster."""
    async with RedisCluster(
        host=redis_cluster.host,
        port=redis_cluster.port,
        decode_responses=decode_responses,
        protocol=protocol,
    ) as client:
        await converse(client, key_prefix)


@pytest.mark.parametrize("decode_responses", [False, True])
async def test_sentinel_client(
    sentinel: servers.Sentinel, key_prefix: str, decode_responses: bool
) -> None:
    """A session does the same over the primary that a Sentinel names."""
    watcher = SentinelClient([(sentinel.host, sentinel.port)], decode_responses=decode_responses)
    async with watcher.master_for("main") as client:
        await converse(client, key_prefix)
    for one in watcher.sentinels:
        await one.aclose()
