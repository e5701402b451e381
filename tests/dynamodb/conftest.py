"""The emulators, and clients and tables on them.

An emulator is started when the first test asks for it and serves the whole session (each
xdist worker has its own). With ``CI`` set, one that is missing fails its tests.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.downloads import DownloadError
from tests.dynamodb import emulators
from tests.dynamodb.store import Store, temporary_table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.dynamodb.emulators import Emulator

HERE = Path(__file__).parent

emulators.forget_machine_settings()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies under ``tests/dynamodb``, so that ``-m dynamodb`` selects it."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.dynamodb)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what needs an emulator on the best of all, or of the EMULATORS that it names.

    It, its class or its module may name some. On the others it is run with ``--slow``.
    """
    if "emulator" in metafunc.fixturenames:
        chosen = getattr(metafunc.module, "EMULATORS", emulators.names())
        chosen = getattr(metafunc.cls, "EMULATORS", chosen)
        chosen = getattr(metafunc.function, "EMULATORS", chosen)
        others = [pytest.param(name, marks=pytest.mark.slow) for name in chosen[:-1]]
        metafunc.parametrize("emulator", [*others, *chosen[-1:]], indirect=True, scope="session")


@pytest.fixture(scope="session")
def emulator(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    """An emulator; tests share it and keep to tables of their own."""
    name = str(request.param)
    try:
        emulators.install(name)
    except DownloadError as error:
        if "CI" in os.environ:
            raise
        pytest.skip(str(error))
    with emulators.running(name) as server:
        yield server


@pytest_asyncio.fixture
async def dynamodb_client(emulator: Emulator) -> AsyncIterator[Any]:
    """A client of the emulator with botocore's defaults."""
    async with emulators.create_client(emulator.url) as client:
        yield client


@pytest_asyncio.fixture
async def table(dynamodb_client: Any) -> AsyncIterator[str]:
    """The name of a fresh table, made without the library; gone afterwards."""
    async with temporary_table(dynamodb_client) as store:
        yield store.table


@pytest.fixture
def store(dynamodb_client: Any, table: str) -> Store:
    """That table, and what tests ask of one."""
    return Store(dynamodb_client, table)


@pytest_asyncio.fixture
async def users(dynamodb_client: Any) -> AsyncIterator[Store]:
    """A table with the index that lists users' conversations."""
    async with temporary_table(dynamodb_client, users=True) as store:
        yield store
