"""What a server says for a moment is waited out: nothing was executed, and nobody hears of it."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
import pytest_asyncio
from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.exceptions import AuthenticationError, RedisClusterException, ResponseError

from openai_agents_session import RedisSession, _pauses
from openai_agents_session.redis import _driver
from tests.faults import FaultyProxy
from tests.servers import RedisServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from tests import servers

    Operation: TypeAlias = Callable[[RedisSession], Awaitable[Any]]

ITEMS: list[Any] = [{"role": "user", "content": f"item {number}"} for number in range(3)]
USERS = {"scripted": [], "unscripted": ["-@scripting"]}

# Done one after the other, and what each returns.
OPERATIONS: list[tuple[Operation, Any]] = [
    (lambda session: session.ping(), True),
    (lambda session: session.add_items(ITEMS), None),
    (lambda session: session.pop_item(), ITEMS[-1]),
    (lambda session: session.get_items(), ITEMS[:-1]),
    (lambda session: session.replace_items(ITEMS), None),
    (lambda session: session.get_items(limit=1), ITEMS[-1:]),
    (lambda session: session.clear_session(), None),
]


@pytest.fixture(scope="module")
def server(redis_binary: str) -> Iterator[RedisServer]:
    """A server for this module alone, whose settings the tests change."""
    with RedisServer(redis_binary, "--busy-reply-threshold", "10") as server:
        for user, rights in USERS.items():
            server.call("ACL", "SETUSER", user, "on", "nopass", "~*", "+@all", *rights)
        yield server


@pytest.fixture(autouse=True)
def emptied(server: RedisServer) -> Iterator[None]:
    yield
    server.call("CONFIG", "SET", "min-replicas-to-write", 0)
    server.call("FLUSHALL")


@pytest.fixture(params=USERS)
def user(request: pytest.FixtureRequest) -> str:
    """Who writes with scripts, and who without."""
    return str(request.param)


@pytest_asyncio.fixture
async def client(server: RedisServer, user: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(server.url, username=user, password="any") as client:
        yield client


def refusals(server: RedisServer, code: str) -> int:
    """How many commands the server has answered with an error of this kind."""
    return int(server.info("errorstats").get(f"errorstat_{code}", {}).get("count", 0))


# ------------------------------------------------------------------- connections gone bad


def blocking(url: str, **options: Any) -> Redis:
    return Redis.from_pool(BlockingConnectionPool.from_url(url, **options))


CLIENTS: dict[str, Callable[..., Redis]] = {
    "from_url": Redis.from_url,
    "blocking": blocking,
    "single": partial(Redis.from_url, single_connection_client=True),
}


async def use_at_once(client: Redis | RedisCluster) -> None:
    """Leave several connections in the pool, of which some may have been dead."""
    for _ in range(2):
        await asyncio.gather(*(client.exists("any") for _ in range(5)), return_exceptions=True)


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("kind", CLIENTS)
async def test_connections_closed_while_idle_go_unnoticed(
    server: RedisServer, user: str, kind: str, protocol: int
) -> None:
    """After ``CLIENT KILL`` of every connection each operation works, without an error."""
    options = {"username": user, "password": "any", "protocol": protocol}
    async with CLIENTS[kind](server.url, **options) as client:
        session = RedisSession("idle", client, "p", ttl=1000)
        for operation, expected in OPERATIONS:
            await use_at_once(client)
            server.call("CLIENT", "KILL", "TYPE", "normal")
            assert await operation(session) == expected


@pytest.mark.parametrize("protocol", [2, 3])
async def test_connections_of_a_cluster_closed_while_idle_go_unnoticed(
    redis_cluster: servers.RedisCluster, key_prefix: str, protocol: int
) -> None:
    """The same for a cluster's nodes."""
    node = redis_cluster.primary_of(f"{key_prefix}:s")
    async with RedisCluster(
        host=redis_cluster.host, port=redis_cluster.port, protocol=protocol
    ) as client:
        session = RedisSession("s", client, key_prefix, ttl=1000)
        for operation, expected in OPERATIONS:
            await use_at_once(client)
            node.call("CLIENT", "KILL", "TYPE", "normal")
            assert await operation(session) == expected


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_primary_that_became_a_replica_is_left(
    server: RedisServer, user: str, kind: str
) -> None:
    """Behind an address that stays, the connections to the old primary are given up."""
    with RedisServer(server.name) as old:
        for name, rights in USERS.items():
            old.call("ACL", "SETUSER", name, "on", "nopass", "~*", "+@all", *rights)
        async with (
            FaultyProxy(old) as address,
            CLIENTS[kind](address.url, username=user, password="any") as client,
        ):
            session = RedisSession("s", client, "p", ttl=1000)
            await session.add_items(ITEMS)
            await use_at_once(client)
            old.call("REPLICAOF", server.host, server.port)
            address._server = server
            await asyncio.gather(*(session.add_items(ITEMS) for _ in range(10)))
            assert await session.get_items() == ITEMS * 10
    assert refusals(server, "READONLY") == 0


# ---------------------------------------------------------------------- codes of the server


async def test_a_server_busy_with_a_script_is_waited_for(
    server: RedisServer, client: Redis
) -> None:
    """``BUSY`` for a moment is no error."""
    session = RedisSession("s", client, "p", ttl=1000)
    await session.add_items(ITEMS)
    before = refusals(server, "BUSY")
    busy = (
        "local function now() local t = redis.call('TIME') return t[1] * 1000000 + t[2] end "
        "local start = now() while now() - start < 300000 do end"
    )
    blocking = asyncio.ensure_future(asyncio.to_thread(server.call, "EVAL", busy, 0))
    operations = [session.get_items, lambda: session.add_items(ITEMS), session.pop_item]
    while not blocking.done():
        await operations[0]()
        operations = operations[1:] + operations[:1]
    await blocking
    assert refusals(server, "BUSY") > before


async def test_missing_replicas_are_waited_for(server: RedisServer, client: Redis) -> None:
    """``NOREPLICAS`` for a moment is no error."""
    session = RedisSession("s", client, "p", ttl=1000)
    for operation, expected in OPERATIONS[1:]:
        before = refusals(server, "NOREPLICAS")
        server.call("CONFIG", "SET", "min-replicas-to-write", 1)
        task = asyncio.ensure_future(operation(session))
        while not task.done() and refusals(server, "NOREPLICAS") == before:  # noqa: ASYNC110 - polled
            await asyncio.sleep(0.01)
        server.call("CONFIG", "SET", "min-replicas-to-write", 0)
        assert await task == expected


@pytest.mark.parametrize(
    ("said", "passing"),
    [
        ("-READONLY You can't write against a read only replica.", True),
        ("-NOREPLICAS Not enough good replicas to write.", True),
        ("-OOM command not allowed when used memory > 'maxmemory'.", False),
        ("The user executing the script can't run this command or subcommand", False),
    ],
)
def test_what_redis_6_says_of_a_script_is_understood(said: str, passing: bool) -> None:
    """Before 7, the code is in the middle of the text; texts as Redis 6.2.14 sends them."""
    where = "f_ccaa921807b287b64b066e73641bde7b13345a8a): @user_script:3: @user_script: 3: "
    error = ResponseError(f"Error running script (call to {where}{said}")
    assert _driver.is_passing(error) is passing


async def test_a_changed_password_is_told_at_once(
    redis_cluster: servers.RedisCluster, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login that is refused is not tried again."""
    monkeypatch.setattr(_pauses, "RETRY_SECONDS", 60.0)
    async with Redis.from_url(server.url, username="nobody", password="wrong") as client:
        with pytest.raises(AuthenticationError):
            await asyncio.wait_for(RedisSession("s", client).get_items(), 10)
    client = RedisCluster(
        host=redis_cluster.host, port=redis_cluster.port, username="nobody", password="wrong"
    )
    with pytest.raises(RedisClusterException, match="invalid username-password"):
        await asyncio.wait_for(RedisSession("s", client).get_items(), 10)
