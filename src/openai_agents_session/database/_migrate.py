"""Runs the shipped migration, on a version table of its own: as a command, and for a store."""

from __future__ import annotations

import asyncio
import sys
import threading
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

from openai_agents_session.database.models import AgentSession, SessionMessage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from sqlalchemy import Connection

HERE = Path(__file__).parent
OPTION = "openai_agents_session_user_table"

ALONE = "openai_agents_session.alone"
"""The attribute of the configuration that keeps other processes from migrating at the same time."""

CONNECTION = "openai_agents_session.connection"
"""The attribute that has the connection to migrate on, in a transaction of its owner's."""

VERSION_TABLE = "openai_agents_session_version"
"""Not ``alembic_version``, which is the application's."""

_lock = threading.Lock()
"""Held while a migration runs in an event loop: Alembic's context is one for the process."""

_TARGETS = {"upgrade": "head", "downgrade": "base"}


def run(action: str, url: str, revision: str | None = None, user_table: str | None = None) -> None:
    """Run one of Alembic's commands; not inside of a running event loop.

    Of several processes that upgrade or downgrade, one does, and the others wait for it.

    Args:
        action: ``upgrade``, ``downgrade``, ``current`` or ``check``.
        url: the database, with an asynchronous driver.
        revision: the target of an upgrade or a downgrade; None goes all the way.
        user_table: the application's own table of users; None for the shipped one.
    """
    with suppress(RuntimeError):
        asyncio.get_running_loop()
        raise ValueError("the migration starts an event loop: run it where there is none")
    config = _config()
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    if user_table is not None:
        config.set_main_option(OPTION, user_table)
    config.attributes[ALONE] = action in _TARGETS
    arguments = [revision or _TARGETS[action]] if action in _TARGETS else []
    getattr(command, action)(config, *arguments)


def is_needed(connection: Connection) -> bool:
    """Whether the shipped tables are missing, or older than this version's.

    Tables that something else has made, such as the application's own migrations, are not.
    """
    options = {"version_table": VERSION_TABLE}
    current = MigrationContext.configure(connection, opts=options).get_current_revision()
    if current is not None:
        return current != ScriptDirectory.from_config(_config()).get_current_head()
    ours = {AgentSession.__tablename__, SessionMessage.__tablename__}
    return not ours <= set(inspect(connection).get_table_names())


def upgrade(connection: Connection) -> None:
    """Migrate on a connection, as the command does. ``alone`` must be entered."""
    config = _config()
    config.attributes.update({CONNECTION: connection, ALONE: True})
    command.upgrade(config, "head")


@asynccontextmanager
async def alone() -> AsyncGenerator[None]:
    """Let one migration at a time run in this process, whatever its event loop."""
    while not _lock.acquire(blocking=False):  # noqa: ASYNC110 - threads have no event together
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        _lock.release()


def _config() -> Config:
    config = Config(stdout=sys.stdout)  # as it is now: the default is the one of the import
    config.set_main_option("script_location", str(HERE / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
