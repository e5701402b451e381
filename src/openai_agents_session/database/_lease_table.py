"""The table of the leases, beside each table of conversations.

It refers neither to the conversations nor to the users: a lease may be there before either. So
nothing cascades to it.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BLANK_SCHEMA,
    BigInteger,
    Column,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    event,
    literal_column,
)

from openai_agents_session.database.types import SessionKey

MAX_HOLDER = 64
"""How many characters the name of a holder may have."""

NOW = {
    "postgresql": literal_column(
        "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)", BigInteger
    ),
    "sqlite": literal_column(
        "CAST(round((julianday('now') - 2440587.5) * 86400000) AS bigint)", BigInteger
    ),
}
"""The database's clock: milliseconds since 1970. On PostgreSQL it goes on in a transaction."""

_untyped: list[tuple[Table, Table]] = []
"""Tables of conversations whose users' table is not there yet, and those of their leases."""


def lease_table_of(sessions: Table) -> Table:
    """Return the table of the leases on conversations; make it if the metadata has none.

    Its columns beside the key: who holds the lease, until when, and who waits for it. Times are
    milliseconds since 1970 by the database's clock.
    """
    name = f"{sessions.name}_lease"
    found = sessions.metadata.tables.get(f"{sessions.schema}.{name}" if sessions.schema else name)
    if found is not None:
        return found
    leases = Table(
        name,
        sessions.metadata,
        Column("user_id", sessions.c.user_id.type, nullable=False, autoincrement=False),
        Column("session_id", SessionKey(), nullable=False),
        Column("holder", String(MAX_HOLDER), nullable=False),
        Column("until", BigInteger, nullable=False),
        Column("waiting", Text, nullable=False),
        PrimaryKeyConstraint("user_id", "session_id", name=f"pk_{name}"),
        schema=sessions.schema or BLANK_SCHEMA,
    )
    _untyped.append((sessions, leases))
    _take_types()
    return leases


def _take_types() -> None:
    """Give the users' keys their type, which SQLAlchemy learns from the users' table."""
    for both in [*_untyped]:
        kind = both[0].c.user_id.type
        if not kind._isnull:
            both[1].c.user_id.type = kind
            _untyped.remove(both)


@event.listens_for(Table, "after_parent_attach")
def _learn(_: Table, __: MetaData) -> None:
    if _untyped:
        _take_types()


def add_lease_table(mapper: Any, _: type[Any]) -> None:
    """Make the table for a model that is being mapped; a listener of SQLAlchemy's."""
    if mapper.inherits is None and isinstance(mapper.local_table, Table):
        lease_table_of(mapper.local_table)
