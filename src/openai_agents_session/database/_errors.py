"""What the errors of databases mean, and what may be said of them.

PostgreSQL's codes are in its documentation, "PostgreSQL Error Codes".
"""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy.exc import DBAPIError, OperationalError, StatementError

from openai_agents_session._errors import add_note

_GONE = ("08", "57P01", "57P02", "57P03", "57P05")
"""SQLSTATEs of a server that cannot be reached, stops, has crashed, is about to start, or has
closed an idle connection (PostgreSQL's documentation, "PostgreSQL Error Codes")."""

_UNDONE = ("40001", "40P01", "53300")
"""Of a transaction that the server rolled back for another one's sake, and of a server with
too many connections: nothing was done, and it may go well a moment later."""

_STALE = ("25006", "0A000")
"""The same of a connection that must be made anew: its server only reads, since another has
taken over; or its prepared statement is older than a migration."""

_HINTS = {
    "42P01": "python -m openai_agents_session.database upgrade --url URL makes the shipped tables; "
    "those of an application's own models are made by its migrations.",
    "42P05": "Behind pgbouncer, drivers must not prepare statements under fixed names: see "
    "'pgbouncer' in the documentation of DatabaseSession.",
}
_HINTS["26000"] = _HINTS["42P05"]

IN_THE_FUTURE = "22023"
"""What ``pg_xact_status`` raises for a number that the server has not given yet."""


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
    state = state_of(error)
    if state is None:  # psycopg's error, and not the server's
        return isinstance(error, OperationalError) and not _is_refused_login(cause)
    return state.startswith(_GONE)


def state_of(error: Exception) -> str | None:
    """Return PostgreSQL's code of an error; None where psycopg has none, else nothing."""
    state = getattr(error.orig if isinstance(error, DBAPIError) else error, "sqlstate", "")
    return None if state is None else str(state)


def _is_refused_login(cause: Any) -> bool:
    """Whether psycopg was told that a password is wrong: to ask again does not help."""
    connection = getattr(cause, "pgconn", None)
    asked = getattr(connection, "used_password", False) or getattr(
        connection, "needs_password", False
    )
    return bool(asked) and "FATAL" in str(cause)


def is_undone(error: Exception) -> bool:
    """Whether the server did nothing, and may do it when it is asked again."""
    return (state_of(error) or "").startswith(_UNDONE) or is_stale(error)


def is_stale(error: Exception) -> bool:
    """Whether that takes another connection."""
    state = state_of(error)
    return state in _STALE and (state != "0A000" or "cached" in str(error))


def give_a_hint(error: Exception) -> None:
    """Say what helps, where SQLAlchemy has only what the server says."""
    missing = isinstance(error, OperationalError) and "no such table" in str(error.orig)
    hint = _HINTS.get("42P01" if missing else state_of(error) or "")
    if hint and hint not in getattr(error, "__notes__", ()):
        add_note(error, hint)


def hide_words(error: StatementError) -> None:
    """Take the conversation out of an error: parameters, and the row that PostgreSQL quotes.

    asyncpg keeps that row apart, but SQLAlchemy 2.0 puts it into its own messages, and psycopg
    has it both apart and in its message.
    """
    error.hide_parameters = True
    chain: list[Any] = [error]
    cause: Any = error.orig
    while cause is not None:
        chain.append(cause)
        cause = cause.__cause__
    rows = [row for row in map(_quoted_row, chain) if row]
    for one in chain:
        one.args = tuple(_without(rows, part) for part in one.args)
        if isinstance(getattr(one, "detail", None), str):
            one.detail = None


def _quoted_row(error: Any) -> str | None:
    """Return what asyncpg or psycopg has of PostgreSQL's details; StatementError has a list."""
    detail = getattr(error, "detail", None)
    if isinstance(detail, str):
        return detail
    found: str | None = getattr(getattr(error, "diag", None), "message_detail", None)
    return found


def _without(rows: list[str], part: Any) -> Any:
    if isinstance(part, str):
        for row in rows:
            part = part.replace(row, "(hidden)")
    return part
