"""The example's logins: what a flood of them costs, how they end, and what answers carry."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import sys
from collections.abc import Callable
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from types import ModuleType
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import func, select, update

from tests.litestar.example import ADA, EXAMPLE, SECRET
from tests.web.serving import serving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

Load = Callable[..., ModuleType]

OWASP = {2**17: 1, 2**16: 2, 2**15: 3, 2**14: 5, 2**13: 10}
"""The least p for each n, with r = 8: OWASP's Password Storage Cheat Sheet on scrypt."""


SCRYPT = hashlib.scrypt


def cheap(password: bytes, *, salt: bytes, **_: int) -> bytes:
    """Hash like scrypt, in no time."""
    return SCRYPT(password, salt=salt, n=2, r=8, p=1)


def loader(url: str, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Import the example anew, as a process that starts does, with a database and a setting."""
    monkeypatch.syspath_prepend(str(EXAMPLE.parent))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("JWT_SECRET", SECRET)
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setattr(hashlib, "scrypt", cheap)

    def load(logins: int = 1000) -> ModuleType:
        monkeypatch.setenv("LOGINS_A_MINUTE", str(logins))
        name = f"litestar_app_{uuid4().hex}"
        spec = importlib.util.spec_from_file_location(name, EXAMPLE)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def load(url: str, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load the example on each database."""
    return loader(url, monkeypatch)


@pytest.fixture
def load_here(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load it on a file, where the database makes no difference."""
    return loader(sqlite_url, monkeypatch)


@asynccontextmanager
async def ada_at(example: ModuleType) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of the example on a real server, logged in."""
    async with serving(example.app, uuid4()) as client:
        assert (await client.post("/register", json=ADA)).status_code in {204, 409}
        assert (await client.post("/login", json=ADA)).status_code == 204
        yield client


async def test_a_flood_of_logins_holds_no_connection(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While more passwords are hashed than there are connections, others read their own."""
    example = load()
    hashed, all_of_them, go_on = 0, asyncio.Event(), asyncio.Event()

    async def held(_password: str, _salt: bytes) -> str:
        nonlocal hashed
        hashed += 1
        if hashed == flood:
            all_of_them.set()
        await go_on.wait()
        return "no such hash"

    pool: Any = example.engine.pool
    flood = pool.size() + pool._max_overflow + 5
    async with ada_at(example) as ada:
        monkeypatch.setattr(example, "scrypt", held)
        async with httpx.AsyncClient(base_url=ada.base_url, timeout=60) as many:
            logins = [asyncio.create_task(many.post("/login", json=ADA)) for _ in range(flood)]
            try:
                # A pool that is empty lets them wait for 30 seconds.
                await asyncio.wait_for(all_of_them.wait(), 25)
                assert pool.checkedout() == 0
                assert (await ada.get("/agents/sessions")).status_code == 200
                assert not any(login.done() for login in logins)
            finally:
                go_on.set()
                answers = await asyncio.gather(*logins)
    assert {answered.status_code for answered in answers} == {401}


async def test_an_address_has_few_logins(load_here: Load) -> None:
    """More than the minute's are 429, before a password is hashed; all else goes on."""
    example = load_here(logins=4)
    async with ada_at(example) as ada:
        for path in ("/login", "/register"):
            assert (await ada.post(path, json={**ADA, "password": "x" * 8})).status_code in {
                401,
                409,
            }
        for path in ("/login", "/register"):
            refused = await ada.post(path, json=ADA)
            assert refused.status_code == 429
            assert refused.headers["ratelimit-remaining"] == "0"
            assert "set-cookie" not in refused.headers
        assert (await ada.get("/agents/sessions")).status_code == 200


async def test_attempts_are_forgotten(load_here: Load) -> None:
    """What the store in memory knows of addresses goes by the time, and does not pile up."""
    example = load_here()
    async with ada_at(example) as ada:
        await example.attempts.set("of an address long ago", "x", expires_in=60)
        kept = example.attempts._store["of an address long ago"]
        kept.expires_at = datetime(2000, 1, 1, tzinfo=timezone.utc)
        await ada.post("/login", json=ADA)

    assert "of an address long ago" not in example.attempts._store


async def test_a_token_ends_with_the_logout(load: Load) -> None:
    """A copy of it opens nothing any more, at no process; another login of the user goes on."""
    example = load()
    async with ada_at(example) as ada:
        copy = {"Authorization": f"Bearer {ada.cookies['token'].split()[-1]}"}
        async with httpx.AsyncClient(base_url=ada.base_url, timeout=60) as elsewhere:
            await elsewhere.post("/login", json=ADA)
            opened = httpx.AsyncClient(base_url=ada.base_url, timeout=60, headers=copy)
            async with opened as thief:  # who has no cookie
                assert (await thief.get("/agents/sessions")).status_code == 200

                assert (await ada.post("/logout")).status_code == 204

                for path in ("/agents/sessions", "/agents/sessions/a/messages"):
                    assert (await thief.get(path)).status_code == 401
            assert (await elsewhere.get("/agents/sessions")).status_code == 200

    again = load()
    async with serving(again.app, uuid4()) as client:
        assert (await client.get("/agents/sessions", headers=copy)).status_code == 401


async def test_ended_logins_do_not_pile_up(load_here: Load) -> None:
    """A logout takes out those that would have expired meanwhile."""
    example = load_here()
    ended = example.EndedLogin
    async with ada_at(example) as ada:
        await ada.post("/logout")
        async with example.database.get_session() as session, session.begin():
            long_ago = datetime(2000, 1, 1, tzinfo=timezone.utc)
            await session.execute(update(ended).values(expires_at=long_ago))
        await ada.post("/login", json=ADA)
        await ada.post("/logout")
        async with example.database.get_session() as session:
            kept = (await session.scalars(select(ended.expires_at))).all()
            users = await session.scalar(select(func.count()).select_from(example.User))

    assert len(kept) == 1
    assert kept[0].year > 2000
    assert users == 1


async def test_passwords_are_hashed_at_a_published_minimum(
    load_here: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cost and parallelism are one of the pairs that OWASP gives, or more."""
    example = load_here()
    asked: dict[str, Any] = {}

    def noted(password: bytes, **parameters: Any) -> bytes:
        asked.update(parameters)
        return cheap(password, **parameters)

    monkeypatch.setattr(hashlib, "scrypt", noted)

    await example.scrypt("a password", bytes(16))

    assert asked["r"] == 8
    assert asked["p"] >= OWASP[asked["n"]]
    await example.engine.dispose()


PRIVATE = [
    ("GET", "/agents/sessions", 200),
    ("GET", "/agents/sessions/list/messages", 200),
    ("POST", "/agents/sessions/list/chat/stream", 200),
    ("GET", "/agents/sessions/none/messages", 404),
    ("POST", "/agents/sessions/list/chat", 415),
    ("GET", "/", 200),
    ("GET", "/chat.js", 200),
    ("GET", "/nowhere", 404),
    ("GET", "/schema", 200),
    ("GET", "/schema/redoc", 200),
    ("GET", "/schema/openapi.json", 200),
    ("GET", "/schema/nowhere", 404),
    ("POST", "/logout", 204),
    ("GET", "/agents/sessions", 401),
]


async def test_the_document_is_of_the_application_alone(load_here: Load) -> None:
    """The routes that show it are not in it."""
    example = load_here()
    assert not [path for path in example.app.openapi_schema.paths if path.startswith("/schema")]
    await example.engine.dispose()


async def test_no_answer_is_kept_or_taken_for_another(load_here: Load) -> None:
    """Every one says no-store, nosniff and what may run; a script of others is in a sandbox."""
    example = load_here()
    async with ada_at(example) as ada:
        await ada.post("/agents/sessions/list/chat", json={"message": "Hi"})
        for method, path, status in PRIVATE:
            body = {"message": "Hi"} if path.endswith("stream") else None
            answered = await ada.request(method, path, json=body)
            told = answered.headers
            assert (path, answered.status_code) == (path, status)
            assert told["cache-control"] == "no-store"
            assert told["x-content-type-options"] == "nosniff"
            policy = told["content-security-policy"].split("; ")
            assert {"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"} <= {*policy}
            # Scripts of elsewhere are named as one file, and cannot act for who is logged in.
            scripts = [rule for rule in policy if rule.startswith("script-src")]
            assert all("*" not in rule for rule in scripts)
            assert ("https:" not in "".join(scripts)) or "sandbox allow-scripts" in policy
