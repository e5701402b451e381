"""What the README says of others, when things go wrong: the SDK's session, and release 0.1.0."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from agents.extensions.memory import RedisSession as SDKSession
from redis.asyncio import Redis, RedisCluster
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from openai_agents_session import RedisSession
from tests.contract import user
from tests.faults import FaultyProxy, first

if TYPE_CHECKING:
    from collections.abc import Callable

    from agents.memory import SessionABC

    from tests.servers import Endpoint

pytestmark = pytest.mark.redis

ITEMS: list[Any] = [user("first"), user("second")]
NEW: list[Any] = [user("third")]


def sdks(client: Any, prefix: str) -> SDKSession:
    return SDKSession("peers", redis_client=client, key_prefix=f"{prefix}-sdk", ttl=60)


def ours(client: Any, prefix: str) -> RedisSession:
    return RedisSession("peers", client, prefix, ttl=60)


async def after_a_lost_answer(
    server: Endpoint, client: Redis, make: Callable[[Any], SessionABC], method: str, *arguments: Any
) -> tuple[Any, list[Any]]:
    """Lose the answer to one write; return what the caller got, and what is stored."""
    await make(client).add_items(ITEMS)
    async with (
        FaultyProxy(server, first(1)) as proxy,
        Redis.from_url(proxy.url) as through_proxy,
    ):
        try:
            got = await getattr(make(through_proxy), method)(*arguments)
        except RedisError as error:
            got = error
    items: list[Any] = await make(client).get_items()
    return got, items


async def test_adding_when_the_answer_is_lost(
    redis_server: Endpoint, redis_client: Redis, key_prefix: str
) -> None:
    """The SDK's raises though the items are stored; this one knows that they are."""
    got, items = await after_a_lost_answer(
        redis_server, redis_client, lambda each: sdks(each, key_prefix), "add_items", NEW
    )
    assert isinstance(got, RedisError)
    assert items == ITEMS + NEW

    got, items = await after_a_lost_answer(
        redis_server, redis_client, lambda each: ours(each, key_prefix), "add_items", NEW
    )
    assert (got, items) == (None, ITEMS + NEW)


async def test_popping_when_the_answer_is_lost(
    redis_server: Endpoint, redis_client: Redis, key_prefix: str
) -> None:
    """The SDK's loses the item; this one returns it."""
    got, items = await after_a_lost_answer(
        redis_server, redis_client, lambda each: sdks(each, key_prefix), "pop_item"
    )
    assert got != ITEMS[1]
    assert items == ITEMS[:1] or items == []

    got, items = await after_a_lost_answer(
        redis_server, redis_client, lambda each: ours(each, key_prefix), "pop_item"
    )
    assert (got, items) == (ITEMS[1], ITEMS[:1])


@pytest.mark.parametrize("resends", [False, True])
async def test_bare_commands_when_the_answer_is_lost(
    redis_server: Endpoint, redis_client: Redis, key_prefix: str, resends: bool
) -> None:
    """Release 0.1.0 sent them: they raise though they were done, or redis-py does them again."""
    await redis_client.rpush(key_prefix, "first", "second")
    for command in ("RPUSH", key_prefix, "third"), ("RPOP", key_prefix):
        async with FaultyProxy(redis_server, first(1)) as proxy:
            # As redis-py makes them: one for a host sends again by itself, one for a URL doesn't.
            client = Redis(port=proxy.port) if resends else Redis.from_url(proxy.url)
            async with client:
                if resends:
                    await client.execute_command(*command)
                else:
                    with pytest.raises(RedisConnectionError):
                        await client.execute_command(*command)
        if command[0] == "RPUSH":
            pushed = await redis_client.lrange(key_prefix, 0, -1)

    assert pushed == [b"first", b"second", *[b"third"] * (2 if resends else 1)]
    # Of one item that was popped, or of two, nobody has got the newest.
    assert await redis_client.lrange(key_prefix, 0, -1) == [b"first", b"second"]


async def test_popping_past_a_record_that_cannot_be_read(
    redis_client: Redis, key_prefix: str
) -> None:
    """The SDK's deletes it on the way; this one leaves it."""
    theirs, mine = sdks(redis_client, key_prefix), ours(redis_client, key_prefix)
    for session, key in ((theirs, theirs._messages_key), (mine, mine.key)):
        await session.add_items(ITEMS)
        await redis_client.rpush(key, "{torn")

        assert await session.pop_item() == ITEMS[1]

    assert await redis_client.llen(theirs._messages_key) == 1
    assert await redis_client.lindex(mine.key, -1) == b"{torn"


async def test_the_sdks_session_refuses_a_cluster(key_prefix: str) -> None:
    """Before it connects to anything."""
    with pytest.raises(TypeError, match="RedisCluster"):
        await sdks(RedisCluster(host="localhost", port=1), key_prefix).add_items(ITEMS)
