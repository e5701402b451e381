"""The contract on everything that speaks Redis: fakes, real servers, a real cluster."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import fakeredis
import pytest
import pytest_asyncio
from fakeredis.aioredis import FakeAsyncRedisConnection
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, ResponseError

from openai_agents_session import RedisSession
from openai_agents_session.redis import RedisStore
from tests.contract import SHARE, AnySession, SessionContract
from tests.contract.leasing import LIFE, LeasingContract
from tests.redis.stores import lapse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio import RedisCluster

    from tests.servers import Endpoint

pytestmark = pytest.mark.redis

SCRIPTING = {"eval", "evalsha", "eval_ro", "evalsha_ro", "script", "fcall", "fcall_ro", "function"}


class YieldingConnection(FakeAsyncRedisConnection):
    """A connection to a fake server that lets other tasks run before each answer arrives.

    From Python 3.12 on nothing else in fakeredis or redis-py gives way to them: a task that
    reads in a loop would keep the event loop to itself, and writers would never overlap.
    """

    async def _read_response(self, **options: Any) -> Any:
        await asyncio.sleep(0)
        return await super()._read_response(**options)


class NoScriptsConnection(YieldingConnection):
    """A connection to a fake server as it is where lupa is not installed."""

    async def _connect(self) -> None:
        await super()._connect()
        socket = self._sock
        assert socket is not None
        known = socket._name_to_func

        def name_to_func(name: str) -> Any:
            if name in SCRIPTING:
                raise socket._unknown_command(name)
            return known(name)

        socket._name_to_func = name_to_func  # type: ignore[method-assign] - for this socket only


class RedisContract(SessionContract):
    """The hooks that all of them share: the layout is one list at ``prefix:session_id``."""

    session_class = RedisSession
    client: Redis | RedisCluster
    prefix: str

    async def make_session(
        self, session_id: Any, *, cls: type[Any] | None = None, **options: Any
    ) -> AnySession:
        """Make a session on the test's client."""
        return (cls or self.session_class)(session_id, self.client, self.prefix, **options)

    def key(self, session: AnySession) -> str:
        """Return the key of the session's list."""
        return f"{self.prefix}:{session.session_id}"

    async def raw(self, session: AnySession) -> list[bytes]:
        """Return the list's elements."""
        records: Any = await self.client.lrange(self.key(session), 0, -1)
        return list(records)

    async def corrupt(self, session: AnySession, raw: bytes) -> None:
        """Push whatever it is to the list."""
        await self.client.rpush(self.key(session), raw)

    async def expire(self, session: AnySession) -> None:
        """Let the key run out now, and wait until the server agrees that it did."""
        assert await self.client.pexpire(self.key(session), 1)
        while await self.client.exists(self.key(session)):  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.001)

    async def ttl_left(self, session: AnySession) -> float | None:
        """Return the key's remaining life."""
        left = await self.client.pttl(self.key(session))
        return left / 1000 if left >= 0 else None

    async def set_ttl_left(self, session: AnySession, seconds: int) -> None:
        """Change the key's remaining life."""
        assert await self.client.expire(self.key(session), seconds)

    async def lapse(self, session: AnySession) -> None:
        """Let the lease run out now."""
        await lapse(self.client, session)


class TestFake(RedisContract):
    """fakeredis with Lua."""

    @pytest_asyncio.fixture
    async def store(self) -> AsyncIterator[None]:
        """Start a fake server of the test's own."""
        self.prefix = "contract"
        self.client = fakeredis.FakeAsyncRedis(connection_class=YieldingConnection)
        yield
        await self.client.aclose()


class TestFakeWithoutLua(RedisContract):
    """fakeredis as it is without lupa: every write is a transaction."""

    leases = False
    settles = False  # without a token nothing is sent again that asyncio.run has cancelled

    @pytest_asyncio.fixture
    async def store(self) -> AsyncIterator[None]:
        """Start a fake server that knows no scripts."""
        self.prefix = "contract"
        self.client = fakeredis.FakeAsyncRedis(connection_class=NoScriptsConnection)
        with pytest.raises(ResponseError, match="unknown command 'eval'"):
            await self.client.eval("return 1", 0)
        yield
        await self.client.aclose()


class TestServer(RedisContract):
    """Real servers: Valkey, and Redis where it is installed."""

    @pytest_asyncio.fixture
    async def store(self, redis_client: Redis, key_prefix: str) -> AsyncIterator[None]:
        """Use the shared server under the test's own prefix."""
        self.client, self.prefix = redis_client, key_prefix
        yield


class TestServerWithoutScripts(RedisContract):
    """Real servers that forbid scripts: every write is a transaction."""

    share = SHARE

    leases = False
    settles = False  # without a token nothing is sent again that asyncio.run has cancelled

    @pytest_asyncio.fixture
    async def store(
        self, redis_server: Endpoint, redis_client: Redis, key_prefix: str
    ) -> AsyncIterator[None]:
        """Log in as a user who may do anything else."""
        name = f"user-of-{key_prefix}"
        rules = ("on", "nopass", "~*", "+@all", "-@scripting")
        await redis_client.execute_command("ACL", "SETUSER", name, "reset", *rules)
        self.prefix = key_prefix
        self.client = Redis(host=redis_server.host, port=redis_server.port, username=name)
        with pytest.raises(NoPermissionError):
            await self.client.eval("return 1", 0)
        yield
        await self.client.aclose()
        await redis_client.execute_command("ACL", "DELUSER", name)


class TestHolder(TestServer):
    """Sessions of one holder: they do what others do, while nobody takes the lease from it."""

    share = SHARE

    leases = False  # it is theirs already

    async def make_session(
        self, session_id: Any, *, cls: type[Any] | None = None, **options: Any
    ) -> AnySession:
        """Make a session behind the fence of the holder, which is the same for each id."""
        session = await super().make_session(session_id, cls=cls, **options)
        holder = sha256(session.key.encode()).hexdigest()
        claim = session._conversation.claim(holder, LIFE)
        assert await claim.acquire(0) == 0
        session._conversation = claim.fenced()
        return session


class TestLeasesOfUser(LeasingContract):
    """Leases on a user's conversations, which have other keys and other scripts."""

    prefix: str

    @pytest_asyncio.fixture
    async def store(self, redis_client: Redis, key_prefix: str) -> AsyncIterator[None]:
        """Use the shared server under the test's own prefix."""
        self.client, self.prefix = redis_client, key_prefix
        yield

    async def make_session(self, session_id: Any, **_: Any) -> AnySession:
        """Make a session of a user's."""
        return RedisStore(self.client, key_prefix=self.prefix).user("ada").session(session_id)

    async def raw(self, session: AnySession) -> list[bytes]:
        """Return the list's elements."""
        records: Any = await self.client.lrange(session.key, 0, -1)
        return list(records)

    async def lapse(self, session: AnySession) -> None:
        """Let the lease run out now."""
        await lapse(self.client, session)


class TestCluster(RedisContract):
    """A real cluster of six nodes."""

    @pytest_asyncio.fixture
    async def store(self, cluster_client: RedisCluster, key_prefix: str) -> AsyncIterator[None]:
        """Use the shared cluster under the test's own prefix."""
        self.client, self.prefix = cluster_client, key_prefix
        yield
