"""A FastAPI application: users, and the conversations of each, in any store.

uv run --all-extras docs/examples/fastapi_app.py

Conversations are in a local Redis, or where ``STORE_URL`` says: any URL that ``open_store`` takes.
"""

# FastAPI reads annotations at run time, so they are not postponed.
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext
from typing import Annotated

from agents import Agent, set_tracing_disabled
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.testclient import TestClient
from local_model import choose_model
from local_servers import redis_url

from openai_agents_session import open_store
from openai_agents_session.fastapi import agent_router

# In your application, they are in a database, and the keys are hashed.
USERS = {"key-of-ada": "7a1d3f6c-9f5e-4c58-8d7c-1c2f0f3b8a11"}

bearer = HTTPBearer(auto_error=False)


def current_user(
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> str:
    """Return the id of the user to whom the key belongs."""
    user = USERS.get(credentials.credentials) if credentials else None
    if user is None:
        raise HTTPException(401)
    return user


def create_app(store_url: str | None = None) -> FastAPI:
    """Make the application: ``STORE_URL=… uvicorn --factory fastapi_app:create_app`` serves it."""
    store = open_store(store_url or os.environ["STORE_URL"], setup=True)
    agent = Agent(name="Assistant", instructions="Be brief.", model=choose_model())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        async with store:  # your own routes may use it, too
            yield

    app = FastAPI(title="Assistant", lifespan=lifespan)
    app.include_router(
        agent_router(agent, store, user_id=Depends(current_user), run_options={"max_turns": 5})
    )
    return app


if __name__ == "__main__":
    set_tracing_disabled(True)
    named = os.environ.get("STORE_URL")
    with (
        nullcontext(named) if named else redis_url() as url,
        TestClient(create_app(url), headers={"Authorization": "Bearer key-of-ada"}) as ada,
    ):
        chat = "/agents/sessions/greetings/chat"
        for message in ("My name is Ada.", "What is my name?"):
            print(ada.post(chat, json={"message": message}).json()["response"])
        for conversation in ada.get("/agents/sessions").json()["items"]:
            print("listed:", conversation["session_id"])
        ada.delete("/agents/sessions/greetings")
