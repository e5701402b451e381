"""Nothing is sent so late that the server may have forgotten the write (P5)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import TimeoutError

from openai_agents_session import RedisSession
from openai_agents_session.redis import _conversation, _driver
from tests.faults import FaultyProxy
from tests.redis.writer import batch_of
from tests.servers import sweep, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers import Endpoint

DELAY_MS = 66_000


@pytest.fixture(autouse=True)
def swept(redis_server: Endpoint, key_prefix: str) -> Iterator[None]:
    yield
    sweep(redis_server, key_prefix)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an operation go on for a moment only."""
    monkeypatch.setattr(_driver, "PATIENCE_SECONDS", 0.3)


class LateProxy(FaultyProxy):
    """Delivers one request when it is told to, though its client has long hung up."""

    def __init__(self, server: Endpoint) -> None:
        super().__init__(server)
        self.armed = False
        self.delivery = asyncio.Event()

    async def _before_delivery(self) -> None:
        if self.armed:
            self.armed = False
            await self.delivery.wait()


def scripts_run(server: Endpoint) -> int:
    """How many scripts the server was told to run."""
    stats = server.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("eval", "evalsha"))


def let_time_pass(server: Endpoint, prefix: str, milliseconds: int) -> None:
    """Make the tokens so much older."""
    for token in server.call("KEYS", f"*{prefix}*~*"):
        server.call("PEXPIRE", token, server.call("PTTL", token) - milliseconds)


async def test_a_request_that_the_network_delays_is_done_once(
    redis_server: Endpoint, redis_client: Redis, key_prefix: str
) -> None:
    """The first attempt arrives 66 seconds after the second one was done, and changes nothing."""
    linux_gives_up = 102  # seconds after a connection was closed, where retransmissions go on
    assert _driver.PATIENCE_SECONDS + linux_gives_up < _conversation.TOKEN_SECONDS
    seen = RedisSession("s", redis_client, key_prefix)
    async with (
        LateProxy(redis_server) as proxy,
        Redis.from_url(proxy.url, socket_timeout=0.3) as client,
    ):
        session = RedisSession("s", client, key_prefix)
        await session.add_items(batch_of(0))
        proxy.armed = True
        await session.add_items(batch_of(1))
        assert await seen.get_items() == batch_of(0) + batch_of(1)

        let_time_pass(redis_server, key_prefix, DELAY_MS)
        before = scripts_run(redis_server)
        proxy.delivery.set()
        await asyncio.to_thread(
            wait_until, lambda: scripts_run(redis_server) > before, "the first attempt arrives"
        )
        assert await seen.get_items() == batch_of(0) + batch_of(1)


@pytest.mark.usefixtures("impatient")
async def test_a_forgotten_script_is_no_second_patience(
    redis_server: Endpoint, redis_client: Redis, key_prefix: str
) -> None:
    """If the answer that the script is unknown comes after the deadline, nothing is sent."""
    seen = RedisSession("s", redis_client, key_prefix)
    async with FaultyProxy(redis_server) as proxy, Redis.from_url(proxy.url) as client:
        session = RedisSession("s", client, key_prefix)
        await session.add_items(batch_of(0))
        await redis_client.script_flush()
        proxy.hold()
        task = asyncio.ensure_future(session.add_items(batch_of(1)))
        await proxy.an_answer_held()
        await asyncio.wait({task}, timeout=3)
        proxy.release()
        with pytest.raises(TimeoutError):
            await task
    assert await seen.get_items() == batch_of(0)


@pytest.mark.parametrize("scripts", [True, False])
async def test_an_operation_has_one_deadline(
    redis_client: Redis, key_prefix: str, monkeypatch: pytest.MonkeyPatch, scripts: bool
) -> None:
    """Whatever an operation sends, in whichever way, its deadline is set once, when it begins."""
    begun: list[_driver.Operation] = []

    class Operation(_driver.Operation):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            begun.append(self)

    session = RedisSession("s", redis_client, key_prefix, ttl=600)
    await session.add_items(batch_of(0))
    await redis_client.script_flush()
    monkeypatch.setattr(_conversation, "Operation", Operation)
    if not scripts:
        refused = "this user has no permissions to run the 'eval' command"
        run = redis_client.execute_command

        async def execute_command(*command: Any, **options: Any) -> Any:
            if command[0] == "EVAL":
                raise _conversation.ResponseError(refused)
            return await run(*command, **options)

        monkeypatch.setattr(redis_client, "execute_command", execute_command)
    await session.add_items(batch_of(1))
    assert len(begun) == 1
    await session.replace_items([])
    assert len(begun) == 2


@pytest.mark.usefixtures("impatient")
async def test_waiting_for_a_connection_counts(redis_server: Endpoint, key_prefix: str) -> None:
    """Where all connections are in use for too long, nothing is sent."""
    async with RedisSession.from_url(
        "s", redis_server.url, key_prefix=key_prefix, max_connections=1, timeout=None
    ) as session:
        await session.add_items(batch_of(0))
        client: Any = session._clients.current()
        connection = await client.connection_pool.get_connection()
        task = asyncio.ensure_future(session.add_items(batch_of(1)))
        await asyncio.wait({task}, timeout=3)
        await client.connection_pool.release(connection)
        with pytest.raises(TimeoutError):
            await task
        assert await session.get_items() == batch_of(0)


@pytest.mark.usefixtures("impatient")
async def test_what_was_sent_in_time_is_done_once(
    redis_server: Endpoint, redis_client: Redis, key_prefix: str
) -> None:
    """Without a ``socket_timeout``, a server that hangs is given up at the deadline."""
    seen = RedisSession("s", redis_client, key_prefix)
    async with (
        FaultyProxy(redis_server) as proxy,
        Redis.from_url(proxy.url, socket_timeout=None) as client,
    ):
        session = RedisSession("s", client, key_prefix)
        assert await session.ping()
        proxy.hold()
        with pytest.raises(TimeoutError):
            await session.add_items(batch_of(0))
        proxy.release()
        assert await seen.get_items() == batch_of(0)
