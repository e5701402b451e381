"""Applications, run in this event loop: with a client of their own, or on a real server."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import httpx
import uvicorn

from tests.servers import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

App = Any
"""An ASGI application."""


class Server(uvicorn.Server):
    """uvicorn in the test's own loop; signals are pytest's."""

    def capture_signals(self) -> Any:
        return nullcontext()


@asynccontextmanager
async def serving(app: App, user: object, **options: Any) -> AsyncGenerator[httpx.AsyncClient]:
    """A real server, with uvicorn's options, and a client of it that a user has."""
    # Older releases bring a deprecated WebSocket protocol along, which nobody speaks here.
    options |= {"port": free_port(), "log_config": None, "lifespan": "on", "ws": "none"}
    config = uvicorn.Config(app, **options)
    server = Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        assert not task.done()
        await asyncio.sleep(0.01)
    address = f"http://127.0.0.1:{server.config.port}"
    try:
        async with httpx.AsyncClient(
            base_url=address, headers={"X-User": str(user)}, timeout=60
        ) as client:
            yield client
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def running(app: App, user: object = None) -> AsyncGenerator[httpx.AsyncClient]:
    """The application without a server, begun and ended; and a client that a user has."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    headers = {"X-User": str(user)} if user else {}
    async with (
        lifespan(app),
        httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client,
    ):
        yield client


@asynccontextmanager
async def lifespan(app: App) -> AsyncGenerator[None]:
    """The application, begun and ended as by a server."""
    asked: asyncio.Queue[Any] = asyncio.Queue()
    told: asyncio.Queue[Any] = asyncio.Queue()
    task = asyncio.create_task(app({"type": "lifespan", "state": {}}, asked.get, told.put))
    asked.put_nowait({"type": "lifespan.startup"})
    begun = await told.get()
    assert begun["type"] == "lifespan.startup.complete", begun
    yield
    asked.put_nowait({"type": "lifespan.shutdown"})
    ended = await told.get()
    assert ended["type"] == "lifespan.shutdown.complete", ended
    await task


def noting(app: App, ends: asyncio.Event) -> App:
    """The application, and a note of when the server tells it to end."""

    async def noted(scope: Any, receive: Any, send: Any) -> None:
        async def receiving() -> Any:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                ends.set()
            return message

        await app(scope, receiving, send)

    return noted


def events(text: str) -> list[tuple[str, Any]]:
    """The server-sent events of a response."""
    found = re.findall(r"event: (.*)\r\ndata: (.*)\r\n\r\n", text)
    return [(name, json.loads(data)) for name, data in found]
