#!/usr/bin/env python3
"""See that the installed package offers what its extra promises, and nothing it does not.

Usage: ``python -I .ci/smoke.py [EXTRA]``, with the package and that extra installed.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from importlib import import_module
from importlib.metadata import version
from importlib.resources import files
from typing import Any

HEAVY = ("agents", "redis", "aiobotocore", "sqlalchemy", "pydantic")
BACKENDS = {
    "RedisSession": "redis",
    "DynamoDBSession": "dynamodb",
    "DatabaseSession": "database",
    "AgentSessionService": "database",
}


def main(extra: str) -> None:
    """Check the package that this interpreter imports."""
    package = import_module("openai_agents_session")
    root = files(package)
    if "site-packages" not in str(root):
        raise SystemExit(f"imported from {root}: not the installed package")
    loaded = [name for name in HEAVY if name in sys.modules]
    if loaded:
        raise SystemExit(f"import openai_agents_session imported {', '.join(loaded)}")
    if not (root / "py.typed").is_file():
        raise SystemExit("py.typed is missing: type checkers would ignore the annotations")

    for name, needed in BACKENDS.items():
        if extra not in (needed, "all"):
            refused(package, name, needed)
        elif needed == "redis":
            session = package.RedisSession.from_url("smoke", "redis://localhost:6379", ttl=60)
            scripts = sorted(path.name for path in (root / "lua").iterdir())
            if session.session_id != "smoke" or not scripts:
                raise SystemExit(f"not a working session, or no scripts: {session!r}, {scripts}")
        elif needed == "dynamodb":
            asyncio.run(on_dynamodb(package))
        else:
            asyncio.run(on_sqlite(package))
    print(f"openai-agents-session {version('openai-agents-session')} [{extra or 'no extra'}]: ok")


def refused(package: Any, name: str, extra: str) -> None:
    """See that a session whose driver is not installed says which extra it requires."""
    expected = (
        f"{name} requires the '{extra}' extra. "
        f"Install it with: pip install 'openai-agents-session[{extra}]'"
    )
    try:
        getattr(package, name)
    except ImportError as error:
        if str(error) != expected:
            raise SystemExit(f"a missing extra was reported as: {error}") from error
    else:
        raise SystemExit(f"{name} was importable without its extra")


async def on_dynamodb(package: Any) -> None:
    """Make a session on a client, which connects to nothing."""
    driver = import_module("aiobotocore.session").get_session()
    async with driver.create_client("dynamodb", region_name="eu-central-1") as client:
        session = package.DynamoDBSession("smoke", client, "agent_sessions", ttl_seconds=60)
        if session.session_id != "smoke":
            raise SystemExit(f"not a working session: {session!r}")


async def on_sqlite(package: Any) -> None:
    """Migrate a database in a directory that goes away, and keep a conversation there."""
    sqlalchemy = import_module("sqlalchemy.ext.asyncio")
    user = import_module("openai_agents_session.database").User
    item = {"role": "user", "content": "Hello"}
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite+aiosqlite:///{directory}/smoke.db"
        command = [sys.executable, "-I", "-m", "openai_agents_session.database", "upgrade"]
        process = await asyncio.create_subprocess_exec(*command, "--url", url)
        if await process.wait():
            raise SystemExit("the migration failed")
        engine = sqlalchemy.create_async_engine(url)
        maker = sqlalchemy.async_sessionmaker(engine, expire_on_commit=False)
        async with maker() as db, db.begin():
            db.add(owner := user())
        session = package.DatabaseSession("smoke", owner.id, maker)
        await session.add_items([item])
        items = await session.get_items()
        async with maker() as db:
            total = await package.AgentSessionService(db).count_for_user(owner.id)
        await engine.dispose()
    if items != [item] or total != 1:
        raise SystemExit(f"not a working session: {items}, {total} conversations")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
