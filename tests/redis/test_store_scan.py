"""All conversations of a store, and what erase finds beyond the index."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis, RedisCluster
from redis.exceptions import RedisError

from openai_agents_session import RedisStore
from openai_agents_session.redis import _scan
from openai_agents_session.store import CursorError
from tests.faults import FaultyProxy
from tests.redis.stores import all_keys, index_of
from tests.servers import RedisCluster as ClusterServers
from tests.servers import RedisServer
from tests.shares import share_of

if TYPE_CHECKING:
    from tests.servers import Endpoint

ITEMS: list[Any] = [{"role": "user", "content": f"item {number}"} for number in range(3)]


async def everything(store: RedisStore, limit: int = 50) -> list[tuple[Any, str]]:
    """Return all that a store lists, page by page."""
    found, cursor = [], None
    while True:
        page = await store.list(limit, cursor)
        found += [(each.user_id, each.session_id) for each in page.conversations]
        if (cursor := page.cursor) is None:
            return found


@pytest.mark.parametrize("prefix", ["*", "a[b]?", "a\\*", "a^", "{app}", "a@{b", "ä b"])
async def test_a_prefix_is_no_pattern(redis_client: Redis, key_prefix: str, prefix: str) -> None:
    """Only what begins with it is listed and erased."""
    own = RedisStore(redis_client, key_prefix=key_prefix + prefix)
    others = [
        RedisStore(redis_client, key_prefix=key_prefix + other) for other in ("ab", "a", "", "*x")
    ]
    for store in [own, *others]:
        await store.user("ada").session("a").add_items(ITEMS)
        await store.session("s").add_items(ITEMS)

    assert sorted(await everything(own), key=repr) == [("ada", "a"), (None, "s")]
    assert (await own.user("ada").erase()).conversations == 1
    assert await everything(own) == [(None, "s")]
    for store in others:
        assert await store.user("ada").get("a")


async def test_what_is_no_conversation_is_skipped(redis_client: Redis, key_prefix: str) -> None:
    """Keys of other types and other shapes under the prefix are nobody's conversation."""
    store = RedisStore(redis_client, key_prefix=key_prefix)
    await store.user("ada").session("a").add_items(ITEMS)
    await store.session("s").add_items(ITEMS)
    index = index_of(key_prefix, "ada")
    await redis_client.set(f"{key_prefix}:string", "x")
    await redis_client.hset(f"{key_prefix}:hash", "x", "y")
    await redis_client.rpush(f"{key_prefix}@list", "x")
    await redis_client.rpush(f"{key_prefix}@{{ada}}:stale", "x")
    await redis_client.hset(f"{key_prefix}@{{ada}}~other", "x", "y")
    for key in ("{ada}~string", "{a}b}~string", "{ada}~"):
        await redis_client.set(f"{key_prefix}@{key}", "x", ex=100)
    await redis_client.set(index + b"x", "of another program")

    assert sorted(await everything(store), key=repr) == [("ada", "a"), (None, "s")]
    await store.user("ada").erase()
    assert await redis_client.get(index + b"x") == b"of another program"
    await redis_client.delete(index + b"x")


@pytest.mark.parametrize(
    "cursor",
    [
        [0, 0, "", -1],
        [0, -1, "", 0],
        [0, 0, "", 2**64],
        [0, 0, "", True],
        [0, 0, 0, 0],
        [0.0, 0, "", 0],
        [0, 0, ""],
    ],
)
async def test_cursors_are_checked(redis_client: Redis, key_prefix: str, cursor: Any) -> None:
    """What no page has returned is refused before anything is sent."""
    store = RedisStore(redis_client, key_prefix=key_prefix)
    with pytest.raises(CursorError):
        await store._catalog.scan(5, cursor)


async def test_items_are_not_read(redis_server: Endpoint, key_prefix: str) -> None:
    """A page is two requests, however long the conversations."""
    async with FaultyProxy(redis_server) as proxy, Redis.from_url(proxy.url) as client:
        store = RedisStore(client, key_prefix=key_prefix)
        for number in range(30):
            await store.user(f"{number}").session("a").add_items(ITEMS * 100)
        before = proxy.requests.copy()
        await everything(store, 1000)
        sent = proxy.requests - before
        assert set(sent) == {"SCAN", "LLEN", "PEXPIRETIME", "HMGET"}
        for number in range(30):
            await store.user(f"{number}").erase()


@pytest.mark.parametrize("conversations", share_of([5_000, 100_000], 5_000))
def test_memory_stays_the_same(redis_binary: str, conversations: int) -> None:
    """Going through many conversations holds one page of them."""
    import asyncio  # noqa: PLC0415 - with a server of its own, outside of the test's event loop

    async def go(server: RedisServer) -> None:
        async with Redis.from_url(server.url) as client:
            for start in range(0, conversations, 5000):
                async with client.pipeline(transaction=False) as pipeline:
                    for number in range(start, start + 5000):
                        about: Any = {"created_at": 1, "updated_at": 1, "name": "x" * 200}
                        pipeline.hset(f"p@{{{number % 1000}}}~{number}", mapping=about)
                    await pipeline.execute()
            store = RedisStore(client, key_prefix="p")
            await store.list(1000)
            tracemalloc.start()
            count = 0
            async for _ in store:
                count += 1
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert count >= conversations
            assert peak < 8_000_000

    with RedisServer(redis_binary) as server:
        asyncio.run(go(server))


async def test_all_nodes_of_a_cluster(cluster_client: RedisCluster, key_prefix: str) -> None:
    """Each conversation once, whichever node has it, page by page."""
    store = RedisStore(cluster_client, key_prefix=key_prefix)
    expected = set()
    for number in range(40):
        await store.user(f"{number}").session("a").add_items(ITEMS)
        await store.session(f"{number}").add_items(ITEMS)
        expected |= {(f"{number}", "a"), (None, f"{number}")}
    for limit in (7, 1000):
        found = await everything(store, limit)
        assert {*found} == expected
        assert len(found) == len(expected)


async def test_a_cursor_from_before_the_slots_moved(
    cluster_client: RedisCluster, key_prefix: str
) -> None:
    """It begins anew, so that nothing is missed."""
    store = RedisStore(cluster_client, key_prefix=key_prefix)
    expected = set()
    for number in range(40):
        await store.session(f"{number}").add_items(ITEMS)
        expected.add(f"{number}")

    async def rest(cursor: Any) -> set[str]:
        found: set[str] = set()
        while True:
            page, cursor = await store._catalog.scan(1000, cursor)
            found |= {each.session_id for each in page}
            if cursor is None:
                return found

    division, nodes = await _scan._primaries(cluster_client)
    assert len(nodes) == 3
    assert await rest([division + 1, 2, nodes[2], 5]) == expected
    last = await rest([division, 2, nodes[2], 0])
    assert last < expected
    assert await rest([division, 2, "127.0.0.1:1", 12345]) == last  # it was another node
    assert await rest([division, 3, "", 0]) == set()


async def test_erase_finds_what_the_index_has_lost(redis_client: Redis, key_prefix: str) -> None:
    """Lists, hashes and tokens of the user's; those of similar users stay."""
    store = RedisStore(redis_client, key_prefix=key_prefix)
    others = ["ad", "ada2", "ada*", "a?a", "Ada", "ada}", "[ada]"]
    for user in ["ada", *others]:
        for each in ("a", "b:c", "d~e", "{f}", "^"):
            await store.user(user).session(each, name=user).add_items(ITEMS)
        await store.user(user).session("a").pop_item()
    index = index_of(key_prefix, "ada")
    await redis_client.delete(index)
    await redis_client.delete(index + b"~b:c")
    await redis_client.delete(index + b":d~e")

    erased = await store.user("ada").erase()

    assert (erased.conversations, erased.items) == (4, 2 + 3 + 3 + 3)
    assert await all_keys(redis_client, index.replace(b"{", b"\\{") + b"*") == []
    for user in others:
        assert len([each async for each in store.user(user)]) == 5
        assert (await store.user(user).erase()).items == 14


async def test_erase_looks_on_the_node_that_has_the_user(
    cluster_client: RedisCluster, key_prefix: str
) -> None:
    """Also in a cluster, and also what the index has lost."""
    store = RedisStore(cluster_client, key_prefix=key_prefix)
    for number in range(12):
        view = store.user(f"user {number}")
        for each in "ab":
            await view.session(each).add_items(ITEMS)
        await view.session("a").pop_item()
        await cluster_client.delete(index_of(key_prefix, f"user {number}").decode())

        erased = await view.erase()

        assert (erased.conversations, erased.items) == (2, 5)
    assert await all_keys(cluster_client, f"{key_prefix}@*".encode()) == []


async def test_a_scan_survives_a_failover(redis_binary: str) -> None:
    """Where a replica took over, its part begins anew, and nothing is missed."""
    with ClusterServers(redis_binary, node_timeout_ms=1000) as servers:
        async with RedisCluster(host=servers.host, port=servers.port) as client:
            store = RedisStore(client)
            for number in range(60):
                await store.session(f"{number}").add_items(ITEMS)
            primary = servers.nodes[0]
            replica = servers.replica_of(primary)
            page = await store.list(5)
            primary.kill()

            found = {each.session_id for each in page.conversations}
            cursor = page.cursor
            while True:
                try:
                    page = await store.list(5, cursor)
                except RedisError:  # nobody has taken over yet
                    continue
                found |= {each.session_id for each in page.conversations}
                if (cursor := page.cursor) is None:
                    break
            assert found == {f"{number}" for number in range(60)}
            assert replica.info("replication")["role"] == "master"
