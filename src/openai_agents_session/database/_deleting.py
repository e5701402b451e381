"""Deleting conversations with their messages, as units of work.

SQLite leaves the bytes of deleted rows in the file, unless ``PRAGMA secure_delete`` is on, which
depends on how it was built. Where it isn't, only ``VACUUM``, which writes the file anew, removes
them (SQLite's documentation of both).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, delete, func, select

from openai_agents_session.database._driver import XACT_ID
from openai_agents_session.database._statements import tables_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from openai_agents_session.database._driver import Transaction
    from openai_agents_session.database._listing import Conditions, Model

_ENOUGH = 100
"""So many keys tell whether a transaction was committed that deleted all of them."""

_ON = 1
"""What ``PRAGMA secure_delete`` says then; 2 is for a part of the file."""


async def delete_many(model: Model, conditions: Conditions, transaction: Transaction) -> int:
    """Delete conversations, however many there are, and return how many there were."""
    sessions, messages = tables_of(model)
    chosen, connection = select(sessions.c.id).where(*conditions), transaction.connection
    if transaction.dialect.name == "sqlite":  # cascades only with a PRAGMA
        await connection.execute(delete(messages).where(messages.c.agent_session_id.in_(chosen)))
        return (await connection.execute(delete(sessions).where(*conditions))).rowcount
    # Locking the rows first makes PostgreSQL check the conditions again for one that was
    # written to meanwhile. Locking them in order keeps two deletions from a deadlock.
    locked = chosen.order_by(sessions.c.id).with_for_update().cte("locked")
    each = delete(sessions).where(sessions.c.id == locked.c.id)
    deleted = (await connection.execute(each)).rowcount
    if deleted:
        transaction.xact_id = await connection.scalar(select(XACT_ID))
    return deleted


async def delete_counted(
    model: Model, conditions: Conditions, transaction: Transaction
) -> tuple[int, int]:
    """Delete conversations, of which there are not too many to hold their keys in memory.

    Returns:
        How many there were, and how many messages in them.
    """
    sessions, messages = tables_of(model)
    chosen, connection = select(sessions.c.id).where(*conditions), transaction.connection
    # With the rows locked, no message is added any more that the next statement would not see.
    keys = (await connection.scalars(chosen.order_by(sessions.c.id).with_for_update())).all()
    if not keys:
        return 0, 0
    if transaction.dialect.name == "postgresql":
        transaction.xact_id = await connection.scalar(select(XACT_ID))
        transaction.agrees = partial(_are_gone, model, keys[:_ENOUGH])
    in_them = messages.c.agent_session_id.in_(chosen)
    items = (await connection.execute(delete(messages).where(in_them))).rowcount
    return (await connection.execute(delete(sessions).where(*conditions))).rowcount, items


async def _are_gone(model: Model, keys: Sequence[Any], connection: AsyncConnection) -> bool:
    key = tables_of(model)[0].c.id
    return not await connection.scalar(select(func.count()).where(key.in_(keys)))


async def wipe(model: Model, transaction: Transaction) -> None:
    """Leave no bytes in a SQLite file of what was deleted; a unit that begins no transaction.

    On a connection that the application has passed on, nothing is done: its transaction is not
    ours to end.

    Raises:
        TimeoutError: a reader keeps some of them in the file of the write-ahead log.
        sqlalchemy.exc.OperationalError: the file stays locked.
    """
    passed_on = isinstance(transaction.session.get_bind(mapper=model), Connection)
    if transaction.dialect.name == "sqlite" and not passed_on:
        await transaction.connection.run_sync(_wipe)


def _wipe(connection: Connection) -> None:
    raw: Any = connection.connection.driver_connection
    if raw.in_transaction:  # an engine may begin one by itself
        connection.exec_driver_sql("COMMIT")
    if connection.exec_driver_sql("PRAGMA secure_delete").scalar() != _ON:
        connection.exec_driver_sql("VACUUM")
    busy, *_ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
    if busy:
        raise TimeoutError("the write-ahead log is in use")
