"""What a server refuses those who want leases: nobody is held back by what was half done."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError

from openai_agents_session import RedisSession, RedisStore
from openai_agents_session._conversation import LostError
from tests.contract.leasing import LIFE, WRITES, write
from tests.redis.test_contract import NoScriptsConnection
from tests.redis.test_rights import User, error_of
from tests.redis.test_store_refusals import PAGE
from tests.servers import RedisServer, sweep

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.servers import Endpoint

ITEMS: list[Any] = [{"role": "user", "content": f"item {number}"} for number in range(3)]

# What the page on Redis tells operators to allow to sessions, and for leases as well.
(SESSIONS, STORES) = (
    block.split()
    for block in re.findall(r"^ACL SETUSER agents (.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
)
(SAID,) = re.findall(r"^Leases need (.*?)\.$", PAGE, re.DOTALL | re.MULTILINE)
LEASES = [word.strip("`") for word in re.findall(r"`\+[^`]*`", SAID) for word in word.split()]


@pytest_asyncio.fixture(params=["plain", "user"])
async def user(
    request: pytest.FixtureRequest, redis_server: Endpoint, key_prefix: str
) -> AsyncIterator[User]:
    """A user who may do what the page says, to sessions alone or to stores."""
    made = User(redis_server, f"user-of-{key_prefix}")
    allowed = SESSIONS if request.param == "plain" else STORES
    rules = [rule.replace("openai_agents_session", key_prefix) for rule in (*allowed, *LEASES)]
    rules.remove("+client|setinfo")  # Redis 7.0 does not know it; redis-py does without
    rules.remove(">secret")
    made.may("resetkeys", *rules)
    yield made
    redis_server.call("ACL", "DELUSER", made.name)
    sweep(redis_server, key_prefix)


@pytest_asyncio.fixture
async def client(redis_server: Endpoint, user: User) -> AsyncIterator[Redis]:
    """A client that logs in as the user."""
    async with Redis(host=redis_server.host, port=redis_server.port, username=user.name) as made:
        yield made


@pytest.fixture(params=["plain", "user"])
def kind(request: pytest.FixtureRequest) -> str:
    """Whose conversation it is."""
    return str(request.param)


def session_of(client: Redis, prefix: str, kind: str) -> Any:
    """Return a session of no user's or of a user's."""
    store: Any = RedisStore(client, key_prefix=prefix, ttl=1000)
    return store.session("s") if kind == "plain" else store.user("ada").session("s")


async def test_these_rights_are_enough(
    request: pytest.FixtureRequest, client: Redis, key_prefix: str
) -> None:
    """For a turn, for waiting for one, and for every write in it."""
    session = session_of(client, key_prefix, request.node.callspec.params["user"])
    await session.add_items(ITEMS)
    one, two = (session._conversation.claim(name, LIFE) for name in ("one", "two"))
    assert await one.acquire(60) == 0
    assert await two.acquire(60) == 1
    assert await one.renew()
    assert await session.busy()
    for name in WRITES:
        await session.replace_items(ITEMS)
        await write(one.fenced(), name, await one.fenced().read(None))
    await one.release()
    assert await two.acquire(60) == 0
    with pytest.raises(LostError):
        await one.fenced().clear()
    await two.release()


async def test_a_missing_right_holds_nobody_back(
    request: pytest.FixtureRequest, user: User, client: Redis, redis_client: Redis, key_prefix: str
) -> None:
    """Whatever is refused in the middle, another has the lease as soon as it is free."""
    kind = request.node.callspec.params["user"]
    session, admins = (session_of(each, key_prefix, kind) for each in (client, redis_client))
    scripted = {"exists", "get", "set", "unlink", *(rule[1:] for rule in LEASES)}
    refused: set[str] = set()
    for number, missing in enumerate(sorted(scripted)):
        holder = admins._conversation.claim(f"holder{number}", LIFE)
        mine, waiting = (
            session._conversation.claim(f"{name}{number}", LIFE) for name in ("mine", "waiting")
        )
        late = admins._conversation.claim(f"late{number}", LIFE)
        assert await holder.acquire(0) == 0
        assert await late.acquire(0.001) == 1
        user.may(f"-{missing}")
        for attempt in (waiting.acquire(0.5), waiting.release()):
            refused |= {missing} if await error_of(attempt) else set()
        await holder.release()
        for attempt in (mine.acquire(0), mine.renew(), mine.release()):
            refused |= {missing} if await error_of(attempt) else set()
        user.may(f"+{missing}")

        await mine.release()  # as the session would, or its time is over
        then = admins._conversation.claim(f"then{number}", LIFE)
        async with admins.lease(10, LIFE):  # no longer than the waiter has said
            assert await then.acquire(0) == 1
    assert refused == scripted


async def test_scripts_that_are_refused(
    redis_server: Endpoint, redis_client: Redis, key_prefix: str, kind: str
) -> None:
    """A lease needs them: the error says so, and no write is done without it."""
    user = User(redis_server, f"user-of-{key_prefix}")
    async with Redis(host=redis_server.host, port=redis_server.port, username=user.name) as client:
        session = session_of(client, key_prefix, kind)
        await session.add_items(ITEMS)
        claim = session._conversation.claim("one", LIFE)
        assert await claim.acquire(0) == 0
        user.may("-eval", "-evalsha")
        fenced = claim.fenced()
        found = await fenced.read(None)
        attempts = [write(fenced, name, found) for name in WRITES]
        attempts += [claim.renew(), claim.release(), session.lease(0).__aenter__()]
        for attempt in attempts:
            with pytest.raises(ResponseError, match="no permissions") as caught:
                await attempt
            assert "A lease needs a server that runs scripts" in "".join(
                [*getattr(caught.value, "__notes__", ()), str(caught.value)]
            )
        assert await session.get_items() == ITEMS
        assert await session.busy()
    redis_server.call("ACL", "DELUSER", user.name)
    assert await session_of(redis_client, key_prefix, kind).get_items() == ITEMS


async def test_a_server_without_scripts() -> None:
    """One that does not know them is told of in the same way; nobody holds anything there."""
    import fakeredis  # noqa: PLC0415 - for this test alone

    async with fakeredis.FakeAsyncRedis(connection_class=NoScriptsConnection) as client:
        session = RedisSession("s", client)
        with pytest.raises(ResponseError, match="unknown command 'eval'"):
            await session.lease(0).__aenter__()
        assert await session.busy() is None
        await session.add_items(ITEMS)
        assert await session.get_items() == ITEMS


async def test_a_full_server_takes_turns(redis_binary: str, kind: str) -> None:
    """To make room, one may need a lease: it can be had, waited for, renewed and given back."""
    with RedisServer(redis_binary) as server:
        async with Redis.from_url(server.url) as client:
            session = session_of(client, "full", kind)
            await session.add_items(ITEMS)
            server.call("CONFIG", "SET", "maxmemory", 1)
            one, two = (session._conversation.claim(name, LIFE) for name in ("one", "two"))
            assert await one.acquire(60) == 0
            assert await two.acquire(60) == 1
            assert await one.renew()
            with pytest.raises(OutOfMemoryError):
                await one.fenced().append([b'{"role":"user","content":"more"}'])
            assert await session.get_items() == ITEMS
            assert await one.fenced().pop(bytes)
            await one.release()
            assert await two.acquire(60) == 0
            with pytest.raises(LostError):
                await one.fenced().clear()
            await two.fenced().clear()
            assert await session.get_items() == []
            await two.release()
            assert await session.busy() is None


async def test_a_lease_that_is_no_text_is_an_error(
    redis_client: Redis, key_prefix: str, kind: str
) -> None:
    """What something else has put there is neither taken for a lease nor removed."""
    session = session_of(redis_client, key_prefix, kind)
    lease = session._conversation._lease_keys().lease
    await redis_client.rpush(lease, "something else")
    await redis_client.expire(lease, 600)
    claim = session._conversation.claim("one", LIFE)
    attempts = [claim.acquire(0), claim.renew(), claim.fenced().clear(), claim.release()]
    for attempt in attempts:
        with pytest.raises(RedisError, match="WRONGTYPE"):
            await attempt
    assert await redis_client.lrange(lease, 0, -1) == [b"something else"]
