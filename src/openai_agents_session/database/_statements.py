"""The statements, built once for each pair of models; they only take parameters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from sqlalchemy import (
    JSON,
    LargeBinary,
    Table,
    Text,
    bindparam,
    cast,
    delete,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import UserDefinedType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.engine import Dialect
    from sqlalchemy.orm import Mapper

    from openai_agents_session.database.mixins import AgentSessionMixin


class _AsIs(UserDefinedType[Any]):
    """The type of a parameter that goes to the driver as it is."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Refuse to be a column's type."""
        raise NotImplementedError


@cache
def tables_of(model: type[AgentSessionMixin]) -> tuple[Table, Table]:
    """Return the tables of the conversations and of their messages."""
    mapper: Mapper[Any] = inspect(model)  # raises for what is no model
    return _table(mapper), _table(mapper.relationships["messages"].mapper)


@cache
def statements_of(model: type[AgentSessionMixin], dialect: str) -> Statements:
    """Return the statements for an application's model of a conversation."""
    return Statements(*tables_of(model), dialect)


def _table(mapper: Mapper[Any]) -> Table:
    table = mapper.local_table
    if not isinstance(table, Table):
        raise TypeError(f"{mapper.class_.__name__} must be mapped to a table")
    return table


class Statements:
    """What a conversation asks of the database.

    Every statement names the conversation by ``:owner`` and ``:name``, or by the key of a
    row that such a statement has found.
    """

    def __init__(self, sessions: Table, messages: Table, dialect: str) -> None:
        self._sessions = sessions
        s, m = sessions.c, messages.c
        text = bindparam("extra_data", type_=Text())
        # Read as it is stored: drivers would parse JSON on their own, not all of it without a
        # loss. SQLite keeps it as text, which need not be UTF-8 if another program wrote it,
        # and a cast to JSON would make a number of it.
        if dialect == "sqlite":
            upsert, given, stored = sqlite.insert, text, cast(m.extra_data, LargeBinary)
        else:
            upsert, given, stored = postgresql.insert, cast(text, JSON), cast(m.extra_data, Text)
        stored = stored.label("stored")
        mine = (s.user_id == bindparam("owner")) & (s.session_id == bindparam("name"))
        touched = {
            "updated_at": bindparam("now"),
            "last_position": s.last_position + bindparam("more"),
        }
        returned = (s.id, s.last_position)

        # A subquery, and no join: then the index gives the newest in order, however long the
        # conversation is.
        of_mine = m.agent_session_id == select(s.id).where(mine).scalar_subquery()
        self.oldest_first = select(stored).where(of_mine).order_by(m.position)
        self.newest_first = (
            select(m.id, stored)
            .where(of_mine)
            .order_by(m.position.desc())
            .limit(bindparam("wanted"))
        )
        self.lock = update(sessions).where(mine).values(touched).returning(*returned)
        """Takes the conversation's row, of which there may be none, and ``more`` positions."""
        self.exists = select(s.id).where(mine)

        row = {
            "id": bindparam("key"),
            "user_id": bindparam("owner"),
            "session_id": bindparam("name"),
            "session_name": bindparam("session_name"),
            "agent_name": bindparam("agent_name"),
            "agent_instructions": bindparam("agent_instructions"),
            "is_active": True,
            "created_at": bindparam("now"),
            "updated_at": bindparam("now"),
            "last_position": bindparam("more"),
        }
        self.open = (
            upsert(sessions)
            .values(row)
            .on_conflict_do_update(index_elements=[s.user_id, s.session_id], set_=touched)
            .returning(*returned)
        )
        """Like ``lock``, and where there is no row it makes one."""

        # A batch has thousands of these values: they come as the driver takes them, since
        # SQLAlchemy's processing of each one costs more than the insert. ``Batch`` makes them.
        columns = ["id", "agent_session_id", "position", "role", "content", "tool_call_id"]
        columns += ["tool_name", "created_at", "updated_at"]
        message: dict[str, Any] = {
            name: bindparam(_SAME.get(name, name), type_=_AsIs()) for name in columns
        }
        self.add = insert(messages).values({**message, "extra_data": given})
        self._batches: WeakKeyDictionary[Dialect, Batch] = WeakKeyDictionary()
        self._types = [m.id.type, m.agent_session_id.type, m.created_at.type]

        in_session = m.agent_session_id == bindparam("key")
        last = select(m.id).where(in_session).order_by(m.position.desc()).limit(1).scalar_subquery()
        self.pop = delete(messages).where(m.id == last).returning(stored)
        self.clear = delete(messages).where(in_session)
        chosen = m.id.in_(bindparam("keys", expanding=True))
        self.remove = delete(messages).where(in_session, chosen)
        self.before = (
            select(m.id, stored)
            .where(in_session, m.position < bindparam("position"))
            .order_by(m.position)
            .limit(bindparam("wanted"))
        )
        self.tail = (
            select(m.id, stored, m.position)
            .where(in_session)
            .order_by(m.position.desc())
            .limit(bindparam("wanted"))
        )

    def change(self, values: dict[str, Any]) -> Any:
        """Return an update of a row's own columns, by its key."""
        return update(self._sessions).where(self._sessions.c.id == bindparam("key")).values(values)

    def batch(self, dialect: Dialect) -> Batch:
        """Return ``add`` for the driver; compiled once for each engine."""
        if dialect in self._batches:
            return self._batches[dialect]
        compiled = self.add.compile(dialect=dialect)
        processors = [kind.dialect_impl(dialect).bind_processor(dialect) for kind in self._types]
        id_of, key_of, time_of = (one or _unchanged for one in processors)
        batch = Batch(str(compiled), compiled.positiontup, id_of, key_of, time_of)
        self._batches[dialect] = batch
        return batch


@dataclass(frozen=True)
class Batch:
    """The insert of many messages, in the driver's own terms."""

    statement: str
    order: Sequence[str] | None
    """The names of its parameters in their places; None if it takes them by name."""
    id_of: Callable[[Any], Any]
    key_of: Callable[[Any], Any]
    time_of: Callable[[Any], Any]

    def parameters(self, row: dict[str, Any]) -> Any:
        """Return a row as the driver takes it."""
        return row if self.order is None else tuple(map(row.__getitem__, self.order))


_SAME = {"agent_session_id": "key", "created_at": "now", "updated_at": "now"}


def _unchanged(value: Any) -> Any:
    return value
