"""Stores for the application, a look into them, and clients that say who they are."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote
from uuid import uuid4

import pytest
import pytest_asyncio

from tests.dynamodb import emulators
from tests.servers import RedisServer, sweep
from tests.web.apps import FRAMEWORKS
from tests.web.places import Place, at, in_memory
from tests.web.serving import running

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator
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

BACKENDS = {
    "memory": (),
    "sqlite": (pytest.mark.database,),
    "redis": (pytest.mark.redis,),
    "dynamodb": (pytest.mark.dynamodb,),
}
SHARE = [
    *(("litestar", "sqlite"), ("litestar", "redis")),
    *(("fastapi", "memory"), ("fastapi", "dynamodb")),
]
"""What is run without ``--slow``: each framework, and each backend."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what needs a framework, a backend or both on each."""
    named = [name for name in ("framework", "backend") if name in metafunc.fixturenames]
    if named == ["framework"]:
        metafunc.parametrize(named, [(each,) for each in FRAMEWORKS], indirect=True)
    elif named == ["backend"]:  # which another process opens by its URL
        names = [name for name in BACKENDS if name != "memory"]
        cases = [pytest.param(name, marks=BACKENDS[name]) for name in names]
        metafunc.parametrize(named, cases, indirect=True)
    elif named == ["framework", "backend"]:
        pairs = [(framework, backend) for framework in FRAMEWORKS for backend in BACKENDS]
        slow = pytest.mark.slow
        cases = [
            pytest.param(*pair, marks=[*BACKENDS[pair[1]], *([] if pair in SHARE else [slow])])
            for pair in pairs
        ]
        metafunc.parametrize(named, cases, indirect=True)


@pytest.fixture
def framework(request: pytest.FixtureRequest) -> str:
    """The name of a web framework."""
    return str(request.param)


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> str:
    """The name of a backend."""
    return str(request.param)


@pytest.fixture(scope="session")
def valkey() -> Iterator[RedisServer]:
    """A server that the tests here share; each keeps to its own key prefix."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """Where an emulator of DynamoDB answers; each test has a table of its own."""
    with emulators.running("moto") as emulator:
        yield emulator.url


@asynccontextmanager
async def place_on(
    backend: str, request: pytest.FixtureRequest, directory: Path
) -> AsyncGenerator[Place]:
    """A place on a backend, empty, and nothing is left of it."""
    name = f"test-{uuid4().hex}"
    if backend == "sqlite":
        # So many writers on one file may have to wait for longer than by default.
        url = f"sqlite+aiosqlite:///{directory / 'test.db'}?timeout=60"
        async with at(url, is_sql=True) as place:
            yield place
    elif backend == "redis":
        server = request.getfixturevalue("valkey")
        async with at(f"{server.url}?key_prefix={name}") as place:
            yield place
        sweep(server, name)
    elif backend == "dynamodb":
        endpoint = quote(request.getfixturevalue("moto"), safe="")
        async with at(f"dynamodb://{name}?region=eu-central-1&endpoint_url={endpoint}") as place:
            yield place
    else:
        yield in_memory()


@pytest_asyncio.fixture
async def place(
    request: pytest.FixtureRequest, backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Place]:
    """A place on each backend."""
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, "test")  # a URL has no credentials
    async with place_on(backend, request, tmp_path) as place:
        yield place


@pytest.fixture
def memory() -> Place:
    """A place in memory, where the store makes no difference."""
    return in_memory()


@pytest.fixture
def make_app(framework: str) -> Any:
    """Make an application of an agent, a store and options, with each web framework."""
    return FRAMEWORKS[framework]


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
