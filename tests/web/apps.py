"""The same application with each web framework: it believes the header ``X-User``."""

# FastAPI and Litestar read annotations at run time, so they are not postponed.
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException

from openai_agents_session.fastapi import agent_router


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


FRAMEWORKS = {"fastapi": fastapi_app}


def document_of(app: Any) -> dict[str, Any]:
    """The OpenAPI document of an application."""
    document: dict[str, Any] = app.openapi()
    return document
