"""Answers lost on the wire, and operations that end in the middle: a store tells the truth."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from redis.exceptions import ConnectionError

from openai_agents_session import RedisStore
from openai_agents_session.redis import _catalog
from openai_agents_session.redis._keys import UserKeys
from openai_agents_session.redis._scripts import Script
from openai_agents_session.store import SessionExistsError, SessionNotFoundError
from tests.contract.store_together import act
from tests.faults import FaultyProxy, first, one_in
from tests.redis.stores import all_keys, assert_agreement, dump_of, index_of
from tests.shares import share_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from openai_agents_session.store import UserConversations
    from tests.servers import Endpoint

ITEMS: list[Any] = [{"role": "user", "content": f"item {number}"} for number in range(3)]
NEW: list[Any] = [{"role": "user", "content": "new"}]


@pytest_asyncio.fixture
async def ada(redis_client: Redis, key_prefix: str) -> AsyncIterator[UserConversations]:
    """The user as another client sees her; at the end, all agrees."""
    view = RedisStore(redis_client, key_prefix=key_prefix, ttl=1000).user("ada")
    await view.session("a", name="A").add_items(ITEMS)
    yield view
    await assert_agreement(redis_client, key_prefix)


class Losing:
    """A user's view through a proxy that loses the first answer, after something was done."""

    def __init__(self, server: Endpoint, prefix: str) -> None:
        self._server, self._prefix = server, prefix

    async def answer(
        self,
        operation: Callable[[UserConversations], Awaitable[Any]],
        meanwhile: Callable[[], Awaitable[Any]],
    ) -> Any:
        """Return what an operation returns, or raises, whose answer was lost."""
        proxy = FaultyProxy(self._server, first(1), before_cut=meanwhile)
        async with proxy, Redis.from_url(proxy.url) as client:
            store = RedisStore(client, key_prefix=self._prefix, ttl=1000)
            try:
                return await operation(store.user("ada"))
            finally:
                assert proxy.cuts == 1


@pytest.fixture
def losing(redis_server: Endpoint, key_prefix: str) -> Losing:
    return Losing(redis_server, key_prefix)


async def test_an_append_does_not_bring_back_what_was_deleted(
    losing: Losing, ada: UserConversations
) -> None:
    """It was done, and what came after it counts."""

    async def delete() -> None:
        assert await ada.delete("a")

    await losing.answer(lambda view: view.session("a").add_items(NEW), delete)

    assert await ada.get("a") is None
    assert await ada.session("a").get_items() == []


async def test_an_append_goes_nowhere_where_the_conversation_was_to_be_there(
    losing: Losing, ada: UserConversations
) -> None:
    """With ``recreate=False`` too, an append that was done is no error."""

    async def append(view: UserConversations) -> None:
        session = view.session("a", recreate=False)
        assert await session.get_items() == ITEMS
        await session.add_items(NEW)

    async def delete() -> None:
        assert await ada.delete("a")

    await losing.answer(append, delete)
    assert await ada.get("a") is None


async def test_an_append_begins_once(losing: Losing, ada: UserConversations) -> None:
    """What is said about it is what the append said, and when it began."""
    began: list[Any] = []

    async def look() -> None:
        began.append(await ada.get("b"))

    await losing.answer(lambda view: view.session("b", name="B").add_items(NEW), look)

    assert await ada.get("b") == began[0]
    assert began[0].name == "B"


async def test_a_pop_returns_what_it_took(losing: Losing, ada: UserConversations) -> None:
    """Even from a conversation that was deleted meanwhile."""

    async def delete() -> None:
        assert await ada.delete("a")

    assert await losing.answer(lambda view: view.session("a").pop_item(), delete) == ITEMS[-1]
    assert await ada.get("a") is None


async def test_a_record_is_not_put_back_into_a_deleted_conversation(
    redis_client: Redis, key_prefix: str, losing: Losing, ada: UserConversations
) -> None:
    """A pop that took what cannot be read leaves nothing behind then."""
    await redis_client.rpush(index_of(key_prefix, "ada") + b":a", b"{no item}")

    async def delete() -> None:
        assert await ada.delete("a")

    assert await losing.answer(lambda view: view.session("a").pop_item(), delete) is None
    assert await ada.get("a") is None
    assert await all_keys(redis_client, f"{key_prefix}@{{ada}}[:~]*".encode()) == []


async def test_an_update_returns_what_it_did(losing: Losing, ada: UserConversations) -> None:
    """And does not undo what another did meanwhile."""

    async def rename() -> None:
        await ada.update("a", name="Later", description="More")

    said = await losing.answer(lambda view: view.update("a", name="First"), rename)

    assert (said.name, said.description, said.item_count) == ("First", None, 3)
    found = await ada.get("a")
    assert found is not None
    assert (found.name, found.description) == ("Later", "More")
    assert found.updated_at > said.updated_at


async def test_an_update_of_what_was_deleted_meanwhile(
    losing: Losing, ada: UserConversations
) -> None:
    """It was done before, and begins nothing."""

    async def delete() -> None:
        assert await ada.delete("a")

    said = await losing.answer(lambda view: view.update("a", is_active=False), delete)

    assert (said.name, said.is_active) == ("A", False)
    assert await ada.get("a") is None


async def test_a_delete_spares_what_begins_after_it(losing: Losing, ada: UserConversations) -> None:
    """It says that there was one, and that one alone is gone."""

    async def begin_again() -> None:
        await ada.session("a", name="Again").add_items(NEW)

    assert await losing.answer(lambda view: view.delete("a"), begin_again) is True
    assert await ada.session("a").get_items() == NEW
    assert await losing.answer(lambda view: view.delete("none"), begin_again) is False


async def test_a_fork_happens_once(losing: Losing, ada: UserConversations) -> None:
    """It is not made again where it was deleted, nor taken for somebody else's."""

    async def delete() -> None:
        assert await ada.delete("b")

    async def write() -> None:
        await ada.session("c").add_items(NEW)

    assert await losing.answer(lambda view: view.fork("a", "b"), delete) is None
    assert await ada.get("b") is None
    assert await losing.answer(lambda view: view.fork("a", "c"), write) is None
    assert await ada.session("c").get_items() == ITEMS + NEW


@pytest.mark.parametrize("losses", [2, 3])
async def test_a_receipt_counts_each_once(
    redis_server: Endpoint,
    key_prefix: str,
    ada: UserConversations,
    monkeypatch: pytest.MonkeyPatch,
    losses: int,
) -> None:
    """However many answers to an erase are lost."""
    monkeypatch.setattr(_catalog, "_ERASED_AT_ONCE", 7)
    for number in range(49):
        await ada.session(f"{number}").add_items(ITEMS)
    proxy = FaultyProxy(redis_server, one_in(losses, seed=3))
    async with proxy, Redis.from_url(proxy.url) as client:
        erased = await RedisStore(client, key_prefix=key_prefix).user("ada").erase()
    assert proxy.cuts >= 2
    assert (erased.conversations, erased.items) == (50, 150)


async def test_an_erase_that_ends_in_the_middle(
    redis_client: Redis,
    key_prefix: str,
    ada: UserConversations,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is left agrees, at every step, and the next one erases the rest."""
    monkeypatch.setattr(_catalog, "_ERASED_AT_ONCE", 2)
    whole_run, sent = Script.run, 0

    async def run(script: Script, *arguments: Any, needs: str) -> Any:
        nonlocal sent
        sent += 1
        if sent > left:
            raise ConnectionError("gone")
        return await whole_run(script, *arguments, needs=needs)

    for left in range(3):
        for number in range(6):
            await ada.session(f"{number}").add_items(ITEMS)
        there = len([each async for each in ada])
        with monkeypatch.context() as patch:
            sent = 0
            patch.setattr(Script, "run", run)
            with pytest.raises(ConnectionError):
                await ada.erase()
        assert len([each async for each in ada]) == max(0, there - 2 * left)
        await assert_agreement(redis_client, key_prefix)
    left = len([each async for each in ada])
    assert (await ada.erase()).conversations == left > 0
    assert index_of(key_prefix, "ada") not in await dump_of(redis_client)


async def test_a_write_that_arrives_after_an_erase_brings_nothing_back(
    redis_client: Redis,
    key_prefix: str,
    ada: UserConversations,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The tokens of what begins conversations outlive it; they name nobody."""
    tokens = [UserKeys(key_prefix, "ada").new_token() for _ in range(3)]
    session = ada.session("a")
    writes: Sequence[Callable[[], Awaitable[Any]]] = (
        lambda: session.add_items(NEW),
        lambda: session.replace_items(NEW),
        lambda: ada.fork("a", "b"),
    )
    for write, token in zip(writes, tokens, strict=True):
        with monkeypatch.context() as patch:
            patch.setattr(UserKeys, "new_token", lambda _, token=token: token)
            await write()
    assert (await ada.erase()).conversations == 2

    for write, token in zip(writes, tokens, strict=True):
        with monkeypatch.context() as patch:
            patch.setattr(UserKeys, "new_token", lambda _, token=token: token)
            await write()

    assert [each async for each in ada] == []
    assert await all_keys(redis_client, f"{key_prefix}*".encode()) == []


async def test_eight_clients_with_every_tenth_answer_lost(
    redis_server: Endpoint, redis_client: Redis, key_prefix: str
) -> None:
    """Whatever they do to the same conversations, index and conversations agree."""
    ids = [f"{number}" for number in range(5)]
    proxy = FaultyProxy(redis_server, one_in(10, seed=5))
    async with proxy, Redis.from_url(proxy.url) as client:
        store = RedisStore(client, key_prefix=key_prefix)
        await asyncio.gather(*(act(store.user("ada"), ids, 40, seed) for seed in range(8)))
        assert proxy.cuts > 10
    await assert_agreement(redis_client, key_prefix)


@pytest.mark.parametrize("name", ["update", "fork", "delete", "erase", "add"])
async def test_a_write_that_was_cancelled_is_done(
    redis_server: Endpoint, key_prefix: str, ada: UserConversations, name: str
) -> None:
    """It is carried to its end before the caller is told, and the client goes on."""
    proxy = FaultyProxy(redis_server)
    async with proxy, Redis.from_url(proxy.url) as client:
        view = RedisStore(client, key_prefix=key_prefix, ttl=1000).user("ada")
        writes: dict[str, Callable[[], Awaitable[Any]]] = {
            "update": lambda: view.update("a", name="new"),
            "fork": lambda: view.fork("a", "new"),
            "delete": lambda: view.delete("a"),
            "erase": view.erase,
            "add": lambda: view.session("a").add_items(NEW),
        }
        assert await view.get("a") == await ada.get("a")
        proxy.hold()
        task = asyncio.ensure_future(writes[name]())
        await proxy.an_answer_held()
        task.cancel()
        proxy.release()
        with pytest.raises(asyncio.CancelledError):
            await task

        found = await view.get("a")
        if name in ("delete", "erase"):
            assert found is None
        elif name == "fork":
            assert await view.session("new").get_items() == ITEMS
        else:
            assert found is not None
            assert (found.name, found.item_count) == (("new", 3) if name == "update" else ("A", 4))


class Model:
    """A user's conversations as a dictionary, and the store's view of them, which must agree.

    A step does the same to both, and compares what they say.
    """

    def __init__(self, view: Any) -> None:
        self.view = view
        self.items: dict[str, list[Any]] = {}
        self.names: dict[str, str | None] = {}

    async def add(self, one: str, other: str, number: int) -> None:
        """Append so many items."""
        del other
        items = [{"role": "user", "content": f"{number} {at}"} for at in range(number)]
        await self.view.session(one, name=f"name {number}").add_items(items)
        if items:
            self.items[one] = self.items.get(one, []) + items
            self.names.setdefault(one, f"name {number}")

    async def replace(self, one: str, other: str, number: int) -> None:
        """Put so many items in the place of all."""
        del other
        items = [{"role": "user", "content": f"{number} {at}"} for at in range(number)]
        await self.view.session(one, name=f"name {number}").replace_items(items)
        if items or one in self.items:
            self.items[one] = items
            self.names.setdefault(one, f"name {number}")

    async def pop(self, one: str, other: str, number: int) -> None:
        """Take the newest."""
        del other, number
        kept = self.items.get(one)
        assert await self.view.session(one).pop_item() == (kept.pop() if kept else None)

    async def clear(self, one: str, other: str, number: int) -> None:
        """Take all."""
        del other, number
        await self.view.session(one).clear_session()
        self.items.update({one: []} if one in self.items else {})

    async def touch(self, one: str, other: str, number: int) -> None:
        """Change nothing."""
        del other, number
        assert await self.view.touch(one) is (one in self.items)

    async def update(self, one: str, other: str, number: int) -> None:
        """Give it another name."""
        del other
        if one in self.items:
            assert (await self.view.update(one, name=f"new {number}")).name == f"new {number}"
            self.names[one] = f"new {number}"
        else:
            with pytest.raises(SessionNotFoundError):
                await self.view.update(one, name="x")

    async def delete(self, one: str, other: str, number: int) -> None:
        """Delete it."""
        del other, number
        self.names.pop(one, None)
        assert await self.view.delete(one) is (self.items.pop(one, None) is not None)

    async def fork(self, one: str, other: str, number: int) -> None:
        """Copy so many items to the other id."""
        if one not in self.items:
            with pytest.raises(SessionNotFoundError):
                await self.view.fork(one, other, number)
        elif other in self.items:
            with pytest.raises(SessionExistsError):
                await self.view.fork(one, other, number)
        else:
            await self.view.fork(one, other, number)
            self.items[other] = self.items[one][:number]
            self.names[other] = self.names[one]

    async def agrees(self) -> None:
        """Assert that both have the same conversations."""
        listed = [each async for each in self.view]
        assert {each.session_id: each.name for each in listed} == self.names
        for each in listed:
            kept = self.items[each.session_id]
            assert each.item_count == len(kept)
            assert await self.view.session(each.session_id).get_items() == kept


KINDS = ["add", "add", "replace", "pop", "clear", "touch", "update", "delete", "fork"]
IDS = st.sampled_from(["a", "b", "{b}", "b}:c"])
STEPS = st.lists(st.tuples(st.sampled_from(KINDS), IDS, IDS, st.integers(0, 3)), max_size=25)


@pytest.mark.parametrize("examples", share_of([15, 150], 15))
async def test_any_steps_with_every_fourth_answer_lost(
    redis_server: Endpoint, redis_client: Redis, key_prefix: str, examples: int
) -> None:
    """The store is what a dictionary would be, and index and conversations agree."""
    runs: list[list[Any]] = []

    @settings(max_examples=examples, database=None, phases=[Phase.generate], deadline=None)
    @given(STEPS)
    def collect(steps: list[Any]) -> None:
        runs.append(steps)

    collect()
    proxy = FaultyProxy(redis_server, one_in(4, seed=9))
    async with proxy, Redis.from_url(proxy.url) as client:
        for number, steps in enumerate(runs):
            view = RedisStore(client, key_prefix=key_prefix, ttl=1000).user(f"ada {number}")
            model = Model(view)
            for kind, *arguments in steps:
                await getattr(model, kind)(*arguments)
            await model.agrees()
            await assert_agreement(redis_client, key_prefix)
    assert proxy.cuts
