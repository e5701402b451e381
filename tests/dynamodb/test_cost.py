"""What an operation consumes: write and read units, and requests, as the emulators count them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from openai_agents_session import DynamoDBSession, DynamoDBStore
from openai_agents_session.dynamodb._packing import FIRST_PAGE_BYTES, LATER_PAGE_BYTES
from tests.benchmarks.dynamodb_driver import TURN_BYTES, Meter, turn
from tests.dynamodb import emulators
from tests.dynamodb.store import temporary_table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from tests.dynamodb.emulators import Emulator

# moto says 1 of every request.
COUNTING = [name for name in emulators.names() if name != "moto"]
EMULATORS = COUNTING

FIRST_UNITS, LATER_UNITS = FIRST_PAGE_BYTES // 1024, LATER_PAGE_BYTES // 1024
BOOKKEEPING_UNITS = 3
"""What an append may cost beyond the page that it is appended to."""
SHORT = 20
"""Turns of a conversation that is one item."""
WRITE_PRICE, READ_PRICE = 0.625e-6, 0.125e-6
"""Dollars for a request unit, on demand: those of the documentation."""


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


async def test_a_short_conversation_is_one_item(metered: Metered) -> None:
    """Up to 20 turns of 2 KB, each append and each read is one request, and costs that much."""
    for number in range(SHORT):
        units, requests = await metered.append(number)
        assert requests == ["UpdateItem"]
        assert units <= (number + 1) * TURN_BYTES // 1024 + 1
        metered.meter.reset()
        assert len(await metered.session().get_items()) == 4 * (number + 1)
        assert metered.meter.requests == ["GetItem"]
        assert metered.meter.read <= (number + 1) * TURN_BYTES / 4096 + 1


@pytest.mark.parametrize("kilobytes", [100, 350])
async def test_an_append_costs_at_most_a_page(metered: Metered, kilobytes: int) -> None:
    """Whatever the length, an append takes a page's units and a few, and a seal twice that."""
    start = kilobytes * 1024 // TURN_BYTES
    batch = [item for number in range(start) for item in turn(number)]
    await metered.session().add_items(batch)
    bills = [await metered.append(number) for number in range(start, start + 12)]

    plain = [units for units, requests in bills if requests == ["UpdateItem"]]
    sealing = [units for units, requests in bills if requests == ["BatchWriteItem", "UpdateItem"]]
    assert len(plain) + len(sealing) == len(bills)
    assert len(sealing) in {3, 4}
    assert max(plain) <= LATER_UNITS
    assert max(sealing) <= 2 * LATER_UNITS
    assert sum(plain + sealing) / len(bills) <= 10
    assert len(await metered.session().get_items()) == len(batch) + 4 * len(bills)


async def test_the_first_page_is_paid_for_once(metered: Metered) -> None:
    """The append that ends the first page costs twice that page, and the next ones a small one."""
    await metered.begin(SHORT + 1)
    units, requests = await metered.append(SHORT + 1)

    assert requests == ["BatchWriteItem", "UpdateItem"]
    assert units <= 2 * FIRST_UNITS
    for number in range(SHORT + 2, SHORT + 5):
        units, requests = await metered.append(number)
        assert requests == ["UpdateItem"]
        assert units <= LATER_UNITS


async def test_the_mean_append_at_1_mb(metered: Metered) -> None:
    """At the end of 1 MB, a turn of 2 KB costs 10 units in the mean, seals included."""
    start = 1024 * 1024 // TURN_BYTES
    batch = [item for number in range(start) for item in turn(number)]
    await metered.session().add_items(batch)
    units = [(await metered.append(number))[0] for number in range(start, start + 16)]

    assert sum(units) / len(units) <= 10


@pytest.mark.parametrize(
    ("kilobytes", "most"), [(80, 0.55), pytest.param(350, 2.40, marks=pytest.mark.slow)]
)
async def test_what_a_thousand_conversations_cost(
    metered: Metered, kilobytes: int, most: float
) -> None:
    """With every turn reading all, 350 KB cost less than $2.40, and 80 KB less than $0.55."""
    dollars = 0.0
    for number in range(kilobytes * 1024 // TURN_BYTES):
        session = metered.session()
        metered.meter.reset()
        assert len(await session.get_items()) == 4 * number
        await session.add_items(turn(number))
        dollars += metered.meter.write * WRITE_PRICE + metered.meter.read * READ_PRICE

    assert 1000 * dollars < most


async def test_an_append_by_an_object_that_read_nothing(metered: Metered) -> None:
    """Who has not read the conversation pays for one refused attempt when a page is full."""
    await metered.begin(SHORT + 1)
    units, requests = await metered.append(SHORT + 1, seen=False)

    assert [name for name in requests if name != "GetItem"] == [  # dynalite must be asked
        "UpdateItem",
        "BatchWriteItem",
        "UpdateItem",
    ]
    assert units <= 3 * FIRST_UNITS
    assert metered.meter.refused > SHORT * TURN_BYTES // 1024


async def test_references_to_pages_stay_small(metered: Metered) -> None:
    """A hundred and sixty pages add one unit at most to an append."""
    page_bytes = 2 * TURN_BYTES + 384
    turns = 160 * 2 + 1
    batch = [item for number in range(turns) for item in turn(number)]
    await metered.session(page_bytes=page_bytes).add_items(batch)
    units, requests = await metered.append(turns, page_bytes=page_bytes)

    assert requests == ["UpdateItem"]
    assert units <= page_bytes // 1024 + BOOKKEEPING_UNITS + 1
    metered.meter.reset()
    assert len(await metered.session().get_items()) == len(batch) + 4
    assert metered.meter.requests.count("BatchGetItem") == 3


async def test_a_page_fills_its_read_units(metered: Metered) -> None:
    """With what a page has beside its items, it is not read for a unit more than they take."""
    batch = [item for number in range(200) for item in turn(number)]
    await metered.session(page_bytes=8 * 1024).add_items(batch)
    metered.meter.reset()
    assert await metered.session().get_items() == batch

    assert metered.meter.read <= 1.2 * 200 * TURN_BYTES / 4096


async def test_the_last_items_need_two_small_pages_at_most(metered: Metered) -> None:
    """A limit reads the item and the newest pages, however many pages there are."""
    batch = [item for number in range(4 * SHORT) for item in turn(number)]
    await metered.session().add_items(batch)
    for number in range(4 * SHORT, 4 * SHORT + 5):
        await metered.append(number)
    metered.meter.reset()
    items = await metered.session().get_items(20)

    assert len(items) == 20
    assert metered.meter.requests == ["GetItem", "BatchGetItem"]
    assert metered.meter.read <= 2 * LATER_UNITS / 4 + 2


async def test_what_a_lease_costs(metered: Metered) -> None:
    """To take it an append and two units, to renew it and to give it back one, a write nothing."""
    await metered.begin(SHORT // 4)
    append, _ = await metered.append(SHORT // 4)
    conversation: Any = metered.session()._conversation
    holder, waiter = (conversation.claim(name * 24, 60) for name in "ab")

    async def units(call: Awaitable[Any]) -> tuple[float, float]:
        metered.meter.reset()
        await call
        return metered.meter.write, metered.meter.read

    write, read = await units(holder.acquire(0))
    assert append <= write <= append + 2
    assert read == 1
    assert await units(holder.renew()) == (1, 0)
    assert await units(waiter.acquire(5)) == (1, 1)
    assert await units(waiter.acquire(5)) == (0, 1)
    assert await units(waiter.release()) == (1, 1)
    metered.meter.reset()
    await holder.fenced().append([b"{}"])
    assert metered.meter.requests == ["UpdateItem"]
    assert metered.meter.write <= append + 1
    assert await units(holder.release()) == (1, 0)


@emulators.run_on([name for name in COUNTING if name != "dynalite"])  # it counts no index's writes
async def test_what_the_index_adds(emulator: Emulator, dynamodb_client: Any) -> None:
    """A unit to what begins a conversation, two to each write, however long it is."""
    async with (
        emulators.create_client(emulator.url) as client,
        temporary_table(dynamodb_client, users=True) as store,
    ):
        meter = Meter(client, dynamodb_client)
        opened = DynamoDBStore(client, store.table, ttl=3600)
        ada = opened.user("ada@example.com")
        without, theirs = opened.session("groceries"), ada.session("groceries", name="Groceries")

        async def units(write: Awaitable[Any]) -> float:
            meter.reset()
            await write
            return meter.write

        for number in range(SHORT):
            plain = await units(without.add_items(turn(number)))
            added = await units(theirs.add_items(turn(number))) - plain
            # What says whose it is may make the item begin another kilobyte.
            assert added - (2 if number else 1) in {0, 1}
        item = plain
        assert await units(ada.update("groceries", name="Weekend")) <= item + 3
        assert await units(ada.touch("groceries")) <= item + 3
        assert await units(ada.session("groceries").clear_session()) <= item + 3
        assert await units(ada.delete("groceries")) <= 5

        for number in range(60):
            await ada.session(f"{number}", name="Groceries").add_items(turn(number))
        meter.reset()
        assert len((await ada.list(limit=50)).conversations) == 50
        assert (meter.requests, meter.read + meter.write) == (["Query"], 1.5)
