"""Units of work: when a transaction begins, what locks it, and who commits it.

    an async_sessionmaker            a short transaction of our own for each unit
    an AsyncSession, in no           a transaction of our own; calls on one AsyncSession wait
      transaction                    for each other
    an AsyncSession, in one          a savepoint; the commit is the caller's

Where the transaction is ours, a connection that breaks costs another attempt, and no error.

A write on SQLite begins with ``BEGIN IMMEDIATE``, so that it waits for other writers at its
start and nowhere else. Python's driver begins transactions late and a savepoint outside of
one would commit on its release; so the driver is asked, and not SQLAlchemy, whether it is in
a transaction already.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, select, update
from sqlalchemy.exc import StatementError
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.pool import StaticPool

from openai_agents_session._settle import settle
from openai_agents_session.database._attempts import Transaction, attempt
from openai_agents_session.database._connections import check_at_home, first_use, keep_at_home
from openai_agents_session.database._errors import give_a_hint, hide_words
from openai_agents_session.database._statements import tables_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from sqlalchemy import Engine

    from openai_agents_session.database.mixins import AgentSessionMixin

_T = TypeVar("_T")
Unit: TypeAlias = "Callable[[Transaction], Awaitable[_T]]"
"""What is to be done in a transaction; more than once if the connection breaks."""

DIALECTS = ("postgresql", "sqlite")

_locks: WeakKeyDictionary[Any, WeakKeyDictionary[Any, asyncio.Lock]] = WeakKeyDictionary()
"""One for each AsyncSession, and for each pool with a single connection; in each event loop."""


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
        """Run a unit that only reads."""
        return await self._run(unit, writes=False)

    async def write(self, unit: Unit[_T]) -> _T:
        """Run a unit whole or not at all."""
        return await self._run(unit, writes=True)

    async def _run(self, unit: Unit[_T], *, writes: bool) -> _T:
        """Run a unit, which ends before a cancellation arrives.

        A read does so too: cancelled in the middle, it would take the connection with it.
        """
        try:
            if not isinstance(self._source, AsyncSession):
                return await settle(attempt(partial(self._own, self._source), unit, writes=writes))
            lock = _lock(self._source)
            await lock.acquire()
            running = asyncio.ensure_future(self._in_session(self._source, unit, writes=writes))
            running.add_done_callback(lambda _: lock.release())  # given up or not
            return await settle(running)
        except StatementError as error:
            hide_words(error)
            give_a_hint(error)
            raise

    async def _in_session(self, session: AsyncSession, unit: Unit[_T], *, writes: bool) -> _T:
        if not session.in_transaction():
            return await attempt(partial(self._free, session), unit, writes=writes)
        # Begun by the caller: every one of ours has ended.
        transaction = await self._begun(session, writes=writes, own=False)
        if not writes:
            return await unit(transaction)
        async with session.begin_nested():
            # Once more, since it is the asking for the connection that makes the savepoint.
            return await unit(await self._begun(session, writes=writes, own=False))

    @asynccontextmanager
    async def _own(
        self, make: async_sessionmaker[Any], *, writes: bool
    ) -> AsyncGenerator[Transaction]:
        async with make() as session, self._alone(session), session.begin():
            yield await self._begun(session, writes=writes, own=True)

    @asynccontextmanager
    async def _free(self, session: AsyncSession, *, writes: bool) -> AsyncGenerator[Transaction]:
        sync = session.sync_session
        expires, sync.expire_on_commit = sync.expire_on_commit, False
        try:  # a commit that the caller did not ask for must not expire the caller's objects
            async with self._alone(session), session.begin():
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
        table = tables_of(self._model)[0]
        return {"mapper": self._model, "clause": update(table) if writes else select(table)}

    def _bind(self, session: AsyncSession, *, writes: bool) -> Engine | Connection:
        return session.get_bind(**self._arguments(writes=writes))

    @asynccontextmanager
    async def _alone(self, session: AsyncSession) -> AsyncGenerator[None]:
        """Let units wait for each other where all of them would share one connection."""
        pool = self._bind(session, writes=True).engine.pool
        if isinstance(pool, StaticPool):
            async with _lock(pool):
                yield
        else:
            yield


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
