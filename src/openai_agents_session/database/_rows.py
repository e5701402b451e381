"""Rows: the rows of one conversation, in a transaction that somebody else ends.

Every write begins with ``open`` or ``lock``, which take the conversation's row. PostgreSQL
locks that row, SQLite the whole file; so writers of one conversation come one after the
other, and positions, which the same statement hands out, neither collide nor change places.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from openai_agents_session.database._items import COLUMNS, item_of
from openai_agents_session.database._statements import KEYS_AT_ONCE, new_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agents import TResponseInputItem
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection

    from openai_agents_session.database._driver import Transaction
    from openai_agents_session.database._items import Texts
    from openai_agents_session.database._statements import Statements


@dataclass(frozen=True)
class Name:
    """Names a conversation, and says what its row begins with."""

    user_id: Any
    session_id: str
    metadata: dict[str, str | None]

    @property
    def parameters(self) -> dict[str, Any]:
        """What the statements call it."""
        return {"owner": self.user_id, "name": self.session_id}


@dataclass(frozen=True)
class Rows:
    """One conversation in one transaction."""

    transaction: Transaction
    sql: Statements
    name: Name

    @property
    def connection(self) -> AsyncConnection:
        """The transaction's connection."""
        return self.transaction.connection

    async def stored(self) -> Sequence[Any]:
        """Return every stored item, oldest first."""
        return (await self.connection.scalars(self.sql.oldest_first, self.name.parameters)).all()

    async def newest(self, wanted: int) -> list[tuple[Any, Any]]:
        """Return the keys and stored items of the newest messages, oldest first."""
        parameters = {**self.name.parameters, "wanted": wanted}
        rows = (await self.connection.execute(self.sql.newest_first, parameters)).all()
        return [(row.id, row.stored) for row in reversed(rows)]

    async def exists(self) -> bool:
        """Return whether there is a row of the conversation."""
        found = await self.connection.scalar(self.sql.exists, self.name.parameters)
        return found is not None

    async def open(self, more: int) -> tuple[Any, int]:
        """Take the row, or make it, and so many positions; return its key and the last one."""
        parameters = {
            **self.name.parameters,
            **self.name.metadata,
            "key": UUID(int=new_ids(1)[0]),
            "now": _now(),
            "more": more,
        }
        row = (await self.connection.execute(self.sql.open, parameters)).one()
        self.transaction.number = row.number
        return row.id, row.last_position

    async def lock(self, more: int = 0) -> tuple[Any, int] | None:
        """Do the same where there is a row; return None where there is none."""
        parameters = {**self.name.parameters, "now": _now(), "more": more}
        row = (await self.connection.execute(self.sql.lock, parameters)).first()
        if row is None:
            return None
        self.transaction.number = row.number
        return row.id, row.last_position

    async def change(self, key: Any, values: dict[str, Any]) -> None:
        """Set columns of the row."""
        await self.connection.execute(self.sql.change(values), {"key": key})

    async def insert(self, key: Any, last: int, texts: Sequence[Texts]) -> None:
        """Add messages at the positions that end with ``last``, with one statement."""
        if not texts:
            return
        now, before = _now(), last - len(texts)
        if self.sql.at_once:
            columns = dict(zip(COLUMNS, map(list, zip(*texts, strict=True)), strict=True))
            ids = [f"{number:032x}" for number in new_ids(len(texts))]
            parameters = {**columns, "id": ids, "key": key, "before": before, "now": now}
            await self.connection.execute(self.sql.add, parameters)
            self.transaction.agrees = partial(self._has, key, last, ids[-1])
            return
        batch = self.sql.batch(self.transaction.dialect)
        rows = batch.rows(texts, batch.key_of(key), before, batch.time_of(now))
        if batch.statement and not self._is_translated():
            for statement, parameters in batch.runs(rows):
                await self.connection.exec_driver_sql(statement, parameters)
        else:
            named = [dict(zip(batch.names, row, strict=True)) for row in rows]
            await self.connection.execute(self.sql.add, named)

    def _is_translated(self) -> bool:
        """Whether SQLAlchemy puts the names of other schemas into its statements."""
        options = cast("Connection", self.connection.sync_connection).get_execution_options()
        return bool(options.get("schema_translate_map"))

    async def clear(self, key: Any) -> None:
        """Remove every message."""
        await self.connection.execute(self.sql.clear, {"key": key})

    async def pop(self, key: Any) -> Any:
        """Remove the newest message and return what is stored of it; None where there is none."""
        row = (await self.connection.execute(self.sql.pop, {"key": key})).first()
        if row is None:
            return None
        self.transaction.agrees = partial(self._has_not, row.id)
        return row.stored or b""

    async def remove(self, key: Any, keys: list[Any]) -> None:
        """Remove these messages."""
        for start in range(0, len(keys), KEYS_AT_ONCE):
            chunk = {"key": key, "keys": keys[start : start + KEYS_AT_ONCE]}
            await self.connection.execute(self.sql.remove, chunk)
        if keys:
            self.transaction.agrees = partial(self._has_not, keys[-1])

    async def tail(self, key: Any, wanted: int) -> Sequence[Any]:
        """Return the newest messages, the newest first: ``id``, ``stored``, ``position``."""
        parameters = {"key": key, "wanted": wanted}
        return (await self.connection.execute(self.sql.tail, parameters)).all()

    async def prune(
        self, key: Any, position: int, is_stale: Callable[[TResponseInputItem], bool], step: int
    ) -> None:
        """Remove the oldest messages before a position, up to the first that is to stay."""
        while True:
            parameters = {"key": key, "position": position, "wanted": step}
            rows = (await self.connection.execute(self.sql.before, parameters)).all()
            stale = []
            for row in rows:
                item = item_of(row.stored)
                if item is None or not is_stale(item):
                    break
                stale.append(row.id)
            await self.remove(key, stale)
            if len(stale) < step:
                return

    async def _has(
        self, key: Any, position: int, message: str, connection: AsyncConnection
    ) -> bool:
        """Whether a message is where it was put, or may have been and is removed."""
        parameters = {"key": key, "position": position, "message": message}
        row = (await connection.execute(self.sql.at, parameters)).first()
        return row is None or (row.last_position >= position and row.same is not False)

    async def _has_not(self, message: Any, connection: AsyncConnection) -> bool:
        """Whether a message is removed."""
        return await connection.scalar(self.sql.has, {"message": message}) is None


def _now() -> datetime:
    return datetime.now(timezone.utc)
