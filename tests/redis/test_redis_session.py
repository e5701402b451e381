"""What is particular to RedisSession: its keys, its clients, and what Redis can refuse."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import fakeredis
import pytest
import pytest_asyncio
import redis as sync_redis
from redis.asyncio import BlockingConnectionPool, Redis
from redis.crc import key_slot
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,
    NoPermissionError,
    OutOfMemoryError,
    ResponseError,
)

from openai_agents_session import RedisSession
from tests.contract import numbered
from tests.servers import Endpoint, RedisServer, eventually, free_port

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

pytestmark = pytest.mark.redis

PASSWORD = "correct-horse-battery-staple"


async def tokens(client: Redis, key: str) -> list[bytes]:
    """Return the keys of the tokens that writes to this list have left."""
    return [name async for name in client.scan_iter(f"{{{key}}}~*", count=5000)]


# ---------------------------------------------------------------- what lies in Redis


async def test_conversation_is_a_list_of_json_texts(redis_client: Redis, key_prefix: str) -> None:
    """Anyone can read a conversation: one list, an item's JSON text for each element."""
    session = RedisSession("user-1", redis_client, key_prefix)

    await session.add_items(numbered(0, 2))

    key = f"{key_prefix}:user-1"
    assert await redis_client.type(key) == b"list"
    records = await redis_client.lrange(key, 0, -1)
    assert [json.loads(record) for record in records] == numbered(0, 2)


async def test_default_prefix_is_the_name_of_the_package() -> None:
    """Without a prefix the key begins with the name of the package."""
    async with fakeredis.FakeAsyncRedis() as client:
        await RedisSession("user-1", client).add_items(numbered(0, 1))

        assert await client.llen("openai_agents_session:user-1") == 1


@pytest.mark.parametrize("ensure_ascii", [True, False])
async def test_conversation_of_the_first_release_goes_on(
    redis_client: Redis, key_prefix: str, ensure_ascii: bool
) -> None:
    """A list that release 0.1.0 has written is read, popped from and continued."""
    old = [{"role": "user", "content": f"Grüße {number}"} for number in range(3)]
    texts = [json.dumps(item, ensure_ascii=ensure_ascii) for item in old]
    await redis_client.rpush(f"{key_prefix}:old", *texts)
    session = RedisSession("old", redis_client, key_prefix)

    assert await session.get_items() == old
    assert await session.pop_item() == old[2]
    await session.add_items(numbered(0, 1))

    assert await session.get_items() == old[:2] + numbered(0, 1)


@pytest.mark.parametrize("ttl", [1, 60, 10**10])
async def test_ttl_is_in_seconds(redis_client: Redis, key_prefix: str, ttl: int) -> None:
    """The list expires the given number of seconds after a write."""
    session = RedisSession("user-1", redis_client, key_prefix, ttl)

    await session.add_items(numbered(0, 1))

    left = await redis_client.pttl(f"{key_prefix}:user-1")
    assert ttl * 1000 - 900 < left <= ttl * 1000


async def test_list_expires_by_itself(redis_client: Redis, key_prefix: str) -> None:
    """After a second of silence a conversation with a TTL of one is gone."""
    session = RedisSession("user-1", redis_client, key_prefix, ttl=1)
    await session.add_items(numbered(0, 1))
    assert await session.get_items() == numbered(0, 1)

    async def is_gone() -> bool:
        return not await redis_client.exists(f"{key_prefix}:user-1")

    await eventually(is_gone)

    assert await session.get_items() == []


@pytest.mark.parametrize("ttl", [None, 1000])
async def test_write_leaves_a_token_for_three_minutes(
    redis_client: Redis, key_prefix: str, ttl: int | None
) -> None:
    """Every write that changes something leaves one short-lived key in the list's slot."""
    session = RedisSession("user-1", redis_client, key_prefix, ttl=ttl)
    key = f"{key_prefix}:user-1"

    await session.add_items(numbered(0, 3))
    assert len(await tokens(redis_client, key)) == 1
    await session.pop_item()
    assert len(await tokens(redis_client, key)) == 2
    await session.replace_items(numbered(0, 2))
    assert len(await tokens(redis_client, key)) == 3
    await session.clear_session()
    left = await tokens(redis_client, key)
    assert len(left) == 4

    for token in left:
        assert 170_000 < await redis_client.pttl(token) <= 180_000
        assert key_slot(token) == key_slot(key.encode())


async def test_no_change_leaves_no_token(redis_client: Redis, key_prefix: str) -> None:
    """A write that finds nothing to change leaves nothing at all."""
    session = RedisSession("user-1", redis_client, key_prefix, ttl=1000)

    assert await session.pop_item() is None
    await session.clear_session()
    await session.add_items([])

    assert [name async for name in redis_client.scan_iter(f"*{key_prefix}*")] == []


# ----------------------------------------------------------------- size, type, memory


@pytest.mark.parametrize("count", [20_000, 100_000])
async def test_batch_of_any_size_is_one_batch(
    redis_client: Redis, key_prefix: str, count: int
) -> None:
    """A batch may be larger than what Lua can unpack; it is still whole, and so is a swap."""
    session = RedisSession("user-1", redis_client, key_prefix, ttl=1000)
    items = numbered(0, count)

    await session.add_items(items)
    assert await session.get_items() == items

    await session.replace_items(items[::-1])
    assert await session.get_items(limit=3) == items[2::-1]
    assert await redis_client.llen(f"{key_prefix}:user-1") == count
    snapshot = await session._get_compaction_snapshot(count)
    assert snapshot is not None
    assert snapshot.complete
    assert await snapshot.replace_suffix(1, items[1:])
    assert await session.get_items() == items[-1:] + items[1:]


async def test_items_of_several_megabytes(redis_client: Redis, key_prefix: str) -> None:
    """Images and files as data URLs go in and come out, and can be popped."""
    session = RedisSession("user-1", redis_client, key_prefix)
    items: list[Any] = [
        {"role": "user", "content": digit * 5_000_000, "type": "message"} for digit in "123"
    ]

    await session.add_items(items)

    assert (await session.get_items() == items) is True
    assert (await session.pop_item() == items[2]) is True
    assert (await session.get_items(limit=1) == items[1:2]) is True


@pytest.mark.parametrize("count", [1, 9000])
async def test_key_of_another_type_is_an_error(
    redis_client: Redis, key_prefix: str, count: int
) -> None:
    """A key that holds something else is reported as Redis does, and stays as it is."""
    key = f"{key_prefix}:user-1"
    await redis_client.set(key, "not ours")
    session = RedisSession("user-1", redis_client, key_prefix, ttl=1000)

    uses: dict[str, Callable[[], Awaitable[Any]]] = {
        "get": session.get_items,
        "get with a limit": lambda: session.get_items(limit=1),
        "add": lambda: session.add_items(numbered(0, count)),
        "pop": session.pop_item,
        "replace": lambda: session.replace_items(numbered(0, count)),
        "replace by nothing": lambda: session.replace_items([]),
        "clear": session.clear_session,
    }
    outcomes: dict[str, str] = {}
    for name, use in uses.items():
        try:
            await use()
        except ResponseError as error:
            outcomes[name] = str(error).partition(" ")[0]
        else:
            outcomes[name] = "no error"
        assert await redis_client.get(key) == b"not ours", name
    assert outcomes == dict.fromkeys(uses, "WRONGTYPE")
    assert await tokens(redis_client, key) == []
    assert await redis_client.pttl(key) == -1


@pytest.mark.parametrize("count", [1, 9000])
async def test_full_server_refuses_whole_writes(redis_binary: str, count: int) -> None:
    """A server without memory refuses a batch as a whole, and can still be read and emptied."""
    with RedisServer(redis_binary) as server:
        async with Redis.from_url(server.url) as client:
            session = RedisSession("user-1", client, "full", ttl=1000)
            await session.add_items(numbered(0, 3))
            kept = await tokens(client, "full:user-1")
            assert len(kept) == 1
            await client.config_set("maxmemory", 1)

            with pytest.raises(OutOfMemoryError):
                await session.add_items(numbered(3, 3 + count))
            with pytest.raises(OutOfMemoryError):
                await session.replace_items(numbered(3, 3 + count))

            assert await session.get_items() == numbered(0, 3)
            assert await tokens(client, "full:user-1") == kept
            await session.clear_session()
            assert await session.get_items() == []
            await client.config_set("maxmemory", 0)
            await session.add_items(numbered(0, count))
            assert len(await session.get_items()) == count


# --------------------------------------------------------------------- permissions


@dataclass
class User:
    """A user of the server, and a client that logs in as that user."""

    name: str
    client: Redis
    log_in: str


@asynccontextmanager
async def user_with(
    server: Endpoint, admin: Redis, key_prefix: str, *rules: str
) -> AsyncGenerator[User, None]:
    """Add a user with these ACL rules, and remove the user again."""
    name = f"user-of-{key_prefix}"
    await admin.execute_command("ACL", "SETUSER", name, "reset", "on", f">{PASSWORD}", *rules)
    log_in = f"redis://{name}:{PASSWORD}@{server.host}:{server.port}/0"
    try:
        async with Redis.from_url(log_in) as client:
            yield User(name, client, log_in)
    finally:
        await admin.execute_command("ACL", "DELUSER", name)


async def test_without_scripts_writes_are_transactions(
    redis_server: Endpoint,
    redis_client: Redis,
    key_prefix: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Where an ACL forbids scripts all writes work without; that is said once for a client."""
    async with user_with(redis_server, redis_client, key_prefix, "~*", "+@all", "-@scripting") as u:
        with pytest.raises(NoPermissionError):
            await u.client.eval("return 1", 0)
        one = RedisSession("one", u.client, key_prefix, ttl=1000)
        other = RedisSession("other", u.client, key_prefix)

        await asyncio.gather(*(one.add_items(numbered(at, at + 3)) for at in range(0, 30, 3)))
        await other.add_items(numbered(0, 2))
        assert await one.pop_item() is not None
        await one.replace_items(numbered(7, 9))
        assert await one.get_items() == numbered(7, 9)
        assert 990 < await redis_client.ttl(f"{key_prefix}:one") <= 1000
        snapshot = await one._get_compaction_snapshot(5)
        assert snapshot is not None
        assert await snapshot.replace_suffix(1, numbered(1, 2))
        assert await one.get_items() == [*numbered(7, 8), *numbered(1, 2)]
        await one.clear_session()
        assert await other.get_items() == numbered(0, 2)

    said = [entry for entry in caplog.records if entry.name == "openai_agents_session"]
    assert [entry.levelname for entry in said] == ["WARNING"]
    assert "MULTI" in said[0].getMessage()
    assert PASSWORD not in caplog.text


async def test_user_of_the_two_key_patterns(
    redis_server: Endpoint, redis_client: Redis, key_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The two patterns of our keys are all that a user needs, and keep the rest away."""
    rules = (f"~{key_prefix}:*", f"~{{{key_prefix}:*", "+@all")
    async with user_with(redis_server, redis_client, key_prefix, *rules) as u:
        session = RedisSession("org:user 1", u.client, key_prefix, ttl=1000)

        await session.add_items(numbered(0, 3))
        assert await session.pop_item() == numbered(2, 3)[0]
        await session.replace_items(numbered(5, 7))
        assert await session.get_items() == numbered(5, 7)
        await session.clear_session()
        assert await session.get_items() == []

        elsewhere = RedisSession("org:user 1", u.client, f"not-{key_prefix}")
        with pytest.raises(NoPermissionError):
            await elsewhere.get_items()
        with pytest.raises(NoPermissionError):
            await elsewhere.add_items(numbered(0, 1))
    assert "MULTI" not in caplog.text, "keys are not scripts: there is nothing to fall back to"


# ------------------------------------------------------------------ errors and secrets


async def test_secrets_stay_secret(
    redis_server: Endpoint,
    redis_client: Redis,
    key_prefix: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Neither password nor conversation turns up in a repr, a log or an error message."""
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    async with user_with(redis_server, redis_client, key_prefix, "~*", "+@all") as u:
        async with RedisSession.from_url("user-1", u.log_in, key_prefix=key_prefix) as session:
            await session.add_items([{"role": "user", "content": "my diagnosis"}])
            assert len(await session.get_items()) == 1
            said += [repr(session), str(session), f"{session!r:s}"]
        with pytest.raises(RuntimeError) as closed:
            await session.get_items()
        said.append(str(closed.value))

        wrong = u.log_in.replace(PASSWORD, PASSWORD + "-not")
        async with RedisSession.from_url("user-1", wrong, key_prefix=key_prefix) as session:
            with pytest.raises(AuthenticationError) as refused:
                await session.add_items([{"role": "user", "content": "my diagnosis"}])
            said += [str(refused.value), repr(session)]

        nowhere = u.log_in.replace(f":{redis_server.port}/", f":{free_port()}/")
        async with RedisSession.from_url("user-1", nowhere, key_prefix=key_prefix) as session:
            with pytest.raises(ConnectionError) as unreachable:
                await session.add_items([{"role": "user", "content": "my diagnosis"}])
            said += [str(unreachable.value), repr(session)]

    everything = "\n".join([*said, caplog.text])
    assert "user-1" in everything
    assert PASSWORD not in everything
    assert "diagnosis" not in everything


@pytest.mark.parametrize(
    "url",
    [
        f"http://:{PASSWORD}@localhost:6379",
        f"redis://:{PASSWORD}@localhost:port",
        f"redis://:{PASSWORD}/1@localhost:6379",
        f"redis://:{PASSWORD}#1@localhost:6379",
        f"redis://:{PASSWORD}@localhost:99999",
        f"redis://:[{PASSWORD}@localhost",
    ],
)
async def test_bad_url_is_refused_without_showing_it(url: str) -> None:
    """A URL that cannot be read is a ValueError that does not repeat the password."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is redis-py's or urllib's
        RedisSession.from_url("user-1", url)

    shown = [str(error) for error in (caught.value, caught.value.__cause__) if error]
    assert not any(PASSWORD in text for text in shown)


async def test_ping_tells_whether_the_server_answers(redis_binary: str) -> None:
    """A ping is True for a server that answers and False for one that does not."""
    with RedisServer(redis_binary) as server:
        async with RedisSession.from_url("user-1", server.url) as session:
            assert await session.ping() is True
            server.stop()
            assert await session.ping() is False
            server.start()
            assert await session.ping() is True


async def test_unreachable_server_is_the_error_of_redis_py() -> None:
    """A store that cannot be reached is redis-py's own ConnectionError, soon enough."""
    url = f"redis://127.0.0.1:{free_port()}"
    async with RedisSession.from_url("user-1", url) as session:
        results = await asyncio.wait_for(
            asyncio.gather(
                session.get_items(),
                session.add_items(numbered(0, 1)),
                session.pop_item(),
                session.clear_session(),
                return_exceptions=True,
            ),
            10,
        )

    assert [type(result) for result in results] == [ConnectionError] * 4


# ------------------------------------------------------------------------- arguments


@pytest_asyncio.fixture
async def pool() -> AsyncIterator[BlockingConnectionPool]:
    """Make a pool that is not connected to anything."""
    pool = BlockingConnectionPool()
    yield pool
    await pool.disconnect()


def test_synchronous_client_is_refused() -> None:
    """A synchronous client is refused in words that say what to pass."""
    client: Any = sync_redis.Redis()
    with (
        client,
        pytest.raises(TypeError, match=r"redis\.asyncio\.Redis.* not redis\.client\.Redis"),
    ):
        RedisSession("user-1", client)


@pytest.mark.parametrize("client", [None, "redis://localhost", object(), Redis, {}])
def test_what_is_no_client_is_refused(client: Any) -> None:
    """Anything else is refused likewise, and without its content."""
    with pytest.raises(TypeError, match=r"redis_client must be .*redis\.asyncio\.Redis"):
        RedisSession("user-1", client)


async def test_pool_is_no_client(pool: Any) -> None:
    """A pool is near, but no client."""
    with pytest.raises(TypeError, match="BlockingConnectionPool"):
        RedisSession("user-1", pool)


@pytest.mark.parametrize(
    ("key_prefix", "error"), [("", ValueError), (None, TypeError), (b"p", TypeError)]
)
async def test_bad_prefix_is_refused(key_prefix: Any, error: type[Exception]) -> None:
    """A key prefix is a text that is not empty."""
    async with fakeredis.FakeAsyncRedis() as client:
        with pytest.raises(error, match="key_prefix"):
            RedisSession("user-1", client, key_prefix)


async def test_arguments_go_by_position_and_by_name() -> None:
    """The constructor takes its arguments in the documented order, or by name."""
    async with fakeredis.FakeAsyncRedis() as client:
        for session in (
            RedisSession("user-1", client, "chat", 3600),
            RedisSession(session_id="user-1", redis_client=client, key_prefix="chat", ttl=3600),
        ):
            await session.add_items(numbered(0, 1))

        assert await client.llen("chat:user-1") == 2
        assert 3590 < await client.ttl("chat:user-1") <= 3600
