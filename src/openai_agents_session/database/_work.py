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

from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.pool import StaticPool

from openai_agents_session._base import settle
from openai_agents_session.database._attempts import Transaction, attempt

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from sqlalchemy.engine import Dialect

_T = TypeVar("_T")
Unit: TypeAlias = "Callable[[Transaction], Awaitable[_T]]"
"""What is to be done in a transaction; more than once if the connection breaks."""

DIALECTS = ("postgresql", "sqlite")

_locks: WeakKeyDictionary[Any, asyncio.Lock] = WeakKeyDictionary()
"""One for each AsyncSession, and for each engine with a single connection."""


class Work:
    """Runs units of work on what the caller passed.

    Args:
        db_session: an ``AsyncSession`` or an ``async_sessionmaker``.
        model: a mapped class, whose database it is where a session has several.

    Raises:
        TypeError: ``db_session`` is something else.
    """

    def __init__(self, db_session: AsyncSession | async_sessionmaker[Any], model: type) -> None:
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
        if isinstance(self._source, AsyncSession):
            async with _lock(self._source):
                return await settle(self._in_session(self._source, unit, writes=writes))
        return await settle(attempt(partial(self._own, self._source), unit, writes=writes))

    async def _in_session(self, session: AsyncSession, unit: Unit[_T], *, writes: bool) -> _T:
        if not session.in_transaction():
            return await attempt(partial(self._free, session), unit, writes=writes)
        # Begun by the caller: every one of ours has ended.
        dialect = self._dialect(session)
        if not writes:
            return await unit(Transaction(session, dialect))
        await self._begin(session, dialect, own=False)
        async with session.begin_nested():
            return await unit(Transaction(session, dialect))

    @asynccontextmanager
    async def _own(
        self, make: async_sessionmaker[Any], *, writes: bool
    ) -> AsyncGenerator[Transaction]:
        async with make() as session, self._alone(session):
            dialect = self._dialect(session)
            if not writes:
                yield Transaction(session, dialect)
                return
            async with session.begin():
                await self._begin(session, dialect, own=True)
                yield Transaction(session, dialect)

    @asynccontextmanager
    async def _free(self, session: AsyncSession, *, writes: bool) -> AsyncGenerator[Transaction]:
        dialect = self._dialect(session)
        sync = session.sync_session
        expires, sync.expire_on_commit = sync.expire_on_commit, False
        try:  # a commit that the caller did not ask for must not expire the caller's objects
            async with session.begin():
                if writes:
                    await self._begin(session, dialect, own=True)
                yield Transaction(session, dialect)
        finally:
            sync.expire_on_commit = expires

    async def _begin(self, session: AsyncSession, dialect: Dialect, *, own: bool) -> None:
        """Let the transaction be one that writers wait for, and not fail by."""
        if dialect.name == "sqlite":
            connection = await session.connection(bind_arguments={"mapper": self._model})
            raw = await connection.get_raw_connection()
            if not getattr(raw.driver_connection, "in_transaction", False):
                await connection.exec_driver_sql("BEGIN IMMEDIATE")
        elif own:
            # Whatever the engine's own level is: with AUTOCOMMIT nothing would be atomic, and
            # from REPEATABLE READ on concurrent writers would be refused instead of waiting.
            await session.connection(
                bind_arguments={"mapper": self._model},
                execution_options={"isolation_level": "READ COMMITTED"},
            )

    def _dialect(self, session: AsyncSession) -> Dialect:
        dialect = session.get_bind(self._model).dialect
        if dialect.name not in DIALECTS:
            raise NotImplementedError(
                f"there is no support for {dialect.name}, only for {' and '.join(DIALECTS)}"
            )
        return dialect

    @asynccontextmanager
    async def _alone(self, session: AsyncSession) -> AsyncGenerator[None]:
        """Let units wait for each other where all of them would share one connection."""
        engine = session.get_bind(self._model).engine
        if isinstance(engine.pool, StaticPool):
            async with _lock(engine):
                yield
        else:
            yield


def _lock(owner: Any) -> asyncio.Lock:
    return _locks.setdefault(owner, asyncio.Lock())


def _advice(db_session: object) -> str:
    kind = type(db_session)
    hint = "pass async_sessionmaker(engine)"
    if isinstance(db_session, async_scoped_session):
        hint = "call it, and pass the AsyncSession that it returns"
    return (
        "db_session must be a sqlalchemy.ext.asyncio AsyncSession or async_sessionmaker, "
        f"not {kind.__module__}.{kind.__qualname__}; {hint}"
    )
