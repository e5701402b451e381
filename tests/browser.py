"""Debian's Chromium without a window, and what axe-core finds on a page that it shows."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.downloads import npm_package
from tests.shares import slow

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from selenium.webdriver import Chrome

PHONE, LAPTOP = 390, 1280
VIEWS = [(PHONE, "light"), slow(PHONE, "dark"), slow(LAPTOP, "light"), (LAPTOP, "dark")]
"""The width and the colour scheme of a page, as a test's parameters."""

AXE_VERSION = "4.11.0"
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

ARGUMENTS = (
    *("--headless=new", "--hide-scrollbars"),
    *("--no-sandbox", "--disable-dev-shm-usage"),  # root in a container has not much of either
    # A mouse: what a page adds for those who have one and a keyboard is there.
    "--blink-settings=primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4",
)


@contextlib.contextmanager
def chromium(profile: Path) -> Generator[Chrome]:
    """Run a browser with a profile of its own; without Chromium, skip the test, except in CI."""
    if not (CHROMIUM and DRIVER) and "CI" not in os.environ:
        pytest.skip("no Chromium on this machine")
    from selenium import webdriver  # noqa: PLC0415 - half a second, for few tests

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(str(DRIVER)))
    try:
        yield driver
    finally:
        driver.quit()


def set_width(browser: Chrome, pixels: int) -> None:
    """Let pages be so many CSS pixels wide, as on a phone (390) or a laptop (1280)."""
    metrics = {"width": pixels, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def set_scheme(browser: Chrome, scheme: str) -> None:
    """Let the system ask for a "light" or a "dark" page."""
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def serious_findings(browser: Chrome) -> list[str]:
    """What axe-core finds on the page that is serious or critical: the rule and the element.

    axe-core is fetched with npm; without npm, the test is an error in CI and else skipped.
    """
    if not shutil.which("npm") and "CI" not in os.environ:
        pytest.skip("no npm on this machine")
    axe = npm_package("axe-core", AXE_VERSION) / "axe.min.js"
    browser.execute_script(axe.read_text(encoding="utf-8"))
    found: list[str] = browser.execute_async_script("""
        const [done] = arguments;
        axe.run({resultTypes: ["violations"]}).then(({violations}) => done(violations
            .filter(({impact}) => ["serious", "critical"].includes(impact))
            .flatMap(({id, nodes}) => nodes.map(({target, html}) => `${id}: ${target} ${html}`))));
    """)
    return found
