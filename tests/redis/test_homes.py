"""One client in several event loops and processes: it works, or says so before anything is sent."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.sentinel import Sentinel as SentinelClient

from openai_agents_session import RedisSession
from tests import servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Self

    Make = Callable[[str, str, str], RedisSession]

ITEM: Any = {"role": "user", "content": "hi"}


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No connection is left to be collected, with a ResourceWarning."""
    yield
    gc.collect()


def given(make: Callable[..., Redis], name: str, url: str, prefix: str) -> RedisSession:
    return RedisSession(name, make(url), prefix, ttl=600)


def made(name: str, url: str, prefix: str, **options: Any) -> RedisSession:
    return RedisSession.from_url(name, url, key_prefix=prefix, ttl=600, **options)


def blocking(url: str) -> Redis:
    pool = BlockingConnectionPool.from_url(url, max_connections=1)
    return Redis.from_pool(pool)


KINDS: dict[str, Make] = {
    "given": partial(given, Redis.from_url),
    "RESP3": partial(given, partial(Redis.from_url, protocol=3)),
    "blocking": partial(given, blocking),
    "single": partial(given, partial(Redis.from_url, single_connection_client=True)),
    "from_url": made,
    "from_url of one": partial(made, max_connections=1),
}


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest) -> Make:
    return KINDS[request.param]


@pytest.fixture
def swept(redis_server: servers.Endpoint, key_prefix: str) -> Iterator[None]:
    yield
    servers.sweep(redis_server, key_prefix)


def numbered(number: int) -> list[Any]:
    return [{"role": "user", "content": f"{number}.{part}"} for part in range(3)]


def run_in_loops(session: RedisSession, runs: int) -> None:
    """Add, pop and get, each in an event loop of its own."""
    expected: list[Any] = []
    for number in range(runs):
        asyncio.run(session.add_items(numbered(number)))
        assert asyncio.run(session.pop_item()) == numbered(number)[-1]
        expected += numbered(number)[:-1]
        assert asyncio.run(session.get_items()) == expected


@pytest.mark.usefixtures("swept")
def test_a_hundred_event_loops_for_each_operation(
    redis_server: servers.Endpoint, key_prefix: str, make: Make
) -> None:
    """The content is exact, and nobody hears that the connections were others."""
    run_in_loops(make("s", redis_server.url, key_prefix), 100)


def test_event_loops_on_a_cluster(redis_cluster: servers.RedisCluster, key_prefix: str) -> None:
    """The same with a cluster's client."""
    client = RedisCluster(host=redis_cluster.host, port=redis_cluster.port)
    run_in_loops(RedisSession("s", client, key_prefix), 5)


def test_event_loops_with_a_sentinel(redis_binary: str, key_prefix: str) -> None:
    """The same with a client that asks a Sentinel for its primary."""
    with servers.RedisServer(redis_binary) as primary, servers.Sentinel(primary) as sentinel:
        watching = SentinelClient([(sentinel.host, sentinel.port)])
        run_in_loops(RedisSession("s", watching.master_for("main"), key_prefix), 5)


@pytest.mark.usefixtures("swept")
def test_waiting_for_each_other_in_every_event_loop(
    redis_server: servers.Endpoint, key_prefix: str, make: Make
) -> None:
    """Locks on which operations have waited in one event loop work in the next one."""
    session = make("s", redis_server.url, key_prefix)

    async def several() -> None:
        await asyncio.gather(*(session.add_items([ITEM]) for _ in range(10)))

    async def one_that_is_cut_off() -> None:
        task = asyncio.ensure_future(session.get_items())
        await asyncio.sleep(0)
        assert not task.done()

    for _ in range(3):
        asyncio.run(several())
        asyncio.run(one_that_is_cut_off())
    assert asyncio.run(session.get_items()) == [ITEM] * 30


@pytest.mark.usefixtures("swept")
def test_an_event_loop_leaves_no_connection(
    redis_server: servers.Endpoint, key_prefix: str, make: Make
) -> None:
    """When ``asyncio.run`` is over, the server has as many clients as before."""

    def connections() -> int:
        return int(redis_server.info("clients")["connected_clients"])

    before = connections()
    session = make("s", redis_server.url, key_prefix)

    async def several() -> None:
        await asyncio.gather(*(session.add_items([ITEM]) for _ in range(5)))
        assert connections() > before

    asyncio.run(several())
    servers.wait_until(lambda: connections() <= before, "the connections are closed")


@pytest.mark.usefixtures("swept")
def test_an_event_loop_that_is_only_closed(
    redis_server: servers.Endpoint, key_prefix: str, make: Make
) -> None:
    """Without ``shutdown_asyncgens``, the next event loop lets go of the connections."""
    session = make("s", redis_server.url, key_prefix)
    for _ in range(3):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(session.add_items([ITEM]))
        loop.close()
    assert asyncio.run(session.get_items()) == [ITEM] * 3


class LoopOfItsOwn:
    """An event loop in a thread, alive until the end of a ``with`` block."""

    def __enter__(self) -> Self:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        return self

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(20)

    def __exit__(self, *_: object) -> None:
        self.run(self.loop.shutdown_asyncgens())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@pytest.mark.usefixtures("swept")
def test_two_event_loops_at_once(redis_server: servers.Endpoint, key_prefix: str) -> None:
    """A session that makes its clients has one in each."""
    session = made("s", redis_server.url, key_prefix)
    with LoopOfItsOwn() as one, LoopOfItsOwn() as other:
        for _ in range(20):
            one.run(session.add_items([ITEM]))
            other.run(session.add_items([ITEM]))
            assert one.run(session.get_items()) == other.run(session.get_items())
        other.run(session.close())
        with pytest.raises(RuntimeError, match="closed"):
            one.run(session.get_items())


@pytest.mark.usefixtures("swept")
@pytest.mark.parametrize("scripts", [True, False])
def test_a_client_of_an_open_event_loop_is_refused(
    redis_server: servers.Endpoint, key_prefix: str, scripts: bool
) -> None:
    """Nothing is sent, and the event loop that has the client goes on with it."""
    session = KINDS["given"]("s", redis_server.url, key_prefix)
    session._clients.scripts.refused_until = 0.0 if scripts else float("inf")
    uses: list[Callable[[], Any]] = [
        lambda: session.add_items([ITEM]),
        session.pop_item,
        session.get_items,
        session.clear_session,
        lambda: session.replace_items([]),
        session.ping,
    ]
    with LoopOfItsOwn() as home:
        home.run(session.add_items([ITEM]))
        for use in uses:
            with pytest.raises(RuntimeError, match="another event loop"):
                asyncio.run(use())
        assert home.run(session.get_items()) == [ITEM]


def fork_in_shapes(*arguments: str) -> None:
    environment = {**os.environ, "PYTHONPATH": "."}
    command = [sys.executable, "-W", "error", "-m", "tests.redis.forks", *arguments]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.usefixtures("swept")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_forks(redis_server: servers.Endpoint, key_prefix: str) -> None:
    """Parent and children read what is theirs, with any client, and both go on."""
    fork_in_shapes(redis_server.url, key_prefix)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_forks_on_a_cluster(redis_cluster: servers.RedisCluster, key_prefix: str) -> None:
    """The same with a cluster's client."""
    fork_in_shapes(redis_cluster.url, key_prefix, "cluster")
