"""What the databases' errors mean: whether it helps to try again, and what is said about them.

PostgreSQL's codes are in its documentation, "PostgreSQL Error Codes".
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

from sqlalchemy.exc import DBAPIError, OperationalError, StatementError

from openai_agents_session._errors import add_note

_GONE = ("08", "57P01", "57P02", "57P03", "57P05")
"""The server cannot be reached, stops, has crashed, is starting, or closed an idle connection."""

_UNDONE = ("40001", "40P01", "53300")
"""Nothing was done, and a moment later it may be: a conflict with another transaction, a
deadlock, too many connections."""

_STALE = ("25006", "0A000")
"""Nothing was done, and on a new connection it may be: the server has become a replica, or a
prepared statement is older than a migration."""

UNKNOWN_XACT_ID = "22023"
"""What ``pg_xact_status`` raises for an id that the server has not given yet."""

_HINTS = {
    "42P01": "python -m openai_agents_session.database upgrade --url URL makes the shipped tables; "
    "those of an application's own models are made by its migrations.",
    "42P05": "Behind pgbouncer, drivers must not prepare statements under fixed names: see "
    "'pgbouncer' in the documentation of DatabaseSession.",
}
_LEASE_TABLE = re.compile(r"\w_lease\b")
_LEASES = "Leases need a table of their own, which has not been made yet: run the migration again. "
_HINTS["26000"] = _HINTS["42P05"]


def is_lost(error: Exception) -> bool:
    """Whether an error says that the connection is gone, or was not to be had."""
    cause: object = error
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return True
        cause = error.orig
    # asyncpg raises what the event loop raises, and errors of its own before there is a login.
    if isinstance(cause, (OSError, asyncio.TimeoutError)):
        return True
    state = sqlstate_of(error)
    if state is None:  # psycopg's error, and not the server's
        return isinstance(error, OperationalError) and not _is_refused_login(cause)
    return state.startswith(_GONE)


def sqlstate_of(error: Exception) -> str | None:
    """Return PostgreSQL's code of an error; None for one that psycopg raised without the server.

    Empty for all others.
    """
    state = getattr(error.orig if isinstance(error, DBAPIError) else error, "sqlstate", "")
    return None if state is None else str(state)


def _is_refused_login(cause: Any) -> bool:
    """Whether psycopg was refused for its password, so that trying again is of no use."""
    connection = getattr(cause, "pgconn", None)
    asked = any(getattr(connection, name, False) for name in ("used_password", "needs_password"))
    return asked and "FATAL" in str(cause)


def is_undone(error: Exception) -> bool:
    """Whether the server did nothing, and a second attempt may succeed."""
    return (sqlstate_of(error) or "").startswith(_UNDONE) or is_stale(error)


def is_stale(error: Exception) -> bool:
    """Whether the second attempt needs a new connection."""
    state = sqlstate_of(error)
    return state in _STALE and (state != "0A000" or "cached" in str(error))


def add_hint(error: Exception) -> None:
    """Add to a server's error what to do about it."""
    missing = isinstance(error, OperationalError) and "no such table" in str(error.orig)
    hint = _HINTS.get("42P01" if missing else sqlstate_of(error) or "")
    if hint and _LEASE_TABLE.search(str(getattr(error, "orig", ""))):
        hint = _LEASES + hint
    if hint:
        add_note(error, hint)


def hide_conversation(error: StatementError) -> None:
    """Remove from an error what is of the conversation: parameters, and rows.

    PostgreSQL quotes a row that it refuses in the error's detail. SQLAlchemy 2.0 and psycopg
    repeat that in their messages.
    """
    error.hide_parameters = True
    chain: list[Any] = [error]
    cause: Any = error.orig
    while cause is not None:
        chain.append(cause)
        cause = cause.__cause__
    details = [
        getattr(one, "detail", None) or getattr(getattr(one, "diag", None), "message_detail", None)
        for one in chain
    ]
    rows = [detail for detail in details if isinstance(detail, str)]  # SQLAlchemy's is a list
    for one in chain:
        for row in rows:
            one.args = tuple(
                part.replace(row, "(hidden)") if isinstance(part, str) else part
                for part in one.args
            )
        if isinstance(getattr(one, "detail", None), str):
            one.detail = None
