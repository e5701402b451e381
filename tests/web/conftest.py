"""Stores for the application, a look into them, and clients that say who they are."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

import pytest
import pytest_asyncio

from tests.servers import RedisServer, sweep
from tests.web.apps import FRAMEWORKS
from tests.web.places import Place, in_memory, in_redis, in_sqlite
from tests.web.serving import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    import httpx

ROUTES = [
    ("POST", "/agents/sessions/mine/chat", {"message": "Hi"}),
    ("POST", "/agents/sessions/mine/chat/stream", {"message": "Hi"}),
    ("GET", "/agents/sessions", None),
    ("GET", "/agents/sessions/mine/messages", None),
    ("PATCH", "/agents/sessions/mine", {"session_name": "Mine"}),
    ("POST", "/agents/sessions/mine/fork", {"session_id": "mine too"}),
    ("DELETE", "/agents/sessions/mine", None),
]
BODIES = [route for route in ROUTES if route[2]]

BACKENDS = [
    "memory",
    pytest.param("sqlite", marks=pytest.mark.database),
    pytest.param("redis", marks=pytest.mark.redis),
]


@pytest.fixture(scope="session")
def valkey() -> Iterator[RedisServer]:
    """A server that the tests here share; each keeps to its own key prefix."""
    with RedisServer() as server:
        yield server


@pytest_asyncio.fixture(params=BACKENDS)
async def place(
    request: pytest.FixtureRequest, tmp_path: Path, key_prefix: str
) -> AsyncIterator[Place]:
    """A place on each backend, empty."""
    if request.param == "sqlite":
        async with in_sqlite(tmp_path) as place:
            yield place
    elif request.param == "redis":
        server = request.getfixturevalue("valkey")
        async with in_redis(server.url, key_prefix) as place:
            yield place
        sweep(server, key_prefix)
    else:
        yield in_memory()


@pytest.fixture
def memory() -> Place:
    """A place in memory, where the store makes no difference."""
    return in_memory()


@pytest.fixture(params=list(FRAMEWORKS))
def make_app(request: pytest.FixtureRequest) -> Any:
    """Make an application of an agent, a store and options, with each web framework."""
    return FRAMEWORKS[request.param]


class ClientOf(Protocol):
    """Starts an application, for as long as the test takes, and returns a client of it."""

    async def __call__(
        self, agent: Any, place: Place, user: object = None, **options: Any
    ) -> httpx.AsyncClient: ...


@pytest_asyncio.fixture
async def client_of(make_app: Any) -> AsyncIterator[ClientOf]:
    """Start an application with each web framework."""
    async with AsyncExitStack() as stack:

        async def start(
            agent: Any, place: Place, user: object = None, **options: Any
        ) -> httpx.AsyncClient:
            app = make_app(agent, place.source, **options)
            return await stack.enter_async_context(running(app, user))

        yield start


@pytest.fixture
def user() -> str:
    """A user's id, as every store takes it."""
    return str(uuid4())


@pytest.fixture
def stranger() -> str:
    """Another user's id."""
    return str(uuid4())
