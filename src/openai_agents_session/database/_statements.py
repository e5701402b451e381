"""The statements, built once for each pair of models; they only take parameters."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from itertools import chain, repeat
from time import time_ns
from typing import TYPE_CHECKING, Any
from uuid import UUID
from weakref import WeakKeyDictionary

from sqlalchemy import (
    JSON,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    cast,
    delete,
    func,
    insert,
    inspect,
    null,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import UserDefinedType

from openai_agents_session.database._driver import NUMBER
from openai_agents_session.database._items import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy.engine import Dialect
    from sqlalchemy.orm import Mapper

    from openai_agents_session.database._items import Texts
    from openai_agents_session.database.mixins import AgentSessionMixin


class _AsIs(UserDefinedType[Any]):
    """The type of a parameter that goes to the driver as it is."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Refuse to be a column's type."""
        raise NotImplementedError


@cache
def tables_of(model: type[AgentSessionMixin]) -> tuple[Table, Table]:
    """Return the tables of the conversations and of their messages.

    Raises:
        TypeError: a model is no class with a table, or its table lacks what the mixin has.
    """
    mapper: Mapper[Any] = inspect(model)  # raises for what is no model
    sessions = _table(mapper, "user_id", "session_id")
    return sessions, _table(mapper.relationships["messages"].mapper, "agent_session_id", "position")


@cache
def statements_of(model: type[AgentSessionMixin], dialect: str) -> Statements:
    """Return the statements for an application's model of a conversation."""
    return Statements(*tables_of(model), dialect)


def _table(mapper: Mapper[Any], *unique: str) -> Table:
    table, name = mapper.local_table, mapper.class_.__name__
    if not isinstance(table, Table):
        raise TypeError(f"{name} must be mapped to a table")
    constraints = [one for one in table.constraints if isinstance(one, UniqueConstraint)]
    if not any({column.key for column in one.columns} == set(unique) for one in constraints):
        raise TypeError(
            f"{name} must have the unique constraint of {' and '.join(unique)}; "
            "its __table_args__ must include those of the mixin"
        )
    return table


class Statements:
    """What a conversation asks of the database.

    Every statement names the conversation by ``:owner`` and ``:name``, or by the key of a
    row that such a statement has found.
    """

    def __init__(self, sessions: Table, messages: Table, dialect: str) -> None:
        self._sessions = sessions
        s, m = sessions.c, messages.c
        # Read as it is stored: drivers would parse JSON on their own, not all of it without a
        # loss. SQLite keeps it as text, which need not be UTF-8 if another program wrote it,
        # and a cast to JSON would make a number of it.
        if dialect == "sqlite":
            upsert, stored, number = sqlite.insert, cast(m.extra_data, LargeBinary), null()
        else:
            upsert, stored, number = postgresql.insert, cast(m.extra_data, Text), NUMBER
        stored = stored.label("stored")
        mine = (s.user_id == bindparam("owner")) & (s.session_id == bindparam("name"))
        touched = {
            "updated_at": bindparam("now"),
            "last_position": s.last_position + bindparam("more"),
        }
        returned = (s.id, s.last_position, number.label("number"))

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

        # A default that the application computes is another one for each message.
        computed = any(column.default and column.default.is_callable for column in _others(m))
        self.at_once = dialect == "postgresql" and not computed
        self.add = _insert_all(messages) if self.at_once else _insert_each(messages)
        """Adds a batch; ``batch`` is how it is run where it is not run at once."""
        self._batches: WeakKeyDictionary[Dialect, Batch] = WeakKeyDictionary()
        self._types = [m.id.type, m.agent_session_id.type, m.created_at.type]

        in_session = m.agent_session_id == bindparam("key")
        last = select(m.id).where(in_session).order_by(m.position.desc()).limit(1).scalar_subquery()
        self.pop = delete(messages).where(m.id == last).returning(m.id, stored)
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
        self.has = select(m.id).where(m.id == bindparam("message"))
        same = m.id == cast(bindparam("message", type_=Text()), m.id.type)
        here = (m.agent_session_id == s.id) & (m.position == bindparam("position"))
        self.at = (
            select(s.last_position, same.label("same"))
            .select_from(sessions.outerjoin(messages, here))
            .where(s.id == bindparam("key"))
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
        names = tuple(compiled.positiontup or ())  # none with psycopg, whose parameters have names
        # More than ours, where a column of the application has a default in Python.
        known = bool(names) and set(names) <= set(PARAMETERS)
        statement = str(compiled) if known else None
        batch = Batch(statement, names if known else PARAMETERS, id_of, key_of, time_of)
        self._batches[dialect] = batch
        return batch


_ROWS_AT_ONCE = 25
"""Rows that one statement inserts: SQLite of old takes 999 parameters."""

KEYS_AT_ONCE = 500
"""Keys that one statement asks for, for the same reason."""


@dataclass(frozen=True)
class Batch:
    """The insert of many messages, in the driver's own terms.

    SQLAlchemy's processing of thousands of values costs more than the insert itself.
    """

    statement: str | None
    """None if SQLAlchemy has to run it, by the names."""
    names: tuple[str, ...]
    """Of a row's values, in their order; a name may be there twice."""
    id_of: Callable[[Any], Any]
    key_of: Callable[[Any], Any]
    time_of: Callable[[Any], Any]

    def rows(self, texts: Sequence[Texts], key: Any, before: int, now: Any) -> list[Any]:
        """Return the rows of a batch, whose positions follow ``before``."""
        numbers = new_ids(len(texts))
        sample = UUID(int=numbers[0])
        if self.id_of(sample) == sample.bytes:
            ids: list[Any] = [number.to_bytes(16, "big") for number in numbers]
        else:  # an application's own type of key
            ids = [self.id_of(UUID(int=number)) for number in numbers]
        columns = {
            "id": ids,
            "position": range(before + 1, before + 1 + len(texts)),
            "key": repeat(key),  # without an end, as the others have one
            "now": repeat(now),
            **dict(zip(COLUMNS, zip(*texts, strict=True), strict=True)),
        }
        return list(zip(*(columns[name] for name in self.names), strict=False))

    def runs(self, rows: list[Any]) -> Iterator[tuple[str, list[Any]]]:
        """Return the statements that insert the rows, each with all of its parameters.

        A step of SQLite costs about as much as a row, so most statements insert several.
        """
        statement = self.statement or ""
        even = len(rows) - len(rows) % _ROWS_AT_ONCE
        if even:
            more = statement[statement.rindex(_VALUES) + len(_VALUES) :]
            starts = range(0, even, _ROWS_AT_ONCE)
            together = [tuple(chain(*rows[start : start + _ROWS_AT_ONCE])) for start in starts]
            yield statement + f", {more}" * (_ROWS_AT_ONCE - 1), together
        if rows[even:]:
            yield statement, rows[even:]


_VALUES = " VALUES "


def new_ids(count: int) -> range:
    """Return so many UUIDs of version 7, as numbers; each is greater than the one before.

    An index is appended to for keys in order, while random ones touch pages all over it, the
    more the larger it is. The first key has 73 random bits, and the others count on from it.
    """
    now = time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    first = now << 80 | 7 << 76 | (random >> 64 & 0xFFF) << 64 | 2 << 62 | random & _BELOW_CARRY
    return range(first, first + count)


_BELOW_CARRY = 2**61 - 1
"""Leaves a bit for counting on, so that the variant above stays what it is."""

PARAMETERS = ("id", "key", "now", "position", *COLUMNS)
"""The values of a message, as the insert of one names them."""

_SAME = {"agent_session_id": "key", "created_at": "now", "updated_at": "now"}


def _others(columns: Any) -> list[Any]:
    """Return the columns that are the application's own."""
    ours = {"id", "agent_session_id", "position", "created_at", "updated_at", *COLUMNS}
    return [column for column in columns if column.key not in ours]


def _insert_each(messages: Table) -> Any:
    """Return the insert of one message; its parameters go to the driver as they are."""
    columns = ["id", "agent_session_id", "position", "created_at", "updated_at", *COLUMNS]
    values = {name: bindparam(_SAME.get(name, name), type_=_AsIs()) for name in columns}
    return insert(messages).values(values)


def _insert_all(messages: Table) -> Any:
    """Return the insert of a batch, each column of which is one parameter."""
    m = messages.c
    names = ("id", *COLUMNS)
    arrays = [bindparam(name, type_=postgresql.ARRAY(Text())) for name in names]
    given = func.unnest(*arrays).table_valued(*names, with_ordinality="nth")
    given = given.render_derived(name="given")
    now = bindparam("now", type_=m.created_at.type)
    values = {
        "id": cast(given.c.id, m.id.type),
        "agent_session_id": bindparam("key", type_=m.agent_session_id.type),
        "position": bindparam("before", type_=m.position.type) + given.c.nth,
        "created_at": now,
        "updated_at": now,
        **{name: given.c[name] for name in COLUMNS},
        "extra_data": cast(given.c.extra_data, JSON),
    }
    return insert(messages).from_select(list(values), select(*values.values()))


def _unchanged(value: Any) -> Any:
    return value
