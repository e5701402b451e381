"""The example application, on a real server, over HTTP and in a real browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest

from tests.servers import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from selenium.webdriver import Chrome

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "litestar_app.py"
ADA = {"name": "ada", "password": "a-password-of-ada"}
BOB = {"name": "bob", "password": "a-password-of-bob"}


@contextmanager
def running(directory: Path, **environment: str) -> Generator[str]:
    """Run the example as its reader does, and yield where it answers."""
    port = free_port()
    hidden = {"OPENAI_API_KEY", "DATABASE_URL", "JWT_SECRET"}
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    with (directory / "log").open("w+") as log:
        process = subprocess.Popen(
            [sys.executable, str(EXAMPLE), str(port)],
            cwd=directory,
            env={**kept, "PYTHONUTF8": "1", **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:

            def answers() -> bool:
                assert process.poll() is None, (directory / "log").read_text()
                return "Uvicorn running" in (directory / "log").read_text()

            wait_until(answers, "the example")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The example on a SQLite file of its own."""
    with tempfile.TemporaryDirectory() as directory, running(Path(directory)) as address:
        yield address


@contextmanager
def logged_in(site: str, who: dict[str, str]) -> Generator[httpx.Client]:
    """A client with the cookie of a user, who is registered if need be."""
    with httpx.Client(base_url=site, timeout=60) as client:
        assert client.post("/register", json=who).status_code in {204, 409}
        assert client.post("/login", json=who).status_code == 204
        yield client


def events(text: str) -> list[tuple[str, Any]]:
    """The server-sent events of a response."""
    found = re.findall(r"event: (.*)\r\ndata: (.*)\r\n\r\n", text)
    return [(name, json.loads(data)) for name, data in found]


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
    assert not list(tmp_path.glob("*.db"))


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


def test_a_cookie_is_out_of_reach(site: str) -> None:
    """Scripts cannot read the login, other sites cannot use it, and a page runs its own script."""
    with logged_in(site, ADA) as ada:
        cookie = ada.post("/login", json=ADA).headers["set-cookie"]
        policy = ada.get("/").headers["content-security-policy"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "script-src 'self'" in policy


# -- Whatever a client may send --------------------------------------------------------------


CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance"
)


def test_no_request_is_a_server_error(site: str, tmp_path: Path) -> None:
    """schemathesis, with the OpenAPI document of the running application, finds none."""
    with logged_in(site, ADA) as ada:
        token = ada.cookies["token"].split()[-1]
    done = subprocess.run(
        [
            *(str(Path(sys.executable).parent / "schemathesis"), "run"),
            *("--header", f"Authorization: Bearer {token}"),
            *(
                "--checks",
                CHECKS,
            ),
            *("--exclude-path", "/logout", "--max-examples", "50", "--seed", "1", "--no-color"),
            f"{site}/schema/openapi.json",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


# -- In a browser ----------------------------------------------------------------------------

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chrome]:
    """Debian's Chromium, without a window and without a history."""
    if not (CHROMIUM and DRIVER) and "CI" not in os.environ:
        pytest.skip("no Chromium on this machine")
    from selenium import webdriver  # noqa: PLC0415 - half a second, for this test alone

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)  # root in a container has neither sandbox nor much memory
    options.add_argument(f"--user-data-dir={tmp_path / 'profile'}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(str(DRIVER)))
    try:
        yield driver
    finally:
        driver.quit()


class Page:
    """The chat page, as a user works with it."""

    def __init__(self, browser: Chrome) -> None:
        self.browser = browser

    def find(self, selector: str) -> Any:
        return self.browser.find_element("css selector", selector)

    def texts(self, selector: str) -> list[str]:
        script = "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)"
        found: list[str] = self.browser.execute_script(script, selector)
        return found

    def await_shown(self, selector: str) -> None:
        wait_until(lambda: self.find(selector).is_displayed(), f"{selector} on the page")

    def await_texts(self, selector: str, expected: list[str]) -> None:
        try:
            wait_until(lambda: self.texts(selector) == expected, selector)
        finally:
            assert self.texts(selector) == expected

    def enter(self, who: dict[str, str], how: str) -> None:
        self.await_shown("#login")
        for field, value in who.items():
            self.find(f"#{field}").clear()
            self.find(f"#{field}").send_keys(value)
        self.find(f"#login button[value={how}]").click()
        self.await_shown("#chat")

    def say(self, text: str) -> None:
        self.find("#message").send_keys(text)
        self.find("#say button").click()


def test_the_page_keeps_users_and_their_conversations(site: str, browser: Chrome) -> None:
    """Register, chat, reload: it is all still there; a second user sees nothing of it."""
    page = Page(browser)
    hostile = "<img src=x onerror=\"document.title='owned'\">"
    first = [hostile, "Noted. That makes 1 thing you have told me."]
    second = ["What did I say first?", f'The first thing you said was: "{hostile}"']
    browser.get(site)
    page.enter({"name": "eve", "password": "a-password-of-eve"}, "register")

    page.say(hostile)
    page.await_texts("#messages li", first)
    page.await_texts("#sessions button", [hostile[:40]])
    page.say(second[0])
    page.await_texts("#messages li", first + second)

    browser.refresh()
    page.await_texts("#messages li", first + second)
    page.await_texts("#sessions button", [hostile[:40]])
    address = browser.current_url

    page.find("#new").click()
    page.await_texts("#messages li", [])
    page.find("#sessions button").click()
    page.await_texts("#messages li", first + second)

    page.find("#logout").click()
    page.enter({"name": "mallory", "password": "a-password-of-mallory"}, "register")
    page.await_texts("#sessions button", [])
    browser.get(address)  # the other's conversation, by its address
    browser.refresh()
    page.await_shown("#chat")
    page.await_texts("#messages li", [])
    page.say("What did I say first?")
    page.await_texts(
        "#messages li", [second[0], 'The first thing you said was: "What did I say first?"']
    )

    page.find("#logout").click()
    page.enter({"name": "eve", "password": "a-password-of-eve"}, "login")
    browser.get(address)
    page.await_texts("#messages li", first + second)
    assert browser.title == "Todo assistant"  # nothing of what was said was run
    severe = [
        entry for entry in browser.get_log("browser") if "Security Policy" in entry["message"]
    ]
    assert not severe
