"""How a route reads its request and answers: bounded JSON, errors in one form, streams that end."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from fastapi.routing import APIRoute

from openai_agents_session._web.errors import (
    BadBodyError,
    NotJSONError,
    TooLargeError,
    WebError,
)
from openai_agents_session._web.schemas import MAX_BODY

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

    from starlette.types import Receive, Scope, Send

    from openai_agents_session._web.runs import Event


class AgentRoute(APIRoute):
    """A route whose answers, errors included, are those of every web framework here."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler, with checks before it and the errors' answers after it."""
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                if self.body_field is not None:
                    request = await _checked(request)
                response = await handle(request)
            except WebError as error:
                told = {"status_code": error.status_code, "detail": error.detail}
                response = JSONResponse(told, error.status_code, {**error.headers})
            except RequestValidationError as error:
                response = JSONResponse(_told(request, error), 400)
            response.headers["Cache-Control"] = "no-store"
            return response

        return handler


class _Bounded(Request):
    """A request whose body is refused as soon as it is too large."""

    async def stream(self) -> AsyncGenerator[bytes, None]:
        size = 0
        async for chunk in super().stream():
            size += len(chunk)
            if size > MAX_BODY:
                raise TooLargeError
            yield chunk


async def _checked(request: Request) -> Request:
    """Return a request whose body is JSON, is said to be, and has been read.

    A page of another site can make a browser send forms and plain text with the user's
    cookies, but not ``application/json``: the browser would ask the application first. All of
    it comes before the dependencies, so the body may be one of nobody's.

    Raises:
        WebError: 415 for another content type, or none; 413 for a body that is too large; 400
            for one that is no JSON.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json" and not (
        content_type.startswith("application/") and content_type.endswith("+json")
    ):
        raise NotJSONError
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > MAX_BODY:
        raise TooLargeError
    bounded = _Bounded(request.scope, request.receive)
    try:
        json.loads(await bounded.body())  # which FastAPI would answer otherwise
    except (ValueError, RecursionError):
        raise BadBodyError from None
    return bounded


def _told(request: Request, error: RequestValidationError) -> dict[str, Any]:
    """Return what is wrong with a request, without what was sent."""
    extra = []
    for each in error.errors():
        source, *keys = map(str, each["loc"])
        key = {"key": ".".join(keys)} if keys else {}
        extra.append({"message": each["msg"], **key, "source": source})
    detail = f"Validation failed for {request.method} {request.url.path}"
    return {"status_code": 400, "detail": detail, "extra": extra}


class EventStream(StreamingResponse):
    """Server-sent events, whose generator is closed as soon as the client goes away.

    Args:
        events: what ``begin`` returns.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes]) -> None:
        super().__init__(events, headers={"X-Accel-Buffering": "no"})  # no proxy collects them
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - of ASGI
        async def leave() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel()

        # Whatever the server's version of ASGI is: Starlette would not always listen.
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(leave)
                with suppress(OSError):  # some servers raise it where the client is gone
                    await self.stream_response(send)
                group.cancel_scope.cancel()
        finally:
            await self._events.aclose()


def sent_as(event: Event) -> bytes:
    """Return an event as it is sent; its data is JSON, which has no line breaks."""
    if not event.name:
        return f": {event.data}\r\n\r\n".encode()
    return f"event: {event.name}\r\ndata: {event.data}\r\n\r\n".encode()
