"""A cancelled operation leaves all or nothing, and a client that works (P10).

Each operation is cancelled wherever it waits: at its first await, at its second, and so on,
until it is through. Twice: once as it is, when a write goes on to its outcome; and once with
no time for that, which is what a store that hangs comes to.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import count, product
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from openai_agents_session import DynamoDBSession, _session, _settle
from openai_agents_session.dynamodb import _driver
from tests.dynamodb import emulators
from tests.dynamodb.emulators import create_client
from tests.dynamodb.proxy import HANG, behind, delay_answer_until, from_the, on
from tests.dynamodb.writer import SMALLEST, batch_of, batches_of, item, named_pages, pages_of
from tests.shares import share_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from agents import TResponseInputItem

    from tests.dynamodb.emulators import Emulator

    Items = list[TResponseInputItem]

EMULATORS = emulators.best()

T = TypeVar("T")

MOST_STEPS = 2000
"""Far more awaits than an operation has; a test that needs them all has gone wrong."""
PADDING = 400
NEW = batch_of("new", 0, padding=PADDING)
OLD = batches_of("old", range(8), padding=PADDING)
ONE_ITEM = OLD[:6]
MANY = batches_of("many", range(30), padding=PADDING)


async def one_item(session: DynamoDBSession) -> None:
    await session.add_items(ONE_ITEM)


async def pages(session: DynamoDBSession) -> None:
    await session.add_items(OLD)


async def pages_and_an_empty_item(session: DynamoDBSession) -> None:
    await session.add_items(OLD)
    for _ in range(6):
        await session.pop_item()


@dataclass(frozen=True)
class Case:
    """An operation on a prepared conversation, and what the conversation holds before and after."""

    prepare: Callable[[DynamoDBSession], Awaitable[None]]
    operate: Callable[[DynamoDBSession], Awaitable[object]]
    before: Items
    after: Items


LARGE = [item("large", padding=700_000)]
CASES = {
    "get_items": Case(pages, lambda s: s.get_items(), OLD, OLD),
    "add_items": Case(one_item, lambda s: s.add_items(NEW[:1]), ONE_ITEM, ONE_ITEM + NEW[:1]),
    "add_items, sealing": Case(pages, lambda s: s.add_items(OLD), OLD, OLD + OLD),
    "add_items, a large item": Case(
        one_item, lambda s: s.add_items(LARGE), ONE_ITEM, ONE_ITEM + LARGE
    ),
    "pop_item": Case(one_item, lambda s: s.pop_item(), ONE_ITEM, ONE_ITEM[:-1]),
    "pop_item, into a page": Case(
        pages_and_an_empty_item, lambda s: s.pop_item(), OLD[:-6], OLD[:-7]
    ),
    "replace_items": Case(pages, lambda s: s.replace_items(MANY), OLD, MANY),
    "clear_session": Case(pages, lambda s: s.clear_session(), OLD, []),
}
WRITES = [name for name, case in CASES.items() if case.after is not case.before]


class CancelledAt:
    """Awaits something, and cancels a task at a certain one of the points where it waits.

    Args:
        number: which point, from 0.
        awaitable: what to await.
        task: what is cancelled; None for the task that awaits.
    """

    def __init__(
        self, number: int, awaitable: Awaitable[Any], task: asyncio.Task[Any] | None = None
    ) -> None:
        self.reached = False
        self._number = number
        self._awaitable = awaitable
        self._task = task

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._awaitable.__await__()
        error: BaseException | None = None
        for number in count():
            try:
                waits_for = steps.throw(error) if error else next(steps)
            except StopIteration as end:
                return end.value
            if number == self._number:
                self.reached = True
                task = self._task or asyncio.current_task()
                assert task is not None
                task.cancel()
            error = None
            try:
                yield waits_for
            except BaseException as exc:  # noqa: BLE001  # it goes where it belongs
                error = exc
        raise AssertionError("it counts for ever")


async def assert_whole(client: Any, table: str, session: DynamoDBSession, case: Case) -> Items:
    """The session holds what it held before or what it should afterwards; return which."""
    found = await session.get_items()
    assert found in (case.before, case.after)
    named = await named_pages(client, table, session.session_id)
    assert named <= set(await pages_of(client, table))
    return found


RUNS = [("get_items", False), *product(WRITES, [True, False])]
ALWAYS = [("get_items", False), ("add_items, sealing", True), ("replace_items", False)]


@pytest.mark.parametrize("run", share_of(RUNS, *ALWAYS), ids=str)
async def test_cancelled_at_every_await(
    emulator: Emulator,
    dynamodb_client: Any,
    table: str,
    monkeypatch: pytest.MonkeyPatch,
    run: tuple[str, bool],
) -> None:
    """All is done or nothing; a write that had begun is done, as long as there is time."""
    name, carried = run
    case = CASES[name]
    observed: list[DynamoDBSession] = []
    wrapped: list[CancelledAt] = []

    async def settle(write: Awaitable[T], **options: Any) -> T:
        caller = asyncio.current_task() if carried else None
        wrapped.append(CancelledAt(number, write, caller))
        return await _settle.settle(wrapped[-1], **options)

    monkeypatch.setattr(_session, "settle", settle)
    if not carried:
        monkeypatch.setattr(_driver, "is_carried", lambda: False)
    for number in range(MOST_STEPS):
        observed.append(DynamoDBSession(f"s-{number}", dynamodb_client, table, page_bytes=SMALLEST))
        observer = observed[-1]
        with monkeypatch.context() as patch:
            patch.setattr(_session, "settle", _settle.settle)
            await case.prepare(observer)
        # A client of its own, so that a connection has to be made as well.
        async with create_client(emulator.url, max_pool_connections=1) as client:
            session = DynamoDBSession(f"s-{number}", client, table, page_bytes=SMALLEST)
            wrapped.clear()
            operation = case.operate(session)
            if name not in WRITES:
                wrapped.append(CancelledAt(number, operation))
                operation = wrapped[0]
            task = asyncio.ensure_future(operation)
            await asyncio.wait([task])
            assert task.cancelled() == wrapped[0].reached
            with monkeypatch.context() as patch:
                patch.setattr(_session, "settle", _settle.settle)
                found = await assert_whole(dynamodb_client, table, observer, case)
                if carried:
                    assert found == case.after
                assert await session.get_items() in (found, case.after)  # the client still works
        if not task.cancelled():
            break
    else:
        pytest.fail("the operation never came to its end")

    assert number > 2
    assert found == case.after
    # And nothing of all this was still on its way that it should not.
    for each in observed:
        await assert_whole(dynamodb_client, table, each, case)


@pytest.mark.parametrize("name", CASES)
async def test_cancelled_before_its_first_step(dynamodb_client: Any, table: str, name: str) -> None:
    """An operation that had not begun does nothing."""
    case = CASES[name]
    session = DynamoDBSession("s", dynamodb_client, table, page_bytes=SMALLEST)
    await case.prepare(session)
    task = asyncio.ensure_future(case.operate(session))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await session.get_items() == case.before


@pytest.mark.parametrize("name", WRITES)
async def test_cancelled_while_the_answer_is_on_its_way(
    emulator: Emulator,
    dynamodb_client: Any,
    table: str,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However often it is cancelled, a write is carried to its outcome and done once."""
    monkeypatch.setattr(_settle, "SETTLE_SECONDS", 60.0)  # however busy the machine is
    case = CASES[name]
    observer = DynamoDBSession("s", dynamodb_client, table, page_bytes=SMALLEST)
    await case.prepare(observer)
    answered = asyncio.Event()
    plan = from_the(1, delay_answer_until(answered))
    async with behind(emulator.url, plan) as (proxy, client):
        session = DynamoDBSession("s", client, table, page_bytes=SMALLEST)
        task = asyncio.ensure_future(case.operate(session))
        await proxy.waiting()
        for _ in range(3):
            task.cancel()
            for _ in range(5):
                await asyncio.sleep(0)
        assert not task.done()
        answered.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await observer.get_items() == case.after
        assert await session.get_items() == case.after
    assert set(await pages_of(dynamodb_client, table)) == await named_pages(
        dynamodb_client, table, "s"
    )


@pytest.mark.parametrize("name", CASES)
async def test_a_store_that_hangs_does_not_hold_a_cancelled_task(
    emulator: Emulator,
    dynamodb_client: Any,
    table: str,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """Whichever request hangs, the task ends; once the store goes on, all is well."""
    case = CASES[name]
    assert 1 < _settle.SETTLE_SECONDS <= 5
    monkeypatch.setattr(_settle, "SETTLE_SECONDS", 0.15)
    monkeypatch.setattr(_settle, "GIVE_UP_SECONDS", 0.1)
    for number in count(1):
        observer = DynamoDBSession(f"s-{number}", dynamodb_client, table, page_bytes=SMALLEST)
        await case.prepare(observer)
        async with behind(emulator.url, from_the(number, HANG)) as (proxy, client):
            session = DynamoDBSession(f"s-{number}", client, table, page_bytes=SMALLEST)
            task = asyncio.ensure_future(case.operate(session))
            hanging = asyncio.ensure_future(proxy.waiting())
            await asyncio.wait([task, hanging], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                hanging.cancel()
                assert await observer.get_items() == case.after
                break
            task.cancel()
            await asyncio.wait([task], timeout=4)
            assert task.cancelled()
            proxy.release()
            proxy.plan = on(HANG, "none")
            await assert_whole(dynamodb_client, table, observer, case)
            await session.replace_items(NEW)
            assert await session.get_items() == NEW
    assert number > 1
