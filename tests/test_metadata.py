"""What the pages say of versions is what ``pyproject.toml`` and the workflows say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = (ROOT / "pyproject.toml").read_text("utf-8")
WORKFLOW = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
PAGE = (ROOT / "docs" / "installation.md").read_text("utf-8")
VERSION = re.findall(r'^version = "(.+)"$', PROJECT, re.MULTILINE)[0]

BROUGHT_BY_OTHERS = {"anyio", "typing-extensions"}
"""Our bounds for these are those of packages that are in the table."""


def table() -> dict[str, tuple[str, str]]:
    """Return the rows under "Supported versions": the oldest version, and what is tested.

    A package's row goes by its name on the index, in backquotes.
    """
    section = PAGE.split("## Supported versions\n")[1].split("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("| ")
    ]
    return {
        (re.findall(r"`(.+)`", name) or [name])[0]: (oldest, tested)
        for name, oldest, tested in rows
    }


def bounds(text: str) -> dict[str, str]:
    """Return the lower bound of each requirement, such as "redis[hiredis]>=7"."""
    found = re.findall(r'"([a-z-]+)(?:\[[a-z,]+\])?>=([\d.]+)', text)
    versions: dict[str, str] = {}
    for name, version in found:
        assert versions.setdefault(name, version) == version, f"{name} has two lower bounds"
    return versions


def of_the_package() -> str:
    """Return the part of ``pyproject.toml`` with what the package and its extras require."""
    return PROJECT.split("\ndependencies = [")[1].split("\n[dependency-groups]")[0]


def test_each_requirement_is_in_the_table_with_its_lower_bound() -> None:
    """Whoever reads the page knows which versions will do."""
    required = bounds(of_the_package())
    assert len(required) >= 8
    rows = table()
    said = {name: rows.get(name, ("missing", ""))[0] for name in required}

    assert {**said, **{name: required[name] for name in BROUGHT_BY_OTHERS}} == required


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_the_drivers_of_postgresql_have_the_bounds_of_the_tests(driver: str) -> None:
    """No extra installs them, so their oldest version is what the suite is run with."""
    assert table()[driver][0] == bounds(PROJECT)[driver]


def test_the_versions_of_python_are_those_of_the_workflow() -> None:
    """The oldest is what the package requires; each that is named has a job and a classifier."""
    oldest, tested = table()["Python"]
    (required,) = re.findall(r'requires-python = ">=(.+)"', PROJECT)
    (jobs,) = re.findall(r"python: \[(.+)\]", WORKFLOW)

    assert oldest == required
    assert tested.split(", ") == re.findall(r'"([\d.]+)"', jobs)
    assert tested.split(", ") == re.findall(r"Python :: (3\.\d+)", PROJECT)


@pytest.mark.parametrize(("server", "image"), [("Redis", "redis"), ("Valkey", "valkey/valkey")])
def test_the_servers_are_those_of_the_workflow(server: str, image: str) -> None:
    """The service beside the tests has a version that the table names."""
    (version,) = re.findall(rf"image: {image}:([\d.]+)@", WORKFLOW)

    assert version in table()[server][1].split(";")[0].split(", ")


def test_the_version_is_the_same_everywhere() -> None:
    """The wheel to install, the changelog and the tag to push are of this version."""
    wheels = re.findall(r"openai_agents_session-([\d.]+)-py3", PAGE)
    changelog = (ROOT / "docs" / "changelog.md").read_text("utf-8")
    releases = re.findall(r"^## ([\d.]+)", changelog, re.MULTILINE)
    contributing = (ROOT / "docs" / "contributing.md").read_text("utf-8")
    tags = re.findall(r"refs/tags/v([\d.]+)", contributing)

    assert set(wheels) == {VERSION}
    assert set(tags) == {VERSION}
    assert releases[0] == VERSION
