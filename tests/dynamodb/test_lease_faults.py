"""Leases in DynamoDB while requests are late, doubled or cut off, and tasks are cancelled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from openai_agents_session import DynamoDBSession, DynamoDBStore, _lease, _session, _settle
from openai_agents_session._conversation import LostError
from openai_agents_session.dynamodb import _writer
from tests.contract.leasing import WRITES, write
from tests.dynamodb import emulators
from tests.dynamodb.leases import ADA, LIFE, NEW, claim_of, claim_on, clock_of_waiters, taken_over
from tests.dynamodb.proxy import (
    CUT_BEFORE,
    HANG,
    LOSE_ANSWER,
    behind,
    delay_answer_until,
    delay_until,
    from_the,
    lose_answer_at,
    no_faults,
    on,
    strand_until,
)
from tests.dynamodb.store import (
    ID,
    Clock,
    Store,
    key_of,
    numbered,
)
from tests.dynamodb.test_cancellation import MOST_STEPS, CancelledAt
from tests.dynamodb.test_requests import sent_by

if TYPE_CHECKING:
    from tests.dynamodb.emulators import Emulator

EMULATORS = emulators.servers()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that waiters use, which tests move on."""
    return clock_of_waiters(monkeypatch)


async def run(session: DynamoDBSession) -> None:
    """A run that does all kinds of writes, once another holder has gone."""
    async with session.lease(0, LIFE) as held:
        await held.add_items(numbered(0, 3))
        assert await held.pop_item() == numbered(2, 3)[0]
        await held.replace_items(numbered(0, 5))
        await held.add_items(numbered(5, 6))


@pytest.mark.parametrize("fault", [LOSE_ANSWER, CUT_BEFORE], ids=["lost", "cut"])
@pytest.mark.parametrize("config", [{}, {"retries": {"total_max_attempts": 1}}], ids=str)
async def test_every_second_request_of_a_run_goes_wrong(
    emulator: Emulator, store: Store, fault: Any, config: dict[str, Any]
) -> None:
    """Each is sent again, and everything is done once."""
    plan = lambda _, number: fault if number % 2 else None  # noqa: E731 - short
    async with behind(emulator.url, plan, **config) as (proxy, client):
        for count in (6, 12):
            session = DynamoDBSession(ID, client, store.table)
            await run(session)
            assert await store.session().get_items() == numbered(0, 6)
            assert proxy.faults[fault.kind] >= count
            assert await store.session().busy() is None
        async with session.lease(0):
            pass


@pytest.mark.parametrize("number", range(1, 7))
async def test_no_late_copy_takes_or_renews_a_lease(
    emulator: Emulator, store: Store, number: int
) -> None:
    """Whichever update of a run arrives once more after its end changes nothing."""
    late = asyncio.Event()
    async with behind(emulator.url, on(strand_until(late), "UpdateItem", number)) as (
        proxy,
        client,
    ):
        session = DynamoDBSession(ID, client, store.table)
        async with session.lease(0, LIFE) as held:
            await held.add_items(numbered(0, 2))
            assert await claim_of(held).renew()
        # The take, the fence (as there is no item, and then as there is none), the write, the
        # renewal, and the release: the sixth is the last.
        assert proxy.requests["UpdateItem"] == 7
        assert proxy.faults["strand"] == 1
        before = await store.everything()
        late.set()
        await proxy.executed(proxy.requests.total())
        assert await store.everything() == before
    assert await store.session().busy() is None


@pytest.mark.parametrize("name", WRITES)
async def test_a_write_that_arrives_after_another_has_taken_over(
    emulator: Emulator, store: Store, clock: Clock, name: str
) -> None:
    """It was delayed on the way: nothing is changed, and it says so."""
    await store.session().add_items(numbered(0, 3))
    late = asyncio.Event()
    async with behind(emulator.url) as (proxy, client):
        slow = claim_on(DynamoDBSession(ID, client, store.table), "slow")
        assert await slow.acquire(0) == 0
        fenced = slow.fenced()
        found = await fenced.read(None)
        proxy.plan = on(delay_until(late), "UpdateItem")
        writing = asyncio.create_task(write(fenced, name, found))
        await proxy.waiting()
        other = await taken_over(store.session(), clock)
        before = await store.everything()
        late.set()
        with pytest.raises(LostError):
            await writing
        assert await store.everything() == before
    await other.fenced().append(NEW)


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("done", [True, False], ids=["done", "not done"])
async def test_a_write_is_sent_again_after_the_lease_was_lost(
    emulator: Emulator, store: Store, clock: Clock, name: str, done: bool
) -> None:
    """It was done if it had been while the lease was held, else not, and never will be."""
    await store.session().add_items(numbered(0, 3))
    lost = asyncio.Event()
    late = asyncio.Event()
    async with behind(emulator.url) as (proxy, client):
        slow = claim_on(DynamoDBSession(ID, client, store.table), "slow")
        assert await slow.acquire(0) == 0
        fenced = slow.fenced()
        found = await fenced.read(None)
        number = proxy.requests["UpdateItem"] + 1
        faults = {number: lose_answer_at(lost)}
        if not done:  # the first goes astray, and the second is too late
            faults = {number: strand_until(late), number + 1: delay_until(lost)}
        proxy.plan = lambda each, count: faults.get(count) if each == "UpdateItem" else None
        writing = asyncio.create_task(write(fenced, name, found))
        await proxy.waiting(len(faults))
        other = await taken_over(store.session(), clock)
        before = await store.everything()
        lost.set()
        if done:
            await writing
            assert len(await store.session().get_items()) != 3 or name == "swap"
        else:
            with pytest.raises(LostError):
                await writing
            late.set()
            await proxy.executed(proxy.requests.total())
            assert await store.session().get_items() == numbered(0, 3)
        assert await store.everything() == before
        assert proxy.requests["UpdateItem"] == number + 1
    await other.fenced().append(NEW)


async def test_a_slow_write_whose_lease_was_lost_since(
    emulator: Emulator, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time to live is to be set again, which is not done any more; it was done itself."""
    monkeypatch.setattr(_writer, "LATE_SECONDS", 0.0)
    monkeypatch.setattr(_writer, "LATE_SHARE", 0.0)
    late = asyncio.Event()
    async with behind(emulator.url) as (proxy, client):
        slow = claim_on(DynamoDBSession(ID, client, store.table, 1000), "slow")
        assert await slow.acquire(0) == 0
        number = proxy.requests["UpdateItem"] + 1
        proxy.plan = on(delay_answer_until(late), "UpdateItem", number)
        writing = asyncio.create_task(slow.fenced().append(NEW))
        await proxy.waiting()
        other = await taken_over(store.session(), clock)
        late.set()
        await writing
        assert proxy.requests["UpdateItem"] == number + 1
    assert len(await store.session().get_items()) == 1
    await other.release()


async def test_a_slow_acquirer_does_not_get_past_a_newer_one(
    emulator: Emulator, store: Store, clock: Clock
) -> None:
    """Its fence arrives when its lease has run out and another has taken over."""
    await store.session().add_items(numbered(0, 1))
    late = asyncio.Event()
    async with behind(emulator.url, on(delay_until(late), "UpdateItem", 2)) as (proxy, client):
        slow = claim_on(DynamoDBSession(ID, client, store.table), "slow")
        acquiring = asyncio.create_task(slow.acquire(60))
        await proxy.waiting()
        other = await taken_over(store.session(), clock)
        late.set()
        assert await acquiring == 1
        assert (await store.item())["lease"]["S"] == other.fence
        assert await other.renew()
        await slow.release()
    await other.fenced().append(NEW)
    await other.release()


async def test_a_slow_acquirer_whose_fence_is_the_only_one(
    emulator: Emulator, store: Store, clock: Clock
) -> None:
    """Another holds the lease, the item and its fence are gone: the slow one doesn't hold it."""
    await store.session().add_items(numbered(0, 1))
    late = asyncio.Event()
    async with behind(emulator.url, on(delay_until(late), "UpdateItem", 2)) as (proxy, client):
        slow = claim_on(DynamoDBSession(ID, client, store.table), "slow")
        acquiring = asyncio.create_task(slow.acquire(60))
        await proxy.waiting()
        other = await taken_over(store.session(), clock)
        await store.delete(ID)
        late.set()
        assert await acquiring == 1
        await other.fenced().append(NEW)
        await slow.release()
        await other.fenced().append(NEW)
        assert len(await store.session().get_items()) == 2


async def test_an_acquirer_that_is_slow_alone_holds_it(
    emulator: Emulator, store: Store, clock: Clock
) -> None:
    """Nobody was waiting: it takes the time anew."""
    late = asyncio.Event()
    async with behind(emulator.url, on(delay_until(late), "UpdateItem", 2)) as (proxy, client):
        slow = claim_on(DynamoDBSession(ID, client, store.table), "slow")
        acquiring = asyncio.create_task(slow.acquire(60))
        await proxy.waiting()
        clock.ahead += LIFE + 1
        late.set()
        assert await acquiring == 0
        await slow.fenced().append(NEW)
        assert await slow.renew()
        await slow.release()


@pytest.mark.parametrize("which", [0, 1, 2], ids=["acquiring", "writing", "releasing"])
async def test_a_run_is_cancelled_at_every_await(
    emulator: Emulator, store: Store, monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    """Whenever that is, what has begun is done, and nobody holds the lease afterwards."""
    monkeypatch.setattr(_settle, "SETTLE_SECONDS", 60.0)  # however busy the machine is
    wrapped: list[Any] = []
    points = iter(range(MOST_STEPS))

    async def settle(request: Any, **options: Any) -> Any:
        if len(wrapped) == which:
            request = CancelledAt(next(points), request, asyncio.current_task())
        wrapped.append(request)
        return await _settle.settle(request, **options)

    async def hold(session: DynamoDBSession) -> None:
        async with session.lease(0, LIFE) as held:
            await held.add_items(numbered(1, 2))

    await store.session().add_items(numbered(0, 1))
    while True:
        async with emulators.create_client(emulator.url, max_pool_connections=1) as client:
            wrapped.clear()
            with monkeypatch.context() as patch:
                for module in (_lease, _session):
                    patch.setattr(module, "settle", settle)
                task = asyncio.ensure_future(hold(DynamoDBSession(ID, client, store.table)))
                await asyncio.wait({task})
            assert task.cancelled() == wrapped[which].reached
            assert await store.session().busy() is None
            assert (await store.session().pop_item() == numbered(1, 2)[0]) == (len(wrapped) > 2)
            if len(wrapped) <= 2:
                await store.session().add_items(numbered(0, 1))
            if not task.cancelled():
                break
    assert next(points) > [3, 1, 1][which]


async def test_a_run_is_cancelled_while_it_gives_the_lease_back(
    emulator: Emulator, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is given back all the same."""
    monkeypatch.setattr(_settle, "SETTLE_SECONDS", 60.0)
    go = asyncio.Event()
    async with behind(emulator.url) as (proxy, client):
        entered = asyncio.Event()

        async def hold() -> None:
            async with DynamoDBSession(ID, client, store.table).lease(0, LIFE) as held:
                await held.add_items(numbered(0, 1))
                proxy.plan = on(delay_until(go), "UpdateItem")
                entered.set()

        task = asyncio.create_task(hold())
        await entered.wait()
        await proxy.waiting()
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        go.set()
        await asyncio.wait({task})
        assert task.cancelled()
    assert await store.session().busy() is None


@pytest.mark.parametrize("name", WRITES)
async def test_a_write_on_its_way_is_not_done_after_the_release(
    emulator: Emulator, store: Store, name: str
) -> None:
    """Nobody waited for what came of it; the release sees to it that nothing comes of it."""
    await store.session().add_items(numbered(0, 3))
    late = asyncio.Event()
    async with behind(emulator.url) as (proxy, client):
        claim = claim_on(DynamoDBSession(ID, client, store.table), "me")
        assert await claim.acquire(0) == 0
        fenced = claim.fenced()
        found = await fenced.read(None)
        number = proxy.requests["UpdateItem"] + 1
        proxy.plan = on(delay_until(late), "UpdateItem", number)
        writing = asyncio.create_task(write(fenced, name, found))
        await proxy.waiting()
        writing.cancel()
        await asyncio.wait({writing})
        await claim.release()
        assert proxy.requests["UpdateItem"] == number + 2
        before = await store.everything()
        assert before[ID]["lease"]["S"] == f"{claim.fence[:16]}:~"
        late.set()
        await proxy.executed(proxy.requests.total())
        assert await store.everything() == before
    assert await store.session().get_items() == numbered(0, 3)
    with pytest.raises(LostError):
        await fenced.append(NEW)


async def test_a_settled_run_is_given_back_with_one_small_request(
    emulator: Emulator, store: Store
) -> None:
    """Also after lost answers and other writers, if each write is known to be done or not."""
    other = store.session()
    await other.add_items(numbered(0, 3))
    async with behind(emulator.url, on(LOSE_ANSWER, "UpdateItem", 3)) as (proxy, client):
        claim = claim_on(DynamoDBSession(ID, client, store.table), "me")
        assert await claim.acquire(0) == 0
        fenced = claim.fenced()
        await fenced.append(NEW)
        assert proxy.faults == {"lose answer": 1}
        found = await fenced.read(None)
        await other.add_items(numbered(3, 4))
        assert not await fenced.swap(found, 1, NEW)
        assert await sent_by(Store(client, store.table), claim.release()) == ["UpdateItem"]
    with pytest.raises(LostError):
        await fenced.append(NEW)
    assert len(await other.get_items()) == 5


@pytest.mark.parametrize("number", [1, 2, 3, 4])
async def test_a_store_that_hangs_does_not_give_a_cancelled_task_the_lease(
    emulator: Emulator, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The caller has given up; what arrives much later takes no lease, or lets it run out."""
    monkeypatch.setattr(_lease, "RELEASE_SECONDS", 0.2)
    monkeypatch.setattr(_settle, "SETTLE_SECONDS", 0.2)
    monkeypatch.setattr(_settle, "GIVE_UP_SECONDS", 0.1)
    async with behind(emulator.url, from_the(number, HANG)) as (proxy, client):
        task = asyncio.ensure_future(DynamoDBSession(ID, client, store.table).lease(0).__aenter__())
        await proxy.waiting()
        task.cancel()
        await asyncio.wait({task}, timeout=8)
        assert task.cancelled()
        proxy.release()
        proxy.plan = no_faults
    other = claim_on(store.session(), "other")
    if number > 2:  # it was taken, and there was no getting through to give it back
        await taken_over(store.session(), clock, "next")
    else:
        assert await other.acquire(0) == 0


async def test_a_change_on_its_way_takes_nothing_after_the_release(
    emulator: Emulator, store: Store
) -> None:
    """Nobody knows what came of it, so the release sees to it that nothing comes of it."""
    for begun in (False, True):
        late = asyncio.Event()
        async with behind(emulator.url, on(delay_until(late), "UpdateItem", 1)) as (proxy, client):
            claim = claim_on(DynamoDBSession(ID, client, store.table), f"me{begun}")
            acquiring = asyncio.create_task(claim.acquire(0))
            await proxy.waiting()
            acquiring.cancel()
            await asyncio.wait({acquiring})
            await claim.release()
            before = await store.everything()
            assert len(before) == 1
            late.set()
            await proxy.executed(proxy.requests.total())
            assert await store.everything() == before
        assert await store.session().busy() is None


async def test_a_user_is_erased_while_a_run_goes_on(users: Store) -> None:
    """Nothing of the run comes back, and the lease can be had at once."""
    view = DynamoDBStore(users.client, users.table).user(ADA)
    async with view.session(ID).lease(0, LIFE) as held:
        await held.add_items(numbered(0, 2))
        await view.erase()
        assert await users.everything() == {}
        with pytest.raises(_lease.LeaseLostError):
            await held.add_items(numbered(2, 3))
        async with view.session(ID).lease(0, LIFE) as other:
            await other.add_items(numbered(5, 6))
            assert len((await users.item(key_of(ADA, ID)))["items"]["L"]) == 1
    assert await view.session(ID).get_items() == numbered(5, 6)
    assert await view.session(ID).busy() is None
