"""RedisSession: a conversation kept in Redis, as one list that expires.

    {key_prefix}:{session_id}   list; an item's JSON text for each element, oldest first

``EXPIRE`` on that key counts from the last write. Each operation is one command, each
write atomic and done exactly once; ``_redis_list`` says how. The layout is the one of
release 0.1.0, whose conversations are read as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from agents.memory.session_settings import resolve_session_limit

from openai_agents_session._errors import explain_missing

try:
    from redis.asyncio import Redis, RedisCluster
    from redis.asyncio.client import Pipeline
    from redis.exceptions import (
        AuthenticationError,
        AuthorizationError,
        ConnectionError,
        TimeoutError,
    )
except ModuleNotFoundError as exc:
    explain_missing(exc, "RedisSession", "redis", "redis")
    raise

from openai_agents_session._arguments import checked_ttl
from openai_agents_session._base import BaseSession
from openai_agents_session._redis_client import Given, Made
from openai_agents_session._redis_list import RedisList
from openai_agents_session._redis_url import client_maker
from openai_agents_session._serializer import deserialize, deserialize_all, serialize
from openai_agents_session._session import CompactionSnapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from agents import SessionSettings, TResponseInputItem
    from typing_extensions import Self

    from openai_agents_session._redis_client import Clients

DEFAULT_KEY_PREFIX = "openai_agents_session"

MAX_LENGTH = 2**32
"""More elements than a Redis list can hold (Redis documentation, "Redis lists")."""


class RedisSession(BaseSession):
    """A conversation in Redis, for ``Runner.run(agent, "Hi", session=session)``.

    Args:
        session_id: names the conversation; any non-empty text.
        redis_client: an asynchronous ``redis.asyncio.Redis`` (of a Sentinel or a blocking
            pool as well) or ``RedisCluster``. It stays the caller's to close.
        key_prefix: stands before the session's id in its key. The application's choice,
            never a user's: the id alone keeps conversations apart under one prefix.
        ttl: seconds that the conversation lives after its last write; None keeps it,
            and leaves an expiry that something else has set alone.
        session_settings: the SDK's ``SessionSettings``, or a dict of its fields;
            ``limit`` is the default for ``get_items``.

    Attributes:
        key: where the conversation is in Redis. How long it will live, for instance, is
            ``await client.ttl(session.key)``.

    Raises:
        TypeError: the client is not an asynchronous redis-py client, or another argument
            has the wrong type.
        ValueError: the id or the prefix is empty, or ``ttl`` is not positive.
    """

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
        if not isinstance(redis_client, (Redis, RedisCluster)) or isinstance(
            redis_client, Pipeline
        ):
            kind = type(redis_client)
            raise TypeError(
                "redis_client must be an asynchronous client, redis.asyncio.Redis or "
                f"redis.asyncio.RedisCluster, not {kind.__module__}.{kind.__qualname__}"
            )
        if not isinstance(key_prefix, str):
            raise TypeError(f"key_prefix must be a str, not {type(key_prefix).__name__}")
        if not key_prefix:
            raise ValueError("key_prefix must not be empty")
        self.key = f"{key_prefix}:{session_id}"
        self._ttl = checked_ttl("ttl", ttl)
        self._closed: bool | None = None  # None: the client is not the session's to close
        self._use(Given(redis_client))

    def _use(self, clients: Clients) -> None:
        self._clients = clients
        self._records = RedisList(clients, self.key, self._ttl)

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

        The client waits for a free connection where redis-py's default pool would fail.
        There is one for each event loop and process that uses the session, so a session may
        be used in all of them. To share one client among many sessions, make it yourself and
        pass it in.

        Args:
            session_id: names the conversation.
            url: ``redis://``, ``rediss://`` (TLS) or ``unix://``, as redis-py reads it;
                ``valkey://`` and ``valkeys://`` are the first two.
            key_prefix: as for the class.
            ttl: as for the class, in seconds.
            session_settings: as for the class.
            client_options: options of redis-py's ``BlockingConnectionPool`` and its
                connections, such as ``max_connections=20``, ``timeout=5`` (seconds to
                wait for a connection) or ``socket_timeout=2``.

        Raises:
            ValueError: redis-py cannot read the URL or knows no such option in it, or as
                for the class.
            TypeError: the URL is no str, redis-py knows no such option, or as for the class.
        """
        make = client_maker(url, client_options)
        session = cls(session_id, make(), key_prefix, ttl, session_settings=session_settings)
        session._closed = False
        session._use(Made(make))
        return session

    async def get_items(self, limit: int | None = None) -> list[TResponseInputItem]:
        """Return the conversation's newest items, oldest first.

        A record that cannot be read is skipped with a logged warning, and does not count.

        Args:
            limit: how many items at most; None takes the session's setting, then all.

        Returns:
            The items; ``[]`` where there are none, and for a limit of 0 or less.

        Raises:
            redis.exceptions.RedisError: as redis-py raises it.
        """
        self._open_records()
        wanted = resolve_session_limit(limit, self.session_settings)
        if wanted is not None and wanted <= 0:
            return []
        _, items = await self._read_newest(wanted)
        return items

    async def add_items(self, items: list[TResponseInputItem]) -> None:
        """Append a batch, whole and contiguous, exactly once.

        Args:
            items: dicts or Pydantic models; none of them changes nothing at all.

        Raises:
            TypeError: an item holds what JSON cannot; nothing was written.
            redis.exceptions.RedisError: as redis-py raises it.
        """
        open_records = self._open_records()
        records = serialize(items)
        if records:
            await open_records.append(records)

    async def pop_item(self) -> TResponseInputItem | None:
        """Remove and return the newest item; it goes to exactly one caller.

        Records that cannot be read are passed over and stay where they are.

        Returns:
            The item, or None where there is none.

        Raises:
            redis.exceptions.RedisError: as redis-py raises it.
        """
        popped = await self._open_records().pop()
        if popped.settled:
            if popped.record is None:
                return None
            item = deserialize(popped.record)
            if item is not None:
                return item
            # It only looked readable. Should the process end before the record is back,
            # what is lost is one that nobody can read.
            await self._records.put_back(popped)
        while True:
            newest, items = await self._read_newest(1)
            if not items:
                return None
            if await self._records.swap([], newest, newest[1:]):
                return items[0]

    async def clear_session(self) -> None:
        """Delete the conversation; where there is none, nothing happens.

        Raises:
            redis.exceptions.RedisError: as redis-py raises it.
        """
        await self._open_records().clear()

    async def replace_items(self, items: list[TResponseInputItem]) -> None:
        """Put a batch in the place of the whole conversation, in one atomic step.

        Args:
            items: dicts or Pydantic models; none of them empties the conversation.

        Raises:
            TypeError: an item holds what JSON cannot; nothing was written.
            redis.exceptions.RedisError: as redis-py raises it.
        """
        await self._open_records().replace(serialize(items))

    async def ping(self) -> bool:
        """Return whether the server that holds the conversation answers.

        Raises:
            redis.exceptions.RedisError: it answers with an error, such as a refused login.
        """
        records = self._open_records()
        try:
            await records.exists()
        except (AuthenticationError, AuthorizationError):
            raise
        except (ConnectionError, TimeoutError):
            return False
        return True

    async def close(self) -> None:
        """Close the client that ``from_url`` made; the session cannot be used after that.

        A client that was passed in stays open, and the session with it.
        """
        if self._closed is not None:
            self._closed = True
            await self._clients.close()

    async def _snapshot(
        self, limit: int, prune_prefix: Callable[[TResponseInputItem], bool] | None
    ) -> CompactionSnapshot | None:
        records = await self._open_records().read(-limit - 1, -1)
        complete = len(records) <= limit
        records = records[-limit:]
        items, unreadable = deserialize_all(records)
        if unreadable:
            return None

        async def replace_suffix(start: int, output: list[TResponseInputItem]) -> bool:
            newest = records[start:]
            if not newest:
                return False
            oldest = await self._prunable(prune_prefix, limit, len(newest)) if prune_prefix else []
            return await self._open_records().swap(oldest, newest, serialize(output))

        return CompactionSnapshot(cast("list[TResponseInputItem]", items), complete, replace_suffix)

    async def _prunable(
        self, prune: Callable[[TResponseInputItem], bool], step: int, kept: int
    ) -> list[bytes]:
        """Return the oldest records that may go, ``kept`` newest ones excluded."""
        prunable: list[bytes] = []
        end = await self._records.length() - kept
        while len(prunable) < end:
            start = len(prunable)
            for record in await self._records.read(start, min(start + step, end) - 1):
                item = deserialize(record)
                if item is None or not prune(item):
                    return prunable
                prunable.append(record)
            if len(prunable) == start:  # the list was shortened meanwhile: the swap will say so
                break
        return prunable

    async def _read_newest(
        self, wanted: int | None
    ) -> tuple[list[bytes], list[TResponseInputItem]]:
        """Return the newest readable items, and the records from the oldest of them on.

        Args:
            wanted: how many items at most; None for all.
        """
        wanted = min(wanted or MAX_LENGTH, MAX_LENGTH)
        window = wanted
        while True:
            records = await self._open_records().read(-window, -1)
            items, unreadable = deserialize_all(records)
            if not unreadable:
                return records, cast("list[TResponseInputItem]", items)
            if len(records) - unreadable >= wanted or len(records) < window:
                break
            window *= 2  # older records fill up
        first, readable = self._newest_readable(items, wanted)
        return records[first:], readable

    def _open_records(self) -> RedisList:
        if self._closed:
            raise RuntimeError(
                f"session {self.session_id!r} was closed and its client with it; make a new one"
            )
        return self._records
