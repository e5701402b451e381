"""Servers, clients and key prefixes for the whole suite.

A server is started when the first test asks for it and serves the whole session (each
xdist worker has its own). With ``CI`` set, a server that is missing fails its tests.
"""

from __future__ import annotations

import functools
import gc
import os
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import botocore.session
import pytest
import pytest_asyncio
from agents import set_tracing_disabled
from hypothesis import settings
from redis.asyncio import Redis
from redis.asyncio import RedisCluster as ClusterClient

from tests.servers import Endpoint, RedisCluster, RedisServer, sweep
from tests.shares import is_left_out, share_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

# No test talks to a model provider, or to the place where traces are collected.
os.environ.pop("OPENAI_API_KEY", None)
set_tracing_disabled(True)

# Every store and every client would read the description of DynamoDB anew, for a tenth of a second.
setattr(  # noqa: B010 - to a type checker, another function is another type
    botocore.session, "create_loader", functools.cache(botocore.session.create_loader)
)

REDIS_TESTS = Path(__file__).parent / "redis"
EXTERNAL_URL = os.environ.get("REDIS_TEST_URL", "")

# The embedded Valkey is always there. Debian's or Homebrew's Redis is tested where it is
# installed, and in CI, where its absence is an error and not a reason to test less.
HAS_REDIS = shutil.which("redis-server") is not None or "CI" in os.environ
BINARIES = ["valkey", "redis"] if HAS_REDIS else ["valkey"]
# Tests share a Redis where there is one; those with servers of their own start a Valkey.
SHARED = [*BINARIES, *(["external"] if EXTERNAL_URL else [])]


def pytest_xdist_auto_num_workers() -> int:
    """Half as many workers again as processors: tests wait a third of their time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (cores or 1) * 3 // 2


settings.register_profile("slow")
settings.register_profile("quick", max_examples=20)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let ``--slow`` ask for all of it."""
    parser.addoption("--slow", action="store_true", help="run what is marked as slow, too")


def pytest_configure(config: pytest.Config) -> None:
    """Let Hypothesis try a fifth of what it tries with ``--slow``."""
    settings.load_profile("slow" if config.getoption("--slow") else "quick")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what lies under ``tests/redis``, and leave out what is slow unless it is asked for."""
    for item in items:
        if REDIS_TESTS in item.path.parents:
            item.add_marker(pytest.mark.redis)
        if is_left_out(item):
            item.add_marker(pytest.mark.slow)
    if not config.getoption("--slow"):
        slow = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]


def pytest_collection_finish() -> None:
    """Keep what was imported out of garbage collections, which take a seventh of the time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def _leave_no_garbage() -> Iterator[None]:
    """Nor let collections go through what earlier modules have left: tests ask for many."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", params=share_of(BINARIES, "valkey"))
def redis_binary(request: pytest.FixtureRequest) -> str:
    """The name of a server binary, for tests that start servers of their own."""
    return str(request.param)


@pytest.fixture(scope="session", params=share_of(SHARED, *(SHARED[1:] or SHARED)))
def redis_server(request: pytest.FixtureRequest) -> Iterator[Endpoint]:
    """A real server; tests share it and keep to their own key prefix."""
    if request.param == "external":
        yield Endpoint.of_url("external", EXTERNAL_URL)
        return
    with RedisServer(request.param) as server:
        yield server


@pytest.fixture(scope="session")
def redis_cluster(redis_binary: str) -> Iterator[RedisCluster]:
    """A real cluster of three primaries and three replicas, shared likewise."""
    with RedisCluster(redis_binary) as cluster:
        yield cluster


@pytest.fixture
def key_prefix() -> str:
    """A key prefix that no other test has."""
    return f"test-{uuid.uuid4().hex}"


@pytest_asyncio.fixture
async def redis_client(redis_server: Endpoint, key_prefix: str) -> AsyncIterator[Redis]:
    """A client of the server; afterwards no key of the test's is left behind."""
    async with Redis.from_url(redis_server.url) as client:
        yield client
    sweep(redis_server, key_prefix)


@pytest_asyncio.fixture
async def cluster_client(
    redis_cluster: RedisCluster, key_prefix: str
) -> AsyncIterator[ClusterClient]:
    """A client of the cluster; afterwards no key of the test's is left behind."""
    async with ClusterClient(host=redis_cluster.host, port=redis_cluster.port) as client:
        yield client
    for node in redis_cluster.nodes[:3]:
        sweep(node, key_prefix)
