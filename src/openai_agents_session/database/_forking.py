"""Forking: a conversation is copied inside of the database, and nothing of it goes to the client.

An application's own columns are copied as well, except for those with a default that is computed,
such as another key: they get a new one.
"""

from __future__ import annotations

from datetime import datetime, timezone
from functools import cache, partial
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from sqlalchemy import bindparam, func, insert, null, select
from sqlalchemy.dialects import postgresql, sqlite

from openai_agents_session.database._checks import MAX_ROWS
from openai_agents_session.database._driver import XACT_ID
from openai_agents_session.database._items import COLUMNS
from openai_agents_session.database._listing import named
from openai_agents_session.database._statements import METADATA, new_ids, tables_of

if TYPE_CHECKING:
    from sqlalchemy import Column
    from sqlalchemy.ext.asyncio import AsyncConnection

    from openai_agents_session._catalog import Forked
    from openai_agents_session.database._driver import Transaction
    from openai_agents_session.database._listing import Model


async def fork(  # noqa: PLR0917 - what is copied, and where
    model: Model, user: Any, session_id: str, new_id: str, items: int | None, at: Transaction
) -> Forked:
    """Copy a conversation of a user; a unit of work, but for its first five arguments."""
    connection, sql = at.connection, _statements_of(model, at.dialect.name)
    # Until the end, nobody adds a message that would be beyond the copy's last position.
    source = select(tables_of(model)[0].c.id).where(*named(model, user, session_id))
    key = await connection.scalar(source.with_for_update(read=True))
    if key is None:
        return "missing"
    new_key = UUID(int=new_ids(1)[0])
    now = datetime.now(timezone.utc)
    values = {"old_key": key, "new_key": new_key, "new_name": new_id, "now": now}
    row = (await connection.execute(sql.session, values)).first()
    if row is None:
        return "taken"
    at.xact_id, at.agrees = row.xact_id, partial(_is_there, model, new_key)
    limit = MAX_ROWS if items is None else min(items, MAX_ROWS)
    await sql.copy_messages(connection, key, new_key, limit)
    return "done"


async def _is_there(model: Model, key: UUID, connection: AsyncConnection) -> bool:
    found = tables_of(model)[0].c.id
    return await connection.scalar(select(found).where(found == key)) is not None


@cache
def _statements_of(model: Model, dialect: str) -> _Statements:
    return _Statements(model, dialect)


class _Statements:
    """The statements for one pair of tables, built once."""

    def __init__(self, model: Model, dialect: str) -> None:
        sessions, messages = tables_of(model)
        s, m = sessions.c, messages.c
        on_sqlite = dialect == "sqlite"
        now = bindparam("now", type_=s.created_at.type)
        row: dict[str, Any] = {column.key: column for column in s if _is_copied(column, _SESSION)}
        row |= {
            "id": bindparam("new_key", type_=s.id.type),
            "session_id": bindparam("new_name", type_=s.session_id.type),
            "created_at": now,
            "updated_at": now,
        }
        source = select(*row.values()).where(s.id == bindparam("old_key"))
        self.session = (
            (sqlite if on_sqlite else postgresql)
            .insert(sessions)
            .from_select([*row], source)
            .on_conflict_do_nothing(index_elements=[s.user_id, s.session_id])
            .returning((null() if on_sqlite else XACT_ID).label("xact_id"))
        )
        """Copies the conversation's row, if there is none of the new name."""

        self._chosen = (
            select(m.id)
            .where(m.agent_session_id == bindparam("old_key"))
            .order_by(m.position)
            .limit(bindparam("items"))
        )
        new_key = bindparam("new_key", type_=m.agent_session_id.type)
        copied = [column for column in m if _is_copied(column, _MESSAGE)]
        names = ["id", "agent_session_id", *(column.key for column in copied)]
        # As with the insertion of messages: only Python knows such defaults and keys.
        own = [column for column in m if column.key not in _KEYS | _MESSAGE]
        computed = any(column.default and column.default.is_callable for column in own)
        self._each = self._all = None
        if computed or not getattr(m.id.type, "binary", False):
            old = messages.alias()
            here = old.c.id == bindparam("old_id", type_=m.id.type)
            values: dict[str, Any] = {
                column.key: select(old.c[column.key]).where(here).scalar_subquery()
                for column in copied
            }
            values["id"] = bindparam("new_id", type_=m.id.type)
            values["agent_session_id"] = new_key
            self._each = insert(messages).values(values)
        else:
            new_id = func.randomblob(16) if on_sqlite else func.gen_random_uuid()
            chosen = self._chosen.with_only_columns(new_id, new_key, *copied)
            self._all = insert(messages).from_select(names, chosen)

    async def copy_messages(
        self, connection: AsyncConnection, old_key: Any, new_key: UUID, items: int
    ) -> None:
        """Copy the oldest messages, which keep their positions."""
        which = {"old_key": old_key, "items": items}
        if self._all is not None:
            await connection.execute(self._all, {**which, "new_key": new_key})
            return
        ids = (await connection.scalars(self._chosen, which)).all()
        rows = [
            {"old_id": old, "new_id": UUID(int=new), "new_key": new_key}
            for old, new in zip(ids, new_ids(len(ids)), strict=True)
        ]
        if rows:
            await connection.execute(cast("Any", self._each), rows)


_SESSION = {"user_id", "last_position", *METADATA}
"""The columns of the mixin that the copy of a conversation has as they are."""

_MESSAGE = {"position", "created_at", "updated_at", *COLUMNS}
"""Those of a message."""

_KEYS = {"id", "session_id", "agent_session_id"}


def _is_copied(column: Column[Any], always: set[str]) -> bool:
    computed = column.server_default is not None or not (
        column.default is None or column.default.is_scalar
    )
    own = column.key not in _KEYS and column.key not in _SESSION | _MESSAGE
    return column.key in always or (own and not computed)
