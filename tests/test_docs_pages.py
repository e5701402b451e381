"""The documentation as people see it: built, and opened page by page in a browser."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from xml.etree import ElementTree

import pytest

from tests.browser import LAPTOP, PHONE, VIEWS, chromium, serious_findings, set_scheme, set_width
from tests.servers import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver import Chrome

ROOT = Path(__file__).parent.parent

# What is wrong with the page that is shown, in words.
FAULTS = r"""
const root = document.documentElement, faults = [];
if (root.scrollWidth > root.clientWidth) {
  faults.push(`is ${root.scrollWidth} px wide`);
}
for (const image of document.images) {
  if (!(image.complete && image.naturalWidth)) faults.push(`lacks ${image.src}`);
}
const range = document.createRange();
for (const cell of document.querySelectorAll("td, th")) {
  const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    for (const {0: word, index} of texts.currentNode.data.matchAll(/\w+/g)) {
      range.setStart(texts.currentNode, index);
      range.setEnd(texts.currentNode, index + word.length);
      const lines = new Set([...range.getClientRects()].map(({top}) => top));
      if (lines.size > 1) faults.push(`breaks ${word}`);
    }
  }
}
return faults;
"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - so it is called
        """Say nothing."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """One for all pages."""
    with chromium(tmp_path_factory.mktemp("browser") / "profile") as browser:
        yield browser


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with the built pages."""
    directory = tmp_path_factory.mktemp("site")
    build = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", directory],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert build.returncode == 0, build.stderr
    # Each page that is opened would index them all, for most of the time that it takes to show it.
    index = directory / "search" / "search_index.json"
    found = json.loads(index.read_text(encoding="utf-8"))
    assert found["docs"]
    index.write_text(json.dumps({**found, "docs": []}), encoding="utf-8")
    return directory


@pytest.fixture(scope="module")
def site(built: Path) -> Iterator[str]:
    """The URL where the built pages are served."""
    with ThreadingHTTPServer((HOST, 0), partial(_Quiet, directory=str(built))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://{HOST}:{server.server_port}"
        server.shutdown()
        thread.join()


def test_every_page_fits_on_a_phone_and_on_a_laptop(
    built: Path, site: str, browser: Chrome
) -> None:
    """No page scrolls sideways, lacks an image, or breaks a word in a table."""
    pages = [path.relative_to(built) for path in sorted(built.rglob("*.html"))]
    pages = [page for page in pages if page.parts[0] != "examples" or page.name == "index.html"]
    assert len(pages) > len(list((ROOT / "docs").glob("*.md")))  # and the one for what is not there
    faults = []
    for page in pages:
        browser.get(f"{site}/{page.as_posix()}")
        for width in (PHONE, LAPTOP):
            set_width(browser, width)
            assert browser.execute_script("return innerWidth") == width
            faults += [f"{page} at {width} px {fault}" for fault in browser.execute_script(FAULTS)]

    assert not faults


def test_every_picture_is_shown_and_says_what_it_shows() -> None:
    """Also to whom cannot see it: by a title and a description, and by a text on the page."""
    texts = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    pictures = sorted((ROOT / "docs" / "images").glob("*.svg"))
    assert pictures
    for picture in pictures:
        root = ElementTree.fromstring(picture.read_text(encoding="utf-8"))
        assert root.get("role") == "img", picture
        title, description = (root.find(f"{{*}}{tag}") for tag in ("title", "desc"))
        assert title is not None, picture
        assert title.text, picture
        assert description is not None, picture
        assert description.text, picture
        assert re.search(rf"!\[[^\]]+\]\(images/{picture.name}\)", texts), picture


def test_what_does_not_fit_is_found(browser: Chrome) -> None:
    """Of a page with each of the faults, each is told."""
    page = "<table style='width: 9ch; word-break: break-word'><td>an ImportError</table>"
    page += "<div style='width: 500px'>wide</div><img src='data:image/png,'>"
    set_width(browser, PHONE)
    browser.get(f"data:text/html,<body style='margin: 0'>{quote(page)}")

    faults = browser.execute_script(FAULTS)

    assert faults == ["is 500 px wide", "lacks data:image/png,", "breaks ImportError"]


@pytest.mark.parametrize(
    "page", ["", "dynamodb/", "production/"], ids=["front", "tables", "checklist"]
)
@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_nothing_serious_keeps_anybody_from_reading(
    site: str, page: str, browser: Chrome, width: int, scheme: str
) -> None:
    """axe-core has nothing serious to say: of contrast, names, links, the keyboard."""
    browser.get(f"{site}/404.html")
    browser.execute_script("localStorage.clear()")  # where the page keeps the other scheme
    set_width(browser, width)
    set_scheme(browser, scheme)

    browser.get(f"{site}/{page}")

    shown = browser.execute_script("return document.body.dataset.mdColorScheme")
    assert shown == {"light": "default", "dark": "slate"}[scheme]
    assert serious_findings(browser) == []
