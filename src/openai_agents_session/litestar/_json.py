"""A guard for routes that take JSON: nothing else, and nothing that cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litestar.exceptions import ClientException, SerializationException

from openai_agents_session.litestar._errors import NotJSONException

if TYPE_CHECKING:
    from litestar.connection import ASGIConnection
    from litestar.handlers import BaseRouteHandler


async def require_json(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Let a request pass whose body is JSON, and is said to be: ``guards=[require_json]``.

    A page of another site can make a browser send forms and plain text with the user's
    cookies, but not ``application/json``: the browser would ask the application first.

    Guards come before dependencies, so the body may be one of nobody's. What it may cost is
    bounded by the ``request_max_body_size`` of the route, the controller or the application;
    Litestar's own is 10 MB, of which Python may make objects of 250 MB.

    Raises:
        litestar.exceptions.HTTPException: 415 for another content type, or none; 413 for a
            body that is too large; 400 for one that is no JSON.
    """
    request: Any = connection  # which it is on the routes that this is for
    content_type, _parameters = request.content_type
    if content_type != "application/json" and not content_type.endswith("+json"):
        raise NotJSONException
    try:
        await request.json()  # Litestar keeps it for the route
    except SerializationException as error:
        raise ClientException(str(error)) from None
    except (UnicodeDecodeError, RecursionError):  # which Litestar would call errors of its own
        raise ClientException("The body is no text, or nested too deeply.") from None
