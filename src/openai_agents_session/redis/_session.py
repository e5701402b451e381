"""The public class: its arguments, and whose client it uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openai_agents_session._arguments import checked_ttl
from openai_agents_session._session import BaseSession
from openai_agents_session.redis._clients import (
    OwnClients,
    SharedClient,
    checked_client,
)
from openai_agents_session.redis._conversation import RedisConversation
from openai_agents_session.redis._keys import DEFAULT_KEY_PREFIX, checked_key_prefix, list_key
from openai_agents_session.redis._urls import client_maker

if TYPE_CHECKING:
    from agents import SessionSettings
    from redis.asyncio import Redis, RedisCluster
    from typing_extensions import Self

    from openai_agents_session.redis._clients import Clients


class RedisSession(BaseSession):
    """A conversation in Redis, for ``Runner.run(agent, "Hi", session=session)``.

    Args:
        session_id: names the conversation; any non-empty text.
        redis_client: a ``redis.asyncio.Redis``, also from a Sentinel or with a blocking pool,
            or a ``RedisCluster``. You close it yourself.
        key_prefix: how the conversation's key begins. Choose it in your application, never
            from user input: only the ids under one prefix are kept apart.
        ttl: seconds that the conversation lives after its last write. None keeps it, and
            doesn't touch an expiry that something else has set.
        session_settings: the SDK's ``SessionSettings``, or a dict of its fields;
            ``limit`` is the default for ``get_items``.

    Attributes:
        key: the conversation's key in Redis. ``await client.ttl(session.key)`` returns how
            long it still lives.
        user_id: whose conversation it is, for a session of ``RedisStore.user``; else None.

    Raises:
        TypeError: the client is not an asynchronous redis-py client, or another argument
            has the wrong type.
        ValueError: the id or the prefix is empty, or ``ttl`` is not positive.
    """

    user_id: str | None = None
    _owns_clients = False

    def __init__(
        self,
        session_id: str,
        redis_client: Redis | RedisCluster,
        key_prefix: str = DEFAULT_KEY_PREFIX,
        ttl: int | None = None,
        *,
        session_settings: SessionSettings | dict[str, Any] | None = None,
    ) -> None:
        super().__init__(session_id, session_settings)
        clients = SharedClient(checked_client("redis_client", redis_client))
        key = list_key(checked_key_prefix(key_prefix), session_id)
        self._use(clients, RedisConversation(clients, key, checked_ttl("ttl", ttl)))

    def _use(self, clients: Clients, conversation: RedisConversation) -> None:
        self.key = conversation.key.decode()
        self._clients = clients
        self._conversation = conversation

    @classmethod
    def _of_store(
        cls,
        session_id: str,
        user_id: str | None,
        clients: Clients,
        conversation: RedisConversation,
        session_settings: SessionSettings | dict[str, Any] | None,
    ) -> Self:
        """Make a session of a store, whose clients ``close`` leaves open."""
        session = cls.__new__(cls)
        BaseSession.__init__(session, session_id, session_settings)
        session.user_id = user_id
        session._use(clients, conversation)
        return session

    @classmethod
    def from_url(
        cls,
        session_id: str,
        url: str,
        *,
        key_prefix: str = DEFAULT_KEY_PREFIX,
        ttl: int | None = None,
        session_settings: SessionSettings | dict[str, Any] | None = None,
        **client_options: Any,
    ) -> Self:
        """Make a session with a client of its own, which ``close`` closes.

        The client waits for a free connection, while one with redis-py's default pool raises
        an error. The session makes a client in each event loop and process that uses it. To
        share a client among many sessions, make it yourself and pass it in.

        Args:
            session_id: names the conversation.
            url: ``redis://``, ``rediss://`` (TLS) or ``unix://``, as redis-py reads it;
                ``valkey://`` and ``valkeys://`` are the first two. Or one of a cluster or of
                Sentinels, as for ``RedisStore.from_url``.
            key_prefix: as for the class.
            ttl: as for the class, in seconds.
            session_settings: as for the class.
            client_options: options of redis-py's ``BlockingConnectionPool`` and its
                connections, such as ``max_connections=20``, ``timeout=5`` (seconds to
                wait for a connection) or ``socket_timeout=2``.

        Raises:
            ValueError: redis-py can't read the URL or doesn't know an option in it, or as for
                the class.
            TypeError: the URL is not a str, redis-py doesn't know an option, or as for the
                class.
        """
        make = client_maker(url, client_options)
        session = cls(session_id, make(), key_prefix, ttl, session_settings=session_settings)
        clients = OwnClients(make, f"session {session_id!r}")
        session._use(clients, RedisConversation(clients, session.key.encode(), ttl))
        session._owns_clients = True
        return session

    async def close(self) -> None:
        """Close the client that ``from_url`` made; the session can't be used after that.

        A client that was passed in stays open, and the session can be used again. So does that of
        a session that ``lease`` gave: it belongs to the session whose lease it is.
        """
        if self._owns_clients and self._lease is None:
            await self._clients.close()

    def _check_open(self) -> None:
        self._clients.check_open()
