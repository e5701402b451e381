"""The lease on a conversation: a row of a table of its own, while somebody holds it or waits.

Who holds the lease, until when, and who waits stand in one row, which every change locks. A waiter
that asks again only reads: it writes where it can take the lease, or where its promise to come
back has less than that time left. So promises are stored with half as much time again.

Each unit of work here may run twice without a change to what it does, so a lost answer to a
``COMMIT`` needs no question.
"""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sqlalchemy import bindparam, delete, inspect, select, update
from sqlalchemy.dialects import postgresql, sqlite

from openai_agents_session.database._lease_table import NOW, lease_table_of
from openai_agents_session.database._statements import tables_of

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row, Table
    from sqlalchemy.ext.asyncio import AsyncConnection

    from openai_agents_session.database._driver import Transaction, Work
    from openai_agents_session.database.mixins import AgentSessionMixin

_SPARE = 1.5
"""How long a waiter keeps its place, in times of what it has promised."""

NOBODY = ""
"""Who holds a lease that is free, while others wait."""

_C = TypeVar("_C")


class DatabaseClaim(Generic[_C]):
    """One holder's claim on the lease.

    Args:
        work: runs the units of work.
        model: the model of a conversation.
        name: whose conversation it is, and which: ``owner`` and ``name`` of the statements.
        holder: names the holder.
        seconds: how long the lease lives without being renewed.
        fenced: the conversation whose writes name the holder.
    """

    def __init__(  # noqa: PLR0917 - what one holder asks of one lease
        self,
        work: Work,
        model: type[AgentSessionMixin],
        name: dict[str, Any],
        holder: str,
        seconds: int,
        fenced: _C,
    ) -> None:
        self._work = work
        self._model = model
        self._name = name
        self._holder = holder
        self._lives = 1000 * seconds
        self._fenced = fenced
        self._waits = False
        self._is_over = False

    async def acquire(self, comes_back_in: float) -> int:
        """Take the lease, or a place in the queue; a waiter reads first, and may leave it at that.

        Raises:
            RuntimeError: the caller has begun a transaction on the AsyncSession.
        """
        promise = int(1000 * comes_back_in)

        async def look(transaction: Transaction) -> int | None:
            row = await self._row(transaction, self._sql(transaction).find)
            return None if row is None else _Turns(row).unchanged(self._holder, promise)

        async def take(transaction: Transaction) -> int:
            if self._is_over:
                return 1
            sql = self._sql(transaction)
            parameters = {"lease_holder": self._holder, "lives": self._lives}
            row = await self._row(transaction, sql.lock, parameters)
            turns = _Turns(row)
            place = turns.take(self._holder, self._lives, promise)
            if turns.is_changed:
                await self._store(transaction, turns)
            return place

        place = None
        if self._waits or not promise:  # else something has to be written in any case
            place = await self._work.run(look, writes=False, own=True)
        if place is None:
            place = await self._work.run(take, writes=True, own=True)
        self._waits = place > 0
        return place

    async def renew(self) -> bool:
        """Let the lease's time begin anew, with one statement."""

        async def unit(transaction: Transaction) -> bool:
            parameters = {**self._name, "lease_holder": self._holder, "lives": self._lives}
            statement = self._sql(transaction).renew
            return (await transaction.connection.execute(statement, parameters)).rowcount > 0

        return await self._work.run(unit, writes=True, own=True)

    async def release(self) -> None:
        """Give the lease back, or leave the queue.

        A lease that nobody waits for takes one statement. Otherwise the row is locked first, also
        where there is none: so an ``acquire`` whose outcome is open is waited for.
        """
        self._is_over = True

        async def unit(transaction: Transaction) -> None:
            sql, parameters = self._sql(transaction), {**self._name, "lease_holder": self._holder}
            if (await transaction.connection.execute(sql.release, parameters)).rowcount:
                return
            row = await self._row(transaction, sql.lock, {"lease_holder": NOBODY, "lives": 0})
            turns = _Turns(row)
            turns.leave(self._holder)
            await self._store(transaction, turns)

        await self._work.run(unit, writes=True, own=True)

    def fenced(self) -> _C:
        """Return the conversation for the holder alone."""
        return self._fenced

    def _sql(self, transaction: Transaction) -> _Statements:
        return _statements_of(self._model, transaction.dialect.name)

    async def _row(self, transaction: Transaction, statement: Any, more: Any = None) -> Any:
        parameters = {**self._name, **(more or {})}
        return (await transaction.connection.execute(statement, parameters)).first()

    async def _store(self, transaction: Transaction, turns: _Turns) -> None:
        """Store a row that is locked; one that says nothing is deleted."""
        sql = self._sql(transaction)
        if turns.holder == NOBODY and not turns.waiting:
            await transaction.connection.execute(sql.remove, self._name)
            return
        values = {
            "lease_holder": turns.holder,
            "ends": turns.until,
            "waiters": json.dumps([*turns.waiting.items()]),
        }
        await transaction.connection.execute(sql.store, {**self._name, **values})


async def busy(work: Work, model: type[AgentSessionMixin], name: dict[str, Any]) -> float | None:
    """Return for how many seconds somebody holds the lease on a conversation; None if nobody."""

    async def unit(transaction: Transaction) -> float | None:
        sql = _statements_of(model, transaction.dialect.name)
        row = (await transaction.connection.execute(sql.find, name)).first()
        if row is None or row.holder == NOBODY or row.until <= row.now:
            return None
        return (row.until - row.now) / 1000

    return await work.read(unit)


class Leases:
    """All leases on the conversations of a model, in one database.

    Their table is missing where the migration that makes it has not run: there are none then.
    """

    def __init__(self, model: type[AgentSessionMixin]) -> None:
        self._model = model
        self._is_there = False

    async def remove(self, connection: AsyncConnection, user: Any) -> None:
        """Delete those on a user's conversations, with who waits for them."""
        table = lease_table_of(tables_of(self._model)[0])
        if not self._is_there:
            self._is_there = await connection.run_sync(_has, table)
        if self._is_there:
            await connection.execute(delete(table).where(table.c.user_id == user))


def _has(connection: Connection, table: Table) -> bool:
    options = connection.get_execution_options()
    schemas = options.get("schema_translate_map") or {}
    return inspect(connection).has_table(table.name, schemas.get(table.schema, table.schema))


class _Turns:
    """What a row says: who holds the lease, and who still waits. Times are milliseconds."""

    def __init__(self, row: Row[Any]) -> None:
        self._now = row.now
        self.holder, self.until = row.holder, row.until
        if row.until <= row.now:
            self.holder, self.until = NOBODY, 0
        stored = dict(json.loads(row.waiting))
        self.waiting: dict[str, int] = {who: due for who, due in stored.items() if due > row.now}
        """Holders in the order they came, with when each has to be back."""
        self.is_changed = False

    def unchanged(self, who: str, promise: int) -> int | None:
        """Return what ``take`` would, if it would change nothing that matters; None if it would."""
        if self.holder == who or self._may_take(who):
            return None
        if who not in self.waiting:
            return None if promise else len(self.waiting) + 1
        if not promise or self.waiting[who] - self._now < promise:
            return None
        return [*self.waiting].index(who) + 1

    def take(self, who: str, lives: int, promise: int) -> int:
        """Take the lease, or a place in the queue; return the place, 0 for the lease."""
        if self.holder == who:
            return 0
        self.is_changed = True
        if self._may_take(who):
            self.holder, self.until = who, self._now + lives
            self.waiting.pop(who, None)
            return 0
        self.waiting[who] = self._now + int(_SPARE * promise)
        place = [*self.waiting].index(who) + 1
        if not promise:
            del self.waiting[who]
        return place

    def leave(self, who: str) -> None:
        """Hold the lease no longer, nor wait for it."""
        self.waiting.pop(who, None)
        if self.holder == who:
            self.holder, self.until = NOBODY, 0

    def _may_take(self, who: str) -> bool:
        return self.holder == NOBODY and next(iter(self.waiting), who) == who


@cache
def _statements_of(model: type[AgentSessionMixin], dialect: str) -> _Statements:
    return _Statements(model, dialect)


class _Statements:
    """The statements for one table; each finds the lease by ``:owner`` and ``:name``."""

    def __init__(self, model: type[AgentSessionMixin], dialect: str) -> None:
        leases = lease_table_of(tables_of(model)[0])
        columns, now = leases.c, NOW[dialect]
        mine = (columns.user_id == bindparam("owner")) & (columns.session_id == bindparam("name"))
        holds = columns.holder == bindparam("lease_holder")
        until = now + bindparam("lives", type_=columns.until.type)
        returned = columns.holder, columns.until, columns.waiting, now.label("now")

        self.find = select(*returned).where(mine)
        self.lock = (
            (sqlite if dialect == "sqlite" else postgresql)
            .insert(leases)
            .values(
                user_id=bindparam("owner"),
                session_id=bindparam("name"),
                holder=bindparam("lease_holder"),
                until=until,
                waiting="[]",
            )
            .on_conflict_do_update(
                index_elements=[columns.user_id, columns.session_id],
                set_={"holder": columns.holder},
            )
            .returning(*returned)
        )
        """Locks the row as it is; where there is none, the lease is taken."""
        self.store = (
            update(leases)
            .where(mine)
            .values(
                holder=bindparam("lease_holder"),
                until=bindparam("ends"),
                waiting=bindparam("waiters"),
            )
        )
        self.remove = delete(leases).where(mine)
        self.renew = update(leases).where(mine, holds, columns.until > now).values(until=until)
        self.release = delete(leases).where(mine, holds, columns.waiting == "[]")
