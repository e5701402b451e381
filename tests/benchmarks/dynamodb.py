"""What a conversation costs in DynamoDB, beside one item by hand and release 0.1.0."""

from __future__ import annotations

import contextlib
import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from statistics import mean, median
from typing import TYPE_CHECKING

from openai_agents_session.dynamodb._packing import FIRST_PAGE_BYTES, LATER_PAGE_BYTES
from openai_agents_session.dynamodb._session import MIN_PAGE_BYTES
from tests.benchmarks import dynamodb_cost as cost
from tests.benchmarks import dynamodb_peers as peers
from tests.benchmarks.dynamodb_driver import TURN_BYTES
from tests.benchmarks.measure import table
from tests.dynamodb import emulators

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from tests.benchmarks.dynamodb_cost import Course, Stage, Trade
    from tests.benchmarks.dynamodb_peers import Bill, Peer

SIZES = (10, 100, 350, 1024, 10 * 1024)  # KB of history
PAGE_SIZES = (8, 16, 32, 64, 128, 350)  # KiB
COMPARED = PAGE_SIZES[:4]
TURNS = (20, 100, 500)  # of 2 KB
RACE_SIZE = 200  # KB
CONVERSATION = 350  # KB, the largest that all can hold

# Dollars for a million request units: AWS price list, on-demand, us-east-1, since the cut of
# November 2024. Other regions cost up to half as much again.
WRITE_PRICE = 0.625
READ_PRICE = 0.125

DEFAULT = (FIRST_PAGE_BYTES, LATER_PAGE_BYTES)

_NAMES = {"dynalite": "dynalite", "local": "DynamoDB Local"}
_VERSIONS = {"dynalite": emulators.DYNALITE_VERSION, "local": emulators.LOCAL_VERSION}


@dataclass(frozen=True)
class Plan:
    """What to measure; ``scale`` divides all sizes, for a quick run."""

    scale: int
    rounds: int

    @property
    def options(self) -> dict[str, int]:
        """The default's, or the smallest pages that there are."""
        return {"page_bytes": MIN_PAGE_BYTES} if self.scale > 1 else {}

    @property
    def page_bytes(self) -> tuple[int, int]:
        """What that means for the first page, and for those that follow."""
        first, later = (MIN_PAGE_BYTES,) * 2 if self.scale > 1 else DEFAULT
        return first, later

    def pages(self, kibibytes: int) -> dict[str, int]:
        """The options for pages of a size."""
        return {"page_bytes": max(MIN_PAGE_BYTES, kibibytes * 1024 // self.scale)}

    def turns(self, kilobytes: int) -> int:
        """How many turns make so much history."""
        return max(1, kilobytes * 1024 // TURN_BYTES // self.scale)


def run(names: Sequence[str], rounds: int, scale: int = 1) -> str:
    """Measure on emulators, the units on the first, and return the report."""
    plan = Plan(scale, rounds)
    sizes = [plan.turns(size) for size in SIZES]
    races = {}
    with peers.release() as python:
        for name in names[1:]:
            with _contenders(name, python) as (ours, old, one):
                races[name] = _race(plan, ours, old, one)
        with _contenders(names[0], python) as (ours, old, one):
            races[names[0]] = _race(plan, ours, old, one)
            stages = cost.grow(ours, sizes, paged=True, **plan.options)
            others = [cost.grow(one, sizes), cost.grow(old, sizes)]
            refused = [cost.blind(ours, size, **plan.options) for size in sizes]
            conversation = plan.turns(CONVERSATION)
            money = [
                *cost.runner(ours, [conversation], **plan.options),
                *(cost.runner(peer, [conversation])[0] for peer in (one, old)),
            ]
            policies = [plan.options, *map(plan.pages, COMPARED)]
            turns = [max(1, each // scale) for each in TURNS]
            courses = {
                limit: [cost.runner(ours, turns, limit, **each) for each in policies]
                for limit in (None, cost.LAST)
            }
            default = plan.page_bytes[1]
            trades = [
                cost.trade(ours, each.get("page_bytes", default), plan.turns(1024), **each)
                for each in (plan.options, *map(plan.pages, PAGE_SIZES))
            ]
    parts = [
        _setting(names),
        f"Write units, by default: {_pages(*plan.page_bytes)}",
        _writes(stages, others, refused),
        "Read units, and requests in parentheses",
        _reads(stages, others),
        f"Dollars for 1,000 conversations of {conversation * TURN_BYTES // 1024} KB",
        _money(money),
        "Write + read units (requests) of a conversation, dollars for 1,000: each turn reads all",
        _policies(plan, turns, courses[None]),
        f"the same, reading the last {cost.LAST}",
        _policies(plan, turns, courses[cost.LAST]),
        f"page_bytes, at the end of {plan.turns(1024) * TURN_BYTES // 1024} KB of history",
        table(_TRADE_HEADER, map(_trade, trades, ["default", *[""] * len(PAGE_SIZES)])),
        f"Milliseconds of an append at {plan.turns(RACE_SIZE) * TURN_BYTES // 1024} KB",
        _times(races),
        "Targets",
        _targets(plan, stages, others[1], races, spent=money[0], end=trades[0]),
    ]
    return "\n\n".join(parts)


@contextlib.contextmanager
def _contenders(name: str, python: str) -> Generator[tuple[Peer, Peer, Peer]]:
    """This library, the release and the single item, on a fresh emulator."""
    with emulators.running(name) as emulator, contextlib.ExitStack() as stack:
        to = (emulator.url, stack.enter_context(cost.table(emulator.url)))
        ours = stack.enter_context(peers.running(*to, "library"))
        old = stack.enter_context(peers.running(*to, "library", python))
        one = stack.enter_context(peers.running(*to, "single"))
        yield ours, old, one


def _race(plan: Plan, ours: Peer, old: Peer, one: Peer) -> dict[str, tuple[float, float]]:
    contenders = {"ours": ours, "one": one, "old": old}
    return cost.race(contenders, plan.turns(RACE_SIZE), plan.rounds)


def _writes(stages: Sequence[Stage], others: Sequence[list[Stage]], refused: list[Bill]) -> str:
    header = [
        *("history", "append, nothing sealed", "append that seals", "the same, nothing read"),
        *("one item", "0.1.0", "built in all", "one item", "0.1.0"),
    ]
    rows = []
    for stage, one, old, first in zip(stages, *others, refused, strict=True):
        rows.append(
            [
                _size(stage.turns),
                _span(bill.write for bill in stage.plain),
                _span(bill.write for bill in stage.sealing),
                _span([first.write]),
                *(each.failed or _span([each.steps[0].append.write]) for each in (one, old)),
                *(each.failed or _span([each.built]) for each in (stage, one, old)),
            ]
        )
    return table(header, rows)


def _reads(stages: Sequence[Stage], others: Sequence[list[Stage]]) -> str:
    header = ["history", "all", "one item", "0.1.0", "last 20", "one item", "0.1.0"]
    header += ["append", "one item", "0.1.0"]
    rows = [
        [
            _size(each[0].turns),
            *(one.failed or _read([one.everything] if one.everything else []) for one in each),
            *(one.failed or _read(one.last) for one in each),
            *(one.failed or _read(one.plain) for one in each),
        ]
        for each in zip(stages, *others, strict=True)
    ]
    return table(header, rows)


def _policies(plan: Plan, turns: Sequence[int], courses: Sequence[Sequence[Course]]) -> str:
    """A row for the default and for each size."""
    names = [_pages(*plan.page_bytes)]
    names += [_pages(*[plan.pages(size)["page_bytes"]] * 2) for size in COMPARED]
    rows = [
        [name, *(f"{_course(each)} {sum(_dollars(each)):.2f}" for each in row)]
        for name, row in zip(names, courses, strict=True)
    ]
    return table(["`page_bytes`", *(f"{each} turns" for each in turns)], rows)


def _course(course: Course) -> str:
    return f"{course.write:,.0f} + {course.read:,.0f} ({course.requests:,})"


def _dollars(course: Course) -> tuple[float, float]:
    """For writing and for reading 1,000 conversations."""
    return course.write * WRITE_PRICE / 1000, course.read * READ_PRICE / 1000


def _pages(first: int, later: int) -> str:
    texts = [f"{size // 1024} KiB" for size in (first, later)]
    return ", then ".join(dict.fromkeys(texts))


def _money(courses: Sequence[Course]) -> str:
    """Each turn reads all, then appends: as ``Runner.run`` does."""
    rows = []
    for name, course in zip(("this library", "one item", "0.1.0"), courses, strict=True):
        dollars = _dollars(course)
        figures = [_span([course.write]), _span([course.read])]
        rows.append([name, *figures, *(f"{each:.2f}" for each in (*dollars, sum(dollars)))])
    return table(["", "write units", "read units", "writes", "reads", "in all"], rows)


_TRADE_HEADER = [
    *("`page_bytes`", "write units an append: mean", "nothing sealed", "that seals"),
    *("read units, all", "last 20", "ms an append: median", "ms to read all"),
]


def _trade(trade: Trade, name: str) -> list[str]:
    plain = [bill for bill in trade.appends if not bill.sealed]
    return [
        name or f"{trade.page_bytes // 1024} KiB",
        f"{mean(bill.write for bill in trade.appends):.1f}",
        _span(bill.write for bill in plain),
        _span(bill.write for bill in trade.appends if bill.sealed),
        _read(trade.everything),
        _read(trade.last),
        f"{median(bill.seconds for bill in trade.appends) * 1000:.1f}",
        f"{median(bill.seconds for bill in trade.everything) * 1000:.0f}",
    ]


def _times(races: dict[str, dict[str, tuple[float, float]]]) -> str:
    rows = []
    for name, times in races.items():
        cells = [f"{times[each][0]:.1f} (mean {times[each][1]:.1f})" for each in times]
        rows.append([f"{_NAMES[name]}, median", *cells, f"{_ratio(times):.2f}"])
    return table(["", "this library", "one item", "0.1.0", "ours / 0.1.0"], rows)


def _targets(
    plan: Plan,
    stages: Sequence[Stage],
    old: Sequence[Stage],
    races: dict[str, dict[str, tuple[float, float]]],
    *,
    spent: Course,
    end: Trade,
) -> str:
    rows = []
    for stage in stages:
        paged = stage.turns * TURN_BYTES > plan.page_bytes[0]
        most = plan.page_bytes[paged] // 1024 + 3
        plain = max(bill.write for bill in stage.plain) if stage.plain else 0
        sealing = max(bill.write for bill in stage.sealing)
        size = _size(stage.turns)
        rows.append([f"write units of an append, {size}", f"{plain:,.0f}", f"≤ {most}"])
        rows.append([f"of one that seals, {size}", f"{sealing:,.0f}", f"≤ {2 * most}"])
    whole = SIZES.index(CONVERSATION)
    share = stages[whole].built / old[whole].built
    average = mean(bill.write for bill in end.appends)
    rows.append(["write units of an append at 1 MB, mean", f"{average:.1f}", "≤ 15"])
    dollars = f"{sum(_dollars(spent)):.2f}"
    rows.append([f"dollars for 1,000 of {CONVERSATION} KB, reading all", dollars, "≤ 3.20"])
    rows.append([f"building {_size(stages[whole].turns)}, ours / 0.1.0", f"{share:.2f}", "≤ 0.25"])
    appends = [len(bill.requests) for stage in stages for bill in stage.plain]
    rows.append(["requests of an append", str(max(appends)), "1"])
    unpaged = stages[0].everything
    assert unpaged is not None
    rows.append(["requests of a read that needs no page", str(len(unpaged.requests)), "1"])
    for name, times in races.items():
        rows.append([f"time of an append, ours / 0.1.0, {name}", f"{_ratio(times):.2f}", "≤ 0.5"])
    return table(["", "measured", "target"], rows)


def _ratio(times: dict[str, tuple[float, float]]) -> float:
    return times["ours"][0] / times["old"][0]


def _read(bills: Iterable[Bill]) -> str:
    each = list(bills)
    if not each:
        return "-"
    requests = _span(len(bill.requests) for bill in each)
    return f"{_span(bill.read for bill in each)} ({requests})"


def _span(values: Iterable[float]) -> str:
    """From the least to the most, whole or half units."""
    each = sorted(set(values))
    if not each:
        return "-"
    texts = [f"{value:,.1f}".removesuffix(".0") for value in (each[0], each[-1])]
    return " to ".join(dict.fromkeys(texts))


def _size(turns: int) -> str:
    kilobytes = turns * TURN_BYTES // 1024
    return f"{kilobytes} KB" if kilobytes < 1024 else f"{kilobytes // 1024} MB"


def _setting(names: Sequence[str]) -> str:
    used = ", ".join(f"{_NAMES[name]} {_VERSIONS[name]}" for name in names)
    return (
        f"Units on {_NAMES[names[0]]}; {used} on a machine with {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, aiobotocore {version('aiobotocore')}, "
        f"openai-agents {version('openai-agents')}."
    )
