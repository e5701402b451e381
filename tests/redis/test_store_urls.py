"""A store from a URL: one server, a cluster, Sentinels; its options and its end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.sentinel import SentinelConnectionPool, SentinelManagedSSLConnection

from openai_agents_session import RedisSession, RedisStore, open_store
from tests.redis.stores import assert_agreement
from tests.servers import RedisServer, Sentinel, sweep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers import Endpoint
    from tests.servers import RedisCluster as ClusterServers

SECRET = "p4ssw0rd"
ITEMS: list[Any] = [{"role": "user", "content": "Hi"}]


@pytest.fixture
def swept(redis_server: Endpoint, key_prefix: str) -> Iterator[None]:
    yield
    sweep(redis_server, key_prefix)


def client_of(store: Any) -> Any:
    """Return a client as the store makes it."""
    return store._clients._make()


async def use(store: Any) -> None:
    """Write to a user's conversation and to one without a user, and list both."""
    ada = store.user("ada")
    await ada.session("a", name="A").replace_items(ITEMS)
    await store.session("s").replace_items(ITEMS)
    assert await ada.session("a").get_items() == ITEMS
    assert {each.session_id async for each in store} == {"a", "s"}
    assert await store.ping() is True


@pytest.mark.usefixtures("swept")
@pytest.mark.parametrize("scheme", ["redis", "valkey", "REDIS"])
async def test_one_server(redis_server: Endpoint, key_prefix: str, scheme: str) -> None:
    """All sessions of a store share its client, and are usable until it is closed."""
    url = f"{scheme}://{redis_server.host}:{redis_server.port}/0?key_prefix={key_prefix}&ttl=100"
    async with open_store(url, max_connections=2) as store:
        assert isinstance(store, RedisStore)
        await use(store)
        session = store.user("ada").session("a")
        await session.close()  # it closes what is its own
        assert await session.get_items() == ITEMS
        clients: Any = store._clients
        assert len(clients._clients) == 1
        (client,) = clients._clients.values()
        assert isinstance(client.connection_pool, BlockingConnectionPool)
        assert client.connection_pool.max_connections == 2
        assert 90 < await client.ttl(f"{key_prefix}:s") <= 100
        await assert_agreement(client, key_prefix)
    for attempt in (session.get_items(), session.add_items(ITEMS), store.user("ada").get("a")):
        with pytest.raises(RuntimeError, match="the store was closed and its client with it"):
            await attempt
    with pytest.raises(RuntimeError, match="the store was closed"):
        await store.ping()


@pytest.mark.usefixtures("swept")
async def test_a_client_of_the_caller_stays_open(redis_server: Endpoint, key_prefix: str) -> None:
    """A store closes only what it has opened."""
    async with Redis.from_url(redis_server.url) as client:
        async with RedisStore(client, key_prefix=key_prefix) as store:
            await use(store)
        assert await client.ping()
        assert await store.session("s").get_items() == ITEMS


@pytest.mark.usefixtures("swept")
def test_a_store_works_in_one_event_loop_after_the_other(
    redis_server: Endpoint, key_prefix: str
) -> None:
    """It may be made at the top of a module."""
    store = RedisStore.from_url(redis_server.url, key_prefix=key_prefix)
    asyncio.run(use(store))
    asyncio.run(use(store))


async def test_a_cluster(redis_cluster: ClusterServers, key_prefix: str) -> None:
    """Any of its nodes will do, also where the first that is named is down."""
    nodes = ",".join(f"{node.host}:{node.port}" for node in redis_cluster.nodes[1:3])
    for hosts in (f"{redis_cluster.host}:{redis_cluster.port}", f"127.0.0.1:1,{nodes}"):
        url = f"redis+cluster://{hosts}?key_prefix={key_prefix}&socket_timeout=5"
        async with open_store(url) as store:
            await use(store)
            client = client_of(store)
            assert isinstance(client, RedisCluster)
    async with RedisSession.from_url("s", url.partition("?")[0], key_prefix=key_prefix) as session:
        assert await session.get_items() == ITEMS
    for node in redis_cluster.nodes[:3]:
        sweep(node, key_prefix)


async def test_sentinels(redis_binary: str, key_prefix: str) -> None:
    """They lead to the master, and to its database."""
    with RedisServer(redis_binary) as primary, Sentinel(primary) as sentinel:
        hosts = f"127.0.0.1:1,{sentinel.host}:{sentinel.port}"
        async with open_store(f"redis+sentinel://{hosts}/main/2?key_prefix={key_prefix}") as store:
            await use(store)
        async with Redis(host=primary.host, port=primary.port, db=2) as client:
            assert await client.exists(f"{key_prefix}:s")


def test_what_a_url_of_sentinels_says() -> None:
    """Login and TLS are of the master; the Sentinels have TLS as well, and their own login."""
    store = RedisStore.from_url(
        f"rediss+sentinel://ada:{SECRET}@one,two:5000/main?socket_timeout=3&ssl_ca_certs=/ca.pem",
        sentinel_kwargs={"password": "other"},
    )
    client = client_of(store)
    pool = client.connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    assert pool.service_name == "main"
    assert pool.connection_class is SentinelManagedSSLConnection
    options = pool.connection_kwargs
    assert (options["username"], options["password"]) == ("ada", SECRET)
    assert options["socket_timeout"] == 3
    sentinels = [each.connection_pool.connection_kwargs for each in pool.sentinel_manager.sentinels]
    assert [(each["host"], each["port"]) for each in sentinels] == [("one", 26379), ("two", 5000)]
    for each in sentinels:
        assert each["password"] == "other"
        assert each["socket_timeout"] == 3
        assert each["ssl_ca_certs"] == "/ca.pem"
    assert SECRET not in repr(store)


def test_what_a_url_of_a_cluster_says() -> None:
    """Login and TLS are of all nodes."""
    store = RedisStore.from_url(f"rediss+cluster://:{SECRET}@one,two:7000")
    client = client_of(store)
    assert client.connection_kwargs["password"] == SECRET
    assert {*client.nodes_manager.startup_nodes} == {"one:6379", "two:7000"}
    assert SECRET not in repr(store)


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}@host:port",
        f"redis+cluster://:{SECRET}@host:port",
        f"redis+cluster://:{SECRET}@",
        f"redis+cluster://:{SECRET}@host/1",
        f"redis+sentinel://:{SECRET}@host",
        f"redis+sentinel://:{SECRET}@host,/main",
        f"redis+sentinel://:{SECRET}@/main",
        f"http://:{SECRET}@host",
        f"redis+http://:{SECRET}@host",
    ],
)
def test_a_url_that_cannot_be_read(url: str) -> None:
    """The error says what one looks like, and not what this one is."""
    with pytest.raises(ValueError, match=r"cannot read the url.*redis\+sentinel://") as caught:
        RedisStore.from_url(url)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster", "redis+sentinel"])
def test_an_unknown_option_is_an_error(scheme: str) -> None:
    """In the URL or by keyword; the error lists those that there are."""
    url = f"{scheme}://:{SECRET}@host/0" if "cluster" in scheme else f"{scheme}://:{SECRET}@host/a"
    for attempt, error, where in (
        (lambda: RedisStore.from_url(f"{url}?tll=5"), ValueError, "in the url"),
        (lambda: RedisStore.from_url(url, tll=5), TypeError, "by keyword"),
    ):
        with pytest.raises(error, match=f"no option 'tll', which was given {where}") as caught:
            attempt()
        for known in ("key_prefix", "ttl", "setup", "session_settings", "socket_timeout"):
            assert known in str(caught.value)
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("query", "error", "message"),
    [
        ("ttl=x", ValueError, "ttl in the url must be a whole number"),
        ("ttl=0", ValueError, "ttl must be from 1"),
        ("setup=maybe", ValueError, "setup in the url must be true or false"),
        ("key_prefix=", ValueError, "key_prefix must not be empty"),
        ("socket_timeout=x", ValueError, "cannot read the url or an option"),
    ],
)
def test_a_wrong_value_in_a_url(query: str, error: type[Exception], message: str) -> None:
    """The error names the option."""
    with pytest.raises(error, match=message):
        RedisStore.from_url(f"redis://host?{query}")


def test_a_keyword_goes_before_the_url() -> None:
    """The URL holds what is the same everywhere, and code what is special."""
    url = "redis://host/3?ttl=5&setup=true&key_prefix=a%20b&health_check_interval=7"
    store: Any = RedisStore.from_url(url)
    assert repr(store) == "RedisStore(key_prefix='a b')"
    assert store._catalog._ttl == 5
    options = client_of(store).connection_pool.connection_kwargs
    assert (options["db"], options["health_check_interval"]) == (3, 7)
    assert "ttl" not in options

    store = RedisStore.from_url(url, ttl=6, key_prefix="b", setup=False)
    assert (store._catalog._ttl, repr(store)) == (6, "RedisStore(key_prefix='b')")


@pytest.mark.parametrize(
    ("url", "setup", "message"),
    [
        (b"redis://host", False, "url must be a str"),
        ("redis://host", "yes", "setup must be a bool"),
    ],
)
def test_an_argument_of_another_type(url: Any, setup: Any, message: str) -> None:
    """The error names it."""
    with pytest.raises(TypeError, match=message):
        RedisStore.from_url(url, setup=setup)
