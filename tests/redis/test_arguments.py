"""What ``from_url`` and the constructor are given: URLs, options, clients; and a closed session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import fakeredis
import pytest
from redis.asyncio import Redis, RedisCluster

from openai_agents_session import RedisSession

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.servers import Endpoint

PASSWORD = "correct-horse-battery-staple"
ITEMS: list[Any] = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize("url", [5, None, b"redis://localhost", ["redis://localhost"]])
def test_a_url_that_is_no_text_is_refused(url: Any) -> None:
    """A URL is a str, and nothing else is."""
    with pytest.raises(TypeError, match=f"url must be a str, not {type(url).__name__}"):
        RedisSession.from_url("s", url)


async def test_urls_of_valkey(redis_server: Endpoint, redis_client: Redis, key_prefix: str) -> None:
    """``valkey://`` is ``redis://``, and ``valkeys://`` is ``rediss://``."""
    url = redis_server.url.replace("redis://", "valkey://")
    async with RedisSession.from_url("s", url, key_prefix=key_prefix) as session:
        await session.add_items(ITEMS)
    assert await redis_client.llen(f"{key_prefix}:s") == 1
    session = RedisSession.from_url("s", "VALKEYS://localhost:1")
    client: Any = session._clients.current()
    assert client.connection_pool.connection_class.__name__ == "SSLConnection"


def test_an_unknown_option_in_a_url_is_named() -> None:
    """It is a ValueError at construction, without the value or the password."""
    url = f"redis://:{PASSWORD}@localhost:6379/0?socket_timeout=5&unknown_option={PASSWORD}"
    with pytest.raises(ValueError, match="unknown_option") as caught:
        RedisSession.from_url("s", url)
    assert PASSWORD not in str(caught.value)
    assert "socket_timeout=5" not in str(caught.value)


def test_an_unknown_option_of_the_call_is_named() -> None:
    """It is a TypeError, as Python's own for an unknown argument."""
    with pytest.raises(TypeError, match="unknown_option"):
        RedisSession.from_url("s", "redis://localhost", unknown_option=1)


@pytest.mark.parametrize("client_class", [fakeredis.FakeAsyncRedis, Redis])
async def test_a_pipeline_is_no_client(client_class: type[Redis]) -> None:
    """A pipeline keeps commands back, so it is refused, with what is right."""
    async with client_class() as client, client.pipeline() as pipe:
        with pytest.raises(TypeError, match=r"redis_client must be .*not redis\.asyncio.*Pipeline"):
            RedisSession("s", pipe)


async def test_a_cluster_pipeline_is_no_client() -> None:
    """Nor is a cluster's."""
    pipe: Any = RedisCluster(host="localhost").pipeline()
    with pytest.raises(TypeError, match=r"redis_client must be .*ClusterPipeline"):
        RedisSession("s", pipe)


async def test_the_key_is_told(redis_client: Redis, key_prefix: str) -> None:
    """``key`` is what a client of redis-py can be asked about."""
    session = RedisSession("user: Zoë", redis_client, key_prefix, ttl=1000)
    assert session.key == f"{key_prefix}:user: Zoë"
    assert await redis_client.ttl(session.key) == -2
    await session.add_items(ITEMS)
    assert 990 < await redis_client.ttl(session.key) <= 1000


NOTHING_TO_DO: dict[str, Callable[[RedisSession], Awaitable[Any]]] = {
    "an empty batch": lambda session: session.add_items([]),
    "a limit of zero": lambda session: session.get_items(0),
    "a limit below zero": lambda session: session.get_items(-1),
}


@pytest.mark.parametrize("name", NOTHING_TO_DO)
async def test_a_closed_session_says_so_when_there_is_nothing_to_do(
    redis_server: Endpoint, name: str
) -> None:
    """Also what would ask no server raises RuntimeError."""
    session = RedisSession.from_url("s", redis_server.url)
    assert not await NOTHING_TO_DO[name](session)
    await session.close()
    with pytest.raises(RuntimeError, match="closed"):
        await NOTHING_TO_DO[name](session)
