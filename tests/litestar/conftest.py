"""Applications with the shipped models, and clients that say who they are."""

from __future__ import annotations

import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
import pytest_asyncio
from litestar import Litestar
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.testing import AsyncTestClient
from sqlalchemy.ext.asyncio import create_async_engine

from openai_agents_session.database import Base
from openai_agents_session.litestar import AgentSessionsPlugin
from tests.browser import chromium, set_scheme, set_width
from tests.database.conftest import (  # noqa: F401 - fixtures
    engine,
    maker,
    postgres,
    postgres_url,
    sqlite_url,
    stranger_id,
    url,
    user_id,
)
from tests.litestar.chat_page import ChatPage
from tests.litestar.example import SECRET, logged_in, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    import httpx
    from litestar.connection import ASGIConnection
    from selenium.webdriver import Chrome
    from sqlalchemy.ext.asyncio import AsyncEngine

HERE = Path(__file__).parent

ROUTES = [
    ("POST", "/agents/sessions/mine/chat", {"message": "Hi"}),
    ("POST", "/agents/sessions/mine/chat/stream", {"message": "Hi"}),
    ("GET", "/agents/sessions", None),
    ("GET", "/agents/sessions/mine/messages", None),
    ("PATCH", "/agents/sessions/mine", {"session_name": "Mine"}),
    ("DELETE", "/agents/sessions/mine", None),
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of these keep conversations in a database: ``-m database`` selects them too."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.database)


@dataclass
class LoggedIn:
    """What an application's user is to the controller: something with a key."""

    id: UUID


class HeaderAuthentication(AbstractAuthenticationMiddleware):
    """Believes the header ``X-User``; without it, nobody is logged in."""

    async def authenticate_request(
        self, connection: ASGIConnection[Any, Any, Any, Any]
    ) -> AuthenticationResult:
        """Return the user that the header names."""
        named = connection.headers.get("X-User")
        return AuthenticationResult(user=named and LoggedIn(UUID(named)), auth=None)


def make_app(agent: Any, database: Any, **options: Any) -> Litestar:
    """An application with the plugin, and nothing else."""
    logging = options.pop("logging_config", None)
    return Litestar(
        plugins=[AgentSessionsPlugin(agent, database, **options)],
        middleware=[HeaderAuthentication],
        logging_config=logging,  # None: pytest's handlers stay
    )


@pytest_asyncio.fixture
async def client_of() -> AsyncIterator[Callable[..., Any]]:
    """Starts an application, for as long as the test takes, and returns a client of it."""
    async with AsyncExitStack() as stack:

        async def start(app: Litestar, user: UUID | None = None) -> AsyncTestClient[Litestar]:
            client = await stack.enter_async_context(AsyncTestClient(app, timeout=60))
            if user is not None:
                client.headers["X-User"] = str(user)
            return client

        yield start


@pytest_asyncio.fixture
async def sqlite_database(sqlite_url: str) -> str:  # noqa: F811 - the fixture from above
    """The URL of a SQLite file with the shipped tables, where the database makes no difference."""
    engine = create_async_engine(sqlite_url)  # noqa: F811 - of this fixture
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    await engine.dispose()
    return sqlite_url


@pytest.fixture
def database(engine: AsyncEngine) -> str:  # noqa: F811 - the fixture from above
    """The URL of a database with the shipped tables."""
    return engine.url.render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def directory() -> Iterator[Path]:
    """Where the example keeps its file."""
    with tempfile.TemporaryDirectory() as found:
        yield Path(found)


@pytest.fixture(scope="session")
def site(directory: Path) -> Iterator[str]:
    """The example on a SQLite file of its own; tests share it and keep to users of their own."""
    with running(directory, JWT_SECRET=SECRET) as address:
        yield address


# -- The example's chat page, in a browser ---------------------------------------------------


@pytest.fixture(scope="session")
def only_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """One for all tests here: it takes longer to start than most of them."""
    with chromium(tmp_path_factory.mktemp("browser") / "profile") as browser:
        yield browser


@pytest.fixture
def browser(only_browser: Chrome) -> Chrome:
    """A browser that nobody has logged in with, on a light laptop."""
    only_browser.get("about:blank")
    only_browser.execute_cdp_cmd("Network.clearBrowserCookies", {})
    only_browser.get_log("browser")
    set_width(only_browser, 1280)
    set_scheme(only_browser, "light")
    return only_browser


NUMBERS = count()


@pytest.fixture
def ada(site: str) -> Iterator[httpx.Client]:
    """A user who is new to the site."""
    name = f"ada{next(NUMBERS)}"
    with logged_in(site, {"name": name, "password": f"a-password-of-{name}"}) as client:
        yield client


@pytest.fixture
def page(browser: Chrome, ada: httpx.Client) -> ChatPage:
    """The page, open for this user, with a new conversation."""
    page = ChatPage(browser)
    page.open_for(ada)
    return page
