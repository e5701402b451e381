"""What is FastAPI's alone: dependencies, applications with more than one router, lifespans."""

# FastAPI reads annotations at run time, so they are not postponed.
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from agents import Agent
from fastapi import Depends, FastAPI, Header, HTTPException
from httpx import AsyncClient

from openai_agents_session.fastapi import agent_router
from tests.interpreters import run_python
from tests.memory_store import MemoryStore
from tests.web.agents import answering, last_input
from tests.web.apps import current_user
from tests.web.places import Place, in_memory
from tests.web.serving import running

MISSING = (
    "openai_agents_session.fastapi requires the 'fastapi' extra. "
    "Install it with: pip install 'openai-agents-session[fastapi]'"
)


def app_of(*routers: Any) -> FastAPI:
    """An application with some routers."""
    app = FastAPI()
    for router in routers:
        app.include_router(router)
    return app


async def say(client: AsyncClient, path: str, **headers: str) -> Any:
    """Say something, and return what is answered."""
    return (await client.post(path, json={"message": "Hi"}, headers=headers)).json()


async def test_agent_and_options_can_be_chosen_for_each_request(memory: Place, user: str) -> None:
    """Dependencies see the request; what they return is what runs."""
    agents = {"a": answering("I am A."), "b": answering("I am B.")}
    seen: list[Any] = []

    def choose(x_agent: Annotated[str, Header()]) -> Agent[Any]:
        return agents[x_agent]

    async def options(user: Annotated[str, Depends(current_user)]) -> dict[str, Any]:
        seen.append(user)
        return {"context": user, "max_turns": 1}

    router = agent_router(
        Depends(choose), memory.store, user_id=Depends(current_user), run_options=Depends(options)
    )
    async with running(app_of(router), user) as client:
        said = await say(client, "/agents/sessions/x/chat", **{"X-Agent": "b"})

    assert said["response"] == "I am B."
    assert seen == [user]
    assert len(last_input(agents["b"])) == 1


async def test_two_routers_keep_to_their_stores(user: str) -> None:
    """What is said to one agent is listed under its prefix, and not under the other's."""
    first, second = in_memory(), in_memory()
    mine = Depends(current_user)
    app = app_of(
        agent_router(answering("A."), first.store, user_id=mine),
        agent_router(answering("B."), second.store, user_id=mine, prefix="/other"),
    )

    async with running(app, user) as client:
        for prefix, response in {"/agents": "A.", "/other": "B."}.items():
            said = await say(client, f"{prefix}/sessions/{prefix[1:]}/chat")
            assert said["response"] == response

    assert [each.session_id async for each in first.store] == ["agents"]
    assert [each.session_id async for each in second.store] == ["other"]


async def test_the_dependency_of_the_user_says_who_is_let_in(memory: Place) -> None:
    """What it raises is the answer, with its headers; no route runs without it."""

    async def nobody() -> str:
        raise HTTPException(403, "Not you.", {"X-Reason": "closed"})

    app = app_of(agent_router(answering("never said"), memory.store, user_id=Depends(nobody)))

    async with running(app) as client:
        for path in ("/agents/sessions", "/agents/sessions/a/messages"):
            refused = await client.get(path)
            assert (refused.status_code, refused.json()) == (403, {"detail": "Not you."})
            assert refused.headers["X-Reason"] == "closed"


async def test_the_applications_lifespan_goes_around_the_routers(user: str) -> None:
    """A store that the application opens is there for the routes, and stays its own to close."""
    order: list[str] = []

    class Noting(MemoryStore):
        async def __aenter__(self) -> Any:
            order.append("opened")
            return self

        async def close(self) -> None:
            order.append("closed")

    store = Noting()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        async with store:
            yield
            order.append("ending")

    app = FastAPI(lifespan=lifespan)
    app.include_router(agent_router(answering("Yes."), store, user_id=Depends(current_user)))

    async with running(app, user) as client:
        assert (await say(client, "/agents/sessions/x/chat"))["response"] == "Yes."

    assert order == ["opened", "ending", "closed"]


@pytest.mark.parametrize("agent", ["Assistant", None])
def test_an_agent_is_an_agent(agent: Any) -> None:
    """Anything else is refused at construction."""
    with pytest.raises(TypeError, match="agent must be an Agent or a Depends, not"):
        agent_router(agent, MemoryStore(), user_id=Depends(current_user))


@pytest.mark.parametrize("user_id", ["ada", None, current_user])
def test_a_user_comes_from_a_dependency(user_id: Any) -> None:
    """A constant, or a function that nobody calls, is refused at construction."""
    with pytest.raises(TypeError, match="user_id must be a Depends, not"):
        agent_router(answering(), MemoryStore(), user_id=user_id)


@pytest.mark.parametrize("library", ["fastapi", "starlette"])
def test_a_missing_extra_is_named(library: str) -> None:
    """Without what the extra installs, the import says what to install."""
    code = f"import sys; sys.modules[{library!r}] = None; import openai_agents_session.fastapi"
    done = run_python("-c", code)

    assert done.stderr.strip().splitlines()[-1] == f"ImportError: {MISSING}"


def test_no_backend_is_needed() -> None:
    """The router imports no driver: its store brings what it needs."""
    drivers = ["redis", "aiobotocore", "botocore", "sqlalchemy", "advanced_alchemy", "litestar"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({drivers!r}));"
        "import openai_agents_session.fastapi"
    )
    done = run_python("-c", code)

    assert done.returncode == 0, done.stderr
