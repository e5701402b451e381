"""The checker of histories: it takes those that are right, and refuses those that are not."""

from __future__ import annotations

import random
import time
from itertools import count
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from tests.linearizability import Operation, checked

if TYPE_CHECKING:
    from collections.abc import Iterator

Step: TypeAlias = "tuple[str, str] | tuple[str, str, str]"
"""What was done; by whom; and the items with what was answered: "x y", "x y lost", "x y ?"."""

RIGHT = {
    "one after the other": [
        ("acquire", "a"),
        ("append", "a", "x"),
        ("append", "a", "y z"),
        ("read", "", "x y z"),
        ("release", "a"),
        ("acquire", "b"),
        ("append", "b", "u"),
        ("read", "", "x y z u"),
    ],
    "taken over, and then noticed": [
        ("acquire", "a"),
        ("append", "a", "x"),
        ("acquire", "b"),
        ("append", "b", "y"),
        ("append", "a", "z lost"),
        ("release", "a"),
        ("append", "b", "u"),
        ("read", "", "x y u"),
    ],
    "over, and taken by nobody": [
        ("acquire", "a"),
        ("append", "a", "x lost"),
        ("read", "", ""),
    ],
    "killed when it had written": [
        ("acquire", "a"),
        ("append", "a", "x ?"),
        ("acquire", "b"),
        ("append", "b", "y"),
        ("read", "", "x y"),
    ],
    "killed before it had written": [
        ("acquire", "a"),
        ("append", "a", "x ?"),
        ("acquire", "b"),
        ("append", "b", "y"),
        ("read", "", "y"),
    ],
    "killed, and what it sent arrives in time": [
        ("acquire", "a"),
        ("append", "a", "x ?"),
        ("read", "", ""),
        ("read", "", "x"),
        ("acquire", "b"),
        ("read", "", "x"),
    ],
    "killed while it waited": [
        ("acquire", "a"),
        ("acquire", "b", "?"),
        ("append", "a", "x"),
        ("read", "", "x"),
    ],
}

BROKEN = {
    "an old holder's late write": [
        ("acquire", "a"),
        ("append", "a", "x"),
        ("acquire", "b"),
        ("append", "b", "y"),
        ("append", "a", "z"),
    ],
    "a late write of one that was killed": [
        ("acquire", "a"),
        ("append", "a", "x ?"),
        ("acquire", "b"),
        ("append", "b", "y"),
        ("read", "", "y x"),
    ],
    "a late write after a read": [
        ("acquire", "a"),
        ("append", "a", "x ?"),
        ("acquire", "b"),
        ("append", "b", "y"),
        ("read", "", "y"),
        ("read", "", "x y"),
    ],
    "a write after it was told that the lease is lost": [
        ("acquire", "a"),
        ("append", "a", "x lost"),
        ("append", "a", "y"),
    ],
    "what was refused is there": [
        ("acquire", "a"),
        ("append", "a", "x lost"),
        ("read", "", "x"),
    ],
    "a write without a lease": [("append", "a", "x")],
    "a write after the release": [
        ("acquire", "a"),
        ("release", "a"),
        ("append", "a", "x"),
    ],
    "two hold it": [
        ("acquire", "a"),
        ("acquire", "b"),
        ("append", "a", "x"),
        ("append", "b", "y"),
    ],
    "turns that interleave": [
        ("acquire", "a"),
        ("append", "a", "x"),
        ("acquire", "b"),
        ("append", "b", "y"),
        ("append", "a", "z"),
        ("append", "b", "u"),
        ("read", "", "x y z u"),
    ],
    "a write is gone": [
        ("acquire", "a"),
        ("append", "a", "x"),
        ("append", "a", "y"),
        ("read", "", "y"),
    ],
    "the last write is gone": [
        ("acquire", "a"),
        ("append", "a", "x"),
        ("append", "a", "y"),
        ("read", "", "x"),
    ],
    "a write is there twice": [
        ("acquire", "a"),
        ("append", "a", "x"),
        ("read", "", "x x"),
    ],
    "a write of unknown outcome is there twice": [
        ("acquire", "a"),
        ("append", "a", "x ?"),
        ("read", "", "x x"),
    ],
    "a batch is torn": [
        ("acquire", "a"),
        ("append", "a", "x y ?"),
        ("read", "", "x"),
    ],
    "another order": [
        ("acquire", "a"),
        ("append", "a", "x"),
        ("append", "a", "y"),
        ("read", "", "y x"),
    ],
    "a read of the past": [
        ("acquire", "a"),
        ("append", "a", "x"),
        ("read", "", "x"),
        ("append", "a", "y ?"),
        ("read", "", "x y"),
        ("read", "", "x"),
    ],
    "what nobody wrote": [("read", "", "x")],
}


def history_of(steps: list[Any]) -> Iterator[Operation]:
    """Each step is answered before the next one is asked."""
    for at, (do, holder, *rest) in enumerate(steps):
        *items, answer = (*"".join(rest).split(), "")
        if items and items[-1] in {"lost", "?"}:
            answer = items.pop()
        yield operation(do, holder, items, 10 * at, 10 * at + 9, answer=answer)


def operation(
    do: str, holder: str, items: list[str], call: int, until: int, *, answer: str = ""
) -> Operation:
    """An operation; its outcome is unknown where the answer is "?"."""
    found: Operation = {"do": do, "holder": holder, "items": items, "call": call}
    if answer != "?":
        found |= {"return": until, "answer": answer or "ok"}
    return found


@pytest.mark.parametrize("steps", RIGHT.values(), ids=RIGHT)
def test_what_may_happen_is_accepted(steps: list[Step]) -> None:
    """There is an order with these answers."""
    assert checked(history_of(steps)) == {"verdict": "linearizable"}


@pytest.mark.parametrize("steps", BROKEN.values(), ids=BROKEN)
def test_what_must_not_happen_is_refused(steps: list[Step]) -> None:
    """There is none; something is named that has no place in it."""
    history = [*history_of(steps)]
    said = checked(history)

    assert said["verdict"] == "not linearizable"
    assert said["unplaced"]
    assert {each["call"] for each in said["unplaced"]} <= {each["call"] for each in history}


@pytest.mark.parametrize(("until", "verdict"), [(25, "linearizable"), (15, "not linearizable")])
def test_what_overlaps_may_have_any_order(until: int, verdict: str) -> None:
    """A write that was asked for before another took over may be answered afterwards."""
    history = [
        operation("acquire", "a", [], 0, 9),
        operation("append", "a", ["x"], 14, 40),
        operation("acquire", "b", [], 12, until),
        operation("append", "b", ["y"], 50, 60),
        operation("read", "", ["x", "y"], 61, 70),
        operation("read", "", [], 20, 21),  # so the write came after this
    ]
    assert checked(history)["verdict"] == verdict


def test_it_agrees_with_trying_every_order() -> None:
    """Of histories that are small enough to try, most of them almost right."""
    verdicts = []
    for seed in range(300):
        history = small_history(random.Random(seed))
        possible = has_an_order(history)
        said = checked(history)
        assert (said["verdict"] == "linearizable") is possible, (seed, history)
        verdicts.append(possible)
    assert 60 <= sum(verdicts) <= 240  # both come often


class CarelessLog:
    """A leased log that sometimes forgets to look at the lease, or shows a read what was before."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.holder = ""
        self.items: list[str] = []

    def do(self, asked: Operation) -> None:
        """Do what was asked, and put the answer to it."""
        holds = asked["holder"] == self.holder
        if asked["do"] == "acquire":
            self.holder = asked["holder"]
        elif asked["do"] == "release":
            self.holder = "" if holds else self.holder
        elif asked["do"] == "read":
            asked["items"] = self.items[: len(self.items) - (self.draw.random() < 0.2)]
        elif holds or self.draw.random() < 0.7:
            self.items += asked["items"]
            asked["answer"] = "ok"
        else:
            asked["answer"] = "lost"


def small_history(draw: random.Random) -> list[Operation]:
    """What four clients see of such a log, some of them killed."""
    history: list[Operation] = []
    log = CarelessLog(draw)
    ticks = count()
    clients = [client(draw, name, log, history, ticks) for name in ("a", "b", "c", "")]
    while clients:
        chosen = draw.choice(clients)
        if next(chosen, "ended") == "ended":
            clients.remove(chosen)
    return [*history, operation("read", "", log.items, next(ticks), next(ticks))]


def client(
    draw: random.Random,
    name: str,
    log: CarelessLog,
    history: list[Operation],
    ticks: Iterator[int],
) -> Iterator[None]:
    """Ask, let it be done, be answered, and go on to the next; a client without a name reads."""
    todo: list[tuple[str, list[str]]] = [("read", [])] * draw.randrange(3)
    if name:
        appends = [("append", [f"{name}{at}"]) for at in range(draw.choice([1, 1, 2]))]
        todo = [("acquire", []), *appends, *[("release", [])] * draw.randrange(2)]
    for do, items in todo:
        asked = operation(do, name, items, next(ticks), 0, answer="?")
        history.append(asked)
        yield
        killed = draw.random() < 0.1
        if killed and draw.random() < 0.3:  # before it had sent anything
            return
        log.do(asked)
        yield
        if killed:
            asked.pop("answer", None)
            return
        asked["return"] = next(ticks)


def has_an_order(history: list[Operation]) -> bool:
    """Try every order, and of what has an unknown outcome also that it never happened."""
    tried = set()

    def place(left: frozenset[int], holding: str, log: tuple[str, ...]) -> bool:
        if not any("return" in history[at] for at in left):
            return True
        if (left, holding, log) in tried:
            return False
        tried.add((left, holding, log))
        soonest = min(history[at].get("return", 10**9) for at in left)
        for at in left:
            each = history[at]
            if each["call"] > soonest:
                continue
            name, others = each["holder"], left - {at}
            holds = name == holding
            if each["do"] == "acquire":
                possible, after = True, (name, log)
            elif each["do"] == "release" or each.get("answer") == "lost":
                possible, after = True, ("" if holds else holding, log)
            elif each["do"] == "read":
                possible, after = (
                    log == tuple(each["items"]) or "return" not in each,
                    (holding, log),
                )
            else:
                possible, after = holds, (holding, log + tuple(each["items"]))
            if possible and place(others, *after):
                return True
        return False

    return place(frozenset(range(len(history))), "", ())


def test_five_hundred_runs_of_eight_that_wait_are_checked_in_no_time() -> None:
    """Also where all wait from the beginning on, and where the history is broken at its end."""
    history: list[Operation] = []
    log: list[str] = []
    for run in range(500):
        name, start = f"r{run}", 100 * run
        history.append(operation("acquire", name, [], start - 800, start + 5))
        for at in range(4):
            log.append(f"{name}.{at}")
            history.append(
                operation("append", name, [log[-1]], start + 10 * at + 6, start + 10 * at + 9)
            )
        history += [
            operation("read", "", log[:], start + 50, start + 55),
            operation("release", name, [], start + 60, start + 61),
        ]
    started = time.monotonic()
    assert checked(history)["verdict"] == "linearizable"
    history[-2]["items"] = log[:-1]
    assert checked(history)["verdict"] == "not linearizable"
    assert time.monotonic() - started < 60
