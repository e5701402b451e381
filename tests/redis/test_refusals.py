"""What a server refuses, with scripts and without: nothing is harmed, and nothing is told."""

from __future__ import annotations

import json
import traceback
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
import pytest_asyncio
from redis.asyncio import Redis, RedisCluster
from redis.exceptions import (
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from openai_agents_session import RedisSession, _pauses
from tests.servers import RedisServer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator

    from tests import servers

    Operation: TypeAlias = Callable[[RedisSession], Awaitable[Any]]

TEXT = "my diagnosis"
ITEMS: list[Any] = [{"role": "user", "content": f"{TEXT} {number}"} for number in range(3)]
NEW: list[Any] = [{"role": "user", "content": f"{TEXT} of pipeline caused error: {TEXT}"}]
BROKEN = b'{"content": "' + TEXT.encode() + b"}"

USERS = {"scripted": [], "unscripted": ["-@scripting"]}


async def swap(session: RedisSession) -> None:
    """Replace the end, as the SDK's compaction does."""
    snapshot = await session._get_compaction_snapshot(2)
    assert snapshot is not None
    await snapshot.replace_suffix(1, NEW)


# What is done, and whether that is refused by a server that is full.
OPERATIONS: dict[str, tuple[Operation, bool]] = {
    "add": (lambda session: session.add_items(NEW), True),
    "replace": (lambda session: session.replace_items(NEW), True),
    "pop": (lambda session: session.pop_item(), False),
    "replace by nothing": (lambda session: session.replace_items([]), False),
    "clear": (lambda session: session.clear_session(), False),
    "swap": (swap, False),
}


@pytest.fixture(scope="module")
def server(redis_binary: str) -> Iterator[RedisServer]:
    """A server for this module alone, whose settings the tests change."""
    with RedisServer(redis_binary) as server:
        for user, rights in USERS.items():
            server.call("ACL", "SETUSER", user, "on", "nopass", "~*", "+@all", *rights)
        yield server


@pytest_asyncio.fixture
async def admin(server: RedisServer) -> AsyncIterator[Redis]:
    """Look inside; leave the server empty and at peace."""
    async with Redis.from_url(server.url) as client:
        yield client
        server.call("REPLICAOF", "NO", "ONE")
        server.call("CONFIG", "SET", "maxmemory", 0)
        server.call("CONFIG", "SET", "min-replicas-to-write", 0)
        may_use("~*", server)
        server.call("FLUSHALL")


@pytest_asyncio.fixture(params=USERS)
async def client(
    request: pytest.FixtureRequest, server: RedisServer, admin: Redis
) -> AsyncIterator[Redis]:
    """A client of each path: with scripts, and as a user who may not run any."""
    async with Redis(host=server.host, port=server.port, username=request.param) as client:
        yield client
    assert await admin.ping()


def wrong_type(server: RedisServer) -> None:
    server.call("UNLINK", "p:s")
    server.call("SET", "p:s", TEXT)


def may_use(pattern: str, server: RedisServer) -> None:
    for user in USERS:
        server.call("ACL", "SETUSER", user, "resetkeys", pattern)


# How each is brought about, and what it raises.
FAULTS: dict[str, tuple[Callable[[RedisServer], object], type[RedisError]]] = {
    "OOM": (lambda server: server.call("CONFIG", "SET", "maxmemory", 1), OutOfMemoryError),
    "NOREPLICAS": (
        lambda server: server.call("CONFIG", "SET", "min-replicas-to-write", 1),
        ResponseError,
    ),
    "READONLY": (lambda server: server.call("REPLICAOF", server.host, 1), ReadOnlyError),
    "WRONGTYPE": (wrong_type, ResponseError),
    "NOPERM": (partial(may_use, "~q:*"), NoPermissionError),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_no_error_tells_of_the_conversation(
    server: RedisServer,
    client: Redis,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    """Not in its message, arguments, notes, cause or traceback."""
    monkeypatch.setattr(_pauses, "RETRY_SECONDS", 0.0)
    break_it, error_class = FAULTS[fault]
    session = RedisSession("s", client, "p", ttl=1000)
    await session.add_items(ITEMS)
    break_it(server)
    errors = {name: await error_of(use(session)) for name, (use, _) in OPERATIONS.items()}
    raised = {name: error for name, error in errors.items() if error is not None}
    full = {name for name, (_, refused) in OPERATIONS.items() if refused}
    assert {*raised} - {"swap"} == (full if fault == "OOM" else {*OPERATIONS} - {"swap"})
    for error in raised.values():
        assert isinstance(error, error_class)
        assert TEXT not in everything_about(error)


async def error_of(operation: Awaitable[object]) -> RedisError | None:
    try:
        await operation
    except RedisError as error:
        return error
    return None


def everything_about(error: BaseException) -> str:
    said = [repr(error.args), str(vars(error)), *traceback.format_exception(error)]
    more = [other for other in (error.__cause__, error.__context__) if other is not None]
    return "\n".join([*said, *map(everything_about, more)])


@pytest.mark.parametrize("name", OPERATIONS)
async def test_key_of_another_type_keeps_its_life(
    server: RedisServer, client: Redis, admin: Redis, name: str
) -> None:
    """What is not ours gets no expiry from us."""
    await admin.set("p:s", "not ours")
    session = RedisSession("s", client, "p", ttl=1000)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await OPERATIONS[name][0](session)
    assert await admin.get("p:s") == b"not ours"
    assert await admin.ttl("p:s") == -1
    assert server.call("DBSIZE") == 1


@pytest.mark.parametrize("ttl", [None, 1000])
async def test_a_full_server_can_be_emptied(client: Redis, admin: Redis, ttl: int | None) -> None:
    """Storing more is refused; reading, popping and emptying go on."""
    session = RedisSession("s", client, "p", ttl=ttl)
    other = RedisSession("other", client, "p", ttl=ttl)
    await session.add_items(ITEMS)
    await other.add_items(ITEMS)
    await admin.rpush("p:s", b"not JSON")
    await admin.config_set("maxmemory", 1)
    with pytest.raises(OutOfMemoryError):
        await session.add_items(NEW)
    with pytest.raises(OutOfMemoryError):
        await session.replace_items(NEW)

    assert await session.get_items() == ITEMS
    assert await session.pop_item() == ITEMS[2]
    assert await session.get_items() == ITEMS[:2]
    assert await admin.lindex("p:s", -1) == b"not JSON"
    assert await admin.ttl("p:s") == (ttl or -1)
    await session.replace_items([])
    assert await session.get_items() == []
    await other.clear_session()
    assert await admin.exists("p:s", "p:other") == 0


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("ttl", [None, 1000])
async def test_a_full_server_loses_no_record_that_is_passed_over(
    client: Redis, admin: Redis, ttl: int | None, alone: bool
) -> None:
    """What looked like an item and is none stays the newest, with the expiry that it had."""
    session = RedisSession("s", client, "p", ttl=ttl)
    stored = [BROKEN] if alone else [json.dumps(ITEMS[0]).encode(), BROKEN]
    await admin.rpush("p:s", *stored)
    await admin.expire("p:s", 5000)
    await admin.config_set("maxmemory", 1)

    assert await session.pop_item() == (None if alone else ITEMS[0])

    assert await admin.lrange("p:s", 0, -1) == [BROKEN]
    assert await admin.ttl("p:s") in ((1000, 5000) if ttl else (5000,))


@asynccontextmanager
async def unscripted_cluster(
    cluster: servers.RedisCluster, prefix: str
) -> AsyncGenerator[RedisCluster]:
    """A client of the cluster that may not run scripts."""
    name = f"user-of-{prefix}"
    rules = ("on", ">secret", "~*", "+@all", "-@scripting")
    for node in cluster.nodes:
        node.call("ACL", "SETUSER", name, *rules)
    async with RedisCluster(
        host=cluster.host, port=cluster.port, username=name, password="secret"
    ) as client:
        yield client
    for node in cluster.nodes:
        node.call("ACL", "DELUSER", name)


async def test_a_cluster_without_scripts(
    redis_cluster: servers.RedisCluster, cluster_client: RedisCluster, key_prefix: str
) -> None:
    """Transactions find their way to the key's node, also when it was another a moment ago."""
    async with unscripted_cluster(redis_cluster, key_prefix) as client:
        for name in "abcdef":
            session = RedisSession(name, client, key_prefix, ttl=1000)
            wrong = client.get_primaries()
            slots = client.nodes_manager.slots_cache
            slot = client.keyslot(f"{key_prefix}:{name}")
            here = slots[slot][0]
            slots[slot] = [next(node for node in wrong if node != here)]
            await session.add_items(ITEMS)
            assert await session.pop_item() == ITEMS[2]
            await swap(session)
            assert await session.get_items() == [ITEMS[0], *NEW]
            assert 990 < await cluster_client.ttl(f"{key_prefix}:{name}") <= 1000
            await session.clear_session()
            assert await cluster_client.exists(f"{key_prefix}:{name}") == 0
