"""The plugin: what it wires, what it refuses, and what the OpenAPI document shows."""

# Litestar reads these annotations at run time, so they are not postponed.
import subprocess
import sys
from collections.abc import Callable
from typing import Annotated, Any
from uuid import UUID

import pytest
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig, SQLAlchemyPlugin
from agents import Agent
from litestar import Litestar, Request, get
from litestar.di import NamedDependency, Provide
from litestar.exceptions import ImproperlyConfiguredException, NotAuthorizedException
from litestar.params import HeaderParameter
from sqlalchemy.ext.asyncio import AsyncEngine

from openai_agents_session.database import AgentSessionService
from openai_agents_session.litestar import AgentController, AgentSessionsPlugin
from tests.litestar.conftest import LoggedIn, answering, last_input, make_app

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
        return agent_session_service.repository.session.bind is engine

    app.register(handler)
    client = await client_of(app)

    assert (await client.get("/mine")).json() is True


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


def test_a_controller_without_its_dependencies_does_not_start() -> None:
    """Nothing that is not provided is taken from the query instead."""
    with pytest.raises(ImproperlyConfiguredException, match="agent"):
        Litestar(route_handlers=[AgentController])


def test_an_agent_is_an_agent() -> None:
    """Anything else is refused at construction."""
    wrong: Any = "Assistant"
    with pytest.raises(TypeError, match="agent must be an Agent or a Provide, not str"):
        AgentSessionsPlugin(wrong, "sqlite+aiosqlite://")


def test_the_document_shows_every_route_with_examples() -> None:
    """Each route has a summary, its errors, and examples of what goes in and comes out."""
    schema = make_app(answering(), "sqlite+aiosqlite://").openapi_schema.to_schema()
    routes = {
        f"{method} {path}": route
        for path, methods in schema["paths"].items()
        for method, route in methods.items()
    }

    assert sorted(routes) == [
        "delete /agents/sessions/{session_id}",
        "get /agents/sessions",
        "get /agents/sessions/{session_id}/messages",
        "patch /agents/sessions/{session_id}",
        "post /agents/sessions/{session_id}/chat",
        "post /agents/sessions/{session_id}/chat/stream",
    ]
    for name, route in routes.items():
        assert route["summary"]
        assert "401" in route["responses"]
        assert ("404" in route["responses"]) == ("chat" not in name and "{" in name)
        parameters = {each["name"]: each for each in route.get("parameters", [])}
        assert not {"user_id", "agent", "agent_session", "run_options"} & set(parameters)
        if "{" in name:
            assert parameters["session_id"]["examples"]
    stream = routes["post /agents/sessions/{session_id}/chat/stream"]["responses"]["200"]
    assert stream["content"]["text/event-stream"]["examples"]
    for model, field in [
        *(("ChatRequest", "message"), ("ChatResponse", "response"), ("ChatEvent", "data")),
        *(("ConversationRead", "session_name"), ("MessageRead", "content")),
    ]:
        assert schema["components"]["schemas"][model]["properties"][field]["examples"]


@pytest.mark.parametrize("driver", ["litestar", "sqlalchemy", "advanced_alchemy"])
def test_a_missing_extra_is_named(driver: str) -> None:
    """Without what the extra installs, the import says what to install."""
    code = f"import sys; sys.modules[{driver!r}] = None; import openai_agents_session.litestar"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stderr.strip().splitlines()[-1] == f"ImportError: {MISSING}"


def test_a_bug_of_ours_is_not_disguised() -> None:
    """An import that fails inside the package keeps its own words."""
    ours = "openai_agents_session.litestar._runs"
    code = f"import sys; sys.modules[{ours!r}] = None; import openai_agents_session.litestar"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert f"ModuleNotFoundError: import of {ours}" in done.stderr
    assert "extra" not in done.stderr
