"""Leases in DynamoDB: what lies in the table, what is sent, and faults on the way.

The contract says what every backend's leases do (``tests/contract/leasing.py``).
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from openai_agents_session import DynamoDBSession, DynamoDBStore, _lease, _session, _settle
from openai_agents_session._conversation import LostError
from openai_agents_session.dynamodb import _lease as dynamodb_lease
from openai_agents_session.dynamodb import _writer, remove_orphaned_pages
from tests.contract.leasing import WRITES, write
from tests.dynamodb import emulators
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
    SMALLEST,
    Clock,
    Store,
    epoch,
    key_of,
    letters,
    numbered,
    requests_of,
    temporary_table,
)
from tests.dynamodb.test_cancellation import MOST_STEPS, CancelledAt
from tests.dynamodb.test_requests import ON_ONE_ITEM, ON_PAGES, PAGED, sent_by

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.dynamodb.emulators import Emulator

EMULATORS = emulators.servers()

LIFE = 600
ADA = "Ada"
NEW = [b'{"role":"user","content":"new"}']


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that waiters use, which tests move on."""
    clock = Clock()
    monkeypatch.setattr(dynamodb_lease, "monotonic", clock)
    monkeypatch.setattr(dynamodb_lease, "_sightings", dynamodb_lease._Sightings())
    return clock


@pytest.fixture
async def users(dynamodb_client: Any) -> AsyncIterator[Store]:
    """A table with the index that lists users' conversations."""
    async with temporary_table(dynamodb_client, users=True) as store:
        yield store


def claim_on(session: Any, holder: str, seconds: int = LIFE) -> Any:
    """Return what a holder asks of the lease on a session; nothing renews it."""
    return session._conversation.claim(holder, seconds)


def claim_of(held: Any) -> Any:
    """Return the claim of a session that a lease gave."""
    return held._lease._claim


async def lease_key(session: Any) -> str:
    """Return the key of the lease's item, from where it is used."""
    return str(session._conversation._lease._key["session_id"]["S"])


def forget() -> None:
    """Go on as another process, which has seen nothing of all this."""
    dynamodb_lease._sightings.clear()


async def taken_over(session: Any, clock: Clock, holder: str = "other") -> Any:
    """Let another one wait for the lease until it has run out, and take it."""
    other = claim_on(session, holder)
    assert await other.acquire(60) == 1
    clock.ahead += LIFE + 0.001
    assert await other.acquire(60) == 0
    return other


# --- what lies in the table ------------------------------------------------------------------


async def test_what_a_lease_leaves_where_nothing_was_written(store: Store) -> None:
    """A small item of its own, and one without a conversation; both go in a quarter of an hour."""
    session = store.session()
    claim = claim_on(session, "me")
    assert await claim.acquire(0) == 0

    everything = await store.everything()
    key = await lease_key(session)
    assert set(everything) == {ID, key}
    assert "cleared_at" in everything[ID]
    fence = everything[ID]["lease"]["S"]
    assert fence.endswith(":me")
    lease = everything[key]
    assert set(lease) == {
        *("session_id", "page_of", "holder", "seconds", "number", "beat", "version", "ttl")
    }
    assert lease["page_of"]["S"] == ID
    assert lease["seconds"]["N"] == str(LIFE)
    assert int(lease["ttl"]["N"]) > epoch(LIFE + 24 * 3600)

    await claim.release()
    everything = await store.everything()
    assert set(everything) == {ID, key}
    assert everything[ID]["lease"]["S"] == fence
    assert set(everything[key]) == {"session_id", "page_of", "number", "beat", "version", "ttl"}
    for each in everything.values():
        assert epoch(800) < int(each["ttl"]["N"]) <= epoch(900)


async def test_what_a_lease_leaves_beside_a_conversation(store: Store) -> None:
    """The conversation is the same, but for the number of the last fence."""
    session = store.session()
    await session.add_items(numbered(0, 2))
    before = await store.item()
    async with session.lease(0, LIFE):
        assert await session.get_items() == numbered(0, 2)

    item = await store.item()
    assert len(item.pop("lease")["S"]) == 16 + 1 + 24
    assert item == before
    await store.session().add_items(numbered(2, 3))
    await store.session().replace_items(numbered(0, 1))
    assert "lease" in await store.item()
    await store.assert_whole(unused=True)


async def test_the_items_of_a_user(users: Store) -> None:
    """The lease's says whose it is, is not listed, and belongs to what ``erase`` deletes."""
    view = DynamoDBStore(users.client, users.table).user(ADA)
    async with view.session(ID).lease(0, LIFE) as held:
        indexed = await users.indexed()
        assert sorted(each["updated_at"]["S"] for each in indexed) == ["~", "~"]
        assert [each async for each in view] == []
        await held.add_items(numbered(0, 2))
        assert [each.session_id async for each in view] == [ID]
        assert await view.delete(ID)
        assert await view.session(ID).busy() == LIFE
        await held.add_items(numbered(2, 3))
        assert await view.session(ID).get_items() == numbered(2, 3)
    await view.erase()
    assert await users.everything() == {}


async def test_a_renewal_does_not_write_to_the_index(users: Store, clock: Clock) -> None:
    """What the index shows of a lease is the same all day."""
    session = DynamoDBStore(users.client, users.table).user(ADA).session(ID)
    claim = claim_on(session, "me")
    assert await claim.acquire(0) == 0
    before = await users.indexed()
    clock.ahead += 1
    assert await claim.renew()
    assert await users.indexed() == before
    assert all("beat" not in each for each in before)
    await claim.release()


async def test_a_lease_is_no_session_and_no_orphaned_page(store: Store) -> None:
    """Nobody opens it as a session, and the command that deletes pages leaves it alone."""
    session = store.session(page_bytes=SMALLEST)
    async with session.lease(0, LIFE) as held:
        await held.add_items(letters(0, 9))
        key = await lease_key(session)
        with pytest.raises(ValueError, match="is the key of another session's page"):
            await store.session(key).get_items()
        with pytest.raises(ValueError, match="is the key of another session's page"):
            await store.session(key).add_items(numbered(0, 1))
        assert await remove_orphaned_pages(store.client, store.table, older_than_seconds=0) == 0
        await held.add_items(letters(9, 10))
        assert await session.busy() == LIFE
    assert await store.session(page_bytes=SMALLEST).get_items() == letters(0, 10)


async def test_a_session_at_the_key_of_a_lease(store: Store) -> None:
    """Where somebody has made one, the lease can't be had, and the session stays as it is."""
    session = store.session()
    other = store.session(await lease_key(session))
    await other.add_items(numbered(0, 1))
    for attempt in (session.lease(0).__aenter__(), session.busy()):
        with pytest.raises(ValueError, match="the key of the lease"):
            await attempt
    assert await other.get_items() == numbered(0, 1)


# --- what is sent ----------------------------------------------------------------------------


async def test_requests_of_a_lease(store: Store) -> None:
    """To take it are three requests, four where there is no conversation; to give it back one."""
    session = store.session()
    claim = claim_on(session, "me")
    assert await sent_by(store, claim.acquire(0)) == ["GetItem", *["UpdateItem"] * 3]
    assert await sent_by(store, claim.acquire(0)) == ["GetItem"]
    assert await sent_by(store, claim.renew()) == ["UpdateItem"]
    assert await sent_by(store, session.busy()) == ["GetItem"]
    await claim.fenced().append(NEW)
    assert await sent_by(store, claim.release()) == ["UpdateItem"]
    claim = claim_on(session, "me2")
    assert await sent_by(store, claim.acquire(0)) == ["GetItem", "UpdateItem", "UpdateItem"]
    other = claim_on(session, "other")
    assert await sent_by(store, other.acquire(0)) == ["GetItem"]
    assert await sent_by(store, other.release()) == []
    await claim.release()


async def test_requests_of_a_waiter(store: Store, clock: Clock) -> None:
    """Most of its polls read one small item and write nothing."""
    session = store.session()
    claim, waiter = claim_on(session, "me"), claim_on(session, "waiter")
    assert await claim.acquire(0) == 0
    assert await sent_by(store, waiter.acquire(5)) == ["GetItem", "UpdateItem"]
    with requests_of(store.client) as sent:
        for _ in range(30):
            clock.ahead += 2
            assert await waiter.acquire(5) == 1
    key = await lease_key(session)
    assert {request["Key"]["session_id"]["S"] for _, request in sent} == {key}
    operations = [operation for operation, _ in sent]
    assert operations.count("GetItem") == 30
    assert operations.count("UpdateItem") == 10
    # The first one comes back soon, and says so once.
    assert await sent_by(store, waiter.acquire(1.1)) == ["GetItem", "UpdateItem"]
    assert await sent_by(store, waiter.acquire(1.1)) == ["GetItem"]
    assert await sent_by(store, waiter.release()) == ["GetItem", "UpdateItem"]
    await claim.release()


@pytest.mark.parametrize("name", ON_ONE_ITEM)
async def test_a_fence_costs_no_request_on_one_item(store: Store, name: str) -> None:
    """Whatever a session does is as many requests with a lease as without."""
    call, expected = ON_ONE_ITEM[name]
    await store.session().add_items(numbered(0, 5))
    async with store.session().lease(0, LIFE) as held:
        assert await sent_by(store, call(held)) == expected


@pytest.mark.parametrize("name", ON_PAGES)
async def test_a_fence_costs_no_request_on_pages(store: Store, name: str) -> None:
    """Nor where there are pages."""
    call, expected = ON_PAGES[name]
    session = store.session(page_bytes=SMALLEST)
    await session.add_items(PAGED)
    if name != "clear":  # of which a session must have seen them
        session = store.session(page_bytes=SMALLEST)
    async with session.lease(0, LIFE) as held:
        assert await sent_by(store, call(held)) == expected


async def test_the_first_write_of_a_holder_is_one_request(store: Store) -> None:
    """As it is without a lease."""
    async with store.session().lease(0, LIFE) as held:
        assert await sent_by(store, held.add_items(numbered(0, 2))) == ["UpdateItem"]
        assert await sent_by(store, held.add_items(numbered(2, 3))) == ["UpdateItem"]
    assert await store.session().get_items() == numbered(0, 3)


async def test_without_a_lease_no_request_knows_of_leases(store: Store) -> None:
    """Neither beside one nor alone does a session name the attribute."""
    claim = claim_on(store.session("held"), "me")
    assert await claim.acquire(0) == 0
    with requests_of(store.client) as sent:
        for calls, begin in ((ON_ONE_ITEM, numbered(0, 5)), (ON_PAGES, PAGED)):
            for name in ("held", "alone"):
                for call, _ in calls.values():
                    session = store.session(name, page_bytes=SMALLEST)
                    await session.replace_items(begin)
                    await call(session)
    assert len(sent) > 80
    assert "lease" not in json.dumps([request for _, request in sent], default=str)
    assert (await store.item("held"))["lease"]["S"] == claim.fence
    await claim.release()


# --- waiting ---------------------------------------------------------------------------------


async def test_a_waiter_goes_on_from_what_others_have_watched(store: Store, clock: Clock) -> None:
    """Several that wait for less than the lease lives get it, each in a process of its own."""
    dead = claim_on(store.session(), "dead")
    assert await dead.acquire(0) == 0
    for number in range(3):
        forget()
        waiter = claim_on(store.session(), f"waiter{number}")
        assert await waiter.acquire(60) == 1
        clock.ahead += 199
        assert await waiter.acquire(0) == 1
    forget()
    last = claim_on(store.session(), "last")
    assert await last.acquire(60) == 1
    clock.ahead += LIFE - 3 * 199
    assert await last.acquire(60) == 0
    assert not await dead.renew()


async def test_what_several_watch_at_once_counts_once(store: Store, clock: Clock) -> None:
    """Two that wait side by side for half its life have not seen all of it."""
    dead = claim_on(store.session(), "dead")
    assert await dead.acquire(0) == 0
    waiters = [claim_on(store.session(), f"waiter{number}") for number in range(4)]
    for waiter in waiters:
        await waiter.acquire(6000)
    clock.ahead += LIFE / 2
    for waiter in waiters:
        await waiter.release()
    forget()
    last = claim_on(store.session(), "last")
    assert await last.acquire(6000) == 1
    clock.ahead += LIFE / 2 - 1
    assert await last.acquire(6000) == 1
    clock.ahead += 2
    assert await last.acquire(6000) == 0


async def test_a_renewal_begins_the_time_anew(store: Store, clock: Clock) -> None:
    """What was watched before it counts for nothing."""
    holder, waiter = (claim_on(store.session(), name) for name in ("holder", "waiter"))
    assert await holder.acquire(0) == 0
    for _ in range(4):
        assert await waiter.acquire(60) == 1
        clock.ahead += LIFE - 1
        assert await holder.renew()
    forget()
    assert await waiter.acquire(60) == 1
    clock.ahead += LIFE - 1
    assert await waiter.acquire(60) == 1
    await holder.fenced().append(NEW)
    clock.ahead += 2
    assert await waiter.acquire(60) == 0


async def test_a_renewal_takes_back_what_was_noted(store: Store, clock: Clock) -> None:
    """Who begins to wait after it goes on from nothing."""
    holder, waiter, other = (claim_on(store.session(), name) for name in ("a", "b", "c"))
    assert await holder.acquire(0) == 0
    assert await waiter.acquire(60) == 1
    clock.ahead += LIFE - 100
    assert await waiter.acquire(0) == 1
    item = await store.item(await lease_key(store.session()))
    assert float(item["watched"]["N"]) > LIFE - 101
    assert await holder.renew()
    forget()
    assert await other.acquire(60) == 1
    clock.ahead += 101
    assert await other.acquire(60) == 1
    assert await holder.renew()


async def test_what_was_watched_before_a_renewal_is_not_noted_after_it(
    emulator: Emulator, store: Store, clock: Clock
) -> None:
    """A waiter's note is late, and the lease was renewed meanwhile: its time begins anew."""
    holder = claim_on(store.session(), "holder")
    assert await holder.acquire(0) == 0
    late = asyncio.Event()
    async with behind(emulator.url, on(delay_until(late), "UpdateItem", 2)) as (proxy, client):
        waiter = claim_on(DynamoDBSession(ID, client, store.table), "waiter")
        assert await waiter.acquire(60) == 1
        clock.ahead += LIFE - 1
        asking = asyncio.create_task(waiter.acquire(60))
        await proxy.waiting()
        assert await holder.renew()
        late.set()
        assert await asking == 1
        forget()
        assert await waiter.acquire(60) == 1
        clock.ahead += 2
        assert await waiter.acquire(60) == 1
        assert await holder.renew()


async def test_those_who_left_do_not_fill_the_queue(store: Store) -> None:
    """Who comes later removes them, however long the lease is held."""
    holder = claim_on(store.session(), "holder")
    assert await holder.acquire(0) == 0
    key = await lease_key(store.session())
    longest = 0
    for number in range(30):
        waiter = claim_on(store.session(), f"waiter{number}")
        assert await waiter.acquire(60) == 1
        assert await waiter.acquire(0) == 1
        longest = max(longest, len((await store.item(key))["queue"]["L"]))
    assert longest == dynamodb_lease.MAX_LEFT
    await holder.release()
    assert await waiter.acquire(60) == 0
    assert "queue" not in await store.item(key)


async def test_who_asks_again_and_again_takes_over_in_the_end(store: Store, clock: Clock) -> None:
    """Attempts that do not wait know in one process what the ones before have seen."""
    dead = claim_on(store.session(), "dead")
    assert await dead.acquire(0) == 0
    session = store.session()
    for _ in range(5):
        with pytest.raises(_lease.SessionBusyError):
            await session.lease(0).__aenter__()
        clock.ahead += LIFE / 5 + 1
    async with session.lease(0) as held:
        await held.add_items(numbered(0, 1))


@pytest.mark.parametrize("ahead", [-660, 660])
async def test_clocks_of_machines_do_not_matter(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    """A lease passes on between machines whose time of day is wrong by eleven minutes."""
    first = claim_on(store.session(), "first")
    assert await first.acquire(0) == 0
    await first.fenced().append(NEW)
    await first.release()
    await store.delete(await lease_key(store.session()))  # so that the clock gives the number
    right = dynamodb_lease.time_ns
    monkeypatch.setattr(dynamodb_lease, "time_ns", lambda: right() + ahead * 10**9)
    second = claim_on(store.session(), "second")
    assert await second.acquire(0) == 0
    monkeypatch.setattr(dynamodb_lease, "time_ns", right)
    third = await taken_over(store.session(), clock, "third")

    with pytest.raises(LostError):
        await second.fenced().append(NEW)
    with pytest.raises(LostError):
        await first.fenced().append(NEW)
    await third.fenced().append(NEW)
    assert len(await store.session().get_items()) == 2


# --- the fence -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("begun", [True, False], ids=["begun", "new"])
async def test_the_fence_goes_with_the_item_and_comes_again(
    store: Store, name: str, begun: bool
) -> None:
    """DynamoDB deletes an item whose time is over: the holder goes on, others do not get in."""
    session = store.session()
    if begun:
        await session.add_items(numbered(0, 3))
    claim = claim_on(session, "me")
    assert await claim.acquire(0) == 0
    fenced = claim.fenced()
    found = await fenced.read(None)
    await store.delete(ID)

    if name not in {"remove", "swap"} or begun:
        await write(fenced, name, found)
        left = await session.get_items()
        assert len(left) == (name in {"append", "replace"})
        assert (await store.item())["lease"]["S"] == claim.fence
    await fenced.append(NEW)
    assert await claim.renew()
    await claim.release()
    with pytest.raises(LostError):
        await fenced.append(NEW)


@pytest.mark.parametrize("name", WRITES)
async def test_no_fence_comes_again_that_is_not_held(store: Store, clock: Clock, name: str) -> None:
    """With the item gone, the lease's item says who holds it."""
    session = store.session()
    await session.add_items(numbered(0, 3))
    claim = claim_on(session, "me")
    assert await claim.acquire(0) == 0
    fenced = claim.fenced()
    found = await fenced.read(None)
    other = await taken_over(session, clock)
    await store.delete(ID)

    with pytest.raises(LostError):
        await write(fenced, name, found)
    assert await store.item() == {}
    await other.fenced().append(NEW)
    with pytest.raises(LostError):
        await write(fenced, name, found)
    assert len(await session.get_items()) == 1


async def test_an_empty_conversation_tells_that_the_lease_is_lost(
    store: Store, clock: Clock
) -> None:
    """Also a pop that finds nothing, and a replacement of nothing by nothing."""
    session = store.session()
    claim = claim_on(session, "me")
    assert await claim.acquire(0) == 0
    await taken_over(session, clock)
    for attempt in (claim.fenced().pop(str), claim.fenced().replace([]), claim.fenced().clear()):
        with pytest.raises(LostError):
            await attempt


async def test_a_lease_whose_item_is_lost(store: Store) -> None:
    """A new lease has a greater number all the same, and the holder before it is out."""
    session = store.session()
    await session.add_items(numbered(0, 1))
    first, second = claim_on(session, "first"), claim_on(session, "second")
    assert await first.acquire(0) == 0
    await store.delete(await lease_key(session))
    await store.change(lease={"S": f"{int(first.fence[:16]) + 10**6:016d}:first"})  # ahead
    assert not await first.renew()

    assert await second.acquire(0) == 0
    with pytest.raises(LostError):
        await first.fenced().append(NEW)
    await second.fenced().append(NEW)
    await first.release()
    assert await second.renew()
    await second.fenced().append(NEW)
    assert len(await session.get_items()) == 3
    await second.release()


# --- faults ----------------------------------------------------------------------------------


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
