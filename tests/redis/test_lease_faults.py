"""Leases on a network that loses answers, delays requests and delivers them twice (P17)."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from openai_agents_session import LeaseLostError, RedisStore
from openai_agents_session._conversation import LostError
from openai_agents_session.redis import _catalog
from openai_agents_session.redis._driver import Operation
from tests.contract.leasing import LIFE, WRITES, write
from tests.faults import FaultyProxy, first, one_in
from tests.redis.stores import all_keys, lapse, lease_of
from tests.redis.test_cancellation import cancelled_after, steps

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from openai_agents_session import RedisSession
    from tests.servers import Endpoint

    Meanwhile = Callable[[], Awaitable[Any]]

ITEMS: list[Any] = [{"role": "user", "content": f"item {number}"} for number in range(3)]
OTHERS: list[Any] = [{"role": "user", "content": "of another"}]
USERS = [None, "ada"]


@pytest.fixture(params=USERS, ids=["plain", "user"])
def user_id(request: pytest.FixtureRequest) -> str | None:
    """Of whose conversation the lease is."""
    return request.param


class Place:
    """A conversation, and ways to it."""

    def __init__(self, server: Endpoint, client: Redis, prefix: str, user_id: str | None) -> None:
        self.server, self.client, self._prefix, self._user_id = server, client, prefix, user_id
        self.session = self.seen_by(client)

    def seen_by(self, client: Any) -> Any:
        """Return a session of it on another client."""
        store: Any = RedisStore(client, key_prefix=self._prefix, ttl=1000)
        return (store if self._user_id is None else store.user(self._user_id)).session("s")

    def claim(self, holder: str) -> Any:
        """Return what a holder asks, on a way that is no worse than others."""
        return self.session._conversation.claim(holder, LIFE)

    async def held_by(self) -> Any:
        """Return who holds the lease."""
        return await self.client.get(lease_of(self.session))

    async def queue(self) -> int:
        """Return how many wait for it."""
        keys = self.session._conversation._lease_keys()
        waiting = await self.client.zcard(keys.queue)
        assert await self.client.zcard(keys.due) == waiting
        return waiting

    async def take_over(self) -> None:
        """Let another holder have the lease, because the one before was too slow."""
        await lapse(self.client, self.session)
        assert await self.claim("other").acquire(0) == 0

    @asynccontextmanager
    async def losing(self, meanwhile: Meanwhile | None = None) -> AsyncGenerator[Any]:
        """Give a session whose first answer to a write is lost, after something was done."""
        proxy = FaultyProxy(self.server, first(1), before_cut=meanwhile)
        async with proxy, Redis.from_url(proxy.url) as client:
            yield self.seen_by(client)
            assert proxy.cuts == 1


@pytest_asyncio.fixture
async def place(
    redis_server: Endpoint, redis_client: Redis, key_prefix: str, user_id: str | None
) -> AsyncIterator[Place]:
    """Give a conversation with ITEMS."""
    place = Place(redis_server, redis_client, key_prefix, user_id)
    await place.session.add_items(ITEMS)
    yield place


# --- answers that are lost ---------------------------------------------------------------------


async def test_whoever_takes_a_lease_without_hearing_so_has_it(place: Place) -> None:
    """It is told when it asks again, and nobody took it in between."""
    places: list[int] = []

    async def ask() -> None:
        places.append(await place.claim("other").acquire(60))

    async with place.losing(ask) as session:
        assert await session._conversation.claim("one", LIFE).acquire(60) == 0
    assert places == [1]
    assert await place.held_by() == b"one"


async def test_a_waiter_that_does_not_hear_its_place_has_it(place: Place) -> None:
    """It is in the queue once, before those who came between."""
    assert await place.claim("holder").acquire(0) == 0

    async def ask() -> None:
        assert await place.claim("later").acquire(60) == 2

    async with place.losing(ask) as session:
        claim = session._conversation.claim("one", LIFE)
        assert await claim.acquire(60) == 1
        assert await place.queue() == 2
        await place.claim("holder").release()
        assert await place.claim("later").acquire(60) == 2
        assert await claim.acquire(60) == 0
    assert await place.queue() == 1


async def test_a_renewal_whose_answer_is_lost_was_one(place: Place) -> None:
    """What counts is what happened: it was renewed, or has become another's meanwhile."""
    for meanwhile, outcome in ((None, True), (place.take_over, False)):
        async with place.losing(meanwhile) as session:
            claim = session._conversation.claim("one", LIFE)
            # The first answer to a write is that of the renewal.
            assert await place.claim("one").acquire(0) == 0
            assert await claim.renew() is outcome
    assert await place.held_by() == b"other"


async def test_a_release_whose_answer_is_lost_takes_nothing_from_the_next(place: Place) -> None:
    """It comes again when another holds the lease, who keeps it."""
    assert await place.claim("one").acquire(0) == 0

    async def go_on() -> None:
        assert await place.claim("other").acquire(0) == 0

    async with place.losing(go_on) as session:
        await session._conversation.claim("one", LIFE).release()
    assert await place.held_by() == b"other"
    assert await place.claim("other").renew()


@pytest.mark.parametrize("name", WRITES)
async def test_a_write_that_was_done_before_the_lease_was_lost_succeeded(
    place: Place, name: str
) -> None:
    """It is sent again when another has long been writing: it was done, once, before that."""
    assert await place.claim("one").acquire(0) == 0

    async def go_on() -> None:
        await place.take_over()
        await place.claim("other").fenced().append([b'{"role":"user","content":"of another"}'])

    async with place.losing(go_on) as session:
        fenced = session._conversation.claim("one", LIFE).fenced()
        found = await fenced.read(None)
        await write(fenced, name, found)
        with pytest.raises(LostError):
            await write(fenced, name, found)
    new = [{"role": "user", "content": "new"}]
    left = {
        "append": ITEMS + new,
        "pop": ITEMS[:2],
        "remove": ITEMS[:2],
        "replace": new,
        "swap": ITEMS[:2] + new,
    }.get(name, [])
    assert await place.session.get_items() == left + OTHERS


async def test_a_pop_whose_answer_is_lost_returns_what_it_took(place: Place) -> None:
    """Also when the lease has gone meanwhile."""
    assert await place.claim("one").acquire(0) == 0
    async with place.losing(place.take_over) as session:
        fenced = session._conversation.claim("one", LIFE).fenced()
        assert await fenced.pop(bytes) == b'{"role":"user","content":"item 2"}'


async def test_what_cannot_be_read_is_put_back_by_who_has_lost_the_lease(place: Place) -> None:
    """A record that a holder popped and could not read is not lost with its lease."""
    await place.client.rpush(place.session.key, b"{no item}")
    assert await place.claim("one").acquire(0) == 0
    async with place.losing(place.take_over) as session:
        held = place.seen_by(session._clients.current())
        held._conversation = session._conversation.claim("one", LIFE).fenced()
        with pytest.raises(LostError):  # of the item before it, which is the other's to pop
            await held.pop_item()
    stored = await place.client.lrange(place.session.key, 0, -1)
    assert len(stored) == 4
    assert stored[-1] == b"{no item}"


async def test_turns_are_taken_while_every_fifth_answer_is_lost(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is whole, and done once; nobody hears of it."""
    monkeypatch.setattr("openai_agents_session._lease.NEXT_SECONDS", 0.01)
    monkeypatch.setattr("openai_agents_session._lease.FIRST_SECONDS", 0.01)
    await place.session.clear_session()

    async def run(session: RedisSession, number: int) -> None:
        async with session.lease(60, LIFE) as held:
            for part in range(3):
                await held.add_items([{"role": "user", "content": f"{number}.{part}"}])
            await held.add_items([{"role": "user", "content": "a slip"}])
            popped: Any = await held.pop_item()
            assert popped["content"] == "a slip"

    proxy = FaultyProxy(place.server, one_in(5, seed=1))
    async with proxy, Redis.from_url(proxy.url) as client:
        await asyncio.gather(*(run(place.seen_by(client), number) for number in range(12)))
    items: list[Any] = await place.session.get_items()
    assert proxy.cuts > 10
    texts = [item["content"] for item in items]
    runs = [text.partition(".")[0] for text in texts[::3]]
    assert sorted(runs, key=int) == [f"{number}" for number in range(12)]
    assert texts == [f"{run}.{part}" for run in runs for part in range(3)]
    assert await place.held_by() is None
    assert await place.queue() == 0


# --- requests that come late -------------------------------------------------------------------


class SlowProxy(FaultyProxy):
    """Delivers one request after something else has happened."""

    meanwhile: Meanwhile | None = None

    async def _before_delivery(self) -> None:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()


@pytest.mark.parametrize("name", WRITES)
async def test_a_write_that_was_long_on_its_way_changes_nothing(place: Place, name: str) -> None:
    """The holder believed that it was in time; the server knows better."""
    assert await place.claim("one").acquire(0) == 0
    async with SlowProxy(place.server) as proxy, Redis.from_url(proxy.url) as client:
        fenced = place.seen_by(client)._conversation.claim("one", LIFE).fenced()
        found = await fenced.read(None)
        proxy.meanwhile = place.take_over
        with pytest.raises(LostError):
            await write(fenced, name, found)
    assert await place.session.get_items() == ITEMS
    assert await place.held_by() == b"other"


async def test_a_run_hears_that_its_write_came_too_late(place: Place) -> None:
    """``LeaseLostError``, and the block ends as any other; the other goes on."""
    async with (
        SlowProxy(place.server) as proxy,
        Redis.from_url(proxy.url) as client,
        place.seen_by(client).lease(0, LIFE) as held,
    ):
        await held.add_items(OTHERS)
        proxy.meanwhile = place.take_over
        with pytest.raises(LeaseLostError):
            await held.add_items(ITEMS)
        assert await held.get_items() == ITEMS + OTHERS
    assert await place.held_by() == b"other"


class Recorder:
    """Remembers what was sent, to deliver it once more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[tuple[Any, ...]] = []
        send = Operation.send

        async def recorded(operation: Operation, *command: Any) -> Any:
            self.sent.append(command)
            return await send(operation, *command)

        monkeypatch.setattr(Operation, "send", recorded)


@pytest.mark.parametrize("is_held", [False, True], ids=["free", "held"])
@pytest.mark.parametrize("is_released", [False, True], ids=["lapsed", "released"])
async def test_no_copy_of_a_request_does_anything(
    place: Place, monkeypatch: pytest.MonkeyPatch, is_held: bool, is_released: bool
) -> None:
    """Whatever of a turn that is over arrives once more, in whatever order."""
    assert await place.claim("before").acquire(0) == 0
    recorder = Recorder(monkeypatch)
    claim = place.claim("one")
    assert await claim.acquire(60) == 1
    await place.claim("before").release()
    recorder.sent.pop()  # of the one before, in whose turn this one waits
    assert await claim.acquire(60) == 0
    fenced = claim.fenced()
    for name in WRITES:
        await fenced.replace([b'{"role":"user","content":"old"}'] * 3)
        await write(fenced, name, await fenced.read(None))
    assert await claim.renew()
    assert await claim.renew()
    if is_released:
        await claim.release()
    else:
        await lapse(place.client, place.session)
    copies = [command for command in recorder.sent if command[0] in ("EVAL", "EVALSHA")]
    assert len(copies) == 4 + 2 * len(WRITES) + is_released
    if is_held:
        assert await place.claim("other").acquire(0) == 0
    await place.session.replace_items(ITEMS)

    for command in [*copies, *reversed(copies)]:
        await place.client.execute_command(*command)

        assert await place.held_by() == (b"other" if is_held else None)
        assert await place.queue() == 0
        assert await place.session.get_items() == ITEMS


async def test_whoever_has_given_up_takes_nothing_late(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a waiter asked arrives once more, or only then, when it has long gone."""
    assert await place.claim("holder").acquire(0) == 0
    recorder = Recorder(monkeypatch)
    claim = place.claim("one")
    assert await claim.acquire(60) == 1
    (copy,) = recorder.sent
    await claim.release()

    for _ in range(2):
        await place.client.execute_command(*copy)
        assert await place.queue() == 0
        await place.claim("holder").release()
        assert await place.held_by() is None


async def test_a_write_that_was_lost_stays_lost(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No copy of what came before gives the lease back to a holder, for its write to succeed."""
    recorder = Recorder(monkeypatch)
    claim = place.claim("one")
    assert await claim.acquire(0) == 0
    await lapse(place.client, place.session)
    with pytest.raises(LostError):
        await claim.fenced().append([b'{"role":"user","content":"late"}'])

    for command in recorder.sent:
        await place.client.execute_command(*command)

    assert await place.session.get_items() == ITEMS


# --- cancellation ------------------------------------------------------------------------------


async def test_whoever_is_cancelled_at_any_step_holds_nothing(place: Place) -> None:
    """While it takes the lease, at its end, and while it gives it back."""

    async def take_a_turn() -> None:
        async with place.session.lease(0, LIFE) as held:
            await held.add_items(OTHERS)

    for number in range(5000):
        cancelled = await cancelled_after(number, take_a_turn())
        assert await place.session.busy() is None
        assert await place.queue() == 0
        if not cancelled:
            break
    assert number > 10
    items = await place.session.get_items()
    assert items == ITEMS + OTHERS * (len(items) - 3)


async def test_a_waiter_that_is_cancelled_at_any_step_leaves_the_queue(place: Place) -> None:
    """While it asks, and while it pauses; whoever holds the lease keeps it."""
    assert await place.claim("holder").acquire(0) == 0
    for number in range(60):
        waiting = asyncio.ensure_future(place.session.lease(60).__aenter__())
        await steps(number)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await place.queue() == 0
    assert await place.claim("holder").renew()


async def test_whoever_is_cancelled_before_it_hears_gives_the_lease_back(place: Place) -> None:
    """The server has given it the lease, and the answer is on its way."""
    async with FaultyProxy(place.server) as proxy, Redis.from_url(proxy.url) as client:
        session = place.seen_by(client)
        assert await session.ping()
        proxy.hold()
        entering = asyncio.ensure_future(session.lease(0, LIFE).__aenter__())
        await proxy.an_answer_held()
        assert await place.held_by() is not None
        entering.cancel()
        await steps(5)
        proxy.release()
        with pytest.raises(asyncio.CancelledError):
            await entering
    assert await place.held_by() is None


# --- erase -------------------------------------------------------------------------------------


async def test_nothing_is_left_that_was_written_behind_erase(
    redis_client: Redis, key_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A holder that writes after its conversation was erased, and before its lease was."""
    view = RedisStore(redis_client, key_prefix=key_prefix).user("ada")
    claim: Any = view.session("s")._conversation
    claim = claim.claim("one", LIFE)
    assert await claim.acquire(0) == 0
    await claim.fenced().append([b'{"role":"user","content":"Hi"}'])
    scanned = _catalog.keys_of_user
    written: list[bool] = []

    async def writing(clients: Any, keys: Any) -> AsyncIterator[list[bytes]]:
        found = [key async for some in scanned(clients, keys) for key in some]
        yield [key for key in found if not keys.is_of_lease(key)]
        if not written:
            await claim.fenced().append([b'{"role":"user","content":"Ho"}'])
            written.append(True)
        yield [key for key in found if keys.is_of_lease(key)]

    monkeypatch.setattr(_catalog, "keys_of_user", writing)

    erased = await view.erase()

    assert written == [True]
    assert erased.items == 2
    assert await all_keys(redis_client, f"{key_prefix}*".encode()) == []
    with pytest.raises(LostError):
        await claim.fenced().append([b'{"role":"user","content":"Ha"}'])
    assert await view.get("s") is None


async def test_erase_does_not_wait_for_those_who_take_leases(
    redis_client: Redis, key_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes through the keys again for those who had one, and comes to an end."""
    view: Any = RedisStore(redis_client, key_prefix=key_prefix).user("ada")
    scanned = _catalog.keys_of_user
    passes: list[Any] = []

    async def taking(clients: Any, keys: Any) -> AsyncIterator[list[bytes]]:
        claim = view.session("s")._conversation.claim(f"holder{len(passes)}", LIFE)
        assert await claim.acquire(0) == 0
        passes.append(claim)
        async for some in scanned(clients, keys):
            yield some

    monkeypatch.setattr(_catalog, "keys_of_user", taking)

    await view.erase()

    assert len(passes) == 2
    for claim in passes:
        assert not await claim.renew()
