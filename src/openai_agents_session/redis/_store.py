"""RedisStore: its arguments, and whose client it uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from agents.memory.session_settings import coerce_session_settings

from openai_agents_session._arguments import checked_flag, checked_ttl
from openai_agents_session._store import BaseStore
from openai_agents_session.redis._catalog import RedisCatalog
from openai_agents_session.redis._clients import OwnClients, SharedClient, checked_client
from openai_agents_session.redis._keys import DEFAULT_KEY_PREFIX, checked_key_prefix
from openai_agents_session.redis._urls import OPTIONS, client_maker, split_url

if TYPE_CHECKING:
    from agents import SessionSettings
    from redis.asyncio import Redis, RedisCluster
    from typing_extensions import Self

    from openai_agents_session.redis._clients import Clients
    from openai_agents_session.redis._session import RedisSession


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

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        key_prefix: str | None = None,
        ttl: int | None = None,
        setup: bool = False,
        session_settings: SessionSettings | dict[str, Any] | None = None,
        **client_options: Any,
    ) -> Self:
        """Make a store with a client of its own, which ``close`` closes.

        All its sessions share the client; in each event loop and process that uses them it is
        another one. Nothing is sent before the first operation.

        Args:
            url: as redis-py reads it, ``redis://``, ``rediss://`` (TLS) or ``unix://``;
                ``valkey://`` and ``valkeys://`` are the first two. Or
                ``redis+cluster://host:port``, which may name more nodes after a comma, or
                ``redis+sentinel://host:port,host:port/service`` for the master behind Sentinels,
                where user and password are the master's. ``rediss+…`` is with TLS. ``key_prefix``,
                ``ttl`` and ``setup`` may stand in its query, and so may redis-py's options.
            key_prefix: as for the class; it goes before the one in the URL, as does ``ttl``.
            ttl: as for the class, in seconds.
            setup: taken as by every other store. Redis needs no setup.
            session_settings: as for the class.
            client_options: options of redis-py's ``BlockingConnectionPool`` and its connections,
                such as ``max_connections=20``, or of its ``RedisCluster`` or ``Sentinel``; there,
                ``sentinel_kwargs={"password": …}`` is for the Sentinels.

        Raises:
            TypeError: the URL is not a str, there is no such option, or as for the class.
            ValueError: the URL can't be read, or has an option that does not exist or has a wrong
                value, or as for the class.
        """
        url, in_url = split_url(url)
        store = cls.__new__(cls)
        store._setup = checked_flag("setup", setup or in_url.get("setup", False))
        store._use(
            OwnClients(client_maker(url, client_options, OPTIONS), "the store"),
            in_url.get("key_prefix", DEFAULT_KEY_PREFIX) if key_prefix is None else key_prefix,
            in_url.get("ttl") if ttl is None else ttl,
            session_settings,
        )
        return store

    def session(
        self, session_id: str, *, session_settings: SessionSettings | dict[str, Any] | None = None
    ) -> RedisSession:
        """Return the session of a conversation that has no user; nothing is sent to Redis.

        It is the conversation of ``RedisSession(session_id, client, key_prefix, ttl)``, and its
        ``close`` leaves the store's client open.

        Args:
            session_id: names the conversation; any text that is not empty.
            session_settings: the SDK's ``SessionSettings``, or a dict of its fields; None takes
                those of the store.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: the id is empty or has a lone surrogate.
        """
        session = super().session(session_id, session_settings=session_settings)
        return cast("RedisSession", session)

    async def close(self) -> None:
        """Close the client that ``from_url`` made; the store can't be used after that.

        A client that was passed in stays open, and the store can be used again.
        """
        await self._clients.close()

    def __repr__(self) -> str:
        return f"RedisStore(key_prefix={self._key_prefix!r})"
