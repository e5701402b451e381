"""Attempts: a unit of work whose connection breaks is run again, and is done once.

A connection that breaks before ``COMMIT`` was sent has changed nothing. One that breaks during
``COMMIT`` leaves open what happened, but the server knows: PostgreSQL numbers each transaction
that writes, and ``pg_xact_status`` says what became of it (PostgreSQL's documentation, "System
Information Functions and Operators").

A server that crashes may give a number that it had given and lost to another transaction. So
a "committed" must not contradict what the transaction would have left behind.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sqlalchemy import Text, bindparam, cast, func, select
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.types import UserDefinedType

from openai_agents_session._base import RETRY_SECONDS, SETTLE_SECONDS, Pauses, add_note

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy import ColumnElement
    from sqlalchemy.engine import Dialect
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

_T = TypeVar("_T")

_GONE = ("08", "57P01", "57P02", "57P03")
"""SQLSTATEs of a server that cannot be reached, stops, has crashed, or is about to start
(PostgreSQL's documentation, "PostgreSQL Error Codes")."""


class _Xid8(UserDefinedType[Any]):
    """PostgreSQL's type of a transaction's number."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Return its name."""
        return "xid8"


NUMBER: ColumnElement[str] = cast(func.pg_current_xact_id(), Text)
"""For statements that write: the number of their transaction."""

_STATUS = select(func.pg_xact_status(cast(bindparam("number", type_=Text()), _Xid8())))


@dataclass
class Transaction:
    """One attempt at a unit of work."""

    session: AsyncSession
    connection: AsyncConnection
    """The session's, for statements that know nothing of its objects."""
    dialect: Dialect
    number: str | None = None
    """PostgreSQL's; None until something was written."""
    agrees: Callable[[AsyncConnection], Awaitable[bool]] | None = None
    """Says in another transaction whether this one may have been committed."""


class Begin(Protocol):
    """Begins a transaction, which ends with the context."""

    def __call__(self, *, writes: bool) -> AbstractAsyncContextManager[Transaction]: ...


async def attempt(
    begin: Begin, unit: Callable[[Transaction], Awaitable[_T]], *, writes: bool
) -> _T:
    """Run a unit of work in a transaction, and again in another one if its connection breaks.

    Raises:
        Exception: what the last attempt raised, ``RETRY_SECONDS`` after the first; or what a
            ``COMMIT`` raised of which the server does not say whether it was done.
    """
    pauses = Pauses(0.02, 0.4)
    end = 0.0
    while True:
        await pauses.wait()
        ended: tuple[Transaction, _T] | None = None
        try:
            async with begin(writes=writes) as transaction:
                result = await unit(transaction)
                ended = transaction, result
        except Exception as error:
            if not is_lost(error):
                raise
            if ended and ended[0].number:
                committed = await _was_committed(begin, ended[0])
                if committed is None:
                    add_note(error, "The write may have been done: nobody could tell.")
                    raise
                if committed:
                    return ended[1]
            end = end or pauses.elapsed + RETRY_SECONDS
            if pauses.elapsed > end:
                raise
        else:
            return result


async def _was_committed(begin: Begin, transaction: Transaction) -> bool | None:
    """Ask the server what became of a transaction; None if it does not say in time."""
    pauses = Pauses(0.02, 0.4)
    while pauses.elapsed < SETTLE_SECONDS:
        await pauses.wait()
        try:
            async with begin(writes=False) as now:
                status = await now.connection.scalar(_STATUS, {"number": transaction.number})
                if status == "committed":
                    return not transaction.agrees or await transaction.agrees(now.connection)
                if status != "in progress":
                    return False if status == "aborted" else None
        except Exception as error:
            if not is_lost(error):
                raise
    return None


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
    state = getattr(cause, "sqlstate", "")
    if state is None:  # psycopg's error, and not the server's
        return isinstance(error, OperationalError)
    return str(state).startswith(_GONE)
