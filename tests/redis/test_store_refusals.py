"""What the server refuses a store changes nothing; a full one still lets go of things."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, ResponseError

from openai_agents_session import RedisStore
from tests.redis.stores import all_keys, assert_agreement, index_of
from tests.redis.test_contract import NoScriptsConnection
from tests.redis.test_rights import User, error_of
from tests.servers import RedisServer, sweep

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from openai_agents_session.store import UserConversations
    from tests.servers import Endpoint

TEXT = "my diagnosis"
ITEMS: list[Any] = [{"role": "user", "content": f"{TEXT} {number}"} for number in range(3)]

# What the page on Redis tells operators to allow to a store.
PAGE = (Path(__file__).parents[2] / "docs" / "redis.md").read_text()
ALLOWED = re.findall(r"^ACL SETUSER agents (.*?)^```", PAGE, re.DOTALL | re.MULTILINE)[-1].split()
CONNECTING = {"auth", "client|setinfo", "eval", "evalsha", "hello", "ping", "select"}
COMMANDS = {word[1:] for word in ALLOWED if word.startswith("+")} - CONNECTING

OPERATIONS: dict[str, Callable[[UserConversations], Awaitable[Any]]] = {
    "begin": lambda view: view.session("new", name=TEXT).add_items(ITEMS),
    "add": lambda view: view.session("a").add_items(ITEMS),
    "pop": lambda view: view.session("a").pop_item(),
    "replace": lambda view: view.session("a").replace_items(ITEMS[:1]),
    "clear": lambda view: view.session("a").clear_session(),
    "update": lambda view: view.update("a", name=TEXT, description=None),
    "touch": lambda view: view.touch("a"),
    "delete": lambda view: view.delete("a"),
    "fork": lambda view: view.fork("a", "fork", 2),
}


async def state_of(client: Any, prefix: str) -> dict[bytes, Any]:
    """Return all that lies under the prefix, tokens aside."""
    found = {}
    for key in await all_keys(client, f"{prefix}@*".encode()):
        if b"^" not in key:
            read = {
                b"list": lambda key: client.lrange(key, 0, -1),
                b"hash": client.hgetall,
                b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
            }[await client.type(key)]
            found[key] = (await read(key), await client.pexpiretime(key))
    return found


@pytest_asyncio.fixture
async def user(redis_server: Endpoint, key_prefix: str) -> AsyncIterator[User]:
    """A user who may do what the page says."""
    made = User(redis_server, f"user-of-{key_prefix}")
    rules = [rule.replace("openai_agents_session", key_prefix) for rule in ALLOWED]
    rules.remove("+client|setinfo")  # Redis 7.0 does not know it; redis-py does without
    rules.remove(">secret")
    made.may("resetkeys", *rules)
    yield made
    redis_server.call("ACL", "DELUSER", made.name)
    sweep(redis_server, key_prefix)


async def fill(admin: Redis, prefix: str, ttl: int | None) -> None:
    """Put one conversation there."""
    view = RedisStore(admin, key_prefix=prefix, ttl=ttl).user("ada")
    await view.erase()
    await view.session("a", name="A", description="First").add_items(ITEMS)


@pytest.mark.parametrize("ttl", [None, 1000])
async def test_a_missing_right_changes_nothing(
    redis_server: Endpoint, redis_client: Redis, key_prefix: str, user: User, ttl: int | None
) -> None:
    """Without any one command, every operation is done, or raises and changes nothing."""
    refused: set[str] = set()
    async with Redis(host=redis_server.host, port=redis_server.port, username=user.name) as client:
        view = RedisStore(client, key_prefix=key_prefix, ttl=ttl).user("ada")
        for missing in sorted(COMMANDS):
            for name, operation in OPERATIONS.items():
                await fill(redis_client, key_prefix, ttl)
                before = await state_of(redis_client, key_prefix)
                user.may(f"-{missing}")
                error = await error_of(operation(view))
                user.may(f"+{missing}")
                after = await state_of(redis_client, key_prefix)
                where = f"{name} without {missing}"
                if error is None:
                    assert after != before, where
                    await assert_agreement(redis_client, key_prefix)
                else:
                    refused.add(missing)
                    assert TEXT not in str(error), where
                    assert after == before, where
    reads = {"hmget", "scan", "zcount", "zrange", "zrevrange"}
    rarely = {"pttl"} | ({"persist", "expire"} if ttl else {"expire"})
    assert COMMANDS - refused <= reads | rarely


async def test_these_rights_are_enough(redis_server: Endpoint, key_prefix: str, user: User) -> None:
    """For all that a store does."""
    async with Redis(host=redis_server.host, port=redis_server.port, username=user.name) as client:
        store = RedisStore(client, key_prefix=key_prefix)
        view = store.user("ada")
        await view.session("a").add_items(ITEMS)
        for operation in OPERATIONS.values():
            await view.session("a").add_items(ITEMS)
            await operation(view)
        assert {each.session_id async for each in view} == {"a", "fork", "new"}
        assert await view.messages("fork")
        assert await view.get("fork")
        await store.session("s").add_items(ITEMS)
        assert len([each async for each in store]) == 4
        assert await store.ping()
        assert (await view.erase()).conversations == 3


async def test_scripts_that_are_refused(
    redis_server: Endpoint, key_prefix: str, user: User
) -> None:
    """A user's conversations need them: the server's error says why, and what is needed."""
    user.may("-eval", "-evalsha")
    async with Redis(host=redis_server.host, port=redis_server.port, username=user.name) as client:
        view = RedisStore(client, key_prefix=key_prefix).user("ada")
        for attempt in (view.session("a").add_items(ITEMS), view.list(), view.delete("a")):
            with pytest.raises(ResponseError, match="no permissions") as caught:
                await attempt
            assert "need a server that runs scripts" in "".join(
                [*getattr(caught.value, "__notes__", ()), str(caught.value)]
            )
        assert await view.session("a").get_items() == []


async def test_a_server_without_scripts() -> None:
    """One that does not know them is told of in the same way; other sessions do without."""
    import fakeredis  # noqa: PLC0415 - for this test alone

    async with fakeredis.FakeAsyncRedis(connection_class=NoScriptsConnection) as client:
        store = RedisStore(client)
        with pytest.raises(ResponseError, match="unknown command 'eval'"):
            await store.user("ada").session("a").add_items(ITEMS)
        await store.session("a").add_items(ITEMS)
        assert await store.session("a").get_items() == ITEMS


@pytest.fixture(scope="module")
def server(redis_binary: str) -> Iterator[RedisServer]:
    """A server of this module's own."""
    with RedisServer(redis_binary) as server:
        yield server


@pytest.mark.parametrize("ttl", [None, 1000])
async def test_a_full_server(server: RedisServer, ttl: int | None) -> None:
    """It refuses what adds something and changes nothing; what frees is done."""
    async with Redis.from_url(server.url) as client:
        store = RedisStore(client, key_prefix="full", ttl=ttl)
        ada = store.user("ada")
        for each in "abcd":
            await ada.session(each, name=each).add_items(ITEMS)
        before = await state_of(client, "full")
        server.call("CONFIG", "SET", "maxmemory", 1)
        try:
            for name in ("begin", "add", "replace", "update", "touch", "fork"):
                with pytest.raises(OutOfMemoryError):
                    await OPERATIONS[name](ada)
                assert await state_of(client, "full") == before, name

            assert await ada.session("a").pop_item() == ITEMS[-1]
            await ada.session("b").clear_session()
            assert await ada.delete("c") is True
            listed = (await ada.list()).conversations
            assert [(each.session_id, each.item_count) for each in listed] == [
                ("b", 0),
                ("a", 2),
                ("d", 3),
            ]
            await assert_agreement(client, "full")
            erased = await ada.erase()
            assert (erased.conversations, erased.items) == (3, 5)
            assert await state_of(client, "full") == {}
        finally:
            server.call("CONFIG", "SET", "maxmemory", 0)


async def test_a_foreign_list_is_counted_as_nothing_when_it_is_erased(
    redis_client: Redis, key_prefix: str
) -> None:
    """Whatever lies at a conversation's keys goes with it."""
    ada = RedisStore(redis_client, key_prefix=key_prefix).user("ada")
    await ada.session("a").add_items(ITEMS)
    await redis_client.set(index_of(key_prefix, "ada") + b":a", "something else")

    erased = await ada.erase()

    assert (erased.conversations, erased.items) == (1, 0)
    assert await all_keys(redis_client, f"{key_prefix}*".encode()) == []
