"""RedisStore: its arguments, and whose client it uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agents.memory.session_settings import coerce_session_settings

from openai_agents_session._arguments import checked_ttl
from openai_agents_session._store import BaseStore
from openai_agents_session.redis._catalog import RedisCatalog
from openai_agents_session.redis._clients import SharedClient, checked_client
from openai_agents_session.redis._keys import DEFAULT_KEY_PREFIX, checked_key_prefix

if TYPE_CHECKING:
    from agents import SessionSettings
    from redis.asyncio import Redis, RedisCluster

    from openai_agents_session.redis._clients import Clients


class RedisStore(BaseStore):
    """All conversations under one key prefix in Redis, Valkey or a cluster of them.

    A user's conversations need a server that runs scripts, of Redis 7.0 or newer or Valkey.

    Args:
        redis_client: a ``redis.asyncio.Redis``, also from a Sentinel or with a blocking pool,
            or a ``RedisCluster``. You close it yourself.
        key_prefix: how all keys begin. Choose it in your application, never from user input:
            only the users and ids under one prefix are kept apart.
        ttl: seconds that a conversation lives after it was last written to, changed or touched.
            None keeps it.
        session_settings: of the store's sessions: the SDK's ``SessionSettings``, or a dict of
            its fields.

    Raises:
        TypeError: the client is not an asynchronous redis-py client, or another argument has
            the wrong type.
        ValueError: the prefix is empty or has a pair of braces with nothing in it, or ``ttl`` is
            not positive.
    """

    def __init__(
        self,
        redis_client: Redis | RedisCluster,
        *,
        key_prefix: str = DEFAULT_KEY_PREFIX,
        ttl: int | None = None,
        session_settings: SessionSettings | dict[str, Any] | None = None,
    ) -> None:
        clients = SharedClient(checked_client("redis_client", redis_client))
        self._use(clients, key_prefix, ttl, session_settings)

    def _use(
        self, clients: Clients, key_prefix: str, ttl: int | None, session_settings: Any
    ) -> None:
        if "{" in checked_key_prefix(key_prefix) and key_prefix.partition("{")[2].startswith("}"):
            # Redis Cluster would hash whole keys: each of a user's could be on another node.
            raise ValueError("key_prefix must not have {} before other braces")
        if session_settings is not None:
            session_settings = coerce_session_settings(session_settings)
        self._key_prefix = key_prefix
        self._clients = clients
        self._catalog = RedisCatalog(clients, key_prefix, checked_ttl("ttl", ttl), session_settings)

    async def close(self) -> None:
        """Close the client that ``from_url`` made; the store can't be used after that.

        A client that was passed in stays open, and the store can be used again.
        """
        await self._clients.close()

    def __repr__(self) -> str:
        return f"RedisStore(key_prefix={self._key_prefix!r})"
