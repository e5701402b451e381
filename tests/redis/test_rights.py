"""A user who may not run some command writes all or nothing, with scripts and without (P3)."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from openai_agents_session import RedisSession
from openai_agents_session.redis import _conversation
from tests.servers import sweep

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.servers import Endpoint

    Operation: TypeAlias = Callable[[RedisSession], Awaitable[Any]]

SCRIPTED = ["exists", "llen", "lindex", "lrange", "get", "pttl", "set", "unlink", "rpush", "ltrim"]
SCRIPTED += ["expire"]
UNSCRIPTED = ["llen", "lrange", "rpush", "ltrim", "expire", "watch", "multi", "exec"]
TEXT = "my diagnosis"
ITEMS: list[Any] = [{"role": "user", "content": f"{TEXT} {number}"} for number in range(3)]
NEW: list[Any] = [{"role": "user", "content": f"new {TEXT}"}]
BROKEN = '{"content": "' + TEXT + "}"


async def swap(session: RedisSession) -> None:
    """Replace the end, as the SDK's compaction does."""
    snapshot = await session._get_compaction_snapshot(2)
    assert snapshot is not None
    assert await snapshot.replace_suffix(1, NEW)


# What is done to a session that holds ITEMS, and what it holds when that was done.
OPERATIONS: dict[str, tuple[Operation, list[Any]]] = {
    "add": (lambda session: session.add_items(NEW), ITEMS + NEW),
    "pop": (lambda session: session.pop_item(), ITEMS[:-1]),
    "replace": (lambda session: session.replace_items(NEW), NEW),
    "replace by nothing": (lambda session: session.replace_items([]), []),
    "clear": (lambda session: session.clear_session(), []),
    "swap": (swap, ITEMS[:-1] + NEW),
}


class User:
    """A user of the server whose rights can be changed while connected."""

    def __init__(self, server: Endpoint, name: str) -> None:
        self._server = server
        self.name = name
        self.may("reset", "on", "nopass", "~*", "+@all")

    def may(self, *rules: str) -> None:
        self._server.call("ACL", "SETUSER", self.name, *rules)


@pytest_asyncio.fixture
async def user(redis_server: Endpoint, key_prefix: str) -> AsyncIterator[User]:
    """A user who may do everything, for now."""
    made = User(redis_server, f"user-of-{key_prefix}")
    yield made
    redis_server.call("ACL", "DELUSER", made.name)
    sweep(redis_server, key_prefix)


@pytest_asyncio.fixture
async def client(redis_server: Endpoint, user: User) -> AsyncIterator[Redis]:
    """A client that logs in as the user."""
    async with Redis(host=redis_server.host, port=redis_server.port, username=user.name) as made:
        yield made


@dataclass
class Store:
    """A session's key as a user with some rights sees it, and as it is."""

    user: User
    client: Redis
    admin: Redis
    prefix: str

    async def fill(self) -> None:
        """Put ITEMS there, to expire in 5000 seconds."""
        key = f"{self.prefix}:s"
        await self.admin.delete(key)
        await self.admin.rpush(key, *map(json.dumps, ITEMS))
        await self.admin.expire(key, 5000)

    async def holds(self) -> tuple[list[Any], int]:
        """What is there, and for how long."""
        key = f"{self.prefix}:s"
        records = await self.admin.lrange(key, 0, -1)
        return [json.loads(record) for record in records], await self.admin.ttl(key)


@pytest.fixture
def store(user: User, client: Redis, redis_client: Redis, key_prefix: str) -> Store:
    return Store(user, client, redis_client, key_prefix)


@pytest.mark.parametrize(("scripts", "ttl"), [(True, None), (True, 1000), (False, 1000)])
async def test_a_missing_right_changes_nothing(
    store: Store, scripts: bool, ttl: int | None
) -> None:
    """Without any one command, every operation is done, or raises and changes nothing."""
    user = store.user
    if not scripts:
        user.may("-eval", "-evalsha")
    refused: set[str] = set()
    for missing in SCRIPTED if scripts else UNSCRIPTED:
        for name, (operation, done) in OPERATIONS.items():
            await store.fill()
            user.may(f"-{missing}")
            error = await error_of(operation(RedisSession("s", store.client, store.prefix, ttl)))
            user.may(f"+{missing}")

            if error is not None:
                refused.add(missing)
                assert TEXT not in str(error)
            found, life = await store.holds()
            where = f"{name} without {missing}"
            assert found == (done if error is None else ITEMS), where
            full_life = 5000 if error is not None or ttl is None else ttl
            assert not found or full_life - 60 < life <= full_life, where
    if scripts:
        rarely = {"pttl"}  # is asked for with the last record: see the next test
        assert refused == {*SCRIPTED} - rarely - ({"expire"} if ttl is None else set())
    else:
        assert refused == {*UNSCRIPTED}


async def test_the_last_record_is_popped_with_the_right_to_see_its_expiry(store: Store) -> None:
    """It would take an expiry of something else's along, so without PTTL it stays."""
    await store.fill()
    await store.admin.ltrim(f"{store.prefix}:s", 0, 0)
    session = RedisSession("s", store.client, store.prefix)
    store.user.may("-pttl")

    with pytest.raises(ResponseError) as caught:
        await session.pop_item()

    assert TEXT not in str(caught.value)
    found, life = await store.holds()
    assert found == ITEMS[:1]
    assert 4940 < life <= 5000
    store.user.may("+pttl")
    assert await session.pop_item() == ITEMS[0]


async def error_of(operation: Awaitable[object]) -> ResponseError | None:
    """What the server refused an operation with, if it did."""
    try:
        await operation
    except ResponseError as error:
        return error
    return None


async def test_an_unreadable_record_is_not_taken_without_the_right_to_put_it_back(
    store: Store,
) -> None:
    """What only looks like an item stays, if it could not be put back."""
    await store.fill()
    key = f"{store.prefix}:s"
    await store.admin.rpush(key, BROKEN)
    before = await store.admin.lrange(key, 0, -1)
    store.user.may("-rpush")
    session = RedisSession("s", store.client, store.prefix, ttl=1000)
    assert isinstance(await error_of(session.pop_item()), ResponseError)
    assert await store.admin.lrange(key, 0, -1) == before


async def test_scripts_are_tried_again_after_a_while(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A right that is missing for a moment does not end "exactly once" for good."""
    user = store.user

    async def tokens() -> int:
        return len([name async for name in store.admin.scan_iter(f"*{store.prefix}*~*")])

    caplog.set_level(logging.WARNING, "openai_agents_session")
    session = RedisSession("s", store.client, store.prefix)
    await session.add_items(ITEMS)
    assert await tokens() == 1
    user.may("-eval", "-evalsha")
    await session.add_items(ITEMS)
    user.may("+eval", "+evalsha")
    await session.add_items(ITEMS)
    assert await tokens() == 1

    later = time.monotonic() + _conversation.SCRIPTS_AGAIN_SECONDS + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    await session.add_items(ITEMS)
    assert await tokens() == 2
    assert await session.get_items() == ITEMS * 4
    assert len(caplog.records) == 1


async def test_rights_that_are_taken_away_are_an_error_that_names_them(store: Store) -> None:
    """Without ``EVAL`` and without ``MULTI`` nothing is written, and the error says why."""
    session = RedisSession("s", store.client, store.prefix, ttl=1000)
    await session.add_items(ITEMS)
    before = await store.holds()
    store.user.may("-eval", "-evalsha", "-multi")
    for name in ("add", "pop", "replace", "swap"):
        error = await error_of(OPERATIONS[name][0](session))
        assert "multi" in str(error)
        assert await store.holds() == before
