"""Units of work on what the caller passed: their transactions, attempts and errors.

    an async_sessionmaker            a short transaction of our own for each unit
    an AsyncSession, in no           a transaction of our own; calls on one AsyncSession wait
      transaction                    for each other
    an AsyncSession, in one          a savepoint; the commit is the caller's

A write on SQLite begins with ``BEGIN IMMEDIATE``, so that it waits for other writers at its
start and nowhere else. Whether there is a transaction already, the driver is asked and not
SQLAlchemy: Python's driver begins one only before the first change, and a savepoint that is
released outside of a transaction commits.

Where the transaction is ours and its connection breaks, the unit is run again, and yet done once.
If the connection broke before ``COMMIT`` was sent, nothing was changed. If it broke during
``COMMIT``, the server is asked: PostgreSQL gives each transaction that writes an id, and
``pg_xact_status`` says what became of it (PostgreSQL's documentation, "System Information
Functions and Operators"). A server that has crashed may give an id a second time, if it lost the
first transaction. So where the answer is "committed", the rows must also look as the transaction
left them.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Text, cast, func, select, text, update
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.pool import StaticPool

from openai_agents_session._errors import add_note
from openai_agents_session._pauses import Pauses
from openai_agents_session._settle import SETTLE_SECONDS, settle
from openai_agents_session.database._codes import (
    UNKNOWN_XACT_ID,
    add_hint,
    hide_conversation,
    is_lost,
    is_stale,
    is_undone,
    sqlstate_of,
)
from openai_agents_session.database._connections import check_usable, first_use, guard_pool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from sqlalchemy import ColumnElement
    from sqlalchemy.engine import Dialect
    from sqlalchemy.ext.asyncio import AsyncConnection

    from openai_agents_session.database.mixins import AgentSessionMixin

_T = TypeVar("_T")

DIALECTS = ("postgresql", "sqlite")

_locks: WeakKeyDictionary[Any, WeakKeyDictionary[Any, asyncio.Lock]] = WeakKeyDictionary()
"""A lock for each AsyncSession and each pool with a single connection, in each event loop."""

XACT_ID: ColumnElement[str] = cast(func.pg_current_xact_id(), Text)
"""For statements that write: PostgreSQL's id of their transaction."""

_STATUS = text(  # a replica may not know the transaction yet
    "SELECT CASE WHEN pg_is_in_recovery() THEN 'in recovery'"
    " ELSE pg_xact_status(CAST(CAST(:xact_id AS text) AS xid8)) END"
)


@dataclass
class Transaction:
    """One attempt at a unit of work."""

    session: AsyncSession
    connection: AsyncConnection
    """The session's own, for statements that bypass the ORM."""
    dialect: Dialect
    xact_id: str | None = None
    """PostgreSQL's id of it; None before the first change, and on SQLite."""
    agrees: Callable[[AsyncConnection], Awaitable[bool]] | None = None
    """Says, in a later transaction, whether the rows look as if this one was committed."""


Unit: TypeAlias = "Callable[[Transaction], Awaitable[_T]]"
"""What to do in a transaction; it is called again if the connection breaks."""


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
        self._is_closed = False

    def close(self) -> None:
        """Run nothing any more."""
        self._is_closed = True

    async def read(self, unit: Unit[_T]) -> _T:
        """Run a unit that only reads.

        It ends before a cancellation is delivered: one in the middle would cost the connection.
        """
        return await settle(self.run(unit, writes=False))

    async def write(self, unit: Unit[_T]) -> _T:
        """Run a unit whole or not at all; it ends before a cancellation is delivered."""
        return await settle(self.run(unit, writes=True))

    async def run(self, unit: Unit[_T], *, writes: bool, own: bool = False) -> _T:
        """Run a unit. The caller is the one to ``settle`` it.

        Args:
            unit: what to run.
            writes: whether it changes anything.
            own: whether it needs a transaction of its own, since others must see it at once.

        Raises:
            RuntimeError: the store of it is closed; or the caller has begun a transaction, and
                the unit needs its own.
        """
        if self._is_closed:
            raise RuntimeError("the store is closed; make another one with open_store")
        try:
            if not isinstance(self._source, AsyncSession):
                return await self._attempt(unit, writes=writes)
            async with _lock(self._source):
                if not self._source.in_transaction():
                    return await self._attempt(unit, writes=writes)
                # The caller's: with the lock held, none of ours is open.
                if own:
                    raise RuntimeError(
                        "a lease can't be taken or renewed in a transaction that you began on the "
                        "AsyncSession: nobody else would see it before you commit. End the "
                        "transaction first, or pass an async_sessionmaker as db_session"
                    )
                return await self._in_transaction(self._source, unit, writes=writes)
        except StatementError as error:
            hide_conversation(error)
            add_hint(error)
            raise

    async def _in_transaction(self, session: AsyncSession, unit: Unit[_T], *, writes: bool) -> _T:
        """Run a unit in a transaction that the caller began; a write in a savepoint."""
        transaction = await self._begun(session, writes=writes, own=False)
        if not writes:
            return await unit(transaction)
        async with session.begin_nested():
            # SQLAlchemy makes the savepoint only when it is asked for the connection.
            await session.connection(bind_arguments=self._bind_arguments(writes=True))
            return await unit(transaction)

    async def _attempt(self, unit: Unit[_T], *, writes: bool) -> _T:
        """Run a unit in a transaction of our own, and again if its connection breaks.

        Raises:
            Exception: what the last attempt raised; or what a ``COMMIT`` raised, if the server
                does not say whether it was done.
        """
        pauses = Pauses(0.02, 0.4)
        while True:
            await pauses.wait()
            ended: tuple[Transaction, _T] | None = None
            try:
                async with self._transaction(writes=writes) as transaction:
                    result = await unit(transaction)
                    ended = transaction, result
            except Exception as error:
                if not (is_lost(error) or is_undone(error)):
                    raise
                if ended and ended[0].xact_id and is_lost(error):
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

        The primary is asked, since a replica may not have heard of it yet. A server that has not
        given such an id lost the transaction in a crash, or became the primary without having
        received it: either way it was not committed.
        """
        pauses = Pauses(0.02, 0.4)
        while pauses.elapsed < SETTLE_SECONDS:
            await pauses.wait()
            try:
                async with self._transaction(writes=True) as now:
                    status = await now.connection.scalar(_STATUS, {"xact_id": transaction.xact_id})
                    if status == "committed":
                        return not transaction.agrees or await transaction.agrees(now.connection)
                    if status not in {"in progress", "in recovery"}:
                        return False if status == "aborted" else None
            except Exception as error:
                if sqlstate_of(error) == UNKNOWN_XACT_ID:
                    return False
                if not (is_lost(error) or is_undone(error)):
                    raise
        return None

    @asynccontextmanager
    async def _transaction(self, *, writes: bool) -> AsyncGenerator[Transaction]:
        """Begin a transaction of our own, which ends with the context."""
        source = self._source
        opened = nullcontext(source) if isinstance(source, AsyncSession) else source()
        async with opened as session, self._alone(session, writes=writes):
            sync = session.sync_session
            expires, sync.expire_on_commit = sync.expire_on_commit, False
            try:  # a commit that the caller did not ask for must not expire the caller's objects
                async with session.begin():
                    transaction = await self._begun(session, writes=writes, own=True)
                    try:
                        yield transaction
                    except DBAPIError as error:
                        if is_stale(error):  # the connection would fail the next one, too
                            await transaction.connection.invalidate(error)
                        raise
            finally:
                sync.expire_on_commit = expires

    @asynccontextmanager
    async def _alone(self, session: AsyncSession, *, writes: bool) -> AsyncGenerator[None]:
        """Let units wait for each other here where they would do so in the database, or worse.

        With a pool of one connection they would share a transaction. Writers of a SQLite file
        would each look now and then whether it is free, in no order, until some give up.
        """
        engine = session.get_bind(**self._bind_arguments(writes=writes)).engine
        waits = isinstance(engine.pool, StaticPool) or (writes and engine.dialect.name == "sqlite")
        async with _lock(engine.pool) if waits else nullcontext():
            yield

    async def _begun(self, session: AsyncSession, *, writes: bool, own: bool) -> Transaction:
        """Return the session's transaction, in which writes wait for other writers.

        All of it is done on one connection. A session with several databases chooses it by the
        model and by whether it is for a write.
        """
        arguments = self._bind_arguments(writes=writes)
        bind = session.get_bind(**arguments)
        dialect = bind.dialect
        _check_dialect(dialect)
        guard_pool(bind.engine)
        # A session may be bound to a connection on which somebody else has begun a transaction.
        joins = isinstance(bind, Connection) and bind.in_transaction()
        options: dict[str, Any] = {}
        if dialect.name == "sqlite":
            if writes and joins:  # before SQLAlchemy makes a savepoint
                await session.run_sync(lambda _: _begin_immediate(bind))
        elif own and writes and not joins:
            # Whatever the engine's own level is: with AUTOCOMMIT nothing would be atomic, and
            # from REPEATABLE READ on concurrent writers would be refused instead of waiting.
            options["isolation_level"] = "READ COMMITTED"
        async with first_use(dialect):
            connection = await session.connection(
                bind_arguments=arguments, execution_options=options
            )
        check_usable(connection)
        _check_dialect(dialect)  # again, since now it knows the server's version
        if dialect.name == "sqlite" and writes:
            await connection.run_sync(_begin_immediate)
        return Transaction(session, connection, dialect)

    def _bind_arguments(self, *, writes: bool) -> dict[str, Any]:
        clause = update(self._model) if writes else select(self._model)
        return {"mapper": self._model, "clause": clause}


def _check_dialect(dialect: Dialect) -> None:
    """Check that the database is supported.

    Raises:
        NotImplementedError: it is another one, or a PostgreSQL before 13, which has no
            ``pg_current_xact_id`` (PostgreSQL's documentation, "Release 13").
    """
    if dialect.name not in DIALECTS:
        raise NotImplementedError(
            f"there is no support for {dialect.name}, only for {' and '.join(DIALECTS)}"
        )
    version = getattr(dialect, "server_version_info", None)
    if dialect.name == "postgresql" and version and version < (13,):
        numbers = ".".join(map(str, version))
        raise NotImplementedError(f"PostgreSQL 13 or newer is required; this one is {numbers}")


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
