"""Sessions for the OpenAI Agents SDK, kept in Redis, DynamoDB or a SQL database.

The names below are imported from their own module when they are first used, so
that ``import openai_agents_session`` costs nothing and asks for no extra.
"""

from __future__ import annotations

TYPE_CHECKING = False  # to import typing for it would cost more than all the rest

if TYPE_CHECKING:
    from openai_agents_session._lease import LeaseLostError, SessionBusyError
    from openai_agents_session.database import AgentSessionService, DatabaseSession, DatabaseStore
    from openai_agents_session.dynamodb import DynamoDBSession, DynamoDBStore
    from openai_agents_session.redis import RedisSession, RedisStore
    from openai_agents_session.store import open_store

    __version__: str

__all__ = [
    "AgentSessionService",
    "DatabaseSession",
    "DatabaseStore",
    "DynamoDBSession",
    "DynamoDBStore",
    "LeaseLostError",
    "RedisSession",
    "RedisStore",
    "SessionBusyError",
    "__version__",
    "open_store",
]

# name -> the module that defines it
_BACKENDS = {
    "AgentSessionService": "database",
    "DatabaseSession": "database",
    "DatabaseStore": "database",
    "DynamoDBSession": "dynamodb",
    "DynamoDBStore": "dynamodb",
    "LeaseLostError": "_lease",
    "RedisSession": "redis",
    "RedisStore": "redis",
    "SessionBusyError": "_lease",
    "open_store": "store",
}


if not TYPE_CHECKING:  # or every misspelt name would pass for an object

    def __getattr__(name: str) -> object:
        """Import a backend, or look the version up, on first use (PEP 562); keep it for the next.

        Raises:
            AttributeError: there is no such name.
            ImportError: the backend's extra is not installed.
            importlib.metadata.PackageNotFoundError: the package is not installed, only imported.
        """
        value: object
        if name == "__version__":
            from importlib.metadata import version  # noqa: PLC0415 - it costs more than all the rest

            value = version("openai-agents-session")
        elif name in _BACKENDS:
            from importlib import import_module  # noqa: PLC0415 - paid for by those who use a backend

            value = getattr(import_module(f"{__name__}.{_BACKENDS[name]}"), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
