"""Attempts: a unit of work whose connection breaks is run again, and is done once.

A connection that breaks before ``COMMIT`` was sent has changed nothing. One that breaks during
``COMMIT`` leaves open what happened, but the server knows: PostgreSQL numbers each transaction
that writes, and ``pg_xact_status`` says what became of it (PostgreSQL's documentation, "System
Information Functions and Operators").

A server that crashes may give a number that it had given and lost to another transaction. So
a "committed" must not contradict what the transaction would have left behind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sqlalchemy import Text, bindparam, case, cast, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import UserDefinedType

from openai_agents_session._errors import add_note
from openai_agents_session._pauses import RETRY_SECONDS, Pauses
from openai_agents_session._settle import SETTLE_SECONDS
from openai_agents_session.database._errors import (
    IN_THE_FUTURE,
    is_lost,
    is_stale,
    is_undone,
    state_of,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy import ColumnElement
    from sqlalchemy.engine import Dialect
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

_T = TypeVar("_T")


class _Xid8(UserDefinedType[Any]):
    """PostgreSQL's type of a transaction's number."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Return its name."""
        return "xid8"


NUMBER: ColumnElement[str] = cast(func.pg_current_xact_id(), Text)
"""For statements that write: the number of their transaction."""

_STATUS = select(
    case(
        (func.pg_is_in_recovery(), "in recovery"),  # a replica, which may know less
        else_=func.pg_xact_status(cast(bindparam("number", type_=Text()), _Xid8())),
    )
)


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
                result = await _done(unit, transaction)
                ended = transaction, result
        except Exception as error:
            if not (is_lost(error) or is_undone(error)):
                raise
            if ended and ended[0].number and is_lost(error):
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


async def _done(unit: Callable[[Transaction], Awaitable[_T]], transaction: Transaction) -> _T:
    """Run a unit of work, and leave no connection in the pool that would fail the next one."""
    try:
        return await unit(transaction)
    except DBAPIError as error:
        if is_stale(error):
            await transaction.connection.invalidate(error)
        raise


async def _was_committed(begin: Begin, transaction: Transaction) -> bool | None:
    """Ask the server what became of a transaction; None if it does not say in time.

    The one that takes writes is asked: a replica may not have heard of it yet. A server that
    has not given such a number has lost it in a crash, or was a replica that did not get it:
    the transaction is not there.
    """
    pauses = Pauses(0.02, 0.4)
    while pauses.elapsed < SETTLE_SECONDS:
        await pauses.wait()
        try:
            async with begin(writes=True) as now:
                status = await now.connection.scalar(_STATUS, {"number": transaction.number})
                if status == "committed":
                    return not transaction.agrees or await transaction.agrees(now.connection)
                if status not in {"in progress", "in recovery"}:
                    return False if status == "aborted" else None
        except Exception as error:
            if state_of(error) == IN_THE_FUTURE:
                return False
            if not (is_lost(error) or is_undone(error)):
                raise
    return None
