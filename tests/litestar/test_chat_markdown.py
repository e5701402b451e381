"""The Markdown of the example's chat page, in a real browser."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.litestar.chat_page import ChatPage
from tests.litestar.example import BOB, logged_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver import Chrome


@pytest.fixture(scope="module")
def page(site: str, only_browser: Chrome) -> Iterator[ChatPage]:
    """The page, for all tests here: what they make is on no page."""
    page = ChatPage(only_browser)
    with logged_in(site, BOB) as bob:
        page.open_for(bob)
        yield page


HOSTILE = [
    "<script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "**<b onclick=alert(1)>bold</b>**",
    "[here](javascript:alert(1))",
    "[here](data:text/html,<script>alert(1)</script>)",
    "[here](vbscript:alert(1)) <javascript:alert(1)>",
    "[here]( javascript:alert(1))",
    "- <iframe src=javascript:alert(1)>\n- <svg onload=alert(1)>",
    "```html\n<script>alert(1)</script>\n```",
    "`</code><script>alert(1)</script>`",
    '[a" onclick="alert(1)](https://example.com/"onclick="alert(1)"x)',
]

MARKDOWN = [
    ("Hello\nthere\n\nyou", "<p>Hello\nthere</p><p>you</p>"),
    ("a **b *c* d** _e_", "<p>a <strong>b <em>c</em> d</strong> <em>e</em></p>"),
    ("2 * 3 * 4, snake_case_name", "<p>2 * 3 * 4, snake_case_name</p>"),
    ("a `**b**` c", "<p>a <code>**b**</code> c</p>"),
    ("# Title\ntext", "<p><strong>Title</strong></p><p>text</p>"),
    ("- a\n- b\n\nc", "<ul><li><p>a</p></li><li><p>b</p></li></ul><p>c</p>"),
    ("3. a\n4. b", '<ol start="3"><li><p>a</p></li><li><p>b</p></li></ol>'),
    (
        "- a\n  1. b\n- d",
        '<ul><li><p>a</p><ol start="1"><li><p>b</p></li></ol></li><li><p>d</p></li></ul>',
    ),
    ("```py\nx = 1\n\ny\n```\nz", "<pre><code>x = 1\n\ny</code></pre><p>z</p>"),
    ("```\nnot yet clo", "<pre><code>not yet clo</code></pre>"),
    (
        "[a](https://a.com/?q=1)",
        '<p><a href="https://a.com/?q=1" rel="noreferrer" target="_blank">a</a></p>',
    ),
    (
        "(http://a.com).",
        '<p>(<a href="http://a.com" rel="noreferrer" target="_blank">http://a.com</a>).</p>',
    ),
]


@pytest.mark.parametrize(("text", "expected"), MARKDOWN)
def test_markdown_becomes_elements(page: ChatPage, text: str, expected: str) -> None:
    """Paragraphs, lists, code, bold, italics and links."""
    assert page.markdown(text) == expected


def test_markdown_is_safe(page: ChatPage) -> None:
    """HTML is text, no link leads elsewhere than to http, and the page's policy is kept."""
    for text in HOSTILE:
        html = page.markdown(text)
        tags = set(re.findall(r"<(\w+)", html))
        assert tags <= {"p", "a", "strong", "em", "code", "pre", "ul", "ol", "li"}, html
        assert not re.search(r"<[^>]*\son\w+=", html.replace("&quot;", "")), html
        assert all(link.startswith("http") for link in re.findall(r'href="([^"]*)"', html)), html
    assert page.markdown(HOSTILE[0]) == (
        "<p>&lt;script&gt;document.title='owned'&lt;/script&gt;</p>"
    )
    assert page.browser.title == "Todo assistant"
    with pytest.raises(Exception, match="TrustedHTML"):  # not even by a mistake of the page
        page.run("document.createElement('p').innerHTML = '<b>'")


@pytest.mark.parametrize("text", ["*" * 32_000, "[" * 32_000, "`**_" * 8_000, "- " * 16_000])
def test_markdown_comes_to_an_end(page: ChatPage, text: str) -> None:
    """The longest message of nothing but signs is shown, and doesn't hold the page up for ever."""
    assert page.markdown(text)  # or the script's time is over
