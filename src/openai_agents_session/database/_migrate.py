"""What the command does: the shipped migration, on a database of its own version table."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path

from alembic import command
from alembic.config import Config

HERE = Path(__file__).parent
OPTION = "openai_agents_session_user_table"

ALONE = "openai_agents_session.alone"
"""Among the configuration's attributes: whether no other process may migrate meanwhile."""


def configuration(url: str, user_table: str | None = None) -> Config:
    """Return what Alembic's commands take.

    Args:
        url: the database, with an asynchronous driver.
        user_table: the application's own table of users; None for the shipped one.
    """
    config = Config(stdout=sys.stdout)  # as it is now: the default is the one of the import
    config.set_main_option("script_location", str(HERE / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    if user_table is not None:
        config.set_main_option(OPTION, user_table)
    return config


def run(action: str, url: str, revision: str | None = None, user_table: str | None = None) -> None:
    """Run one of the command's actions; not inside of a running event loop.

    Of several processes that upgrade or downgrade, one does, and the others wait for it.

    Args:
        action: ``upgrade``, ``downgrade``, ``current`` or ``check``.
        url: as for ``configuration``.
        revision: where to; None for the newest, or for nothing with ``downgrade``.
        user_table: as for ``configuration``.
    """
    with suppress(RuntimeError):
        asyncio.get_running_loop()
        raise ValueError("the migration starts an event loop: run it where there is none")
    config = configuration(url, user_table)
    config.attributes[ALONE] = action in ("upgrade", "downgrade")
    if action == "upgrade":
        command.upgrade(config, revision or "head")
    elif action == "downgrade":
        command.downgrade(config, revision or "base")
    elif action == "check":
        command.check(config)
    else:
        command.current(config, verbose=False)
