"""What is measured on an emulator: conversations that grow by turns of 2 KB, and their bills."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import uuid
from dataclasses import dataclass
from statistics import mean, median
from typing import TYPE_CHECKING

from tests.benchmarks.dynamodb_driver import ITEMS_PER_TURN, TURN_BYTES
from tests.dynamodb import emulators

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from tests.benchmarks.dynamodb_peers import Bill, Peer

LAST = 20  # items, for the reads with a limit


@dataclass(frozen=True)
class Step:
    """A turn as the Runner does it: a new session object reads, then appends."""

    read: Bill
    append: Bill


@dataclass(frozen=True)
class Stage:
    """What a conversation of one size costs.

    Attributes:
        turns: its size.
        built: write units from the first turn to here.
        steps: the turns from here until a page was filled.
        everything: the read of all items.
        failed: what the store said when it took no more; the figures mean nothing then.
    """

    turns: int
    built: float = 0.0
    steps: Sequence[Step] = ()
    everything: Bill | None = None
    failed: str = ""

    @property
    def plain(self) -> list[Bill]:
        """The appends that seal nothing."""
        return [step.append for step in self.steps if not step.append.sealed]

    @property
    def sealing(self) -> list[Bill]:
        """The one that seals."""
        return [step.append for step in self.steps if step.append.sealed]

    @property
    def last(self) -> list[Bill]:
        """The reads of the last items."""
        return [step.read for step in self.steps]


@dataclass(frozen=True)
class Trade:
    """What a value of ``page_bytes`` means, over the time in which one page fills."""

    page_bytes: int
    appends: Sequence[Bill]
    everything: Sequence[Bill]
    last: Sequence[Bill]


@dataclass(frozen=True)
class Course:
    """What a conversation has cost up to a turn: units, and requests."""

    write: float = 0.0
    read: float = 0.0
    requests: int = 0

    def plus(self, bill: Bill) -> Course:
        """The same after one more operation."""
        return Course(
            self.write + bill.write, self.read + bill.read, self.requests + len(bill.requests)
        )


@contextlib.contextmanager
def table(url: str) -> Generator[str]:
    """Make a table for the duration of a ``with``; the emulator may be somebody else's."""
    name = f"benchmark-{uuid.uuid4().hex}"

    async def create() -> None:
        async with emulators.create_client(url) as client:
            await emulators.create_table(client, name)

    async def delete() -> None:
        async with emulators.create_client(url) as client:
            await client.delete_table(TableName=name)

    asyncio.run(create())
    try:
        yield name
    finally:
        asyncio.run(delete())


def grow(peer: Peer, sizes: Sequence[int], *, paged: bool = False, **options: int) -> list[Stage]:
    """Build a conversation turn by turn, and look at it when it has each of the sizes."""
    session_id = uuid.uuid4().hex
    steps: list[Step] = []
    stages: list[Stage] = []
    everything: dict[int, Bill] = {}
    ends: list[int] = []  # how many turns there were when a page was sealed
    for number in itertools.count():
        peer.open(session_id, **options)
        if number in sizes:
            everything[number] = bill = peer.get()
            assert bill.items == number * ITEMS_PER_TURN, bill
        if (bool(ends) and ends[-1] > sizes[-1] + 1) if paged else number > sizes[-1]:
            break
        step = Step(peer.get(LAST), peer.add(number))
        if step.append.error:
            break
        assert step.append.requests.count("UpdateItem") <= 1, step
        assert step.read.items == min(LAST, number * ITEMS_PER_TURN), step
        steps.append(step)
        if step.append.sealed:
            ends.append(len(steps))
    for size in sizes:
        if size not in everything:
            stages.append(Stage(size, failed=f"fails at {len(steps) * TURN_BYTES // 1024} KB"))
            continue
        end = next((end for end in ends if end > size + 1), size + 1)  # one that seals nothing
        built = sum(step.append.write for step in steps[:size])
        stages.append(Stage(size, built, steps[size:end], everything[size]))
    return stages


def blind(peer: Peer, turns: int, **options: int) -> Bill:
    """The sealing append by an object that has read nothing: it is refused first."""
    session_id = uuid.uuid4().hex
    peer.open(session_id, **options)
    peer.add(0, turns)
    for number in itertools.count(turns):
        peer.open(session_id, **options)
        bill = peer.add(number)
        if bill.sealed:
            return bill
    raise AssertionError("unreachable")


def runner(
    peer: Peer, turns: Sequence[int], limit: int | None = None, **options: int
) -> list[Course]:
    """Measure a conversation up to each of these turns, each of which reads before it appends."""
    session_id = uuid.uuid4().hex
    course = Course()
    courses: dict[int, Course] = {}
    for number in range(1, turns[-1] + 1):
        peer.open(session_id, **options)
        for bill in (peer.get(limit), peer.add(number)):
            assert not bill.error, bill
            course = course.plus(bill)
        courses[number] = course
    return [courses[number] for number in turns]


def trade(peer: Peer, size: int, turns: int, **options: int) -> Trade:
    """Measure a page's filling, at the end of a conversation of about so many turns.

    Args:
        peer: the contender.
        size: how many bytes a page has.
        turns: how long the conversation is.
        options: what makes it have such pages.
    """
    filling = max(1, size // TURN_BYTES)
    session_id = uuid.uuid4().hex
    peer.open(session_id, **options)
    start = max(1, turns - 3 * filling // 2)
    for number in range(start):  # as it grows in life, so that its pages are full
        peer.add(number)
    appends: list[Bill] = []
    last: list[Bill] = []
    seals = 0
    for number in itertools.count(start):
        peer.open(session_id, **options)
        last.append(peer.get(LAST))
        bill = peer.add(number)
        if seals:
            appends.append(bill)
        seals += bill.sealed
        if seals == 2:
            break
    return Trade(size, appends, [peer.get() for _ in range(7)], last)


def race(peers: Mapping[str, Peer], turns: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Milliseconds of an append to a conversation of so many turns: the median and the mean.

    Each has a conversation that grows from 16 turns less to 16 more, a page's filling, in
    which one append seals. They append in turn, in a random order.
    """
    order = random.Random(0)
    times: dict[str, list[float]] = {name: [] for name in peers}
    names = list(peers)
    start = max(1, turns - 16)
    for number in range(rounds + 1):
        for peer in peers.values():
            peer.open(uuid.uuid4().hex)
            for turn in range(start):
                peer.add(turn)
        for turn in range(start, start + 32):
            order.shuffle(names)
            for name in names:
                bill = peers[name].add(turn)
                assert not bill.error, bill
                if number:  # the first round is for the servers to warm up
                    times[name].append(bill.seconds * 1000)
    return {name: (median(each), mean(each)) for name, each in times.items()}
