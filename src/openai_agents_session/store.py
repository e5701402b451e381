"""Stores: one object that opens by URL and knows all conversations of a store."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any, TypeAlias

from openai_agents_session._catalog import (
    ConversationInfo,
    CursorError,
    Erased,
    SessionExistsError,
    SessionNotFoundError,
)
from openai_agents_session._messages import Message, MessageRole
from openai_agents_session._pages import Page
from openai_agents_session._store import BaseStore
from openai_agents_session._user import UserConversations

__all__ = [
    "BaseStore",
    "ConversationInfo",
    "CursorError",
    "Erased",
    "Message",
    "MessageRole",
    "Page",
    "SessionExistsError",
    "SessionNotFoundError",
    "UserConversations",
    "open_store",
]

_Store: TypeAlias = tuple[str, str]

_REDIS: _Store = ("redis", "RedisStore")
_DYNAMODB: _Store = ("dynamodb", "DynamoDBStore")
_DATABASE: _Store = ("database", "DatabaseStore")

# scheme -> the package of the backend, and the name of its store
_SCHEMES = {
    "redis": _REDIS,
    "rediss": _REDIS,
    "unix": _REDIS,
    "valkey": _REDIS,
    "valkeys": _REDIS,
    "redis+cluster": _REDIS,
    "rediss+cluster": _REDIS,
    "redis+sentinel": _REDIS,
    "rediss+sentinel": _REDIS,
    "dynamodb": _DYNAMODB,
    "sqlite": _DATABASE,
    "sqlite+aiosqlite": _DATABASE,
    "postgresql": _DATABASE,
    "postgresql+asyncpg": _DATABASE,
    "postgresql+psycopg": _DATABASE,
    "postgresql+psycopg_async": _DATABASE,
}

_SYNCHRONOUS = {"sqlite", "postgresql"}  # taken for an error that names the driver

_SCHEME = re.compile(r"([a-z][a-z0-9+_.-]*)://", re.IGNORECASE)


def open_store(url: str, **options: Any) -> BaseStore:
    """Return the store that a URL names; ``async with`` opens it, and closes it at the end.

        async with open_store("redis://localhost:6379", ttl=3600) as store:
            ada = store.user("ada")
            result = await Runner.run(agent, "Hi", session=ada.session("groceries"))

    Args:
        url: where the conversations are:

            - ``redis://``, ``rediss://`` (TLS), ``unix://``: as redis-py reads them;
              ``valkey://`` and ``valkeys://`` are the first two
            - ``redis+cluster://host:port``, ``redis+sentinel://host:port,host/service``: and
              ``rediss+…`` for TLS
            - ``dynamodb://TABLE?region=…&endpoint_url=…``
            - ``sqlite+aiosqlite:///app.db``, ``postgresql+asyncpg://…``,
              ``postgresql+psycopg://…``: as SQLAlchemy reads them

        options: of the store, which may also stand in the URL's query; others go to the client
            library. For all: ``setup=True`` makes what the store needs when it is opened, such
            as tables; ``session_settings`` is for all of its sessions. Redis and DynamoDB:
            ``ttl``, in seconds. Redis: ``key_prefix``. DynamoDB: ``region``, ``endpoint_url``,
            ``page_bytes``. SQL: ``user_id``, whose the conversations of ``store.session`` are;
            ``session_model``.

    Returns:
        A ``RedisStore``, a ``DynamoDBStore`` or a ``DatabaseStore``.

    Raises:
        TypeError: the URL is no text, or there is no such option.
        ValueError: there is no such scheme, the URL cannot be read, or an option in it is unknown
            or has a wrong value.
        ImportError: the backend's extra is not installed.
    """
    if not isinstance(url, str):
        raise TypeError(f"url must be a str, not {type(url).__name__}")
    found = _SCHEME.match(url)
    backend = found and _SCHEMES.get(found[1].lower())
    if not backend:
        # Not the URL, which may have a password in it.
        what = f"no store is at {found[1]}://" if found else "the url has no scheme"
        schemes = ", ".join(f"{each}://" for each in _SCHEMES if each not in _SYNCHRONOUS)
        raise ValueError(f"{what}; it must begin with one of {schemes}")
    module, name = backend
    store: Any = getattr(import_module(f"{__package__}.{module}"), name)
    return store.from_url(url, **options)
