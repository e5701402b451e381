"""Several processes that migrate one database at once, as replicas that start together do."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

import pytest

from openai_agents_session.database import _migrate
from tests.database.test_migration import TABLES, VERSION_TABLE, tables

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

PROCESSES = 4

_everybody: Barrier
"""In a worker: where it waits for the others."""


def _join(barrier: Barrier) -> None:
    global _everybody  # noqa: PLW0603 - what an initializer leaves to its process
    _everybody = barrier


def _migrate_together(action: str, url: str) -> None:
    _everybody.wait()
    _migrate.run(action, url)


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # the tests have threads
def test_replicas_that_start_together(url: str) -> None:
    """One migrates, the others wait, and all end well; so it is with the way back."""
    if url.startswith("sqlite"):
        url += "?timeout=0"  # by itself, the driver waits for nobody
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(PROCESSES, timeout=60)
    with ProcessPoolExecutor(PROCESSES, context, _join, (barrier,)) as pool:
        for action, left in (("upgrade", TABLES), ("downgrade", set())):
            runs = [pool.submit(_migrate_together, action, url) for _ in range(PROCESSES)]
            assert [run.exception() for run in runs] == [None] * PROCESSES
            assert tables(url) == left | {VERSION_TABLE}
