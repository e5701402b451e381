"""What a lease means whatever its store, where the contract leaves it open how."""

from __future__ import annotations

import asyncio
import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from openai_agents_session import LeaseLostError, SessionBusyError, _lease, _settle
from tests.contract import numbered
from tests.memory import MemoryClaim, MemoryConversation, MemorySession, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIFE = 600


@pytest.fixture
def store() -> Store:
    """Give an empty dictionary."""
    return Store()


@pytest.fixture
def session(store: Store) -> MemorySession:
    """Give a session on it."""
    return MemorySession("a", store)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Give the clock by which a holder counts; set ``now`` to move it."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(_lease, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


class Told:
    """What stands in for one request of a claim: raises, or answers as the claim would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        real = getattr(MemoryClaim, name)
        self.errors: Iterator[Exception] = iter(())
        self.calls: list[Any] = []
        self.changed = asyncio.Event()
        told = self

        async def stand_in(claim: MemoryClaim, *args: Any) -> Any:
            told.calls.append(args)
            told.changed.set()
            for error in told.errors:
                raise error
            return await real(claim, *args)

        monkeypatch.setattr(MemoryClaim, name, stand_in)

    async def until_called(self, times: int) -> None:
        """Wait until it was asked so often."""
        while len(self.calls) < times:
            self.changed.clear()
            await self.changed.wait()


@pytest.fixture
def tell(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Told]:
    """Let a test tell what a request of all claims does."""
    return lambda name: Told(monkeypatch, name)


# --- waiting -------------------------------------------------------------------------------------


def test_fifty_waiters_ask_about_once_a_second_each() -> None:
    """The further back one stands, the less often it asks; the first one, often."""
    pauses = [_lease._pause_of(place) for place in range(1, 51)]
    assert pauses == sorted(pauses)
    assert pauses[0] == 0.05
    assert pauses[-1] == 2.0
    assert sum(1 / pause for pause in pauses) < 65  # requests a second


async def test_a_waiter_says_truly_when_it_comes_back(
    store: Store,
    session: MemorySession,
    tell: Callable[[str], Told],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each request gives more time than the pause that follows takes; the last says goodbye."""
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        if seconds:  # not those of the memory backend
            pauses.append(seconds)
        await sleep(seconds)

    monkeypatch.setattr(asyncio, "sleep", noted)
    acquire = tell("acquire")
    conversation = MemoryConversation(store, "a", None)
    holder, before = (conversation.claim(name, LIFE) for name in ("holder", "before"))
    assert await holder.acquire(60) == 0
    assert await before.acquire(60) == 1
    acquire.calls.clear()
    with pytest.raises(SessionBusyError):
        await session.lease(0.5).__aenter__()

    said = [seconds for (seconds,) in acquire.calls]
    assert said[-1] == 0
    assert all(0 < pause < seconds for pause, seconds in zip(pauses, said, strict=False))
    assert len(said) == len(pauses) + 1 == 4  # after 0, 0.2, 0.4 and 0.5 s


async def test_an_error_while_waiting_leaves_the_queue(
    store: Store, session: MemorySession, tell: Callable[[str], Told]
) -> None:
    """The store's error reaches the caller; who waited waits no longer."""
    async with session.lease(0, LIFE):
        acquire = tell("acquire")
        entering = asyncio.create_task(session.lease(math.inf).__aenter__())
        await acquire.until_called(2)
        acquire.errors = iter([ConnectionError("the store is away")])
        with pytest.raises(ConnectionError, match="is away"):
            await entering
        assert store.leases["a"].waiting == {}


async def test_an_answer_that_was_lost_holds_nobody_back(
    session: MemorySession, tell: Callable[[str], Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease was taken, and nobody heard of it: it is given back."""
    real = MemoryClaim.acquire

    async def lose_answer(claim: MemoryClaim, comes_back_in: float) -> int:
        await real(claim, comes_back_in)
        raise ConnectionError

    release = tell("release")
    monkeypatch.setattr(MemoryClaim, "acquire", lose_answer)
    with pytest.raises(ConnectionError):
        await session.lease(0, LIFE).__aenter__()
    assert await session.busy() is None

    release.errors = iter([ConnectionError("away too")])
    monkeypatch.setattr(MemoryClaim, "acquire", lose_answer)
    with pytest.raises(ConnectionError, match=r"^$"):  # the first error
        await session.lease(0, LIFE).__aenter__()


# --- holding -------------------------------------------------------------------------------------


async def test_a_holder_whose_time_may_be_over_writes_nothing(
    session: MemorySession, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows by its own clock, and asks the store no more: not even once time was set back."""
    appended: list[Any] = []
    append = MemoryConversation.append

    async def noted(conversation: MemoryConversation, records: Any) -> None:
        appended.append(records)
        await append(conversation, records)

    monkeypatch.setattr(MemoryConversation, "append", noted)
    async with session.lease(0, LIFE) as held:
        clock.now += LIFE - 1
        await held.add_items(numbered(0, 1))
        clock.now += 1
        with pytest.raises(LeaseLostError, match=r"'a' is not held any more: .* 600 s"):
            await held.add_items(numbered(1, 2))
        clock.now -= 1
        with pytest.raises(LeaseLostError):
            await held.add_items(numbered(1, 2))
        assert await held.get_items() == numbered(0, 1)
    assert len(appended) == 1


async def test_a_failing_renewal_is_tried_again(
    session: MemorySession,
    tell: Callable[[str], Told],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A store that is away for a moment costs nobody the lease."""
    monkeypatch.setattr(_lease, "RETRY_SECONDS", 0.01)
    renew = tell("renew")
    renew.errors = iter([ConnectionError("secret"), TimeoutError("secret")])
    async with session.lease(0, 1) as held:
        await renew.until_called(4)
        await held.add_items(numbered(0, 1))
    warnings = [entry.getMessage() for entry in caplog.records]
    assert warnings == [
        "The lease on session 'a' could not be renewed (ConnectionError); trying again",
        "The lease on session 'a' could not be renewed (TimeoutError); trying again",
    ]


async def test_a_renewal_that_comes_too_late_ends_it(
    session: MemorySession, store: Store, tell: Callable[[str], Told]
) -> None:
    """Once the store has said no, nothing is written, and nobody renews any more."""
    renew = tell("renew")
    async with session.lease(0, 1) as held:
        store.leases["a"].until = 0.0
        await renew.until_called(1)
        with pytest.raises(LeaseLostError):
            await held.add_items(numbered(0, 1))
        async with session.lease(0, LIFE) as other:
            await other.add_items(numbered(1, 2))
    assert len(renew.calls) == 1
    assert await session.get_items() == numbered(1, 2)
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_a_release_that_fails_does_not_undo_the_run(
    session: MemorySession, tell: Callable[[str], Told], caplog: pytest.LogCaptureFixture
) -> None:
    """What was written is written; the lease runs out by itself, which is said."""
    release = tell("release")
    release.errors = iter([ConnectionError("secret")])
    async with session.lease(0, LIFE) as held:
        await held.add_items(numbered(0, 1))
    assert [entry.getMessage() for entry in caplog.records] == [
        "The lease on session 'a' could not be released (ConnectionError); it runs out in 600 s"
    ]
    assert await session.busy()


@pytest.mark.parametrize("cancelled", [True, False], ids=["cancelled", "done"])
async def test_a_store_that_hangs_holds_no_block_for_ever(
    session: MemorySession,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    cancelled: bool,
) -> None:
    """The block ends, and the lease runs out by itself."""
    monkeypatch.setattr(_lease, "RELEASE_SECONDS", 0.01)
    monkeypatch.setattr(_settle, "SETTLE_SECONDS", 0.02)
    monkeypatch.setattr(_settle, "GIVE_UP_SECONDS", 0.01)
    entered, done = asyncio.Event(), asyncio.Event()

    async def hang(_: MemoryClaim) -> None:
        await asyncio.Event().wait()

    async def hold() -> None:
        async with session.lease(0, LIFE):
            entered.set()
            await done.wait()

    monkeypatch.setattr(MemoryClaim, "release", hang)
    holding = asyncio.create_task(hold())
    await entered.wait()
    if cancelled:
        holding.cancel()
    done.set()
    await asyncio.wait_for(asyncio.wait({holding}), 5)
    assert holding.done()
    assert holding.cancelled() == cancelled
    assert [entry.getMessage() for entry in caplog.records] == [
        "The lease on session 'a' could not be released (TimeoutError); it runs out in 600 s"
    ]
    assert await session.busy()


async def test_leases_of_two_conversations_in_each_other(
    store: Store, session: MemorySession
) -> None:
    """A conversation that is busy ends the block of another, whose lease ends with it."""
    other = MemorySession("b", store)
    async with other.lease(0, LIFE):
        with pytest.raises(SessionBusyError, match="'b'"):
            async with session.lease(0, LIFE), other.lease(0, LIFE):
                raise AssertionError("two hold it")
    assert await session.busy() is None
    assert store.leases == {}


async def test_anyio_cancels_a_block(session: MemorySession) -> None:
    """Cancelled by anyio, again in every turn of the event loop, it gives the lease back."""
    with anyio.move_on_after(0.01) as scope:
        async with session.lease(0, LIFE):
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert await session.busy() is None


def test_the_end_of_the_event_loop_ends_the_block(session: MemorySession) -> None:
    """asyncio.run cancels what still runs; the lease is given back before it returns."""
    entered = asyncio.Event()

    async def hold() -> None:
        async with session.lease(0, LIFE):
            entered.set()
            await asyncio.Event().wait()

    async def main() -> list[asyncio.Task[None]]:
        holding = asyncio.create_task(hold())
        await entered.wait()
        assert await session.busy()
        return [holding]  # so that it is not collected

    asyncio.run(main())
    assert asyncio.run(session.busy()) is None


async def test_a_held_session_is_what_the_session_was(store: Store) -> None:
    """Of a subclass, with its attributes and its settings; the session itself stays as it is."""

    class Tagged(MemorySession):
        tag = ""

    session = Tagged("a", store, session_settings={"limit": 1})
    session.tag = "mine"
    await session.add_items(numbered(0, 2))
    async with session.lease(0, LIFE) as held:
        assert type(held) is Tagged
        assert held.tag == "mine"
        assert held.session_settings is session.session_settings
        assert await held.get_items() == numbered(1, 2)
        assert 0 < (await held.busy() or 0) <= LIFE
    await session.add_items(numbered(2, 3))  # without a lease
