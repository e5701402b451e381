"""The example's chat page, as a user works with it in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.servers import wait_until

if TYPE_CHECKING:
    import httpx
    from selenium.webdriver import Chrome


class ChatPage:
    """The page in a browser."""

    def __init__(self, browser: Chrome) -> None:
        self.browser = browser

    def open_for(self, client: httpx.Client) -> None:
        """Open the page with the login that a client has."""
        site = str(client.base_url)
        self.browser.get(f"{site}/chat.css")  # a cookie belongs to a page
        self.browser.add_cookie({"name": "token", "value": client.cookies["token"].strip('"')})
        self.browser.get(site)
        self.await_shown("#chat")

    def find(self, selector: str) -> Any:
        return self.browser.find_element("css selector", selector)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.browser.execute_script(script, *arguments)

    def texts(self, selector: str) -> list[str]:
        script = "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)"
        found: list[str] = self.run(script, selector)
        return found

    def markdown(self, text: str) -> str:
        """The HTML of what the page makes of Markdown."""
        script = "const p = document.createElement('p'); p.append(...markdown(arguments[0]));"
        html: str = self.run(script + "return p.innerHTML", text)
        return html

    def typed(self) -> str:
        """What is in the composer."""
        found: str = self.find("#message").get_property("value")
        return found

    def complaints(self) -> list[str]:
        """What the browser has logged about the page's policy."""
        messages = [entry["message"] for entry in self.browser.get_log("browser")]
        return [message for message in messages if "Security Policy" in message]

    def await_shown(self, selector: str) -> None:
        wait_until(lambda: self.find(selector).is_displayed(), f"{selector} on the page")

    def await_texts(self, selector: str, expected: list[str]) -> None:
        try:
            wait_until(lambda: self.texts(selector) == expected, selector)
        finally:
            assert self.texts(selector) == expected

    def await_said(self, expected: list[str]) -> None:
        """Wait for what both sides have said, tools left out."""
        self.await_texts("#messages .text", expected)

    def await_end(self) -> None:
        """Wait until the answer is complete, and what the page reads after it has come."""
        wait_until(lambda: self.find("#send").is_enabled(), "the answer's end")
        self.browser.execute_async_script("loading.finally(arguments[0])")

    def enter(self, who: dict[str, str], how: str) -> None:
        """Log in or register."""
        self.await_shown("#login")
        for field, value in who.items():
            self.find(f"#{field}").clear()
            self.find(f"#{field}").send_keys(value)
        self.find(f"#login button[value={how}]").click()
        self.await_shown("#chat")

    def say(self, text: str) -> None:
        """Type a text, and send it."""
        for line in text.split("\n"):
            if self.typed():
                self.find("#message").send_keys("\ue008\n\ue000")  # Shift+Enter
            self.find("#message").send_keys(line)
        self.find("#send").click()
