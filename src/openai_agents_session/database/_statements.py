"""The SQL statements, built once for each pair of models."""

from __future__ import annotations

import os
from functools import cache
from time import time_ns
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

from pydantic_core import to_json
from sqlalchemy import (
    JSON,
    Integer,
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
    literal_column,
    null,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from openai_agents_session.database._driver import XACT_ID
from openai_agents_session.database._items import COLUMNS
from openai_agents_session.database._lease_table import NOW, lease_table_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.orm import Mapper

    from openai_agents_session.database._items import Columns
    from openai_agents_session.database.mixins import AgentSessionMixin


def python_type_of(column: Any) -> type[Any]:
    """Return the Python type of a column's values; object if its type doesn't tell.

    Up to SQLAlchemy 2.0, a ``TypeDecorator`` tells only if it defines ``python_type``.
    """
    try:
        return column.type.python_type
    except NotImplementedError:
        return object


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


@cache
def fenced_statements_of(model: type[AgentSessionMixin], dialect: str) -> FencedStatements:
    """Return those of a conversation whose lease is held."""
    return FencedStatements(*tables_of(model), dialect)


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


METADATA = {
    "session_name": None,
    "description": None,
    "is_active": True,
    "agent_name": None,
    "agent_instructions": None,
}
"""What a conversation's row says of it, and what it says if nothing else was given."""


class Statements:
    """The statements of one pair of tables.

    Each finds its conversation by ``:owner`` and ``:name``, or by the ``:key`` of the row that an
    earlier statement returned.
    """

    def __init__(self, sessions: Table, messages: Table, dialect: str) -> None:
        self._sessions = sessions
        s, m = sessions.c, messages.c
        # The JSON is read as text, since what drivers make of it may lose something. On SQLite
        # it is read as bytes: it may not be UTF-8 if another program wrote it.
        if dialect == "sqlite":
            insert_or, stored, xact_id = sqlite.insert, cast(m.extra_data, LargeBinary), null()
        else:
            insert_or, stored, xact_id = postgresql.insert, cast(m.extra_data, Text), XACT_ID
        stored = self.stored = stored.label("stored")
        mine = (s.user_id == bindparam("owner")) & (s.session_id == bindparam("name"))
        self._touched = {
            "updated_at": bindparam("now"),
            "last_position": s.last_position + bindparam("more"),
        }
        self._returned = (s.id, s.last_position, xact_id.label("xact_id"))

        self.find = select(s.id).where(mine)
        self.newest = (
            select(m.position, stored)
            # A subquery and not a join: so the index returns the newest in order, and the
            # database need not sort a long conversation.
            .where(m.agent_session_id == self.find.scalar_subquery())
            .order_by(m.position.desc())
            .limit(bindparam("wanted"))
        )
        self.touch: Any = (
            update(sessions).where(mine).values(self._touched).returning(*self._returned)
        )
        """Locks the conversation's row, if there is one, and reserves ``more`` positions."""
        self._row = {
            "id": bindparam("key"),
            "user_id": bindparam("owner"),
            "session_id": bindparam("name"),
            **{name: bindparam(name) for name in METADATA},
            "created_at": bindparam("now"),
            "updated_at": bindparam("now"),
            "last_position": bindparam("more"),
        }
        self.upsert = self._or_touch(insert_or(sessions).values(self._row))
        """The same, and inserts the row if there is none."""

        in_session = m.agent_session_id == bindparam("key")
        last = select(m.id).where(in_session).order_by(m.position.desc()).limit(1).scalar_subquery()
        self.pop = delete(messages).where(m.id == last).returning(m.position, stored)
        self.clear = delete(messages).where(in_session)
        between = m.position.between(bindparam("first"), bindparam("last"))
        self.delete = delete(messages).where(in_session, between)
        here = (m.agent_session_id == s.id) & (m.position == bindparam("position"))
        self.message_at = (
            select(s.last_position, m.id.label("message"))
            .select_from(sessions.outerjoin(messages, here))
            .where(s.id == bindparam("key"))
        )

        # The other two know no defaults that Python computes for each row, and no types of keys
        # but the one of the mixin.
        computed = any(c.default and c.default.is_callable for c in m if c.key not in _OURS)
        if computed or not getattr(m.id.type, "binary", False):
            self.insert = _insert_each(messages, dialect)
        elif dialect == "sqlite":
            self.insert = _insert_json(messages)
        else:
            self.insert = _insert_arrays(messages)

    def change(self, values: dict[str, Any]) -> Any:
        """Return an update of a row's own columns, by its key."""
        return update(self._sessions).where(self._sessions.c.id == bindparam("key")).values(values)

    def _or_touch(self, inserting: Any) -> Any:
        """Return an insertion of the conversation's row that touches one that is there."""
        s = self._sessions.c
        return inserting.on_conflict_do_update(
            index_elements=[s.user_id, s.session_id], set_=self._touched
        ).returning(*self._returned)


class FencedStatements(Statements):
    """The same, where ``touch`` and ``upsert`` do nothing unless ``:lease_holder`` holds the lease.

    On PostgreSQL they lock the lease's row, in the mode that writers of one holder share. So
    whoever takes the lease over waits until the transaction has ended, and sees what it wrote.
    On SQLite there is one writer at a time.
    """

    def __init__(self, sessions: Table, messages: Table, dialect: str) -> None:
        super().__init__(sessions, messages, dialect)
        leases = lease_table_of(sessions)
        mine = (leases.c.user_id == bindparam("owner")) & (leases.c.session_id == bindparam("name"))
        lives = leases.c.until > NOW[dialect]
        one = literal_column("1", Integer).label("one")
        held = select(one).where(mine, leases.c.holder == bindparam("lease_holder"), lives)
        self.held = held
        """Reads one row if the lease is held, else none."""

        s, row, touch = sessions.c, self._row, self.touch
        if dialect == "sqlite":
            is_held, insert_or = held.exists(), sqlite.insert
            self.touch = self.touch_alone = touch.where(is_held)
        else:
            fence = held.with_for_update(read=True).cte("held")
            is_held, insert_or = select(fence.c.one).exists(), postgresql.insert
            self.touch = touch.where(is_held)
            touched = self.touch.cte("touched")
            always = select(one).subquery("always")
            self.touch_alone = select(touched, is_held.label("is_held")).select_from(
                always.outerjoin(touched, true())
            )
        """``touch``, where no ``upsert`` follows that would tell why there was no row: on
        PostgreSQL it always returns one, which says whether the lease is held."""
        values = [bindparam(value.key, type_=s[name].type) for name, value in row.items()]
        self.upsert = self._or_touch(
            insert_or(sessions).from_select([*row], select(*values).where(is_held))
        )


_OURS = {"id", "agent_session_id", "position", "created_at", "updated_at", *COLUMNS}


Insert: TypeAlias = "tuple[Any, Callable[[dict[str, Any], range, Sequence[Columns]], Any]]"
"""A statement that inserts messages, and what makes its parameters.

That takes the parameters ``key`` (the conversation's), ``before`` (the position before the first
message) and ``now``; the messages' own keys, as numbers; and their columns.
"""


def _insert_arrays(messages: Table) -> Insert:
    """On PostgreSQL: one statement, to which each column of the batch is an array."""
    names = ("id", *COLUMNS)
    arrays = [bindparam(name, type_=postgresql.ARRAY(Text())) for name in names]
    table = func.unnest(*arrays).table_valued(*names, with_ordinality="nth")
    given = table.render_derived(name="given").c
    columns: dict[str, Any] = {name: given[name] for name in COLUMNS}
    columns["extra_data"] = cast(given.extra_data, JSON)
    values = _values(messages, cast(given.id, messages.c.id.type), given.nth, columns)

    def parameters(common: dict[str, Any], ids: range, batch: Sequence[Columns]) -> Any:
        texts = map(list, zip(*batch, strict=True))
        keys = [f"{number:032x}" for number in ids]
        return {**common, "id": keys, **dict(zip(COLUMNS, texts, strict=True))}

    return insert(messages).from_select(list(values), select(*values.values())), parameters


def _insert_json(messages: Table) -> Insert:
    """On SQLite: one statement, to which the batch is one JSON array, and its keys are one blob."""
    table = func.json_each(bindparam("rows", type_=Text())).table_valued("key", "value")
    given = table.alias("given").c
    columns = {name: func.json_extract(given.value, f"$[{at}]") for at, name in enumerate(COLUMNS)}
    key = func.substr(bindparam("ids", type_=LargeBinary()), 16 * given.key + 1, 16)
    values = _values(messages, key, given.key + 1, columns)

    def parameters(common: dict[str, Any], ids: range, batch: Sequence[Columns]) -> Any:
        keys = b"".join(number.to_bytes(16, "big") for number in ids)
        return {**common, "ids": keys, "rows": to_json(batch).decode()}

    return insert(messages).from_select(list(values), select(*values.values())), parameters


def _insert_each(messages: Table, dialect: str) -> Insert:
    """On both: a statement for each message (DBAPI's ``executemany``), as SQLAlchemy does it."""
    names = [f"new_{name}" for name in COLUMNS]  # a column's own name is reserved by SQLAlchemy
    columns: dict[str, Any] = {
        name: bindparam(new, type_=Text()) for name, new in zip(COLUMNS, names, strict=True)
    }
    if dialect != "sqlite":
        columns["extra_data"] = cast(columns["extra_data"], JSON)
    key, nth = bindparam("new_id", type_=messages.c.id.type), bindparam("nth", type_=Integer())

    def parameters(common: dict[str, Any], ids: range, batch: Sequence[Columns]) -> Any:
        return [
            {
                **common,
                "new_id": UUID(int=number),
                "nth": nth,
                **dict(zip(names, texts, strict=True)),
            }
            for nth, (number, texts) in enumerate(zip(ids, batch, strict=True), 1)
        ]

    return insert(messages).values(_values(messages, key, nth, columns)), parameters


def _values(messages: Table, key: Any, nth: Any, columns: dict[str, Any]) -> dict[str, Any]:
    """Return what each column of a message is set to, given its key and its place in the batch."""
    m = messages.c
    now = bindparam("now", type_=m.created_at.type)
    return {
        "id": key,
        "agent_session_id": bindparam("key", type_=m.agent_session_id.type),
        "position": bindparam("before", type_=m.position.type) + nth,
        "created_at": now,
        "updated_at": now,
        **columns,
    }


def new_ids(count: int) -> range:
    """Return so many UUIDs of version 7, as numbers; each is greater than the one before.

    Keys in ascending order are appended to the end of an index; random ones change pages all
    over it. The first key has 73 random bits, and each further one adds 1.
    """
    now = time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    first = now << 80 | 7 << 76 | (random >> 64 & 0xFFF) << 64 | 2 << 62 | random & _BELOW_CARRY
    return range(first, first + count)


_BELOW_CARRY = 2**61 - 1
"""One random bit less, so that adding to the key never changes its variant."""
