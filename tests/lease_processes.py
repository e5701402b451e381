"""Eight processes that take turns at one conversation, while some are killed and some stand still.

Each does run after run: it takes the lease, writes what a run of an agent writes (the user's
message, a call, its output, an answer) in several writes, now and then reads, and ends the block.
Holders are killed with SIGKILL, and others start in their place; holders are stopped with SIGSTOP
until somebody else has written, and continued.

What each asks for and is answered it writes to a file of its own, with the times of a clock that
is one for all processes of a machine, before it asks and after it was answered. So of one that
was killed it is known what it may have done last. All of that is one history, which an
independent checker is asked about (``tests.linearizability``).
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import random
import signal
import statistics
import time
import traceback
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

import pytest

from openai_agents_session import LeaseLostError
from openai_agents_session._lease import Lease
from tests.linearizability import Operation, checked
from tests.processes import PROCESSES
from tests.shares import slow

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable
    from multiprocessing.process import BaseProcess
    from pathlib import Path

    from tests.processes import Open

ITEMS = 4
"""How many a run writes."""
THINKING_SECONDS = 0.01
"""How long a run pauses before it writes, at most."""
WAIT = 300.0
"""Seconds that a process waits for its turn: longer than a test takes."""
PATIENCE = 120.0
"""Seconds without any progress after which a test has failed."""
MOST_ERRORS = 50
"""How many errors of the store one process may meet."""


class Amount(TypedDict):
    """How much is done; the arguments of ``turns_taken``."""

    runs: int
    kills: int
    stops: int


each_amount = pytest.mark.parametrize(
    "amount",
    [
        pytest.param(Amount(runs=30, kills=1, stops=1), id="30 runs"),
        slow(Amount(runs=500, kills=25, stops=15), id="500 runs"),
    ],
)

Progress: TypeAlias = "Callable[[int], Awaitable[None]]"
"""Waits until so many runs are done."""


@dataclass
class Report:
    """What came of it."""

    history: list[Operation]
    done: set[str]
    """Runs of which their process said, after the block, that they are done."""
    stops: dict[str, int]
    """Runs that stood still until others had written, and when they were continued (ns)."""
    kills: list[str]
    """Runs whose process was killed while it had the lease."""
    errors: list[str]
    """What stores raised; such a run was given up."""
    items: list[str] = field(default_factory=list)
    """What the conversation holds in the end."""
    seconds: float = 0.0

    def __str__(self) -> str:
        lost = sum(each.get("answer") == "lost" for each in self.history)
        return (
            f"{len(self.done)} runs done, {len(self.kills)} holders killed, "
            f"{len(self.stops)} stopped, {lost} writes refused, {len(self.errors)} errors, "
            f"{len(self.history)} operations in {self.seconds:.1f} s; "
            f"{1000 * self.handover:.0f} ms from one holder to the next"
        )

    @property
    def handover(self) -> float:
        """Seconds from the end of a block to the beginning of the next: their median."""
        ended, gaps = 0, []
        turns = [each for each in self.history if each["do"] in {"acquire", "release"}]
        for each in sorted(turns, key=lambda each: each.get("return", 0)):
            if each["do"] == "acquire" and ended and "return" in each:
                gaps.append(each["return"] - ended)
            ended = each.get("return", 0) if each["do"] == "release" else 0
        return statistics.median(gaps or [0]) / 10**9


async def turns_taken(
    opened: Open,
    directory: Path,
    *,
    runs: int,
    kills: int,
    stops: int,
    seconds: int = 1,
    own_clocks: bool = True,
    seed: int = 1,
    meanwhile: Callable[[Progress], Awaitable[None]] | None = None,
) -> Report:
    """Let eight processes do so many runs, one at a time, and return what came of it.

    Args:
        opened: opens the conversation in each process, and here; a partial of a function.
        directory: for the files of the processes; empty.
        runs: how many are done at least before the processes end.
        kills: how many holders are killed.
        stops: how many holders are stopped until another has written, and then continued.
        seconds: the life of a lease.
        own_clocks: whether every second process looks at its own clock as well, and so knows
            that its lease is over when it is continued. The others write, and are refused. The
            first to be stopped is one of these, and then one of each kind in turn.
        seed: of what is random in the processes.
        meanwhile: what happens to the store. It is given a function that waits until so many
            runs are done.
    """
    started = time.monotonic()
    draw = random.Random(seed)
    interruptions = [*["kill"] * kills, *["stop"] * stops]
    draw.shuffle(interruptions)
    crew = _Crew(_Orders(opened, directory, seconds, own_clocks, seed))
    async with crew.at_work():
        others = asyncio.ensure_future(meanwhile(crew.has_done) if meanwhile else asyncio.sleep(0))
        try:
            for number, interruption in enumerate(interruptions):
                await crew.has_done(runs * number // len(interruptions))
                await (crew.kill_one(draw) if interruption == "kill" else crew.stop_one(draw))
            await crew.has_done(runs)
            await others
        finally:
            others.cancel()
    report = crew.report()
    async with opened() as session:
        called = time.monotonic_ns()
        report.items = names_of(await session.get_items())
    last = {"do": "read", "items": report.items, "call": called, "return": time.monotonic_ns()}
    report.history.append(last)
    report.seconds = time.monotonic() - started
    return report


def check(report: Report) -> None:
    """Assert that what came of it is what leases promise.

    Every run that was reported as done is there, whole, contiguous and once. Of one that was not,
    what it wrote before is there, contiguous. No write that began after another holder had
    written is there, and none that was refused. The history is linearizable.
    """
    turns = [(run, [*items]) for run, items in groupby(report.items, _run_of)]
    found = dict(turns)
    assert len(found) == len(turns), "a run is not contiguous"
    for run, items in turns:
        assert items == _names(run)[: len(items)], "an item is missing, twice, or out of order"
    torn = {run for run in report.done if found.get(run) != _names(run)}
    assert not torn, "runs that were done are not whole"
    stored = {*report.items}
    for each in report.history:
        if each["do"] == "append":
            came_late = each["call"] > report.stops.get(each["holder"], each["call"])
            if came_late or each.get("answer") == "lost":
                assert stored.isdisjoint(each["items"]), "a write without the lease is there"
    said = checked(report.history)
    assert said["verdict"] == "linearizable", said


@dataclass(frozen=True)
class _Orders:
    """What each process is told."""

    opened: Open
    directory: Path
    seconds: int
    own_clocks: bool
    seed: int

    @property
    def enough(self) -> Path:
        """The file that is there when no more runs are to begin."""
        return self.directory / "enough"


class _Crew:
    """Eight processes, and what is known of each from its file."""

    def __init__(self, orders: _Orders) -> None:
        self._orders = orders
        self._context = multiprocessing.get_context("forkserver")
        # With all that the processes need, the SDK above all: they are many.
        opened: Any = orders.opened
        modules = [__name__, opened.func.__module__, "agents"]
        self._context.set_forkserver_preload(modules)
        self._members: list[_Member] = []
        self._kills: list[str] = []
        self._stops: dict[str, int] = {}

    @asynccontextmanager
    async def at_work(self) -> AsyncGenerator[None]:
        """Let the processes work until the block ends; then each ends its run, and itself."""
        try:
            for _ in range(PROCESSES):
                self._start()
            yield
            self._orders.enough.touch()
            await self._until(lambda: not any(member.is_alive for member in self._members))
        finally:
            for member in self._members:
                member.process.kill()
                await asyncio.to_thread(member.process.join)

    async def has_done(self, runs: int) -> None:
        """Wait until so many runs are done."""
        await self._until(lambda: sum(len(member.done) for member in self._members) >= runs)

    async def kill_one(self, draw: random.Random) -> None:
        """Kill a process in the midst of its run."""
        while True:
            member = await self._writer(draw, self._members)
            member.process.kill()
            await self._until(lambda: not member.is_alive)  # noqa: B023 - it ends before
            self._start()
            run, member.writing = member.writing, ""
            if run:
                self._kills.append(run)
                return

    async def stop_one(self, draw: random.Random) -> None:
        """Let a process stand still in the midst of its run, until others have written."""
        with_clock = self._orders.own_clocks and len(self._stops) % 2 == 1
        while True:
            candidates = [each for each in self._members if each.has_clock == with_clock]
            member = await self._writer(draw, candidates)
            assert member.process.pid is not None
            os.kill(member.process.pid, signal.SIGSTOP)
            try:
                at = time.monotonic_ns()
                # In SQL it may stand still in a transaction, which the others then wait for.
                blocked = at + (2 * self._orders.seconds + 1) * 10**9
                await self._until(
                    lambda: self._others_wrote(member, at) or time.monotonic_ns() > blocked  # noqa: B023 - it ends before
                )
                run = member.writing if self._others_wrote(member, at) else ""
                continued = time.monotonic_ns()
            finally:
                os.kill(member.process.pid, signal.SIGCONT)
            if run:
                self._stops[run] = continued
                await self._until(lambda: member.writing != run)  # noqa: B023 - it ends before
                return

    def report(self) -> Report:
        """What is known of all of them."""
        members = self._members
        return Report(
            history=[each for member in members for each in member.operations.values()],
            done={run for member in members for run in member.done},
            stops=self._stops,
            kills=self._kills,
            errors=[error for member in members for error in member.errors],
        )

    def _start(self) -> None:
        number = len(self._members)
        name, has_clock = f"{number}", self._orders.own_clocks and number % 2 == 0
        file = self._orders.directory / f"{name}.jsonl"
        file.touch()
        process = self._context.Process(target=_work, args=(self._orders, name, file, has_clock))
        process.start()
        self._members.append(_Member(process, file, has_clock=has_clock))

    async def _writer(self, draw: random.Random, candidates: list[_Member]) -> _Member:
        """Wait until one of them is in the midst of its run, and some moments more."""
        await self._until(lambda: any(member.writing for member in candidates))
        member = next(member for member in candidates if member.writing)
        await asyncio.sleep(draw.uniform(0, THINKING_SECONDS))
        return member

    def _others_wrote(self, member: _Member, since: int) -> bool:
        return any(other.wrote > since for other in self._members if other is not member)

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition, as long as the processes do anything."""
        seen, deadline = -1, 0.0
        while True:
            for member in self._members:
                member.read()
                assert member.process.exitcode in {None, 0, -signal.SIGKILL}
                assert len(member.errors) < MOST_ERRORS, member.errors[-1]
            if condition():
                return
            if (size := sum(member.size for member in self._members)) != seen:
                seen, deadline = size, time.monotonic() + PATIENCE
            assert time.monotonic() < deadline, "nothing happens any more"
            await asyncio.sleep(0.003)


class _Member:
    """One process, and what its file says."""

    def __init__(self, process: BaseProcess, file: Path, *, has_clock: bool) -> None:
        self.process = process
        self.has_clock = has_clock
        self.size = 0
        self.operations: dict[int, Operation] = {}
        self.done: list[str] = []
        self.errors: list[str] = []
        self.writing = ""
        """The run that has the lease, and has written a part of what it has to write."""
        self.wrote = 0
        """When the last write was asked for that was done."""
        self._file = file
        self._left = 0

    @property
    def is_alive(self) -> bool:
        """Whether it still runs; its file may have more to read until then."""
        alive = self.process.is_alive()
        if not alive:
            self.read()
        return alive

    def read(self) -> None:
        """Read what has come; of one that was killed, the last line may be torn."""
        with self._file.open("rb") as file:
            file.seek(self.size)
            whole, end, _ = file.read().rpartition(b"\n")
        self.size += len(whole + end)
        for line in whole.splitlines():
            self._take(json.loads(line))

    def _take(self, record: dict[str, Any]) -> None:
        assert "bug" not in record, record["bug"]
        if "error" in record:
            self.errors.append(record["error"])
        elif "done" in record:
            self.done.append(record["done"])
        else:
            each = self.operations.setdefault(record.pop("number"), {})
            each.update(record)
            if "return" not in each:
                self._asked(each)
            else:
                self._answered(each)

    def _asked(self, each: Operation) -> None:
        if each["do"] == "append":
            self._left -= len(each["items"])
        if each["do"] == "release" or not self._left:  # as good as over
            self.writing = ""

    def _answered(self, each: Operation) -> None:
        if each["do"] == "acquire":
            self._left = ITEMS
        elif each["answer"] == "lost":
            self.writing = ""
        elif each["do"] == "append":
            self.wrote = each["call"]
            self.writing = each["holder"] if self._left else ""


def _work(orders: _Orders, name: str, file: Path, has_clock: bool) -> None:
    """In a process: do runs until it is enough."""
    if not has_clock:  # then all its writes are the store's to refuse
        Lease.is_lost = property(lambda _: False)  # ty: ignore[invalid-assignment] - in this process only
    notes = _Notes(file)
    try:
        asyncio.run(_work_on(orders, name, notes))
    except BaseException:
        notes.write(bug=traceback.format_exc())
        raise


async def _work_on(orders: _Orders, name: str, notes: _Notes) -> None:
    draw = random.Random(f"{orders.seed}.{name}")
    async with orders.opened() as session:
        number = 0
        while not orders.enough.exists():
            run = f"{name}.{number}"
            number += 1
            try:
                await _run(session, run, orders.seconds, draw, notes)
            except LeaseLostError:
                continue
            except Exception as error:  # noqa: BLE001 - of the store; the test says if that may be
                notes.write(error=f"{run}: {error!r}")
                continue
            notes.write(done=run)


async def _run(session: Any, run: str, seconds: int, draw: random.Random, notes: _Notes) -> None:
    """What a run writes: the user's message, a call, its output and an answer."""
    lease = session.lease(WAIT, seconds)
    with notes.on("acquire", run):
        held = await lease.__aenter__()
    try:
        left = _names(run)
        while left:
            await asyncio.sleep(draw.uniform(0, THINKING_SECONDS))
            # As the Runner does, first of all; and sometimes in between.
            if draw.random() < (0.5 if len(left) == ITEMS else 0.1):
                with notes.on("read") as answer:
                    answer["items"] = names_of(await held.get_items())
            # As the Runner writes, the user's message comes first, and the rest at the end.
            size = draw.choice([1, len(left)]) if len(left) < ITEMS else 1
            part, left = left[:size], left[size:]
            with notes.on("append", run, part):
                await held.add_items([*map(_item, part)])
    finally:
        with notes.on("release", run):
            await lease.__aexit__(None, None, None)


class _Notes:
    """The file of a process. What was written is there, whatever becomes of the process."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("ab", buffering=0)
        self._number = 0

    def write(self, **record: Any) -> None:
        """Add a line."""
        self._file.write(json.dumps(record).encode() + b"\n")

    @contextmanager
    def on(self, do: str, holder: str = "", items: Iterable[str] = ()) -> Generator[Operation]:
        """Note an operation before and after it; one that raises has an unknown outcome.

        Its answer is put into what the block is given.
        """
        self._number += 1
        number = self._number
        called = time.monotonic_ns()
        self.write(number=number, do=do, holder=holder, items=[*items], call=called)
        answer: Operation = {"answer": "ok"}
        try:
            yield answer
        except LeaseLostError:
            self.write(number=number, **{"return": time.monotonic_ns(), "answer": "lost"})
            raise
        returned = {"return": time.monotonic_ns()}  # before the file may keep it waiting
        self.write(number=number, **returned, **answer)


def names_of(items: Iterable[Any]) -> list[str]:
    """The names of items of runs, which are as they were written."""
    names = []
    for item in items:
        name = item.get("content") or item.get("output") or item["call_id"]
        assert item == _item(name)
        names.append(name)
    return names


def _names(run: str) -> list[str]:
    return [f"{run}.{at}" for at in range(ITEMS)]


def _run_of(name: str) -> str:
    return name.rpartition(".")[0]


def _item(name: str) -> dict[str, Any]:
    run, _, at = name.rpartition(".")
    return {
        "0": {"role": "user", "content": name},
        "1": {"type": "function_call", "call_id": f"{run}.1", "name": "f", "arguments": "{}"},
        "2": {"type": "function_call_output", "call_id": f"{run}.1", "output": name},
        "3": {"role": "assistant", "content": name},
    }[at]
