"""The command: ``python -m openai_agents_session.database upgrade --url URL``.

Makes, changes and drops the shipped tables. The version is kept in a table
``openai_agents_session_version``, apart from the application's own migrations.
"""

from __future__ import annotations

import argparse
import os
import sys

from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError

from openai_agents_session.database._migrate import run
from openai_agents_session.database._urls import EXAMPLES, parsed_url

ACTIONS = {
    "upgrade": "make the tables, or bring them up to date",
    "downgrade": "drop the tables with all that is in them, or go back to REVISION",
    "current": "print the revision that the database is at",
    "check": "fail if the tables differ from the models",
}


def main(arguments: list[str] | None = None) -> None:
    """Run the command; an error ends it with a line and status 1."""
    options = _parser().parse_args(arguments)
    url = options.url or os.environ.get("DATABASE_URL")
    if not url:
        sys.exit("--url or the environment variable DATABASE_URL must name the database")
    try:
        _check(url)
        run(options.action, url, options.revision, options.user_table)
    # A driver that is not installed is none of SQLAlchemy's errors.
    except (CommandError, RuntimeError, SQLAlchemyError, OSError, ModuleNotFoundError) as error:
        sys.exit(f"{type(error).__name__}: {error}".partition("\n")[0])


def _check(url: str) -> None:
    """End the command for a URL that names no database to migrate, and say what does."""
    try:
        parsed = parsed_url(url)
    except ValueError as error:
        sys.exit(str(error))
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        sys.exit(
            "the database's url names no file, and a database in memory is gone when the command "
            f"ends; a url is like {EXAMPLES}"
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m openai_agents_session.database", description=__doc__.partition("\n")[2]
    )
    actions = parser.add_subparsers(dest="action", required=True)
    for action, what in ACTIONS.items():
        one = actions.add_parser(action, help=what)
        one.set_defaults(revision=None)
        one.add_argument("--url", help="such as sqlite+aiosqlite:///app.db; or DATABASE_URL")
        one.add_argument("--user-table", help="the application's own table of users")
        if action in ("upgrade", "downgrade"):
            one.add_argument("revision", nargs="?", help="where to, all the way without it")
    return parser


if __name__ == "__main__":
    main()
