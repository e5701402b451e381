"""The benchmark commands run and print their tables; what they measure is no test's business."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout

import pytest

from tests.benchmarks.__main__ import main
from tests.dynamodb import emulators


def benchmark(*arguments: str) -> list[list[str]]:
    """Run a benchmark command and return the cells of the table that it prints."""
    (table,) = benchmarks(*arguments)
    return table


def benchmarks(*arguments: str) -> list[list[list[str]]]:
    """Run a benchmark command and return the cells of all the tables that it prints."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        main(arguments)
    tables = []
    for block in printed.getvalue().split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        if cells:
            assert {len(row) for row in cells} == {len(cells[0])}, block
            assert all(re.fullmatch("-+:?", cell) for cell in cells[1])
            tables.append([cells[0], *cells[2:]])
    return tables


@pytest.mark.redis
def test_the_sessions_table(redis_binary: str) -> None:
    """The main table has a row for each operation, and one command each for this library."""
    header, *rows = benchmark("--server", redis_binary, "--iterations", "10", "--scale", "100")

    assert header[1:5] == ["this library", "SDK", "MULTI by hand", "floor"]
    assert [row[0] for row in rows] == [
        "add_items, a turn of 4",
        "get_items of 20",
        "get_items(limit=20) of 100",
        "pop_item",
    ]
    assert all(re.fullmatch(r"[\d.,]+ µs", cell) for row in rows for cell in row[1:5])
    # Counted, not timed: one command an operation is a promise.
    assert [row[-1].split(" / ")[0] for row in rows] == ["1", "1", "1", "1"]


@pytest.mark.slow
def test_the_import_table() -> None:
    """The import table compares with a bare interpreter."""
    _, *rows = benchmark("import", "--iterations", "1")

    assert [row[0] for row in rows] == [
        "`bare interpreter`",
        "`import openai_agents_session`",
        "`from openai_agents_session import RedisSession`",
    ]


@pytest.mark.slow
@pytest.mark.redis
def test_the_leases_table(redis_binary: str) -> None:
    """It compares writes with a lease and without, and says how long waiters wait."""
    options = ("--server", redis_binary, "--iterations", "5", "--waiters", "3", "--scale", "10")
    _, *rows = benchmark("leases", *options)

    assert [row[0].partition(",")[0] for row in rows] == [
        "add_items",
        "add_items",
        "3 wait while one holds",
        "from one to the next",
        "from one to the next",
    ]


@pytest.mark.slow
@pytest.mark.redis
def test_the_tokens_table(redis_binary: str) -> None:
    """The tokens of all writes are found; what so few take is below what can be measured."""
    _, *rows = benchmark("tokens", "--server", redis_binary, "--writes", "5", "--sessions", "10")

    assert rows[0] == ["live tokens measured", "900 of 900"]
    assert re.fullmatch(r"-?[\d,]+ bytes", rows[1][1])
    assert rows[2][0] == "at 5 writes a second"


def test_the_serializer_table() -> None:
    """The serializer is measured in both directions."""
    _, *rows = benchmark("serializer", "--iterations", "2")

    assert [row[0] for row in rows] == ["serialize 2,000 items", "deserialize 2,000 items"]


@pytest.mark.slow
@pytest.mark.dynamodb
@pytest.mark.skipif("dynalite" not in emulators.names(), reason="no npm to fetch dynalite with")
def test_the_dynamodb_tables() -> None:
    """The cost tables have a row for each size and contender, and one for each target."""
    tables = benchmarks("dynamodb", "--emulator", "dynalite", "--iterations", "1", "--scale", "64")

    writes, reads, money, reading_all, reading_the_last, pages, times, targets = tables
    assert len(writes) == len(reads) == 1 + 5
    assert [row[0] for row in money[1:]] == ["this library", "one item", "0.1.0"]
    assert [row[0] for row in reading_all[1:]] == ["4 KiB"] * 5
    assert [row[0] for row in reading_the_last[1:]] == ["4 KiB"] * 5
    assert [row[0] for row in pages[1:]] == ["default", *["4 KiB"] * 5, "5 KiB"]
    assert times[1][0] == "dynalite, median"
    assert [row[1:] for row in targets if row[0].startswith("requests")] == [["1", "1"]] * 2


def test_the_database_table() -> None:
    """It has a row for each operation, and counts the statements of each."""
    header, *rows = benchmark("database", "--iterations", "2", "--scale", "100")

    assert header[1:3] == ["this library", "SDK"]
    assert [row[0].partition(",")[0] for row in rows] == [
        "get_items of 20",
        "get_items(limit=20) of 20",
        "pop_item",
        "add_items",
        "add_items of 20",
        "clear",
        "a page of 50 of 100",
        "a page of 50 of 100",
    ]
    # Counted, not timed.
    assert [row[-1].partition(" / ")[0] for row in rows] == ["1", "1", "2", "2", "2", "4", "1", "1"]
