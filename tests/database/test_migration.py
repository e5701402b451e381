"""The shipped migration, up and down and compared with the models, on both databases."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from openai_agents_session import DatabaseSession
from openai_agents_session.database import Base, _migrate
from openai_agents_session.database.__main__ import main
from tests.database.conftest import new_user
from tests.interpreters import run_python

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

OURS = {"agent_session", "session_message", "agent_session_lease"}
TABLES = {*OURS, "user_account"}
VERSION_TABLE = "openai_agents_session_version"
PASSWORD = "nobody-must-see-this"


def with_connection(url: str, work: Any) -> Any:
    """Run a function on a synchronous connection, outside of any event loop."""

    async def run() -> Any:
        engine = create_async_engine(url)
        try:
            async with engine.begin() as connection:
                return await connection.run_sync(work)
        finally:
            await engine.dispose()

    return asyncio.run(run())


def tables(url: str) -> set[str]:
    """The names of the tables there are."""
    return set(with_connection(url, lambda connection: sa.inspect(connection).get_table_names()))


def execute(url: str, statement: str) -> None:
    """Run one statement."""
    with_connection(url, lambda connection: connection.execute(sa.text(statement)))


def test_up_and_down(url: str) -> None:
    """An upgrade makes the tables as the models have them, a downgrade leaves nothing of them."""
    assert tables(url) == set()

    main(["upgrade", "--url", url])

    assert tables(url) == TABLES | {VERSION_TABLE}
    main(["check", "--url", url])
    main(["upgrade", "--url", url])  # again: nothing to do
    main(["downgrade", "--url", url])
    assert tables(url) == {VERSION_TABLE}
    main(["upgrade", "--url", url])
    main(["check", "--url", url])


def test_a_session_works_on_migrated_tables(url: str) -> None:
    """What the migration makes is what a session needs, cascades included."""

    async def converse() -> None:
        engine = create_async_engine(url)
        maker = async_sessionmaker(engine)
        session = DatabaseSession("s", await new_user(maker), maker)
        await session.add_items([{"role": "user", "content": "Hello"}])
        assert await session.get_items() == [{"role": "user", "content": "Hello"}]
        async with maker() as db, db.begin():
            if engine.dialect.name == "sqlite":  # where it is off by default
                await db.execute(sa.text("PRAGMA foreign_keys = ON"))
            await db.execute(sa.text("DELETE FROM user_account"))
            left = await db.scalar(sa.text("SELECT count(*) FROM session_message"))
        assert left == 0
        await engine.dispose()

    main(["upgrade", "--url", url])
    asyncio.run(converse())


def structure(connection: sa.Connection) -> dict[str, Any]:
    """What the database says of the tables: columns, keys and indexes."""
    found = sa.inspect(connection)
    return {
        table: (
            [(column["name"], str(column["type"]), column["nullable"]) for column in columns],
            found.get_pk_constraint(table),
            sorted(map(str, found.get_indexes(table))),
        )
        for table in TABLES
        for columns in [sorted(found.get_columns(table), key=lambda column: column["name"])]
    }


def test_the_migration_makes_what_the_models_make(url: str) -> None:
    """Whoever calls create_all has the same tables."""
    main(["upgrade", "--url", url])
    migrated = with_connection(url, structure)
    main(["downgrade", "--url", url])

    with_connection(url, Base.metadata.create_all)

    assert with_connection(url, structure) == migrated


def test_leases_come_with_the_second_revision(url: str) -> None:
    """Conversations of the first one stay as they are, on the way there and back."""
    item: Any = {"role": "user", "content": "Hello"}

    async def converse(owner: UUID | None, *, leased: bool) -> UUID:
        engine = create_async_engine(url)
        maker = async_sessionmaker(engine)
        owner = owner or await new_user(maker)
        session = DatabaseSession("s", owner, maker)
        if leased:
            async with session.lease(0) as held:
                await held.add_items([item])
        else:
            await session.add_items([item])
        assert set(map(str, await session.get_items())) == {str(item)}
        await engine.dispose()
        return owner

    main(["upgrade", "oas_0001", "--url", url])
    assert tables(url) == TABLES - {"agent_session_lease"} | {VERSION_TABLE}
    owner = asyncio.run(converse(None, leased=False))

    main(["upgrade", "--url", url])
    asyncio.run(converse(owner, leased=True))

    main(["downgrade", "oas_0001", "--url", url])
    assert tables(url) == TABLES - {"agent_session_lease"} | {VERSION_TABLE}
    asyncio.run(converse(owner, leased=False))


def test_a_difference_is_found(url: str) -> None:
    """The check is one: a column that the models do not have makes it fail."""
    main(["upgrade", "--url", url])
    execute(url, "ALTER TABLE agent_session ADD COLUMN more INTEGER")

    with pytest.raises(SystemExit, match="more"):
        main(["check", "--url", url])


def test_the_table_of_users_may_be_the_applications(url: str) -> None:
    """Named, the application's own table is referred to, and survives a downgrade."""
    key = "UUID" if "postgres" in url else "BINARY(16)"
    execute(url, f"CREATE TABLE account (id {key} PRIMARY KEY, email TEXT)")

    main(["upgrade", "--url", url, "--user-table", "account"])

    assert tables(url) == {"account", *OURS, VERSION_TABLE}
    [foreign_key] = with_connection(
        url, lambda connection: sa.inspect(connection).get_foreign_keys("agent_session")
    )
    assert foreign_key["referred_table"] == "account"
    assert foreign_key["options"]["ondelete"] == "CASCADE"
    main(["check", "--url", url, "--user-table", "account"])
    main(["downgrade", "--url", url, "--user-table", "account"])
    assert tables(url) == {"account", VERSION_TABLE}


def test_a_table_of_users_is_not_taken_over(url: str) -> None:
    """A user_account that is there already is left alone, and the option is named."""
    execute(url, "CREATE TABLE user_account (id INTEGER PRIMARY KEY, email TEXT)")

    with pytest.raises(SystemExit, match="--user-table user_account"):
        main(["upgrade", "--url", url])

    assert tables(url) <= {"user_account", VERSION_TABLE}
    main(["upgrade", "--url", url, "--user-table", "user_account"])
    with pytest.raises(SystemExit, match="is not dropped"):
        main(["downgrade", "--url", url])
    assert "user_account" in tables(url)


def test_the_key_of_the_users_keeps_its_type(url: str) -> None:
    """Users whose keys are numbers have conversations that refer to them by number."""
    execute(url, "CREATE TABLE account (id INTEGER PRIMARY KEY)")

    main(["upgrade", "--url", url, "--user-table", "account"])

    for table in ("agent_session", "agent_session_lease"):
        columns = with_connection(url, lambda one: sa.inspect(one).get_columns(table))  # noqa: B023 - called at once
        [user_id] = [column for column in columns if column["name"] == "user_id"]
        assert isinstance(user_id["type"], sa.Integer)
    main(["check", "--url", url, "--user-table", "account"])
    execute(url, "ALTER TABLE session_message ADD COLUMN more INTEGER")
    with pytest.raises(SystemExit, match="more"):
        main(["check", "--url", url, "--user-table", "account"])


@pytest.mark.parametrize(("columns", "said"), [("(number INTEGER)", "column id"), (None, "users")])
def test_a_table_of_users_that_cannot_be_referred_to(
    url: str, columns: str | None, said: str
) -> None:
    """What is missing is named, and nothing is made."""
    if columns:
        execute(url, f"CREATE TABLE users {columns}")

    with pytest.raises(SystemExit, match=said) as ended:
        main(["upgrade", "--url", url, "--user-table", "users"])

    assert len(str(ended.value.code).splitlines()) == 1
    assert tables(url) <= {"users", VERSION_TABLE}


def test_current_prints_the_revision(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The command says where a database is."""
    main(["upgrade", "--url", url])
    capsys.readouterr()

    main(["current", "--url", url])

    assert "oas_0002 (head)" in capsys.readouterr().out


def test_an_application_includes_the_versions(sqlite_url: str, tmp_path: Path) -> None:
    """With version_locations, an application's Alembic runs the migration with its own."""
    scripts = tmp_path / "migrations"
    (scripts / "versions").mkdir(parents=True)
    (scripts / "env.py").write_text(ENV)
    (scripts / "versions" / "app_0001.py").write_text(REVISION)
    ini = tmp_path / "alembic.ini"
    ini.write_text(
        "[alembic]\n"
        f"script_location = {scripts}\n"
        f"sqlalchemy.url = {sqlite_url.replace('+aiosqlite', '')}\n"
        "path_separator = newline\n"
        "version_locations =\n"
        f"    {scripts / 'versions'}\n"
        "    openai_agents_session.database:migrations/versions\n"
        "openai_agents_session_user_table = account\n"
    )
    config = Config(str(ini))

    command.upgrade(config, "app@head")
    command.upgrade(config, "openai_agents_session@head")

    assert tables(sqlite_url) == {"account", *OURS, "alembic_version"}
    command.downgrade(config, "openai_agents_session@base")
    assert tables(sqlite_url) == {"account", "alembic_version"}


ENV = """
from alembic import context
from sqlalchemy import create_engine

engine = create_engine(context.config.get_main_option("sqlalchemy.url"))
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
"""

REVISION = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "app_0001", None, ("app",), None

def upgrade():
    op.create_table("account", sa.Column("id", sa.Uuid, primary_key=True))

def downgrade():
    op.drop_table("account")
"""


def test_the_module_is_a_command(sqlite_url: str) -> None:
    """Run as a module, it works and says what is missing."""
    module = ["-m", "openai_agents_session.database"]

    done = run_python(*module, "upgrade", "--url", sqlite_url)
    assert (done.returncode, done.stderr) == (0, "")
    assert tables(sqlite_url) >= TABLES
    done = run_python(*module, "upgrade", env={})
    assert done.returncode == 1
    assert "--url or the environment variable DATABASE_URL" in done.stderr


def assert_one_line(url: str, said: str) -> None:
    """The command ends with status 1 and a line, which keeps the password."""
    with pytest.raises(SystemExit, match=said) as ended:
        main(["upgrade", "--url", url])

    assert isinstance(ended.value.code, str)  # Python prints it, and the status is 1
    assert PASSWORD not in ended.value.code
    assert len(ended.value.code.splitlines()) == 1, ended.value.code


def test_a_database_that_cannot_be_reached_is_one_line() -> None:
    """What is wrong is said without a traceback, and without the password."""
    assert_one_line(f"postgresql+asyncpg://me:{PASSWORD}@127.0.0.1:1/app", "Connect call failed")


def test_a_database_that_is_not_there_is_one_line(postgres_url: str) -> None:
    """Neither is one that the server does not have, or has for others."""
    url = postgres_url.replace("@", f":{PASSWORD}@")
    assert_one_line(f"{url}_more", "_more")
    assert_one_line(url.replace("//tester", "//somebody"), "somebody")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (PASSWORD, "SQLAlchemy cannot parse the url"),
        (f"nothing://me:{PASSWORD}@host/app", "nothing"),
        (f"postgresql+asyncpg://me:{PASSWORD}@host:{PASSWORD}/app", "port .* is not a number"),
        ("sqlite:///", r"sqlite is no asynchronous driver.* sqlite\+aiosqlite:///app.db"),
        (f"postgresql+psycopg2://me:{PASSWORD}@host/app", "psycopg2 is no asynchronous driver"),
        ("sqlite+aiosqlite://", "names no file"),
        ("sqlite+aiosqlite:///", "names no file"),
        ("sqlite+aiosqlite:///:memory:", "names no file"),
        (f"mysql+aiomysql://me:{PASSWORD}@host/app", "No module named 'aiomysql'"),
    ],
)
def test_a_url_of_no_use_is_one_line(url: str, said: str) -> None:
    """What is wrong is said, and the URL is not repeated."""
    assert_one_line(url, said)


async def test_a_running_event_loop_is_refused(sqlite_url: str) -> None:
    """It is said before anything is begun that nobody would wait for."""
    with pytest.raises(ValueError, match="event loop"):
        _migrate.run("upgrade", sqlite_url)
    gc.collect()  # would warn of a coroutine that was never awaited


def test_an_unknown_revision_is_one_line(sqlite_url: str) -> None:
    """What Alembic refuses is said without a traceback."""
    with pytest.raises(SystemExit, match="nowhere"):
        main(["upgrade", "nowhere", "--url", sqlite_url])
    with pytest.raises(CommandError):
        _migrate.run("upgrade", sqlite_url, "nowhere")
