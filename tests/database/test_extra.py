"""Without its drivers, the backend says what to install; the migration is in the package."""

from __future__ import annotations

from importlib.resources import files

import pytest

from tests.test_import import FINDER, imported, run


@pytest.mark.parametrize(
    ("name", "missing"),
    [("DatabaseSession", "advanced_alchemy"), ("AgentSessionService", "sqlalchemy")],
)
def test_a_missing_driver_names_its_extra(name: str, missing: str) -> None:
    """Either of them missing is the extra missing, since many have SQLAlchemy alone."""
    report = run(f"from openai_agents_session import {name}", before=FINDER.format(name=missing))

    assert report["error"] == "ImportError"
    assert report["name"] == missing
    assert report["message"] == (
        "DatabaseSession requires the 'database' extra. "
        "Install it with: pip install 'openai-agents-session[database]'"
    )


def test_it_imports_no_other_driver() -> None:
    """Neither Redis nor a database's driver is needed to import it."""
    report = run("from openai_agents_session import DatabaseSession")

    assert "error" not in report
    assert imported(report, "redis", "aiobotocore", "aiosqlite", "asyncpg") == []


def test_the_migration_is_in_the_package() -> None:
    """Its files are found as resources, from a wheel as well."""
    migrations = files("openai_agents_session.database") / "migrations"

    assert (migrations / "versions" / "oas_0001_conversations.py").is_file()
    assert (migrations / "env.py").is_file()
