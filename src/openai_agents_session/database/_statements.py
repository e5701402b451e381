"""The statements, built once for each pair of models; they only take parameters."""

from __future__ import annotations

import os
from functools import cache
from time import time_ns
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from uuid import UUID

from pydantic_core import to_json
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

from openai_agents_session.database._driver import NUMBER
from openai_agents_session.database._items import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from sqlalchemy.orm import Mapper

    from openai_agents_session.database._items import Columns
    from openai_agents_session.database.mixins import AgentSessionMixin


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

    Every statement names the conversation by ``:owner`` and ``:name``, or by the ``:key`` of a
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
        taken = (s.id, s.last_position, number.label("number"))

        self.find = select(s.id).where(mine)
        self.newest = (
            select(m.position, stored)
            # A subquery, and no join: then the index gives the newest in order, however long the
            # conversation is.
            .where(m.agent_session_id == self.find.scalar_subquery())
            .order_by(m.position.desc())
            .limit(bindparam("wanted"))
        )
        self.take = update(sessions).where(mine).values(touched).returning(*taken)
        """Locks the conversation's row, if there is one, and takes ``more`` positions."""
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
        self.make = (
            upsert(sessions)
            .values(row)
            .on_conflict_do_update(index_elements=[s.user_id, s.session_id], set_=touched)
            .returning(*taken)
        )
        """Like ``take``, and where there is no row it makes one."""

        in_session = m.agent_session_id == bindparam("key")
        last = select(m.id).where(in_session).order_by(m.position.desc()).limit(1).scalar_subquery()
        self.pop = delete(messages).where(m.id == last).returning(m.position, stored)
        self.clear = delete(messages).where(in_session)
        between = m.position.between(bindparam("first"), bindparam("last"))
        self.delete = delete(messages).where(in_session, between)
        here = (m.agent_session_id == s.id) & (m.position == bindparam("position"))
        self.at = (
            select(s.last_position, m.id.label("message"))
            .select_from(sessions.outerjoin(messages, here))
            .where(s.id == bindparam("key"))
        )

        # A default that the application computes is another one for each message, and a type of
        # key that is the application's own is for SQLAlchemy to write.
        others = [column for column in m if column.key not in _OURS]
        computed = any(column.default and column.default.is_callable for column in others)
        if computed or not getattr(m.id.type, "binary", False):
            self.insert = _insert_each(messages, dialect)
        elif dialect == "sqlite":
            self.insert = _insert_json(messages)
        else:
            self.insert = _insert_arrays(messages)

    def change(self, values: dict[str, Any]) -> Any:
        """Return an update of a row's own columns, by its key."""
        return update(self._sessions).where(self._sessions.c.id == bindparam("key")).values(values)


_OURS = {"id", "agent_session_id", "position", "created_at", "updated_at", *COLUMNS}


class Batch(NamedTuple):
    """Messages to insert."""

    key: Any
    """The conversation's."""
    before: int
    """The position that the first of them comes after."""
    now: datetime
    ids: range
    """Their own keys, as numbers."""
    columns: Sequence[Columns]


Insert: TypeAlias = "tuple[Any, Callable[[Batch], Any]]"
"""A statement, and what it takes for a batch."""


def _insert_arrays(messages: Table) -> Insert:
    """Insert a batch on PostgreSQL, where each of its columns is one array."""
    names = ("id", *COLUMNS)
    arrays = [bindparam(name, type_=postgresql.ARRAY(Text())) for name in names]
    table = func.unnest(*arrays).table_valued(*names, with_ordinality="nth")
    given = table.render_derived(name="given").c
    columns: dict[str, Any] = {name: given[name] for name in COLUMNS}
    columns["extra_data"] = cast(given.extra_data, JSON)
    key = cast(given.id, messages.c.id.type)

    def parameters(batch: Batch) -> dict[str, Any]:
        texts = map(list, zip(*batch.columns, strict=True))
        ids = [f"{number:032x}" for number in batch.ids]
        return {**_common(batch), "id": ids, **dict(zip(COLUMNS, texts, strict=True))}

    return _insert_from(messages, key, given.nth, columns), parameters


def _insert_json(messages: Table) -> Insert:
    """Insert a batch on SQLite, where it is one array of JSON, and its keys are bytes in a row."""
    table = func.json_each(bindparam("rows", type_=Text())).table_valued("key", "value")
    given = table.alias("given").c
    columns = {name: func.json_extract(given.value, f"$[{at}]") for at, name in enumerate(COLUMNS)}
    key = func.substr(bindparam("ids", type_=LargeBinary()), 16 * given.key + 1, 16)

    def parameters(batch: Batch) -> dict[str, Any]:
        ids = b"".join(number.to_bytes(16, "big") for number in batch.ids)
        return {**_common(batch), "ids": ids, "rows": to_json(batch.columns).decode()}

    return _insert_from(messages, key, given.key + 1, columns), parameters


def _insert_from(messages: Table, key: Any, nth: Any, columns: dict[str, Any]) -> Any:
    """Return the insert of messages that the database takes out of parameters for all of them."""
    m = messages.c
    now = bindparam("now", type_=m.created_at.type)
    values = {
        "id": key,
        "agent_session_id": bindparam("key", type_=m.agent_session_id.type),
        "position": bindparam("before", type_=m.position.type) + nth,
        "created_at": now,
        "updated_at": now,
        **columns,
    }
    return insert(messages).from_select(list(values), select(*values.values()))


def _common(batch: Batch) -> dict[str, Any]:
    return {"key": batch.key, "before": batch.before, "now": batch.now}


def _insert_each(messages: Table, dialect: str) -> Insert:
    """Insert a batch as SQLAlchemy does, with parameters for each message."""
    text: Any = bindparam("text", type_=Text())  # a parameter of the column's name would be JSON
    names = (*COLUMNS[:-1], "text")

    def parameters(batch: Batch) -> list[dict[str, Any]]:
        common = {"agent_session_id": batch.key, "created_at": batch.now, "updated_at": batch.now}
        return [
            {
                "id": UUID(int=number),
                "position": batch.before + nth,
                **common,
                **dict(zip(names, texts, strict=True)),
            }
            for nth, (number, texts) in enumerate(zip(batch.ids, batch.columns, strict=True), 1)
        ]

    extra_data = text if dialect == "sqlite" else cast(text, JSON)
    return insert(messages).values(extra_data=extra_data), parameters


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
