#!/usr/bin/env python3
"""See that the installed package offers what its extra promises, and nothing it does not.

Usage: ``python -I .ci/smoke.py [EXTRA]``, with the package and that extra installed.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

HEAVY = ("agents", "redis", "aiobotocore", "sqlalchemy", "litestar", "fastapi", "pydantic")
BACKENDS = {
    "RedisSession": "redis",
    "DynamoDBSession": "dynamodb",
    "DatabaseSession": "database",
}
ALSO = {
    "litestar": ("database",),
    "all": ("redis", "dynamodb", "database", "litestar", "fastapi"),
}
"""What else an extra installs."""


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

    installed = {extra, *ALSO.get(extra, ())}
    for name, needed in BACKENDS.items():
        if needed not in installed:
            refused(name, needed, lambda name=name: getattr(package, name))
            refused(
                name, needed, lambda needed=needed: import_module(f"{package.__name__}.{needed}")
            )
        elif needed == "redis":
            session = package.RedisSession.from_url("smoke", "redis://localhost:6379", ttl=60)
            scripts = sorted(path.name for path in (root / "redis" / "lua").iterdir())
            if session.session_id != "smoke" or not scripts:
                raise SystemExit(f"not a working session, or no scripts: {session!r}, {scripts}")
        elif needed == "dynamodb":
            asyncio.run(on_dynamodb(package))
        else:
            asyncio.run(on_sqlite(package))
    check_web(package.__name__, installed)
    print(f"openai-agents-session {package.__version__} [{extra or 'no extra'}]: ok")


def check_web(package: str, installed: set[str]) -> None:
    """Chat over HTTP where there is a web framework, and see that else its extra is named."""
    for framework in ("litestar", "fastapi"):
        web = f"{package}.{framework}"
        if framework not in installed:
            refused(web, framework, lambda web=web: import_module(web))
        elif framework == "litestar":
            asyncio.run(over_http(web))
        else:
            import_module(web)


def refused(name: str, extra: str, use: Callable[[], Any]) -> None:
    """See that what is not installed says which extra it requires."""
    expected = (
        f"{name} requires the '{extra}' extra. "
        f"Install it with: pip install 'openai-agents-session[{extra}]'"
    )
    try:
        use()
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
    """Keep a conversation in a SQLite file."""
    sqlalchemy = import_module("sqlalchemy.ext.asyncio")
    item = {"role": "user", "content": "Hello"}
    async with migrated() as (url, owner):
        engine = sqlalchemy.create_async_engine(url)
        maker = sqlalchemy.async_sessionmaker(engine, expire_on_commit=False)
        session = package.DatabaseSession("smoke", owner, maker)
        await session.add_items([item])
        items = await session.get_items()
        async with maker() as db:
            total = await package.AgentSessionService(db).count_for_user(owner)
        await engine.dispose()
    if items != [item] or total != 1:
        raise SystemExit(f"not a working session: {items}, {total} conversations")


async def over_http(name: str) -> None:
    """Chat with an application in this process, once as nobody and once as a user."""
    web, litestar, di, clients, agents, models = map(
        import_module,
        (name, "litestar", "litestar.di", "litestar.testing", "agents", "agents.testing"),
    )
    agents.set_tracing_disabled(True)  # there is no network to send traces to
    answers = models.ScriptedModel([[models.assistant_message("Hello Ada.")]])
    agent = agents.Agent(name="Assistant", model=answers)
    path, message = "/agents/sessions/smoke/chat", {"message": "I am Ada."}
    async with migrated() as (url, owner):
        for user, expected in (
            (None, (401, None)),
            (di.Provide(lambda: owner, sync_to_thread=False), (200, "Hello Ada.")),
        ):
            plugin = web.AgentSessionsPlugin(agent, url, user_id=user)
            app = litestar.Litestar(plugins=[plugin], logging_config=None)
            async with clients.AsyncTestClient(app) as client:
                said = await client.post(path, json=message)
            if (said.status_code, said.json().get("response")) != expected:
                raise SystemExit(f"not a working application: {said.status_code} {said.text}")


@asynccontextmanager
async def migrated() -> AsyncGenerator[tuple[str, Any]]:
    """Yield the URL of a migrated database in a directory that goes away, and a user's key."""
    sqlalchemy = import_module("sqlalchemy.ext.asyncio")
    user = import_module("openai_agents_session.database").User
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite+aiosqlite:///{directory}/smoke.db"
        command = [sys.executable, "-I", "-m", "openai_agents_session.database", "upgrade"]
        process = await asyncio.create_subprocess_exec(*command, "--url", url)
        if await process.wait():
            raise SystemExit("the migration failed")
        engine = sqlalchemy.create_async_engine(url)
        async with sqlalchemy.AsyncSession(engine, expire_on_commit=False) as db, db.begin():
            db.add(owner := user())
        await engine.dispose()
        yield url, owner.id


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
