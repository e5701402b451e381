"""What an operation consumes: write and read units, and requests, as the emulators count them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from openai_agents_session import DynamoDBSession
from openai_agents_session.dynamodb._session import DEFAULT_PAGE_BYTES
from tests.benchmarks.dynamodb_driver import TURN_BYTES, Meter, turn
from tests.dynamodb import emulators

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.dynamodb.emulators import Emulator

# moto says 1 of every request.
COUNTING = [name for name in emulators.names() if name != "moto"]
EMULATORS = COUNTING

PAGE_UNITS = DEFAULT_PAGE_BYTES // 1024
BOOKKEEPING_UNITS = 3
"""What an append may cost beyond the page that it is appended to."""
FILLING = DEFAULT_PAGE_BYTES // TURN_BYTES  # turns that fill a page to the last byte


class Metered:
    """Sessions on a client whose requests report what they consume."""

    def __init__(self, client: Any, aside: Any, table: str) -> None:
        self._client, self._table = client, table
        self.meter = Meter(client, aside)

    def session(self, **options: Any) -> DynamoDBSession:
        """A new object for the one conversation; it has read nothing yet."""
        return DynamoDBSession("user-1", self._client, self._table, 3600, **options)

    async def append(
        self, number: int, *, seen: bool = True, **options: Any
    ) -> tuple[float, list[str]]:
        """Append a turn and return its write units and requests; the Runner reads before."""
        session = self.session(**options)
        if seen:
            await session.get_items(1)
        self.meter.reset()
        await session.add_items(turn(number))
        return self.meter.write, self.meter.requests.copy()

    async def begin(self, turns: int) -> None:
        """Write the first turns, one by one, so that every page is full."""
        session = self.session()
        for number in range(turns):
            await session.add_items(turn(number))


@pytest_asyncio.fixture
async def metered(emulator: Emulator, dynamodb_client: Any, table: str) -> AsyncIterator[Metered]:
    """Sessions on a client of their own."""
    async with emulators.create_client(emulator.url) as client:
        yield Metered(client, dynamodb_client, table)


@pytest.mark.parametrize("kilobytes", [10, 100, 350])
async def test_an_append_costs_at_most_a_page(metered: Metered, kilobytes: int) -> None:
    """Whatever the length, an append takes a page's units and a few, and a seal twice that."""
    turns = kilobytes * 1024 // TURN_BYTES
    await metered.begin(turns)
    bills = [await metered.append(number) for number in range(turns, turns + FILLING)]

    plain = [units for units, requests in bills if requests == ["UpdateItem"]]
    sealing = [units for units, requests in bills if requests == ["BatchWriteItem", "UpdateItem"]]
    assert (len(plain), len(sealing)) == (FILLING - 1, 1)
    assert max(plain) <= PAGE_UNITS + BOOKKEEPING_UNITS
    assert max(plain) > PAGE_UNITS - 2 * TURN_BYTES // 1024, "no page came near to being full"
    assert sealing[0] <= 2 * (PAGE_UNITS + BOOKKEEPING_UNITS)
    assert len(await metered.session().get_items()) == 4 * (turns + FILLING)


async def test_an_append_by_an_object_that_read_nothing(metered: Metered) -> None:
    """Who has not read the conversation pays for one refused attempt when a page is full."""
    await metered.begin(FILLING)
    units, requests = await metered.append(FILLING, seen=False)

    assert [name for name in requests if name != "GetItem"] == [  # dynalite must be asked
        "UpdateItem",
        "BatchWriteItem",
        "UpdateItem",
    ]
    assert units <= 3 * (PAGE_UNITS + BOOKKEEPING_UNITS)
    assert metered.meter.refused > PAGE_UNITS


async def test_references_to_pages_stay_small(metered: Metered) -> None:
    """A hundred and sixty pages add one unit at most to an append."""
    page_bytes = 2 * TURN_BYTES
    turns = 160 * 2 + 1
    batch = [item for number in range(turns) for item in turn(number)]
    await metered.session(page_bytes=page_bytes).add_items(batch)
    units, requests = await metered.append(turns, page_bytes=page_bytes)

    assert requests == ["UpdateItem"]
    assert units <= page_bytes // 1024 + BOOKKEEPING_UNITS + 1
    metered.meter.reset()
    assert len(await metered.session().get_items()) == len(batch) + 4
    assert metered.meter.requests.count("BatchGetItem") == 3


async def test_a_read_that_needs_no_page(metered: Metered) -> None:
    """Up to ``page_bytes``, the conversation is one item: one request, and its own units."""
    await metered.begin(FILLING)
    metered.meter.reset()
    items = await metered.session().get_items()

    assert len(items) == 4 * FILLING
    assert metered.meter.requests == ["GetItem"]
    assert PAGE_UNITS / 4 <= metered.meter.read <= PAGE_UNITS / 4 + 1


async def test_the_last_items_need_one_page_at_most(metered: Metered) -> None:
    """A limit reads the item and the newest page, however many pages there are."""
    await metered.begin(4 * FILLING + 1)
    metered.meter.reset()
    items = await metered.session().get_items(20)

    assert len(items) == 20
    assert metered.meter.requests == ["GetItem", "BatchGetItem"]
    assert metered.meter.read <= PAGE_UNITS / 4 + 2
    metered.meter.reset()
    assert len(await metered.session().get_items(4)) == 4
    assert metered.meter.requests == ["GetItem"]
    assert metered.meter.read == 1
