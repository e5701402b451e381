"""Runs the shipped migration, on a version table of its own."""

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
"""The attribute of the configuration that keeps other processes from migrating at the same time."""

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
    config = Config(stdout=sys.stdout)  # as it is now: the default is the one of the import
    config.set_main_option("script_location", str(HERE / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    if user_table is not None:
        config.set_main_option(OPTION, user_table)
    config.attributes[ALONE] = action in _TARGETS
    arguments = [revision or _TARGETS[action]] if action in _TARGETS else []
    getattr(command, action)(config, *arguments)
