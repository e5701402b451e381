"""Runs the migration alone, on the database that the command named."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

from alembic import context
from sqlalchemy import Connection, engine_from_config, pool
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from openai_agents_session.database._migrate import ALONE, CONNECTION, OPTION, VERSION_TABLE
from openai_agents_session.database.autogenerate import compare_type
from openai_agents_session.database.models import Base, User

LOCK = 0x6F61735F6D696772
"""The advisory lock of PostgreSQL that a migration takes, one for each database: "oas_migr"."""

SQLITE_WAITS = 60_000
"""Milliseconds to wait for whoever writes to the file."""


def _is_ours(what: Any, name: str | None, kind: str, *_: object) -> bool:
    """Leave out what the application has its own way: its users, and a key of theirs."""
    if context.config.get_main_option(OPTION) is None:
        return True
    if kind == "foreign_key_constraint":
        return what.column_keys != ["user_id"]
    return (kind, name) not in (("table", User.__tablename__), ("column", "user_id"))


def _wait_for_others(connection: Connection) -> None:
    """Let one process alone migrate; those that waited then see what it has made.

    The lock goes with the transaction, which is begun here and so not Alembic's to end.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
    elif CONNECTION not in context.config.attributes:  # where it has begun already
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {SQLITE_WAITS}")
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _migrate(connection: Connection) -> None:
    if context.config.attributes.get(ALONE):
        _wait_for_others(connection)
    own = set(Base.metadata.tables)
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        version_table=VERSION_TABLE,
        compare_type=compare_type,
        include_object=_is_ours,
        # The rest of the database is the application's, and no difference.
        include_name=lambda name, kind, _: kind != "table" or name in own,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


async def _run() -> None:
    section = context.config.get_section(context.config.config_ini_section, {})
    engine = AsyncEngine(
        engine_from_config(section, prefix="sqlalchemy.", poolclass=pool.NullPool, _is_async=True)
    )
    try:
        async with aclosing(await _connect(engine)) as connection:
            await connection.run_sync(_migrate)
            await connection.commit()
    finally:
        await engine.dispose()


async def _connect(engine: AsyncEngine) -> AsyncConnection:
    try:
        return await engine.connect()
    except (SQLAlchemyError, OSError):
        raise
    except Exception as error:
        # SQLAlchemy does not know each of a driver's errors: some of asyncpg's come as they are.
        raise ConnectionError(f"no connection: {error}") from error


if CONNECTION in context.config.attributes:
    _migrate(context.config.attributes[CONNECTION])
else:
    asyncio.run(_run())
