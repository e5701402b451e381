"""Makes the docs' pictures of the chat page: ``python -m tests.litestar.screenshots``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.browser import chromium, set_scheme, set_width
from tests.litestar.chat_page import ChatPage
from tests.litestar.example import logged_in, running

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

IMAGES = Path(__file__).parents[2] / "docs" / "images"
NAMES = [f"chat{kind}-{scheme}.png" for kind in ("", "-phone") for scheme in ("light", "dark")]
USER = {"name": "Ada", "password": "a-password-of-Ada"}
BEFORE = {
    "Party on Saturday": "Add a todo: Order a cake for Saturday",
    "Packing for Lisbon": "Hello",
}
TALK = ["What can you do?", "Add a todo: Water the plants on Friday", "What is on my list?"]


def take(site: str, browser: Chrome, into: Path) -> None:
    """Have a conversation, and take a picture of it in each width and scheme."""
    page = ChatPage(browser)
    with logged_in(site, USER) as client:
        for number, (name, message) in enumerate(BEFORE.items()):
            client.post(f"/agents/sessions/{number}/chat", json={"message": message})
            client.patch(f"/agents/sessions/{number}", json={"session_name": name})
        for message in TALK:
            client.post("/agents/sessions/list/chat", json={"message": message})
        client.patch("/agents/sessions/list", json={"session_name": "What to do this week"})
        for width, kind in ((1280, ""), (390, "-phone")):
            for scheme in ("light", "dark"):
                set_width(browser, width)
                set_scheme(browser, scheme)
                page.open_for(client)
                page.run("location.hash = 'list'")
                page.await_texts("#title", ["What to do this week"])
                page.await_texts("summary", ["Used add_todo", "Used list_todos"])
                page.run("document.activeElement.blur()")  # a blinking cursor is there or not
                browser.save_screenshot(str(into / f"chat{kind}-{scheme}.png"))


def main() -> None:
    """Take them where the docs have them."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        with running(place) as site, chromium(place / "profile") as browser:
            take(site, browser, IMAGES)


if __name__ == "__main__":
    main()
