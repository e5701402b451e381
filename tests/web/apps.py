"""The same application with each web framework: it believes the header ``X-User``."""

# FastAPI and Litestar read annotations at run time, so they are not postponed.
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException
from litestar import Litestar, Request
from litestar.di import Provide
from litestar.exceptions import NotAuthorizedException

from openai_agents_session.fastapi import agent_router
from openai_agents_session.litestar import AgentSessionsPlugin


def current_user(x_user: Annotated[str | None, Header(include_in_schema=False)] = None) -> str:
    """The user whom the header names."""
    if x_user is None:
        raise HTTPException(401)
    return x_user


def fastapi_app(agent: Any, store: Any, **options: Any) -> FastAPI:
    """An application with the router, and nothing else; ``provide_user`` says who it is."""
    user = options.pop("provide_user", current_user)
    router = agent_router(agent, store, user_id=Depends(user), **options)
    app = FastAPI()
    app.include_router(router)
    return app


def named_user(request: Request[Any, Any, Any]) -> str:
    """The user whom the header names."""
    if "X-User" not in request.headers:
        raise NotAuthorizedException
    return request.headers["X-User"]


def litestar_app(agent: Any, store: Any, **options: Any) -> Litestar:
    """An application with the plugin, and nothing else; ``provide_user`` says who it is."""
    user = Provide(options.pop("provide_user", named_user), sync_to_thread=False)
    plugin = AgentSessionsPlugin(agent, store, user_id=user, **options)
    return Litestar(plugins=[plugin], logging_config=None)  # None: pytest's handlers stay


FRAMEWORKS = {"litestar": litestar_app, "fastapi": fastapi_app}


def document_of(app: Any) -> dict[str, Any]:
    """The OpenAPI document of an application."""
    document: dict[str, Any] = (
        app.openapi() if isinstance(app, FastAPI) else app.openapi_schema.to_schema()
    )
    return document
