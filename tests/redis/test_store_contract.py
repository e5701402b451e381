"""The contract of stores on everything that speaks Redis and runs scripts."""

from __future__ import annotations

import asyncio
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import fakeredis
import pytest
import pytest_asyncio

from openai_agents_session.redis import RedisStore
from tests.contract.stores import StoreContract
from tests.redis.stores import assert_agreement, dump_of, index_of
from tests.redis.test_contract import YieldingConnection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio import Redis, RedisCluster

pytestmark = pytest.mark.redis


class CopyingConnection(YieldingConnection):
    """A connection to a fake server whose ``COPY`` copies.

    That of fakeredis 2.40 puts one object at both keys.
    """

    async def _connect(self) -> None:
        await super()._connect()
        socket = self._sock
        assert socket is not None
        known = socket._name_to_func

        def copy(key: Any, new: Any) -> int:
            if not key or new:
                return 0
            new.value, new.expireat = deepcopy(key.value), key.expireat
            return 1

        def name_to_func(name: str) -> Any:
            function, signature = known(name)
            return (copy if name == "copy" else function), signature

        socket._name_to_func = name_to_func  # type: ignore[method-assign] - for this socket only


class RedisStoreContract(StoreContract):
    """The hooks that all of them share."""

    client: Redis | RedisCluster
    prefix: str

    async def make_store(self, **options: Any) -> RedisStore:
        """Return a store on the test's client."""
        return RedisStore(self.client, key_prefix=self.prefix, **options)

    async def expire(self, user_id: Any, session_id: str) -> None:
        """Let it run out now, and wait until the server agrees that it did."""
        index = index_of(self.prefix, user_id)
        about = index + b"~" + session_id.encode()
        assert await self.client.pexpire(index + b":" + session_id.encode(), 1)
        assert await self.client.pexpire(about, 1)
        while await self.client.exists(about):  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.001)

    async def corrupt(self, user_id: Any, session_id: str, raw: bytes) -> None:
        """Push whatever it is to the list."""
        key = index_of(self.prefix, user_id) + b":" + session_id.encode()
        await self.client.rpush(key, raw)

    async def dump(self) -> bytes:
        """Return all keys and values of the server."""
        return await dump_of(self.client)

    async def agree(self, store: RedisStore) -> None:
        """Compare what is listed, and what lies in Redis."""
        await super().agree(store)
        await assert_agreement(self.client, self.prefix)


class TestFake(RedisStoreContract):
    """fakeredis with Lua."""

    @pytest_asyncio.fixture
    async def backend(self) -> AsyncIterator[None]:
        """Start a fake server of the test's own."""
        self.prefix = "contract"
        self.client = fakeredis.FakeAsyncRedis(connection_class=CopyingConnection)
        yield
        await self.client.aclose()


class TestServer(RedisStoreContract):
    """Real servers: Valkey, and Redis where it is installed."""

    @pytest_asyncio.fixture
    async def backend(self, redis_client: Redis, key_prefix: str) -> AsyncIterator[None]:
        """Use the shared server under the test's own prefix."""
        self.client, self.prefix = redis_client, key_prefix
        yield


class TestCluster(RedisStoreContract):
    """A real cluster of six nodes."""

    @pytest_asyncio.fixture
    async def backend(self, cluster_client: RedisCluster, key_prefix: str) -> AsyncIterator[None]:
        """Use the shared cluster under the test's own prefix."""
        self.client, self.prefix = cluster_client, key_prefix
        yield
