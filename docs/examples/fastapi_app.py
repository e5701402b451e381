"""A FastAPI application: one client for all requests, a session for each.

uv run --all-extras docs/examples/fastapi_app.py
"""

# FastAPI reads annotations at run time, so they are not postponed.
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated

from agents import Agent, Runner, set_tracing_disabled
from fastapi import Body, FastAPI, Request
from fastapi.testclient import TestClient
from local_model import choose_model
from local_servers import redis_url
from redis.asyncio import Redis

from openai_agents_session import RedisSession

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379")

agent = Agent(name="Assistant", instructions="Be brief.", model=choose_model())


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    """Make the client when the application starts, and close it when it ends."""
    async with Redis.from_url(REDIS_URL) as client:
        app.state.redis = client
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/chat/{conversation}")
async def chat(request: Request, conversation: str, message: Annotated[str, Body()]) -> str:
    """Answer a message. In your application, the user comes from the login."""
    session = RedisSession(f"ada:{conversation}", request.app.state.redis, ttl=3600)
    result = await Runner.run(agent, message, session=session)
    return str(result.final_output)


@app.delete("/chat/{conversation}", status_code=204)
async def delete(request: Request, conversation: str) -> None:
    """Delete a conversation."""
    await RedisSession(f"ada:{conversation}", request.app.state.redis).clear_session()


if __name__ == "__main__":
    set_tracing_disabled(True)
    # Or serve it: uvicorn fastapi_app:app
    with redis_url() as REDIS_URL, TestClient(app) as browser:
        for message in ("My name is Ada.", "What is my name?"):
            print(browser.post("/chat/greetings", json=message).json())
        browser.delete("/chat/greetings")
