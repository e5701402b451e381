"""Leases in DynamoDB: what lies in the table, what is sent, who waits, and the fence.

The contract says what every backend's leases do (``tests/contract/leasing.py``).
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from openai_agents_session import DynamoDBSession, DynamoDBStore, _lease
from openai_agents_session._conversation import LostError
from openai_agents_session.dynamodb import _lease as dynamodb_lease
from openai_agents_session.dynamodb import remove_orphaned_pages
from tests.contract.leasing import WRITES, write
from tests.dynamodb import emulators
from tests.dynamodb.leases import ADA, LIFE, NEW, claim_on, clock_of_waiters, taken_over
from tests.dynamodb.proxy import behind, delay_until, on
from tests.dynamodb.store import (
    ID,
    SMALLEST,
    Clock,
    Store,
    epoch,
    letters,
    numbered,
    requests_of,
)
from tests.dynamodb.test_requests import ON_ONE_ITEM, ON_PAGES, PAGED, sent_by

if TYPE_CHECKING:
    from tests.dynamodb.emulators import Emulator

EMULATORS = emulators.servers()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that waiters use, which tests move on."""
    return clock_of_waiters(monkeypatch)


async def lease_key(session: Any) -> str:
    """Return the key of the lease's item, from where it is used."""
    return str(session._conversation._lease._key["session_id"]["S"])


def forget() -> None:
    """Go on as another process, which has seen nothing of all this."""
    dynamodb_lease._sightings.clear()


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
