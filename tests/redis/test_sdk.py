"""Conversations through the SDK's Runner, kept in Redis: a server, a cluster, a fake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import fakeredis
import pytest
from redis.asyncio import Redis
from redis.asyncio import RedisCluster as ClusterClient

from openai_agents_session import RedisSession
from tests.sdk import SESSION_ID, SDKRuns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.servers import Endpoint, RedisCluster


class RedisRuns(SDKRuns):
    """The hooks that all of them share."""

    client: Redis | ClusterClient
    prefix: str

    def make_session(self, session_id: str = SESSION_ID, **options: Any) -> RedisSession:
        """Make a session on the test's client."""
        return RedisSession(session_id, self.client, self.prefix, ttl=600, **options)

    def make_client(self) -> Redis | ClusterClient:
        """Make another client of the same store."""
        raise NotImplementedError

    async def connect(self) -> tuple[RedisSession, Callable[[], Awaitable[None]]]:
        """Make a session on a client of its own."""
        client = self.make_client()
        return RedisSession(SESSION_ID, client, self.prefix), client.aclose


class TestServer(RedisRuns):
    """A real server."""

    @pytest.fixture(autouse=True)
    def store(self, redis_server: Endpoint, redis_client: Redis, key_prefix: str) -> None:
        self.url, self.client, self.prefix = redis_server.url, redis_client, key_prefix

    async def connect(self) -> tuple[RedisSession, Callable[[], Awaitable[None]]]:
        """Make a session that owns its client."""
        session = RedisSession.from_url(SESSION_ID, self.url, key_prefix=self.prefix)
        return session, session.close


class TestCluster(RedisRuns):
    """A real cluster of six."""

    @pytest.fixture(autouse=True)
    def store(
        self, redis_cluster: RedisCluster, cluster_client: ClusterClient, key_prefix: str
    ) -> None:
        self.node, self.client, self.prefix = redis_cluster, cluster_client, key_prefix

    def make_client(self) -> ClusterClient:
        """Make another client of the cluster."""
        return ClusterClient(host=self.node.host, port=self.node.port)


class TestFake(RedisRuns):
    """fakeredis, with Lua."""

    @pytest.fixture(autouse=True)
    async def store(self) -> AsyncIterator[None]:
        self.prefix, self.server = "runs", fakeredis.FakeServer()
        async with self.make_client() as self.client:
            yield

    def make_client(self) -> Redis:
        """Make another client of the same fake."""
        return fakeredis.FakeAsyncRedis(server=self.server)
