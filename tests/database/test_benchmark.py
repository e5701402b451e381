"""The benchmark runs and prints its table; what it measures is no test's business."""

from __future__ import annotations

from tests.test_benchmarks import benchmark


def test_the_database_table() -> None:
    """It has a row for each operation, and counts the statements of each."""
    header, *rows = benchmark("database", "--iterations", "2", "--scale", "100")

    assert header[1:3] == ["this library", "SDK"]
    assert [row[0].partition(",")[0] for row in rows] == [
        "add_items",
        "clear",
        "get_items of 20",
        "get_items(limit=20) of 20",
        "pop_item",
        "a page of 50 of 100",
        "a page of 50 of 100",
    ]
    # Counted, not timed.
    assert [row[-1].partition(" / ")[0] for row in rows] == ["2", "4", "1", "1", "2", "1", "1"]
