"""A client of aiobotocore: whether it is one, and may be used here and now."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from aiobotocore.client import AioBaseClient
from aiobotocore.session import ClientCreatorContext

from openai_agents_session._home import home_of

if TYPE_CHECKING:
    from botocore.exceptions import HTTPClientError

_RIGHT = 'async with aiobotocore.session.get_session().create_client("dynamodb") as client:'

_left: WeakSet[AioBaseClient] = WeakSet()
"""Clients whose connections were left behind: in an event loop that is closed, or in the process
from which this one was forked."""


def checked_client(client: object) -> AioBaseClient:
    """Return the client, or say what is wrong with it.

    Raises:
        TypeError: it is not an entered aiobotocore client for DynamoDB.
    """
    if isinstance(client, ClientCreatorContext):
        raise TypeError(
            "dynamodb_client was created but not entered: use "
            "'async with session.create_client(\"dynamodb\") as client' and pass the client"
        )
    if not isinstance(client, AioBaseClient):
        kind = type(client)
        raise TypeError(
            "dynamodb_client must be an aiobotocore client for DynamoDB, from 'async with "
            'aiobotocore.session.get_session().create_client("dynamodb") as client\', '
            f"not {kind.__module__}.{kind.__qualname__}"
        )
    service = client.meta.service_model.service_name
    if service != "dynamodb":
        raise TypeError(f"dynamodb_client must be a client for dynamodb, not for {service}")
    return client


def check_home(client: AioBaseClient) -> None:
    """Make sure that a client's connections belong to this event loop and this process.

    aiobotocore has no way to let go of connections without using their event loop.

    Raises:
        RuntimeError: they do not; nothing was sent.
    """
    try:
        moved = client in _left or home_of(client).has_moved()
    except RuntimeError as exc:
        raise _elsewhere("another event loop") from exc
    # The application may have used it before any session did.
    if any(loop is not asyncio.get_running_loop() for loop in _loops_of(client)):
        raise _elsewhere("another event loop")
    if moved:
        _left.add(client)
        raise _elsewhere("an event loop that is closed, or to another process")


def check_entered(error: HTTPClientError) -> None:
    """Make sure that it was not for want of an open client that a request failed.

    Raises:
        RuntimeError: the client was closed before; nothing was sent.
    """
    cause = error.kwargs.get("error")
    # What aiohttp and aiobotocore say of it: "Session is closed", and that there is none.
    if isinstance(cause, AttributeError) or "is closed" in str(cause):
        raise RuntimeError(
            "dynamodb_client is closed: its 'async with' block is over. Use the session within "
            f"it, and make a client that lives as long as its sessions: '{_RIGHT}'"
        ) from error


def _loops_of(client: Any) -> list[Any]:
    """Return the event loops of aiohttp's sessions in a client; ``[]`` where it has others.

    Neither library tells in public (aiobotocore, ``AIOHTTPSession``; aiohttp,
    ``ClientSession``).
    """
    http = getattr(getattr(client, "_endpoint", None), "http_session", None)
    sessions = getattr(http, "_sessions", None) or {}
    return [each._loop for each in sessions.values() if hasattr(each, "_loop")]


def _elsewhere(where: str) -> RuntimeError:
    return RuntimeError(
        f"dynamodb_client belongs to {where}: its connections work there alone, and nothing was "
        f"sent. Make a client in each event loop and each process: '{_RIGHT}'"
    )
