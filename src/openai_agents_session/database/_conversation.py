"""DatabaseConversation: one conversation in two tables, each operation one unit of work.

Every write first updates the conversation's row, which locks it (on SQLite, the whole file is
locked). So a conversation has one writer at a time. The same statement reserves the positions of
new messages, so these cannot collide. No position is given twice, so it identifies a message.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from advanced_alchemy.exceptions import NotFoundError

from openai_agents_session._catalog import SessionNotFoundError
from openai_agents_session._conversation import Found, LostError, UnreadableError
from openai_agents_session.database._checks import MAX_ROWS
from openai_agents_session.database._codes import is_lost
from openai_agents_session.database._items import columns_of, record_of
from openai_agents_session.database._lease import DatabaseClaim, busy
from openai_agents_session.database._statements import (
    METADATA,
    fenced_statements_of,
    new_ids,
    statements_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection
    from typing_extensions import Self

    from openai_agents_session.database._driver import Transaction, Work
    from openai_agents_session.database._items import Columns
    from openai_agents_session.database._statements import Statements
    from openai_agents_session.database._users import Users
    from openai_agents_session.database.mixins import AgentSessionMixin

_T = TypeVar("_T")


class DeletedError(NotFoundError, SessionNotFoundError):
    """The conversation was deleted since this session saw it, and is not to be recreated."""


@dataclass(frozen=True)
class FoundMessages(Found):
    """The newest messages of a conversation, as they were read.

    Attributes:
        positions: where they are, oldest first.
    """

    positions: Sequence[int]


class DatabaseConversation:
    """The conversation of one user under one id.

    Args:
        work: runs the units of work.
        model: the application's model of a conversation.
        name: whose conversation it is, and which: ``owner`` and ``name`` of the statements.
        metadata: columns of the row, for the write that inserts it.
        users: makes the user's row with that write; None leaves users to the application.
        recreate: whether a write inserts the row again if this session has seen messages in it
            and it was deleted since.
    """

    resends = False
    _holder: str | None = None
    """Who alone may write through this object; None for anybody."""

    def __init__(
        self,
        work: Work,
        model: type[AgentSessionMixin],
        name: dict[str, Any],
        metadata: Mapping[str, Any],
        *,
        recreate: bool,
        users: Users | None = None,
    ) -> None:
        self._work = work
        self._model = model
        self._name = name
        self._metadata = {**METADATA, **metadata}
        self._users = users
        self._recreate = recreate
        self._seen = False

    async def read(self, newest: int | None) -> FoundMessages:
        """Return the newest messages, with one query."""
        wanted = newest or MAX_ROWS
        found = await self._work.read(lambda transaction: self._newest(transaction, wanted))
        self._seen |= bool(found.records)
        return found

    async def append(self, records: Sequence[bytes]) -> None:
        """Add messages to the end, with one statement.

        Raises:
            DeletedError: it was deleted, and is not to be recreated.
        """
        await self._add(records)

    async def replace(self, records: Sequence[bytes]) -> None:
        """Put messages in the place of the whole conversation, whose row stays.

        Raises:
            DeletedError: it was deleted, and is not to be recreated.
        """
        if records:
            await self._add(records, replaces=True)
        else:
            await self.clear()

    async def pop(self, parse: Callable[[bytes | str], _T | None]) -> _T | None:
        """Remove the newest message, and undo that where it cannot be read."""

        async def unit(transaction: Transaction) -> _T | None:
            sql = self._statements(transaction)
            row = await self._lock_row(transaction)
            if row is None:
                return None
            popped = (await transaction.connection.execute(sql.pop, {"key": row.id})).first()
            if popped is None:
                return None
            item = parse(record_of(popped.stored))
            if item is None:
                raise UnreadableError
            transaction.agrees = partial(_agrees, sql.message_at, row.id, popped.position, None)
            return item

        return await self._work.run(unit, writes=True)

    async def remove(self, found: FoundMessages, index: int) -> bool:
        """Remove one message, if it and all after it are unchanged."""

        async def unit(transaction: Transaction) -> bool:
            row = await self._lock_row(transaction)
            if row is None or not await self._is_unchanged(transaction, found, index):
                return False
            await self._delete(transaction, row.id, found.positions[index : index + 1])
            return True

        return await self._work.run(unit, writes=True)

    async def swap(
        self, found: FoundMessages, start: int, records: Sequence[bytes], *, drop: int = 0
    ) -> bool:
        """Put messages in the place of the newest, if these are unchanged.

        Where older ones are dropped, all must be unchanged.
        """
        columns = columns_of(records)

        async def unit(transaction: Transaction) -> bool:
            row = await self._lock_row(transaction, len(columns))
            unchanged_from = 0 if drop else start
            if row is None or not await self._is_unchanged(transaction, found, unchanged_from):
                return False
            await self._delete(transaction, row.id, found.positions[:drop])
            await self._delete(transaction, row.id, found.positions[start:])
            await self._insert(transaction, row, columns)
            return True

        return await self._work.run(unit, writes=True)

    async def clear(self) -> None:
        """Remove every message; the row stays, with what it says about the conversation."""

        async def unit(transaction: Transaction) -> None:
            if row := await self._lock_row(transaction):
                await self._clear(transaction, row.id)

        await self._work.run(unit, writes=True)

    async def change(self, values: dict[str, Any]) -> None:
        """Set columns of the row, which is inserted if there is none."""

        async def unit(transaction: Transaction) -> None:
            row = await self._lock_row(transaction, inserts=True)
            statement = self._statements(transaction).change(values)
            await transaction.connection.execute(statement, {"key": row.id})

        await self._work.run(unit, writes=True)

    async def ping(self) -> bool:
        """Return whether the database that holds the conversation answers."""

        async def unit(transaction: Transaction) -> None:
            await transaction.connection.execute(self._statements(transaction).find, self._name)

        try:
            await self._work.read(unit)
        except Exception as error:
            if is_lost(error):
                return False
            raise
        return True

    def claim(self, holder: str, seconds: int) -> DatabaseClaim[Self]:
        """Return a holder's claim on the lease."""
        fenced = copy(self)
        fenced._holder = holder
        return DatabaseClaim(self._work, self._model, self._name, holder, seconds, fenced)

    async def busy(self) -> float | None:
        """Return for how many seconds the lease is held, with one query."""
        return await busy(self._work, self._model, self._name)

    async def _add(self, records: Sequence[bytes], *, replaces: bool = False) -> None:
        columns = columns_of(records)
        inserts = self._recreate or not self._seen

        async def unit(transaction: Transaction) -> None:
            row = await self._lock_row(transaction, len(columns), inserts=inserts)
            if row is None:
                raise DeletedError("the conversation was deleted meanwhile")
            if replaces:
                await self._clear(transaction, row.id)
            await self._insert(transaction, row, columns)

        await self._work.run(unit, writes=True)
        self._seen = True

    # ------------------------------------------------------------- parts of a unit of work

    def _statements(self, transaction: Transaction) -> Statements:
        of = fenced_statements_of if self._holder else statements_of
        return of(self._model, transaction.dialect.name)

    async def _newest(self, transaction: Transaction, wanted: int) -> FoundMessages:
        statement = self._statements(transaction).newest
        parameters = {**self._name, "wanted": wanted}
        rows: Any = (await transaction.connection.execute(statement, parameters)).all()[::-1]
        return FoundMessages([record_of(row[1]) for row in rows], [row[0] for row in rows])

    async def _is_unchanged(
        self, transaction: Transaction, found: FoundMessages, start: int
    ) -> bool:
        """Whether the newest messages are those that were found, from the one at ``start`` on."""
        now = await self._newest(transaction, len(found.records) - start)
        return now == FoundMessages(found.records[start:], found.positions[start:])

    async def _lock_row(
        self, transaction: Transaction, more: int = 0, *, inserts: bool = False
    ) -> Any:
        """Lock the conversation's row and reserve positions for ``more`` messages.

        Returns:
            The row; None if there is none, unless it ``inserts`` one.

        Raises:
            LostError: the lease is not held, and nothing is locked.
        """
        sql = self._statements(transaction)
        parameters = {**self._name, "now": _now(), "more": more}
        if self._holder:
            parameters["lease_holder"] = self._holder
        connection, row = transaction.connection, None
        if self._holder and not inserts:
            row = await self._touch_alone(transaction, parameters)
        elif self._users or not inserts:
            row = (await connection.execute(sql.touch, parameters)).first()
        if row is None and inserts:
            if self._users:
                await self._users.add(connection, self._name["owner"])
            parameters.update(self._metadata, key=UUID(int=new_ids(1)[0]))
            row = (await connection.execute(sql.upsert, parameters)).first()
            if row is None:  # the lease was lost
                raise LostError
        if row is not None:
            transaction.xact_id = row.xact_id
        return row

    async def _touch_alone(self, transaction: Transaction, parameters: dict[str, Any]) -> Any:
        """Lock the conversation's row, if there is one and the lease is held.

        Raises:
            LostError: the lease is not held.
        """
        sql = fenced_statements_of(self._model, transaction.dialect.name)
        row = (await transaction.connection.execute(sql.touch_alone, parameters)).first()
        if row is None:  # on SQLite, which cannot tell the reason at once
            names = {name: parameters[name] for name in (*self._name, "lease_holder")}
            if (await transaction.connection.execute(sql.held, names)).first() is None:
                raise LostError
        elif transaction.dialect.name == "postgresql":
            if not row.is_held:
                raise LostError
            if row.id is None:
                return None
        return row

    async def _insert(
        self, transaction: Transaction, row: Row[Any], columns: Sequence[Columns]
    ) -> None:
        """Add messages at the positions that were reserved for them."""
        if not columns:
            return
        sql, last, ids = self._statements(transaction), row.last_position, new_ids(len(columns))
        statement, parameters = sql.insert
        common = {"key": row.id, "before": last - len(columns), "now": _now()}
        await transaction.connection.execute(statement, parameters(common, ids, columns))
        transaction.agrees = partial(_agrees, sql.message_at, row.id, last, UUID(int=ids[-1]))

    async def _delete(self, transaction: Transaction, key: Any, positions: Sequence[int]) -> None:
        """Remove the messages from the first of these positions to the last."""
        if not positions:
            return
        sql = self._statements(transaction)
        parameters = {"key": key, "first": positions[0], "last": positions[-1]}
        await transaction.connection.execute(sql.delete, parameters)
        transaction.agrees = partial(_agrees, sql.message_at, key, positions[-1], None)

    async def _clear(self, transaction: Transaction, key: Any) -> None:
        await transaction.connection.execute(self._statements(transaction).clear, {"key": key})


async def _agrees(
    at: Any, key: Any, position: int, message: UUID | None, connection: AsyncConnection
) -> bool:
    """Whether the rows look as if a transaction was committed.

    Args:
        at: the statement that reads a message at a position.
        key: the conversation's.
        position: the last one that the transaction changed.
        message: the key of the message that it inserted there; None if it deleted one.
        connection: where to look.
    """
    row = (await connection.execute(at, {"key": key, "position": position})).first()
    if row is None:  # the whole conversation was deleted since, which says nothing
        return True
    return row.last_position >= position and row.message in {None, message}


def _now() -> datetime:
    return datetime.now(timezone.utc)
