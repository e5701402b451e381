"""The commands on the page about databases are such as there are; its code, test_readme runs."""

from __future__ import annotations

import re
import shlex
import textwrap
from pathlib import Path

from openai_agents_session.database import __main__ as command
from tests.pages import Block

PAGE = Path(__file__).parents[2] / "docs" / "database.md"


def blocks(language: str) -> list[Block]:
    """The page's blocks of a language, in order."""
    text = PAGE.read_text("utf-8")
    pattern = rf"^( *)```{language}\n(.*?)^\1```$"
    return [
        Block(PAGE, text[: match.start(2)].count("\n"), textwrap.dedent(match[2]))
        for match in re.finditer(pattern, text, re.DOTALL | re.MULTILINE)
    ]


def test_the_commands_are_understood() -> None:
    """Each command on the page is one, with options that it has."""
    lines = [line for block in blocks("bash") for line in block.code.splitlines()]
    commands = [line for line in lines if "-m openai_agents_session.database" in line]

    assert len(commands) == 5
    for line in commands:
        command._parser().parse_args(shlex.split(line.partition("#")[0])[3:])
