"""Units of work on what the caller passed: their transactions, attempts and errors.

    an async_sessionmaker            a short transaction of our own for each unit
    an AsyncSession, in no           a transaction of our own; calls on one AsyncSession wait
      transaction                    for each other
    an AsyncSession, in one          a savepoint; the commit is the caller's

A write on SQLite begins with ``BEGIN IMMEDIATE``, so that it waits for other writers at its
start and nowhere else. Python's driver begins transactions late and a savepoint outside of
one would commit on its release; so the driver is asked, and not SQLAlchemy, whether it is in
a transaction already.

Where the transaction is ours, a unit whose connection breaks is run again, and is done once. A
connection that breaks before ``COMMIT`` was sent has changed nothing. One that breaks during
``COMMIT`` leaves open what happened, but the server knows: PostgreSQL numbers each transaction
that writes, and ``pg_xact_status`` says what became of it (PostgreSQL's documentation, "System
Information Functions and Operators"). A server that crashes may give a number that it had given
and lost to another transaction. So a "committed" must not contradict what the transaction would
have left behind.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Text, cast, func, select, text, update
from sqlalchemy.exc import DBAPIError, OperationalError, StatementError
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.pool import StaticPool

from openai_agents_session._errors import add_note
from openai_agents_session._pauses import Pauses
from openai_agents_session._settle import SETTLE_SECONDS, settle
from openai_agents_session.database._connections import check_at_home, first_use, keep_at_home

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from sqlalchemy import ColumnElement, Engine
    from sqlalchemy.engine import Dialect
    from sqlalchemy.ext.asyncio import AsyncConnection

    from openai_agents_session.database.mixins import AgentSessionMixin

_T = TypeVar("_T")

DIALECTS = ("postgresql", "sqlite")

_locks: WeakKeyDictionary[Any, WeakKeyDictionary[Any, asyncio.Lock]] = WeakKeyDictionary()
"""One for each AsyncSession, and for each pool with a single connection; in each event loop."""


NUMBER: ColumnElement[str] = cast(func.pg_current_xact_id(), Text)
"""For statements that write: the number of their transaction."""

_STATUS = text(  # a replica may know less
    "SELECT CASE WHEN pg_is_in_recovery() THEN 'in recovery'"
    " ELSE pg_xact_status(CAST(CAST(:number AS text) AS xid8)) END"
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


Unit: TypeAlias = "Callable[[Transaction], Awaitable[_T]]"
"""What is to be done in a transaction; more than once if the connection breaks."""


class Work:
    """Runs units of work on what the caller passed.

    Args:
        db_session: an ``AsyncSession`` or an ``async_sessionmaker``.
        model: the model of a conversation, whose database it is where a session has several.

    Raises:
        TypeError: ``db_session`` is something else.
    """

    def __init__(
        self,
        db_session: AsyncSession | async_sessionmaker[Any],
        model: type[AgentSessionMixin],
    ) -> None:
        if not isinstance(db_session, (AsyncSession, async_sessionmaker)):
            raise TypeError(_advice(db_session))
        self._source = db_session
        self._model = model

    async def read(self, unit: Unit[_T]) -> _T:
        """Run a unit that only reads.

        It ends before a cancellation arrives, or the connection would go with it.
        """
        return await settle(self.run(unit, writes=False))

    async def write(self, unit: Unit[_T]) -> _T:
        """Run a unit whole or not at all; it ends before a cancellation arrives."""
        return await settle(self.run(unit, writes=True))

    async def run(self, unit: Unit[_T], *, writes: bool) -> _T:
        """Run a unit, for a caller that settles it."""
        try:
            if not isinstance(self._source, AsyncSession):
                return await self._attempt(unit, writes=writes)
            async with _lock(self._source):
                if not self._source.in_transaction():
                    return await self._attempt(unit, writes=writes)
                # Begun by the caller: every one of ours has ended.
                return await self._in_transaction(self._source, unit, writes=writes)
        except StatementError as error:
            _hide_words(error)
            _give_a_hint(error)
            raise

    async def _in_transaction(self, session: AsyncSession, unit: Unit[_T], *, writes: bool) -> _T:
        transaction = await self._begun(session, writes=writes, own=False)
        if not writes:
            return await unit(transaction)
        async with session.begin_nested():
            # Once more, since it is the asking for the connection that makes the savepoint.
            return await unit(await self._begun(session, writes=writes, own=False))

    async def _attempt(self, unit: Unit[_T], *, writes: bool) -> _T:
        """Run a unit in a transaction, and again in another one if its connection breaks.

        Raises:
            Exception: what the last attempt raised, ``RETRY_SECONDS`` after the first; or what a
                ``COMMIT`` raised of which the server does not say whether it was done.
        """
        pauses = Pauses(0.02, 0.4)
        while True:
            await pauses.wait()
            ended: tuple[Transaction, _T] | None = None
            try:
                async with self._transaction(writes=writes) as transaction:
                    result = await _done(unit, transaction)
                    ended = transaction, result
            except Exception as error:
                if not (is_lost(error) or _is_undone(error)):
                    raise
                if ended and ended[0].number and is_lost(error):
                    committed = await self._was_committed(ended[0])
                    if committed is None:
                        add_note(error, "The write may have been done: the server did not say.")
                        raise
                    if committed:
                        return ended[1]
                if not pauses.may_retry():
                    raise
            else:
                return result

    async def _was_committed(self, transaction: Transaction) -> bool | None:
        """Ask the server what became of a transaction; None if it does not say in time.

        The one that takes writes is asked: a replica may not have heard of it yet. A server that
        has not given such a number has lost it in a crash, or was a replica that did not get it:
        the transaction is not there.
        """
        pauses = Pauses(0.02, 0.4)
        while pauses.elapsed < SETTLE_SECONDS:
            await pauses.wait()
            try:
                async with self._transaction(writes=True) as now:
                    status = await now.connection.scalar(_STATUS, {"number": transaction.number})
                    if status == "committed":
                        return not transaction.agrees or await transaction.agrees(now.connection)
                    if status not in {"in progress", "in recovery"}:
                        return False if status == "aborted" else None
            except Exception as error:
                if _state_of(error) == _IN_THE_FUTURE:
                    return False
                if not (is_lost(error) or _is_undone(error)):
                    raise
        return None

    @asynccontextmanager
    async def _transaction(self, *, writes: bool) -> AsyncGenerator[Transaction]:
        """Begin a transaction of our own, which ends with the context."""
        source = self._source
        opened = nullcontext(source) if isinstance(source, AsyncSession) else source()
        async with opened as session, self._alone(session):
            sync = session.sync_session
            expires, sync.expire_on_commit = sync.expire_on_commit, False
            try:  # a commit that the caller did not ask for must not expire the caller's objects
                async with session.begin():
                    yield await self._begun(session, writes=writes, own=True)
            finally:
                sync.expire_on_commit = expires

    async def _begun(self, session: AsyncSession, *, writes: bool, own: bool) -> Transaction:
        """Return a transaction that other writers wait for, and do not fail by.

        All of it is done on one connection, which a session with several databases chooses
        by the model and by whether it is a write.
        """
        bind = self._bind(session, writes=writes)
        dialect = bind.dialect
        if dialect.name not in DIALECTS:
            raise NotImplementedError(
                f"there is no support for {dialect.name}, only for {' and '.join(DIALECTS)}"
            )
        options: dict[str, Any] = {}
        # A connection that the session was given, in a transaction that is the giver's.
        joined = isinstance(bind, Connection) and bind.in_transaction()
        keep_at_home(bind.engine)
        if dialect.name == "sqlite":
            if writes and joined:  # before SQLAlchemy makes a savepoint
                await session.run_sync(lambda _: _begin_immediate(bind))
        elif own and writes and not joined:
            # Whatever the engine's own level is: with AUTOCOMMIT nothing would be atomic, and
            # from REPEATABLE READ on concurrent writers would be refused instead of waiting.
            options["isolation_level"] = "READ COMMITTED"
        async with first_use(dialect):
            connection = await session.connection(
                bind_arguments=self._arguments(writes=writes), execution_options=options
            )
        check_at_home(connection)
        if dialect.name == "sqlite" and writes:
            await connection.run_sync(_begin_immediate)
        return Transaction(session, connection, dialect)

    def _arguments(self, *, writes: bool) -> dict[str, Any]:
        clause = update(self._model) if writes else select(self._model)
        return {"mapper": self._model, "clause": clause}

    def _bind(self, session: AsyncSession, *, writes: bool) -> Engine | Connection:
        return session.get_bind(**self._arguments(writes=writes))

    @asynccontextmanager
    async def _alone(self, session: AsyncSession) -> AsyncGenerator[None]:
        """Let units wait for each other where all of them would share one connection."""
        pool = self._bind(session, writes=True).engine.pool
        async with _lock(pool) if isinstance(pool, StaticPool) else nullcontext():
            yield


async def _done(unit: Unit[_T], transaction: Transaction) -> _T:
    """Run a unit of work, and leave no connection in the pool that would fail the next one."""
    try:
        return await unit(transaction)
    except DBAPIError as error:
        if _is_stale(error):
            await transaction.connection.invalidate(error)
        raise


def _begin_immediate(connection: Connection) -> None:
    raw: Any = connection.connection.driver_connection
    if not getattr(raw, "in_transaction", False):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _lock(owner: Any) -> asyncio.Lock:
    loop = asyncio.get_running_loop()
    return _locks.setdefault(owner, WeakKeyDictionary()).setdefault(loop, asyncio.Lock())


def _advice(db_session: object) -> str:
    kind = type(db_session)
    hint = "pass async_sessionmaker(engine)"
    if isinstance(db_session, async_scoped_session):
        hint = "call it, and pass the AsyncSession that it returns"
    return (
        "db_session must be a sqlalchemy.ext.asyncio AsyncSession or async_sessionmaker, "
        f"not {kind.__module__}.{kind.__qualname__}; {hint}"
    )


# --------------------------------------------------------- what the databases' errors mean
# PostgreSQL's codes are in its documentation, "PostgreSQL Error Codes".

_GONE = ("08", "57P01", "57P02", "57P03", "57P05")
"""Of a server that cannot be reached, stops, has crashed, is about to start, or has closed an
idle connection."""

_UNDONE = ("40001", "40P01", "53300")
"""Of a transaction that the server rolled back for another one's sake, and of a server with
too many connections: nothing was done, and it may go well a moment later."""

_STALE = ("25006", "0A000")
"""The same of a connection that must be made anew: its server only reads, since another has
taken over; or its prepared statement is older than a migration."""

_IN_THE_FUTURE = "22023"
"""What ``pg_xact_status`` raises for a number that the server has not given yet."""

_HINTS = {
    "42P01": "python -m openai_agents_session.database upgrade --url URL makes the shipped tables; "
    "those of an application's own models are made by its migrations.",
    "42P05": "Behind pgbouncer, drivers must not prepare statements under fixed names: see "
    "'pgbouncer' in the documentation of DatabaseSession.",
}
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
    state = _state_of(error)
    if state is None:  # psycopg's error, and not the server's
        return isinstance(error, OperationalError) and not _is_refused_login(cause)
    return state.startswith(_GONE)


def _state_of(error: Exception) -> str | None:
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


def _is_undone(error: Exception) -> bool:
    """Whether the server did nothing, and may do it when it is asked again."""
    return (_state_of(error) or "").startswith(_UNDONE) or _is_stale(error)


def _is_stale(error: Exception) -> bool:
    """Whether that takes another connection."""
    state = _state_of(error)
    return state in _STALE and (state != "0A000" or "cached" in str(error))


def _give_a_hint(error: Exception) -> None:
    """Say what helps, where SQLAlchemy has only what the server says."""
    missing = isinstance(error, OperationalError) and "no such table" in str(error.orig)
    hint = _HINTS.get("42P01" if missing else _state_of(error) or "")
    if hint and hint not in getattr(error, "__notes__", ()):
        add_note(error, hint)


def _hide_words(error: StatementError) -> None:
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
