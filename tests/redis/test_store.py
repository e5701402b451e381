"""RedisStore: how users' conversations lie in Redis, and what is sent for them."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from agents import SessionSettings
from redis.asyncio import Redis, RedisCluster
from redis.crc import key_slot
from redis.exceptions import ResponseError

from openai_agents_session import RedisSession, RedisStore
from openai_agents_session.redis._keys import UserKeys, _word_of_slot
from openai_agents_session.store import CursorError
from tests.faults import FaultyProxy
from tests.redis.stores import all_keys, assert_agreement, index_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.servers import Endpoint
    from tests.servers import RedisCluster as ClusterServers

ITEMS: list[Any] = [{"role": "user", "content": f"item {number}"} for number in range(3)]
TOKEN = re.compile(rb"\{[a-z]{4}\}~[A-Za-z0-9+/]{20}")


@pytest.fixture
def store(redis_client: Redis, key_prefix: str) -> RedisStore:
    return RedisStore(redis_client, key_prefix=key_prefix, ttl=1000)


async def keys_in_slot_of(client: Redis, key: bytes) -> set[bytes]:
    """Return all keys of the server that a cluster would keep beside this one."""
    return {each for each in await all_keys(client) if key_slot(each) == key_slot(key)}


async def test_the_layout(redis_client: Any, key_prefix: str, store: RedisStore) -> None:
    """A list, a hash and an entry of the index, in one slot, which expire together."""
    index = f"{key_prefix}@{{ada%40x.org}}".encode()
    ada = store.user("ada@x.org")
    session: Any = ada.session("a:b", name="Groceries ✓", is_active=False, agent_name="Shopper")
    assert not await all_keys(redis_client, b"*" + key_prefix.encode() + b"*")

    await session.add_items(ITEMS)

    assert session.key == f"{key_prefix}@{{ada%40x.org}}:a:b"
    assert session.user_id == "ada@x.org"
    stored: Any = await redis_client.lrange(session.key, 0, -1)
    assert [json.loads(record) for record in stored] == ITEMS
    about: Any = await redis_client.hgetall((index + b"~a:b").decode())
    assert about.keys() == {b"name", b"is_active", b"agent_name", b"created_at", b"updated_at"}
    assert about[b"name"].decode() == "Groceries ✓"
    assert about[b"is_active"] == b"0"
    assert about[b"created_at"] == about[b"updated_at"]
    scores: Any = await redis_client.zrange(index, 0, -1, withscores=True)
    assert scores == [(b"a:b", float(about[b"updated_at"]))]
    keys = {session.key.encode(), index, index + b"~a:b"}
    beside = await keys_in_slot_of(redis_client, index)
    assert keys <= beside
    lives = {await redis_client.pexpiretime(key) for key in keys}
    assert len(lives) == 1
    assert [key for key in beside - keys if TOKEN.fullmatch(key)]

    await session.pop_item()

    private = [key for key in await keys_in_slot_of(redis_client, index) if b"^" in key]
    assert len(private) == 1
    assert private[0].startswith(index + b"^")
    assert 0 < await redis_client.ttl(private[0]) <= 180
    assert await redis_client.get(private[0]) == stored[-1]


async def test_a_session_without_a_user_is_the_one_made_by_hand(
    redis_client: Redis, key_prefix: str, store: RedisStore
) -> None:
    """They have one key, and nothing else is stored."""
    session = store.session("s")
    assert isinstance(session, RedisSession)
    assert session.user_id is None

    await session.add_items(ITEMS)

    assert await RedisSession("s", redis_client, key_prefix).get_items() == ITEMS
    keys = await all_keys(redis_client, b"*" + key_prefix.encode() + b"*")
    assert sorted(re.sub(rb"~.{20}$", b"~", key) for key in keys) == [
        f"{key_prefix}:s".encode(),
        f"{{{key_prefix}:s}}~".encode(),
    ]


async def test_each_operation_is_one_request(redis_server: Endpoint, key_prefix: str) -> None:
    """However many conversations and messages there are, and a page of 50 as well."""
    async with FaultyProxy(redis_server) as proxy, Redis.from_url(proxy.url) as client:
        store = RedisStore(client, key_prefix=key_prefix)
        ada = store.user("ada")
        for number in range(120):
            await ada.session(f"{number}").add_items(ITEMS * 10)
        await ada.session("a").pop_item()
        await ada.session("a").replace_items(ITEMS)
        once: dict[str, Callable[[], Awaitable[Any]]] = {
            "add": lambda: ada.session("a").add_items(ITEMS),
            "get items": lambda: ada.session("a").get_items(),
            "pop": lambda: ada.session("a").pop_item(),
            "clear": lambda: ada.session("a").clear_session(),
            "replace": lambda: ada.session("a").replace_items(ITEMS),
            "list": lambda: ada.list(limit=50),
            "get": lambda: ada.get("a"),
            "update": lambda: ada.update("a", name="A"),
            "touch": lambda: ada.touch("a"),
            "fork": lambda: ada.fork("a", "b"),
            "delete": lambda: ada.delete("b"),
            "messages": lambda: ada.messages("a", limit=3),
            "ping": store.ping,
        }
        await ada.erase()
        await once["add"]()
        sent: Counter[str] = Counter()
        for name, operation in once.items():
            await operation()  # the script is loaded
            if name == "fork":
                await ada.delete("b")
            before = proxy.requests.total()
            await operation()
            sent[name] = proxy.requests.total() - before
        assert sent == dict.fromkeys(once, 1)
        counted = proxy.requests.copy()
        await ada.erase()
        found = proxy.requests - counted
        # And as many SCAN as the server has thousands of keys, whoever's they are.
        assert (found["ZRANGE"], found["EVALSHA"], found["EXISTS"]) == (2, 1, 1)
        async with Redis.from_url(redis_server.url) as direct:
            assert not await all_keys(direct, f"{key_prefix}@*".encode())


def test_a_session_is_made_in_microseconds(redis_client: Redis, key_prefix: str) -> None:
    """It computes nothing that takes long: the slot of the tokens is found at the first write."""
    store = RedisStore(redis_client, key_prefix=key_prefix)
    _word_of_slot.cache_clear()

    for number in range(100):
        store.user(f"user {number}").session("s")

    assert _word_of_slot.cache_info().currsize == 0


def test_every_slot_has_a_word() -> None:
    """Four letters, whatever the slot."""
    for slot in range(0, 16384, 7):
        word = _word_of_slot(slot)
        assert key_slot(word) == slot
        assert re.fullmatch(rb"[a-z]{4}", word)


@pytest.mark.parametrize("prefix", ["p", "{app}", "a{b", "a}b", "a}{b}", "x@{y}", "}{"])
def test_all_keys_of_a_user_are_in_one_slot(prefix: str) -> None:
    """Whatever the prefix and the ids hold."""
    for user_id in ("ada", "{a}", "}", "a}{b", "%7D", "\0", "Ä"):
        keys = UserKeys(prefix, user_id)
        slots = {
            key_slot(key)
            for session_id in ("s", "{t}", "}", "{}")
            for key in (
                keys.index,
                keys.list(session_id.encode()),
                keys.about(session_id.encode()),
                keys.new_token(),
                keys.new_private_token(),
            )
        }
        assert len(slots) == 1


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"ttl": 0}, ValueError, "ttl must be from 1"),
        ({"ttl": 1.5}, TypeError, "ttl must be an int"),
        ({"key_prefix": ""}, ValueError, "key_prefix must not be empty"),
        ({"key_prefix": "a{}"}, ValueError, "key_prefix must not have {} "),
        ({"key_prefix": 1}, TypeError, "key_prefix must be a str"),
        ({"session_settings": {"limits": 1}}, (TypeError, ValueError), "limits"),
    ],
)
def test_bad_arguments(options: Any, error: Any, message: str) -> None:
    """An error at once says which argument is wrong."""
    with pytest.raises(error, match=message):
        RedisStore(Redis(), **options)


def test_a_synchronous_client_is_refused() -> None:
    """As a session does."""
    import redis  # noqa: PLC0415 - beside redis.asyncio it would be confusing

    client: Any = redis.Redis()
    with pytest.raises(TypeError, match="redis_client must be an asynchronous client"):
        RedisStore(client)


@pytest.mark.parametrize(
    ("user_id", "error"),
    [("", ValueError), (1, TypeError), (None, TypeError), ("\ud800", ValueError)],
)
def test_a_user_is_a_text(store: RedisStore, user_id: Any, error: type[Exception]) -> None:
    """Anything else is refused before anything is sent."""
    with pytest.raises(error, match="user_id must"):
        store.user(user_id)


async def test_a_repr_names_the_prefix_alone(key_prefix: str) -> None:
    """There is nothing in it of a client, which may have a password."""
    client = Redis(password="secret")
    assert repr(RedisStore(client, key_prefix=key_prefix)) == (
        f"RedisStore(key_prefix={key_prefix!r})"
    )


async def test_settings_are_those_of_the_store(redis_client: Redis, key_prefix: str) -> None:
    """A dict is taken, too, and each session may have its own."""
    store = RedisStore(redis_client, key_prefix=key_prefix, session_settings={"limit": 2})
    assert store.session("s").session_settings == SessionSettings(limit=2)
    own = store.user("ada").session("s", session_settings={"limit": 1})
    assert own.session_settings == SessionSettings(limit=1)


async def test_search_is_refused(store: RedisStore) -> None:
    """Nothing is found by its name, and the error says so."""
    with pytest.raises(NotImplementedError, match="Redis cannot search"):
        await store.user("ada").list(search="groceries")
    assert await store.user("ada").count() is None


@pytest.mark.parametrize(
    "cursor",
    [[1], [1, 2], ["1", "a"], [True, "a"], [1.5, "a"], [-1, "a"], [2**60, "a"], [1, "\ud800"]],
)
async def test_cursors_of_a_list_are_checked(store: RedisStore, cursor: list[Any]) -> None:
    """A place is a time and an id, and nothing else."""
    with pytest.raises(CursorError):
        await store._catalog.page("ada", 5, cursor, active=None, search=None)


async def test_conversations_of_one_microsecond(
    redis_client: Redis, key_prefix: str, store: RedisStore
) -> None:
    """They are ordered by their bytes, and no page misses one or shows it twice."""
    ada, index = store.user("ada"), index_of(key_prefix, "ada")
    ids = ["a", "b", "ab", "B", "ä", "a\0", "a b", "zz", "z", "é"]
    for each in ids:
        await ada.session(each).add_items(ITEMS)
        about = (index + b"~" + each.encode()).decode()
        await redis_client.hset(about, mapping={"created_at": 5, "updated_at": 5})
    await redis_client.zadd(index, dict.fromkeys(ids, 5.0))
    expected = sorted(ids, key=str.encode, reverse=True)
    for limit in (1, 2, 3, 10):
        found, cursor = [], None
        while True:
            page = await ada.list(limit=limit, cursor=cursor)
            found += [each.session_id for each in page.conversations]
            if (cursor := page.cursor) is None:
                break
        assert found == expected


async def test_what_has_expired_leaves_the_index_when_it_is_listed(
    redis_client: Redis, key_prefix: str, store: RedisStore
) -> None:
    """Many that have expired are passed over, and are gone afterwards."""
    ada, index = store.user("ada"), index_of(key_prefix, "ada")
    await ada.session("lives").add_items(ITEMS)
    await redis_client.zadd(index, {f"gone {number}": 2e15 + number for number in range(15_000)})
    page = await ada.list(limit=5)
    assert not page.conversations
    assert page.cursor is not None

    assert [each.session_id async for each in ada] == ["lives"]
    assert await redis_client.zcard(index) == 1


async def test_a_hash_of_something_else_is_no_conversation(
    redis_client: Redis, key_prefix: str, store: RedisStore
) -> None:
    """One that does not say when it began is passed over, and its id leaves the index."""
    ada, index = store.user("ada"), index_of(key_prefix, "ada")
    await ada.session("a").add_items(ITEMS)
    await ada.session("b").add_items(ITEMS)
    await redis_client.hdel((index + b"~b").decode(), "created_at")

    assert await ada.get("b") is None
    assert [each.session_id async for each in ada] == ["a"]
    assert await ada.touch("b") is False
    assert await ada.delete("b") is False
    assert await redis_client.zcard(index) == 1


async def test_an_index_lives_as_long_as_its_last_conversation(
    redis_client: Redis, key_prefix: str, store: RedisStore
) -> None:
    """A shorter life does not shorten it, and one without an end keeps it."""
    index = index_of(key_prefix, "ada")
    short = RedisStore(redis_client, key_prefix=key_prefix, ttl=100).user("ada")
    forever = RedisStore(redis_client, key_prefix=key_prefix).user("ada")
    await store.user("ada").session("long").add_items(ITEMS)
    await short.session("short").add_items(ITEMS)
    assert 990 < await redis_client.ttl(index) <= 1000

    await forever.session("forever").add_items(ITEMS)
    assert await redis_client.ttl(index) == -1
    await short.session("short").add_items(ITEMS)
    assert await redis_client.ttl(index) == -1
    await assert_agreement(redis_client, key_prefix)


async def test_a_list_that_its_conversation_left_behind_is_not_continued(
    redis_client: Redis, key_prefix: str, store: RedisStore
) -> None:
    """Where only the list is there, nothing is; a write begins anew."""
    ada = store.user("ada")
    key = index_of(key_prefix, "ada") + b":a"
    for begin in (True, False):
        await redis_client.rpush(key, b'{"content": "stale"}')
        assert await ada.get("a") is None
        if begin:
            await ada.session("a").add_items(ITEMS)
            assert await ada.session("a").get_items() == ITEMS
            await ada.delete("a")
        else:
            assert await ada.session("a").pop_item() is None
            assert not await redis_client.exists(key)


async def test_an_unreadable_record_is_passed_over(
    redis_client: Redis, key_prefix: str, store: RedisStore
) -> None:
    """It stays where it is, with the conversation's life, also if a pop had to put it back."""
    ada, index = store.user("ada"), index_of(key_prefix, "ada")
    session = ada.session("a")
    await session.add_items(ITEMS)
    await redis_client.rpush(index + b":a", b"{no item}")

    assert await session.pop_item() == ITEMS[-1]

    found = await ada.get("a")
    assert found is not None
    assert found.item_count == 3
    assert await redis_client.lindex(index + b":a", -1) == b"{no item}"
    await assert_agreement(redis_client, key_prefix)


@pytest.mark.parametrize("kind", ["", "~a", ":a"])
async def test_keys_of_another_type_are_an_error(
    redis_client: Redis, key_prefix: str, store: RedisStore, kind: str
) -> None:
    """Redis's own, and nothing is written."""
    key = index_of(key_prefix, "ada").decode() + kind
    ada = store.user("ada")
    if kind == ":a":
        await ada.session("a").add_items(ITEMS)
    await redis_client.set(key, "something else")
    writes: list[Callable[[], Awaitable[Any]]] = [
        lambda: ada.session("a").add_items(ITEMS),
        lambda: ada.session("a").replace_items(ITEMS),
    ]
    if kind:
        writes += [lambda: ada.session("a").pop_item()]
    if kind != ":a":
        writes += [lambda: ada.delete("a")]
    if kind == "~a":
        writes += [lambda: ada.update("a", name="A"), lambda: ada.fork("b", "a")]
        await ada.session("b").add_items(ITEMS)
    before = sorted(await all_keys(redis_client, f"{key_prefix}*".encode()))
    for write in writes:
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            await write()
        assert sorted(await all_keys(redis_client, f"{key_prefix}*".encode())) == before
    await redis_client.delete(key)


async def test_a_cluster_keeps_a_user_on_one_node(
    cluster_client: RedisCluster, key_prefix: str
) -> None:
    """Users are spread over the nodes; each has all keys in one slot."""
    store = RedisStore(cluster_client, key_prefix=key_prefix)
    nodes = set()
    for number in range(20):
        ada = store.user(f"user {number}")
        for each in "ab":
            await ada.session(each, name=each).add_items(ITEMS)
        await ada.fork("a", "c")
        assert {each.session_id async for each in ada} == {"a", "b", "c"}
        index = index_of(key_prefix, f"user {number}").decode()
        node = cluster_client.get_node_from_key(index)
        assert node is not None
        nodes.add(node.name)
    assert len(nodes) == 3
    await assert_agreement(cluster_client, key_prefix)


@pytest.mark.parametrize("protocol", [2, 3])
async def test_replies_of_any_kind_are_read(
    redis_server: Endpoint, redis_cluster: ClusterServers, key_prefix: str, protocol: int
) -> None:
    """A client may decode replies, and speak either version of the protocol."""
    options: Any = {"decode_responses": True, "protocol": protocol}
    kinds = {
        "server": Redis(host=redis_server.host, port=redis_server.port, **options),
        "cluster": RedisCluster(host=redis_cluster.host, port=redis_cluster.port, **options),
    }
    for name, client in kinds.items():
        async with client:
            store = RedisStore(client, key_prefix=key_prefix, ttl=100)
            ada = store.user("ada")
            session = ada.session("é", name="É")
            await session.add_items(ITEMS)
            assert await session.pop_item() == ITEMS[-1]
            changed = await ada.update("é", description="ü")
            await ada.fork("é", "b")
            await store.session("s").add_items(ITEMS)

            page = await ada.list(limit=1)
            (fork,) = page.conversations
            assert (fork.session_id, fork.name, fork.description) == ("b", "É", "ü"), name
            assert (await ada.list(cursor=page.cursor)).conversations == (changed,), name
            assert len(await ada.messages("é")) == 2, name
            found = {each.session_id: each async for each in store}
            assert found.keys() == {"é", "b", "s"}, name
            assert found["é"] == changed, name
            assert (await ada.erase()).items == 4, name
            assert await ada.delete("é") is False, name
            await store.session("s").clear_session()


async def test_a_fork_moves_no_payload(redis_server: Endpoint, key_prefix: str) -> None:
    """The server copies ten megabytes, and the client sends and gets next to nothing."""
    async with FaultyProxy(redis_server) as proxy, Redis.from_url(proxy.url) as client:
        ada = RedisStore(client, key_prefix=key_prefix).user("ada")
        large: Any = {"role": "user", "content": "x" * 100_000}
        await ada.session("a").add_items([large] * 100)
        before = proxy.bytes_passed

        await ada.fork("a", "b")

        assert proxy.bytes_passed - before < 10_000
        found = await ada.get("b")
        assert found is not None
        assert found.item_count == 100
        await ada.erase()
