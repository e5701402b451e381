"""What a conversation costs in DynamoDB, beside one item by hand and release 0.1.0."""

from __future__ import annotations

import contextlib
import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from statistics import mean, median
from typing import TYPE_CHECKING

from openai_agents_session.dynamodb._session import DEFAULT_PAGE_BYTES, MIN_PAGE_BYTES
from tests.benchmarks import dynamodb_cost as cost
from tests.benchmarks import dynamodb_peers as peers
from tests.benchmarks.dynamodb_driver import TURN_BYTES
from tests.benchmarks.measure import table
from tests.dynamodb import emulators

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from tests.benchmarks.dynamodb_cost import Stage, Trade
    from tests.benchmarks.dynamodb_peers import Bill, Peer

SIZES = (10, 100, 350, 1024, 10 * 1024)  # KB of history
PAGE_SIZES = (16, 32, 64, 128, 350)  # KiB
RACE_SIZE = 200  # KB
CONVERSATION = 350  # KB, the largest that all can hold

# Dollars for a million request units: AWS price list, on-demand, us-east-1, since the cut of
# November 2024. Other regions cost up to half as much again.
WRITE_PRICE = 0.625
READ_PRICE = 0.125

_NAMES = {"dynalite": "dynalite", "local": "DynamoDB Local"}
_VERSIONS = {"dynalite": emulators.DYNALITE_VERSION, "local": emulators.LOCAL_VERSION}


@dataclass(frozen=True)
class Plan:
    """What to measure; ``scale`` divides all sizes, for a quick run."""

    scale: int
    rounds: int

    @property
    def page_bytes(self) -> int:
        """The default, or the least that there is."""
        return max(MIN_PAGE_BYTES, DEFAULT_PAGE_BYTES // self.scale)

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
            stages = cost.grow(ours, sizes, plan.page_bytes)
            others = [cost.grow(one, sizes), cost.grow(old, sizes)]
            refused = [cost.blind(ours, plan.page_bytes, size) for size in sizes]
            conversation = plan.turns(CONVERSATION)
            money = [
                cost.runner(ours, conversation, page_bytes=plan.page_bytes),
                *(cost.runner(peer, conversation) for peer in (one, old)),
            ]
            pages = [max(MIN_PAGE_BYTES, size * 1024 // scale) for size in PAGE_SIZES]
            trades = [cost.trade(ours, size, plan.turns(1024)) for size in pages]
    parts = [
        _setting(names),
        f"Write units, with page_bytes of {plan.page_bytes // 1024} KiB",
        _writes(stages, others, refused),
        "Read units, and requests in parentheses",
        _reads(stages, others),
        f"Dollars for 1,000 conversations of {conversation * TURN_BYTES // 1024} KB",
        _money(money),
        f"page_bytes, at the end of {plan.turns(1024) * TURN_BYTES // 1024} KB of history",
        table(_TRADE_HEADER, map(_trade, trades)),
        f"Milliseconds of an append at {plan.turns(RACE_SIZE) * TURN_BYTES // 1024} KB",
        _times(races),
        "Targets",
        _targets(plan, stages, others[1], races),
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


def _money(units: Sequence[tuple[float, float]]) -> str:
    """Each turn reads all, then appends: as ``Runner.run`` does."""
    rows = []
    for name, (write, read) in zip(("this library", "one item", "0.1.0"), units, strict=True):
        dollars = (write * WRITE_PRICE / 1000, read * READ_PRICE / 1000)
        figures = [_span([write]), _span([read])]
        rows.append([name, *figures, *(f"{each:.2f}" for each in (*dollars, sum(dollars)))])
    return table(["", "write units", "read units", "writes", "reads", "in all"], rows)


_TRADE_HEADER = [
    *("`page_bytes`", "write units an append: mean", "nothing sealed", "that seals"),
    *("read units, all", "last 20", "ms an append: median", "ms to read all"),
]


def _trade(trade: Trade) -> list[str]:
    plain = [bill for bill in trade.appends if not bill.sealed]
    return [
        f"{trade.page_bytes // 1024} KiB",
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
) -> str:
    rows = []
    for stage, kilobytes in zip(stages, SIZES, strict=True):
        most = plan.page_bytes // 1024 + (8 if kilobytes > 1024 else 3)
        plain = max(bill.write for bill in stage.plain) if stage.plain else 0
        sealing = max(bill.write for bill in stage.sealing)
        size = _size(stage.turns)
        rows.append([f"write units of an append, {size}", f"{plain:,.0f}", f"≤ {most}"])
        rows.append([f"of one that seals, {size}", f"{sealing:,.0f}", f"≤ {2 * most}"])
    whole = SIZES.index(CONVERSATION)
    share = stages[whole].built / old[whole].built
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
