"""The code on the page about databases runs as it is written there."""

from __future__ import annotations

import re
import shlex
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from agents import MultiProvider
from sqlalchemy import event
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from openai_agents_session import AgentSessionService, DatabaseSession
from openai_agents_session.database import AgentSession, User
from openai_agents_session.database import __main__ as command
from tests.database.conftest import new_user
from tests.pages import Block
from tests.sdk import script

if TYPE_CHECKING:
    import pytest

PAGE = Path(__file__).parents[2] / "docs" / "database.md"


def blocks(language: str) -> list[Block]:
    """The page's blocks of a language, in order; other pages' tests have no database."""
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


async def test_the_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing on the page raises, on a database as the reader has it by then."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(MultiProvider, "get_model", lambda _self, _name: script("Hello!"))

    class Base(DeclarativeBase):
        pass

    class Account(Base):
        __tablename__ = "account"
        id: Mapped[int] = mapped_column(primary_key=True)

    engine = create_async_engine("sqlite+aiosqlite:///app.db")
    async with engine.begin() as connection:
        await connection.run_sync(AgentSession.metadata.create_all)
    names: dict[str, Any] = {
        "__name__": "page",
        "Base": Base,
        "SQLAlchemyAsyncRepository": SQLAlchemyAsyncRepository,
        "User": User,
        "account": Account(id=1),
        "event": event,
        "user_id": await new_user(async_sessionmaker(engine)),
    }
    await engine.dispose()
    first, *others = blocks("python")

    await first.run(names)
    async with names["maker"]() as names["db"]:
        for block in others:
            await block.run(names)

    await names["engine"].dispose()
    assert isinstance(names["session"], DatabaseSession)
    assert issubclass(names["Service"], AgentSessionService)
    assert len(others) >= 6
