"""The example application, on a real server, over HTTP."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import httpx
import jwt
import pytest

from tests.interpreters import run_python
from tests.litestar.example import ADA, BOB, EXAMPLE, SECRET, data, logged_in, running
from tests.shares import share_of
from tests.web.serving import events


def use(site: str) -> None:
    """Log in, talk, and see what is kept, and for whom."""
    with logged_in(site, ADA) as ada, logged_in(site, BOB) as bob:
        said = ada.post("/agents/sessions/list/chat", json={"message": "Add a todo: Bread"})
        assert said.json()["response"] == "I looked it up: Bread is on your list."
        streamed = ada.post(
            "/agents/sessions/list/chat/stream", json={"message": "What did I say first?"}
        )
        assert streamed.headers["content-type"].startswith("text/event-stream")
        told = events(streamed.text)
        answer = 'The first thing you said was: "Add a todo: Bread"'
        assert "".join(data["text"] for name, data in told if name == "delta") == answer
        assert told[-1] == ("done", {"response": answer, "session_id": "list"})
        assert [m["role"] for m in ada.get("/agents/sessions/list/messages").json()] == [
            *("user", "assistant", "tool", "assistant"),
            *("user", "assistant"),
        ]

        assert bob.get("/agents/sessions").json()["items"] == []
        assert bob.get("/agents/sessions/list/messages").status_code == 404
        seen = bob.post("/agents/sessions/list/chat", json={"message": "list my todos"})
        assert "Bread" not in seen.text


def test_it_works_on_sqlite(tmp_path: Path) -> None:
    """Two users, and what one of them said is there after the server was started again."""
    with running(tmp_path, JWT_SECRET="x" * 32) as site:
        use(site)
        assert data(tmp_path).exists()
        assert {path.name for path in tmp_path.iterdir()} == {"log", data(tmp_path).parent.name}
        with logged_in(site, ADA) as ada:
            cookies = dict(ada.cookies)
    with (
        running(tmp_path, JWT_SECRET="x" * 32) as site,
        httpx.Client(base_url=site, cookies=cookies) as ada,
    ):
        assert len(ada.get("/agents/sessions/list/messages").json()) == 6


def test_it_works_on_postgresql(tmp_path: Path, postgres_url: str) -> None:
    """The same, where ``DATABASE_URL`` says."""
    with running(tmp_path, DATABASE_URL=postgres_url) as site:
        use(site)
    assert not data(tmp_path).exists()


@pytest.mark.parametrize("session_id", ["%2e", "a%20b", "ü🙂", "..", "null\x00", "a?b#c&d=e"])
def test_an_id_may_be_any_text(site: str, session_id: str) -> None:
    """What a real server makes of a path is the id that was meant."""
    path = f"/agents/sessions/{quote(session_id, safe='').replace('.', '%2E')}"
    with logged_in(site, ADA) as ada:
        said = ada.post(f"{path}/chat", json={"message": "Hi"})
        assert said.json()["session_id"] == session_id
        assert ada.delete(path).status_code == 204


def test_a_login_needs_the_password(site: str) -> None:
    """A wrong password, an unknown name, no cookie and a forged one are all 401."""
    with logged_in(site, ADA), httpx.Client(base_url=site, timeout=60) as nobody:
        for wrong in ({**ADA, "password": "x" * 8}, {**ADA, "name": "ada2"}):
            assert nobody.post("/login", json=wrong).status_code == 401
        assert nobody.get("/agents/sessions").status_code == 401
        nobody.cookies.set("token", "forged")
        assert nobody.get("/agents/sessions").status_code == 401


def bearer(site: str, sub: str, *, age: timedelta = timedelta(), named: bool = True) -> int:
    """The answer to a request with a token that the application's secret has signed."""
    made = datetime.now(timezone.utc) - age
    claims = {"sub": sub, "iat": made, "exp": made + timedelta(hours=1), "jti": uuid4().hex}
    if not named:
        del claims["jti"]
    headers = {"Authorization": f"Bearer {jwt.encode(claims, SECRET, 'HS256')}"}
    return httpx.get(f"{site}/agents/sessions", headers=headers, timeout=60).status_code


def test_a_token_is_of_a_user_and_of_now(site: str, directory: Path) -> None:
    """One that is expired, of nobody, or of a user who was deleted, is 401; so is none."""
    carol = {"name": "carol", "password": "a-password-of-carol"}
    with logged_in(site, carol) as client:
        sub = jwt.decode(client.cookies["token"].split()[-1], SECRET, ["HS256"])["sub"]
        assert bearer(site, sub) == 200
        assert bearer(site, sub, age=timedelta(hours=2)) == 401
        assert bearer(site, sub, named=False) == 401  # which no logout could end
        assert bearer(site, "no UUID") == 401
        assert bearer(site, str(uuid4())) == 401

        assert client.post("/agents/sessions/a/chat", json={"message": "Hi"}).status_code == 200
        with closing(sqlite3.connect(data(directory))) as database, database:
            database.execute("PRAGMA foreign_keys = ON")
            database.execute("DELETE FROM user_account WHERE name = 'carol'")
        assert client.get("/agents/sessions").status_code == 401


def test_a_logout_forgets_the_cookie(site: str) -> None:
    """The client is nobody then."""
    with logged_in(site, ADA) as ada:
        assert ada.post("/logout").status_code == 204
        assert not ada.cookies
        assert ada.get("/agents/sessions").status_code == 401


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded"])
@pytest.mark.parametrize("path", ["/login", "/register"])
def test_no_other_site_logs_a_visitor_in(site: str, path: str, content_type: str) -> None:
    """What a form of another site can send sets no cookie."""
    with logged_in(site, ADA):
        pass
    headers = {"Content-Type": content_type, "Origin": "https://elsewhere.example"}
    content = json.dumps(ADA).encode()

    refused = httpx.post(f"{site}{path}", content=content, headers=headers, timeout=60)

    assert refused.status_code == 415
    assert "set-cookie" not in refused.headers


@pytest.mark.parametrize("name", ["ada\n", "a b", "", "a" * 65, "ad\u00e4"])
def test_a_name_is_plain(site: str, name: str) -> None:
    """Letters of ASCII, digits and a few signs; no line ends with it."""
    refused = httpx.post(f"{site}/register", json={**ADA, "name": name}, timeout=60)

    assert refused.status_code == 400


def test_bytes_that_are_no_text_are_the_clients_fault(site: str) -> None:
    """They are a 400 before anybody has logged in."""
    for path in ("/login", "/register"):
        refused = httpx.post(
            f"{site}{path}",
            content=b'{"name": "ad\xff", "password": "a-password-of-ada"}',
            headers={"Content-Type": "application/json"},
            timeout=60,
        )
        assert refused.status_code == 400


def test_nobodys_body_is_small(site: str) -> None:
    """The longest password fits, however it is escaped; what is larger is not read."""
    password = {"name": "frank", "password": "\U0001f642" * 200}
    assert httpx.post(f"{site}/register", json=password, timeout=60).status_code in {204, 409}
    for path in ("/login", "/register"):
        refused = httpx.post(f"{site}{path}", json={**ADA, "more": "x" * 4_000}, timeout=60)
        assert refused.status_code == 413


def test_a_conversation_is_of_a_user_who_is_there(directory: Path, site: str) -> None:
    """SQLite enforces foreign keys on the example's connections: a user's deletion is whole."""
    assert site
    script = (
        f"import sys; sys.path.insert(0, {str(EXAMPLE.parent)!r})\n"
        "import asyncio, litestar_app as app\n"
        "from sqlalchemy import text\n"
        "async def main():\n"
        "    async with app.database.get_session() as session:\n"
        "        print(await session.scalar(text('PRAGMA foreign_keys')))\n"
        "    await app.database.get_engine().dispose()\n"
        "asyncio.run(main())\n"
    )
    env = {**os.environ, "XDG_CACHE_HOME": str(directory)}
    done = run_python("-c", script, cwd=directory, env=env)
    assert done.stdout.strip() == "1", done.stderr


def test_a_cookie_is_out_of_reach(site: str) -> None:
    """Scripts cannot read the login, other sites cannot use it, and a page runs its own script."""
    with logged_in(site, ADA) as ada:
        answered = ada.post("/login", json=ADA)
        cookie = answered.headers["set-cookie"]
        policy = ada.get("/").headers["content-security-policy"]
    token = ada.cookies["token"].split()[-1]
    others = [value for name, value in answered.headers.items() if name != "set-cookie"]
    assert token in cookie
    assert not [value for value in others if token in value]
    assert token not in answered.text
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "script-src 'self'" in policy


# -- Whatever a client may send --------------------------------------------------------------


CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance"
)


@pytest.mark.parametrize("examples", share_of([5, 15], 5))
def test_no_request_is_a_server_error(site: str, tmp_path: Path, examples: int) -> None:
    """schemathesis, with the OpenAPI document of the running application, finds none."""
    with logged_in(site, {"name": "dora", "password": "a-password-of-dora"}) as dora:
        token = dora.cookies["token"].split()[-1]
        # The document's example of an id, for what is asked of a conversation that is there.
        said = dora.post("/agents/sessions/groceries/chat", json={"message": "Hi"})
        assert said.status_code == 200
    report = tmp_path / "report.har"
    done = subprocess.run(
        [
            *(str(Path(sys.executable).parent / "schemathesis"), "run"),
            *("--header", f"Authorization: Bearer {token}", "--checks", CHECKS),
            *(
                "--exclude-path",
                "/logout",
                "--max-examples",
                str(examples),
                "--seed",
                "1",
                "--no-color",
            ),
            *("--report", "har", "--report-har-path", str(report)),
            f"{site}/schema/openapi.json",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]

    succeeded = set()
    for entry in json.loads(report.read_text())["log"]["entries"]:
        if 200 <= entry["response"]["status"] < 300:
            path = entry["request"]["url"].removeprefix(site).partition("?")[0]
            one = re.sub("(?<=/sessions/)[^/]+", "*", path)
            succeeded.add(f"{entry['request']['method']} {one}")
    assert succeeded >= {
        "POST /agents/sessions/*/chat",
        "POST /agents/sessions/*/chat/stream",
        "GET /agents/sessions",
        "GET /agents/sessions/*/messages",
        "PATCH /agents/sessions/*",
        "DELETE /agents/sessions/*",
    }
