"""The plugin: what it wires, what it refuses, and what the OpenAPI document shows."""

# Litestar reads these annotations at run time, so they are not postponed.
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID, uuid4

import pytest
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig, SQLAlchemyPlugin
from agents import Agent
from litestar import Litestar, Request, get
from litestar.di import NamedDependency, Provide
from litestar.exceptions import ImproperlyConfiguredException, NotAuthorizedException
from litestar.middleware import AbstractAuthenticationMiddleware, DefineMiddleware
from litestar.params import HeaderParameter, SkipValidation
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from openai_agents_session.database import AgentSession, AgentSessionService, Base
from openai_agents_session.litestar import AgentController, AgentSessionsPlugin, provide_user_id
from tests.interpreters import run_python
from tests.litestar.conftest import ROUTES, HeaderAuthentication, LoggedIn, make_app
from tests.memory_store import MemoryStore
from tests.web.agents import answering, last_input

MISSING = (
    "openai_agents_session.litestar requires the 'litestar' extra. "
    "Install it with: pip install 'openai-agents-session[litestar]'"
)


@pytest.mark.parametrize("first", [True, False])
async def test_the_applications_own_engine_is_used(
    client_of: Callable[..., Any], engine: AsyncEngine, *, first: bool
) -> None:
    """A configuration that the application has registered itself is not registered again."""
    config = SQLAlchemyAsyncConfig(engine_instance=engine)
    plugins = [SQLAlchemyPlugin(config), AgentSessionsPlugin(answering("Yes."), config)]
    app = Litestar(plugins=plugins if first else plugins[::-1])
    assert len([p for p in app.plugins if isinstance(p, SQLAlchemyPlugin)]) == 1

    @get("/mine", sync_to_thread=False)
    def handler(agent_session_service: NamedDependency[AgentSessionService]) -> bool:
        return agent_session_service._db_session.bind is engine

    @get("/typed", sync_to_thread=False)
    def typed(agent_session_service: NamedDependency[AgentSessionService[AgentSession]]) -> bool:
        return agent_session_service._db_session.bind is engine

    app.register(handler)
    app.register(typed)
    client = await client_of(app)

    assert (await client.get("/mine")).json() is True
    assert (await client.get("/typed")).json() is True


@get("/own")
async def own_databases(
    db_session: NamedDependency[AsyncSession], db_engine: NamedDependency[AsyncEngine]
) -> list[str]:
    """What the application's handlers are given."""
    return [str(db_session.bind and db_session.bind.engine.url), str(db_engine.url)]


@pytest.mark.parametrize("first", [True, False])
async def test_the_applications_own_database_stays_its_own(
    *,
    client_of: Callable[..., Any],
    sqlite_database: str,
    user_id: UUID,
    tmp_path: Path,
    first: bool,
) -> None:
    """A plugin with a URL gives its database to nobody else, in whatever order it comes."""
    own_url = f"sqlite+aiosqlite:///{tmp_path / 'own.db'}"
    plugins: list[Any] = [
        SQLAlchemyPlugin(SQLAlchemyAsyncConfig(connection_string=own_url)),
        AgentSessionsPlugin(answering("Yes."), sqlite_database),
    ]
    app = Litestar(
        [own_databases],
        plugins=plugins if first else plugins[::-1],
        middleware=[HeaderAuthentication],
    )
    client = await client_of(app, user_id)

    assert (await client.get("/own")).json() == [own_url, own_url]
    said = await client.post("/agents/sessions/x/chat", json={"message": "Hi"})
    assert said.json()["response"] == "Yes."
    assert (await client.get("/agents/sessions")).json()["total"] == 1


@pytest.mark.parametrize("key", ["session_dependency_key", "engine_dependency_key"])
@pytest.mark.parametrize("first", [True, False])
def test_a_configuration_takes_no_others_place(key: str, *, first: bool) -> None:
    """Two configurations with the same key are refused, and accepted with keys of their own."""
    keys: dict[str, Any] = {"session_dependency_key": "a", "engine_dependency_key": "b"}
    plugins: list[Any] = [
        SQLAlchemyPlugin(SQLAlchemyAsyncConfig(connection_string="sqlite+aiosqlite://")),
        AgentSessionsPlugin(
            answering(), SQLAlchemyAsyncConfig(connection_string="sqlite+aiosqlite://", **keys)
        ),
    ]
    Litestar(plugins=plugins if first else plugins[::-1])

    keys[key] = "db_session" if key.startswith("session") else "db_engine"
    plugins[1] = AgentSessionsPlugin(
        answering(), SQLAlchemyAsyncConfig(connection_string="sqlite+aiosqlite://", **keys)
    )
    with pytest.raises(ImproperlyConfiguredException, match="same dependency keys"):
        Litestar(plugins=plugins if first else plugins[::-1])


async def test_two_plugins_keep_to_their_databases(
    client_of: Callable[..., Any], sqlite_database: str, tmp_path: Path
) -> None:
    """What is said to one agent is listed on its path, and not on the other's."""

    class Other(AgentController):
        path = "/other"

    other = SQLAlchemyAsyncConfig(
        connection_string=f"sqlite+aiosqlite:///{tmp_path / 'other.db'}",
        metadata=Base.metadata,
        create_all=True,
    )
    app = Litestar(
        plugins=[
            AgentSessionsPlugin(answering("A."), sqlite_database),
            AgentSessionsPlugin(answering("B."), other, controller=Other),
        ],
        middleware=[HeaderAuthentication],
    )
    client = await client_of(app, uuid4())

    for path, response in {"/agents": "A.", "/other": "B."}.items():
        said = await client.post(f"{path}/sessions/{path[1:]}/chat", json={"message": "Hi"})
        assert said.json()["response"] == response
    for path in ("/agents", "/other"):
        items = (await client.get(f"{path}/sessions")).json()["items"]
        assert [item["session_id"] for item in items] == [path[1:]]


async def test_the_applications_own_service_stays(
    client_of: Callable[..., Any], sqlite_database: str
) -> None:
    """What the application calls by the service's name is left to it; the routes have theirs."""

    @get("/own", sync_to_thread=False)
    def handler(agent_session_service: NamedDependency[str]) -> str:
        return agent_session_service

    app = Litestar(
        [handler],
        plugins=[AgentSessionsPlugin(answering("Yes."), sqlite_database)],
        dependencies={"agent_session_service": Provide(lambda: "mine", sync_to_thread=False)},
        middleware=[HeaderAuthentication],
    )
    client = await client_of(app, uuid4())

    assert (await client.get("/own")).text == "mine"
    assert (await client.get("/agents/sessions")).json()["total"] == 0


async def test_the_application_may_use_a_provider_as_well(
    client_of: Callable[..., Any], sqlite_database: str
) -> None:
    """By another name; Litestar alone would refuse that."""
    chosen = Provide(lambda: answering("Yes."), sync_to_thread=False)

    @get("/me", sync_to_thread=False)
    def handler(
        me: NamedDependency[UUID], helper: NamedDependency[SkipValidation[Agent[Any]]]
    ) -> str:
        return f"{me} {helper.name}"

    app = Litestar(
        [handler],
        plugins=[AgentSessionsPlugin(chosen, sqlite_database)],
        dependencies={
            "me": Provide(provide_user_id, sync_to_thread=False),
            "helper": chosen,
        },
        middleware=[HeaderAuthentication],
    )
    user = uuid4()
    client = await client_of(app, user)

    assert (await client.get("/me")).text == f"{user} Assistant"
    said = await client.post("/agents/sessions/x/chat", json={"message": "Hi"})
    assert said.json()["response"] == "Yes."


@pytest.mark.parametrize("user", ["no UUID", 5])
async def test_a_user_that_is_no_key_is_the_servers_mistake(
    client_of: Callable[..., Any],
    sqlite_database: str,
    caplog: pytest.LogCaptureFixture,
    user: Any,
) -> None:
    """A provider of something else is a 500 on every route, and the log says so."""
    provider = Provide(lambda: user, sync_to_thread=False)
    client = await client_of(make_app(answering(), sqlite_database, user_id=provider))
    client.app.debug = False

    for method, path, body in ROUTES:
        answered = await client.request(method, path, json=body)
        assert (answered.status_code, answered.json()["detail"]) == (500, "Internal Server Error")

    told = [r.getMessage() for r in caplog.records if r.name == "openai_agents_session"]
    assert len(told) == len(ROUTES)
    assert all("Error: user_id must be a UUID" in line for line in told)


async def test_an_agents_name_may_be_long(
    client_of: Callable[..., Any], sqlite_database: str
) -> None:
    """The row has as much of it as there is room for."""
    agent = answering("Yes.")
    agent.name = "n" * 256
    client = await client_of(make_app(agent, sqlite_database), uuid4())

    said = await client.post("/agents/sessions/x/chat", json={"message": "Hi"})

    assert said.status_code == 200
    [row] = (await client.get("/agents/sessions")).json()["items"]
    assert row["agent_name"] == "n" * 255


async def test_agent_user_and_options_can_be_chosen_for_each_request(
    client_of: Callable[..., Any], database: str, user_id: UUID
) -> None:
    """Providers see the request; what they return is what runs, and for whom."""
    agents = {"a": answering("I am A."), "b": answering("I am B.")}
    seen: list[Any] = []

    def choose(x_agent: Annotated[str, HeaderParameter(name="X-Agent")]) -> Agent[Any]:
        return agents[x_agent]

    def own_user(request: Request[Any, Any, Any]) -> UUID:
        if "X-Key" not in request.headers:
            raise NotAuthorizedException
        return LoggedIn(user_id).id

    def options(user_id: NamedDependency[Any]) -> dict[str, Any]:
        seen.append(user_id)
        return {"context": user_id, "max_turns": 1}

    app = make_app(
        Provide(choose, sync_to_thread=False),
        database,
        user_id=Provide(own_user, sync_to_thread=False),
        run_options=Provide(options, sync_to_thread=False),
    )
    client = await client_of(app)

    assert (await client.get("/agents/sessions")).status_code == 401
    headers = {"X-Key": "any", "X-Agent": "b"}
    said = await client.post("/agents/sessions/x/chat", json={"message": "Hi"}, headers=headers)

    assert said.json()["response"] == "I am B."
    assert seen == [user_id]
    assert len(last_input(agents["b"])) == 1


async def test_a_controller_of_ones_own(
    client_of: Callable[..., Any], database: str, user_id: UUID
) -> None:
    """A subclass may live elsewhere."""

    class Own(AgentController):
        path = "/api/talk"

    client = await client_of(make_app(answering("Yes."), database, controller=Own), user_id)

    said = await client.post("/api/talk/sessions/x/chat", json={"message": "Hi"})

    assert said.json()["response"] == "Yes."
    assert (await client.get("/agents/sessions")).status_code == 404


async def test_a_subclass_has_a_bound_of_its_own(
    client_of: Callable[..., Any], sqlite_database: str
) -> None:
    """The application that wants shorter messages says so in one line."""

    class Short(AgentController):
        request_max_body_size = 100

    client = await client_of(make_app(answering(), sqlite_database, controller=Short))

    refused = await client.post("/agents/sessions/a/chat", json={"message": "x" * 100})

    assert refused.status_code == 413


def test_a_controller_without_its_dependencies_does_not_start() -> None:
    """Nothing that is not provided is taken from the query instead."""
    with pytest.raises(ImproperlyConfiguredException, match="agent"):
        Litestar(route_handlers=[AgentController])


def test_an_agent_is_an_agent() -> None:
    """Anything else is refused at construction."""
    wrong: Any = "Assistant"
    with pytest.raises(TypeError, match="agent must be an Agent or a Provide, not str"):
        AgentSessionsPlugin(wrong, "sqlite+aiosqlite://")


@pytest.mark.parametrize("name", ["session", "input", "starting_agent"])
def test_options_leave_the_rest_to_the_route(name: str) -> None:
    """What the route decides is refused at construction."""
    with pytest.raises(ValueError, match=f"run_options must not have {name}"):
        AgentSessionsPlugin(answering(), "sqlite+aiosqlite://", run_options={name: None})


def test_a_url_has_an_engine_that_quotes_nothing() -> None:
    """An error of SQLAlchemy's, wherever it is logged, has no parameters in it."""
    plugin = AgentSessionsPlugin(answering(), "sqlite+aiosqlite://")

    assert plugin.config.get_engine().sync_engine.hide_parameters


def test_the_document_asks_for_nothing_that_the_plugin_provides() -> None:
    """No dependency is a parameter of a route, with a database or with another store."""
    for store in ("sqlite+aiosqlite://", "redis://localhost"):
        schema = make_app(answering(), store).openapi_schema.to_schema()
        names = {
            parameter["name"]
            for methods in schema["paths"].values()
            for route in methods.values()
            for parameter in route.get("parameters", [])
        }
        assert names == {"session_id", "limit", "after", "before", "is_active", "search"}


async def test_a_url_may_ask_for_the_tables(client_of: Callable[..., Any], tmp_path: Path) -> None:
    """With ``setup=true`` they are made at the start, and the user's row by the first write."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'new.db'}?setup=true"

    for answer in ("One.", "Two."):
        client = await client_of(make_app(answering(answer), url), uuid4())
        said = await client.post("/agents/sessions/x/chat", json={"message": "Hi"})
        assert said.json()["response"] == answer


def test_models_are_for_databases() -> None:
    """Another store has none, and no configuration."""
    with pytest.raises(TypeError, match="session_model is for"):
        AgentSessionsPlugin(answering(), MemoryStore(), session_model=AgentSession)

    plugin = AgentSessionsPlugin(answering(), MemoryStore())
    with pytest.raises(AttributeError, match="has no configuration"):
        _ = plugin.config


async def test_a_login_is_not_asked_for_health(client_of: Callable[..., Any]) -> None:
    """A middleware that refuses whoever is not logged in lets the health route be."""

    class Strict(AbstractAuthenticationMiddleware):
        async def authenticate_request(self, connection: Any) -> Any:
            raise NotAuthorizedException(f"Log in to see {connection.url.path}.")

    middleware = DefineMiddleware(Strict, exclude_from_auth_key="exclude_from_auth")
    plugin = AgentSessionsPlugin(answering(), MemoryStore())
    client = await client_of(Litestar(plugins=[plugin], middleware=[middleware]))

    assert (await client.get("/agents/sessions")).status_code == 401
    assert (await client.get("/agents/health")).json() == {"status": "ok"}


async def test_the_default_user_of_any_store(client_of: Callable[..., Any]) -> None:
    """Its key is a UUID, of which a store that takes texts gets the text."""
    store, key = MemoryStore(), uuid4()
    client = await client_of(make_app(answering("Hi"), store), key)

    await client.post("/agents/sessions/a/chat", json={"message": "Hi"})

    assert [each.session_id async for each in store.user(str(key))] == ["a"]


@pytest.mark.parametrize("driver", ["litestar", "sqlalchemy", "advanced_alchemy"])
def test_a_missing_extra_is_named(driver: str) -> None:
    """Without what the extra installs, the import says what to install."""
    code = f"import sys; sys.modules[{driver!r}] = None; import openai_agents_session.litestar"
    done = run_python("-c", code)

    assert done.stderr.strip().splitlines()[-1] == f"ImportError: {MISSING}"


def test_a_bug_of_ours_is_not_disguised() -> None:
    """An import that fails inside the package keeps its own words."""
    ours = "openai_agents_session._web.runs"
    code = f"import sys; sys.modules[{ours!r}] = None; import openai_agents_session.litestar"
    done = run_python("-c", code)

    assert f"ModuleNotFoundError: import of {ours}" in done.stderr
    assert "extra" not in done.stderr
