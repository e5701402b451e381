"""Lost answers, crashes and many writers: a user's items and the index agree all the same."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from botocore.exceptions import BotoCoreError

from openai_agents_session import DynamoDBStore, _pauses
from openai_agents_session.store import SessionNotFoundError
from tests.dynamodb import emulators
from tests.dynamodb.proxy import (
    CUT_BEFORE,
    LOSE_ANSWER,
    WRITES,
    Fault,
    behind,
    lose_answer_at,
    lose_one_in,
    on,
    strand_until,
)
from tests.dynamodb.store import (
    SMALLEST,
    Store,
    assert_agrees,
    key_of,
    letters,
    named_pages,
    numbered,
    temporary_table,
    user,
)
from tests.dynamodb.writer import assert_churned, churn
from tests.shares import slow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.dynamodb.emulators import Emulator
    from tests.dynamodb.proxy import Plan

EMULATORS = emulators.servers()
ONCE: dict[str, Any] = {"retries": {"total_max_attempts": 1}}
ADA = "Ada"
LONG = letters(0, 9)


@pytest_asyncio.fixture
async def table(dynamodb_client: Any) -> AsyncIterator[str]:
    """The name of a fresh table with the index."""
    async with temporary_table(dynamodb_client, users=True) as store:
        yield store.table


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up with botocore."""
    monkeypatch.setattr(_pauses, "RETRY_SECONDS", -1.0)


def opened(client: Any, table: str) -> Any:
    """Return Ada's view, with the smallest pages and a time to live."""
    return DynamoDBStore(client, table, ttl=10**6, page_bytes=SMALLEST).user(ADA)


async def agree(store: Store, *, unused: bool = False) -> None:
    """Assert that items, pages and index agree."""
    assert_agrees(await store.everything(), await store.indexed(), unused=unused)


async def erased(store: Store) -> None:
    """Assert that ``erase`` leaves nothing at all in the table."""
    await opened(store.client, store.table).erase()
    assert await store.everything() == {}
    assert await store.indexed() == []


# --- every answer is lost once ---------------------------------------------------------------

OPERATIONS: dict[str, tuple[Callable[[Any], Awaitable[Any]], Any, int | None]] = {
    "add": (lambda ada: ada.session("a").add_items(numbered(0, 2)), None, 11),
    "add a lot": (lambda ada: ada.session("a").add_items(LONG), None, 18),
    "begin": (lambda ada: ada.session("b", name="A").add_items(numbered(0, 2)), None, 9),
    "begin with a lot": (lambda ada: ada.session("b", name="A").add_items(LONG), None, 9),
    "pop": (lambda ada: ada.session("a").pop_item(), LONG[-1], 8),
    "clear": (lambda ada: ada.session("a").clear_session(), None, 0),
    "replace": (lambda ada: ada.session("a").replace_items(numbered(0, 2)), None, 2),
    "replace by nothing": (lambda ada: ada.session("a").replace_items([]), None, 0),
    "update": (lambda ada: ada.update("a", name="A"), ..., 9),
    "touch": (lambda ada: ada.touch("a"), True, 9),
    "delete": (lambda ada: ada.delete("a"), True, None),
    "fork": (lambda ada: ada.fork("a", "b"), None, 9),
    "fork a part": (lambda ada: ada.fork("a", "b", 1), None, 9),
}


@pytest.mark.parametrize("config", [{}, ONCE], ids=["defaults", "no retries"])
@pytest.mark.parametrize("operation", [*OPERATIONS])
async def test_first_answer_of_each_kind_is_lost(
    emulator: Emulator, store: Store, operation: str, config: dict[str, Any]
) -> None:
    """The operation is done once and returns what it would have returned."""
    call, result, count = OPERATIONS[operation]
    await opened(store.client, store.table).session("a", name="A").add_items(LONG)

    async with behind(emulator.url, once_each(LOSE_ANSWER), **config) as (proxy, client):
        ada = opened(client, store.table)
        returned = await call(ada)
        assert proxy.lost_successes >= 1

    assert result is ... or returned == result
    if operation == "update":
        assert returned == await opened(store.client, store.table).get("a")
    ada = opened(store.client, store.table)
    found = await ada.get("a")
    assert (found and found.item_count) == count
    if "fork" in operation or "begin" in operation:
        copied = {"fork a part": LONG[:1], "begin": numbered(0, 2)}.get(operation, LONG)
        assert await ada.session("b").get_items() == copied
        assert (await ada.get("b")).name == "A"
    # Where the answer says which pages are not named any more, and is lost, these stay.
    await agree(store, unused=operation == "clear")
    await erased(store)


def once_each(fault: Fault) -> Plan:
    """The fault at the first request of each kind of write."""

    def plan(name: str, number: int) -> Fault | None:
        return fault if name in WRITES and number == 1 else None

    return plan


async def test_answers_to_an_erase_are_lost(emulator: Emulator, store: Store) -> None:
    """Everything goes; the receipt says so once."""
    ada = opened(store.client, store.table)
    for at in range(5):
        await ada.session(f"{at}").add_items(LONG)
    async with behind(emulator.url, lose_one_in(3, seed=1)) as (proxy, client):
        receipt = await opened(client, store.table).erase()
        assert proxy.lost_successes >= 1
    assert (receipt.conversations, receipt.items) == (5, 45)
    assert await store.everything() == {}


# --- something else is done before a request is sent again ------------------------------------


async def in_between(
    emulator: Emulator,
    store: Store,
    call: Callable[[Any], Awaitable[Any]],
    other: Callable[[Any], Awaitable[Any]],
) -> Any:
    """Let the answer to a write be lost after something else was done; return what it returns."""
    lost = asyncio.Event()
    async with behind(emulator.url, on(lose_answer_at(lost), "UpdateItem", 1)) as (
        proxy,
        client,
    ):
        task = asyncio.ensure_future(call(opened(client, store.table)))
        await proxy.waiting()
        await other(opened(store.client, store.table))
        lost.set()
        returned = await task
        assert proxy.lost_successes == 1
    return returned


async def test_delete_takes_no_newer_conversation_along(emulator: Emulator, store: Store) -> None:
    """What begins before a delete is sent again stays, pages and all."""
    ada = opened(store.client, store.table)
    await ada.session("a", name="Old").add_items(LONG)
    new = letters(20, 40)

    deleted = await in_between(
        emulator,
        store,
        lambda view: view.delete("a"),
        lambda view: view.session("a", name="New").add_items(new),
    )

    assert deleted is True
    assert await ada.session("a").get_items() == new
    assert (await ada.get("a")).name == "New"
    await agree(store)
    await erased(store)


async def test_update_is_not_done_again(emulator: Emulator, store: Store) -> None:
    """What another says in between is the last word."""
    ada = opened(store.client, store.table)
    await ada.session("a", name="A").add_items(LONG)

    await in_between(
        emulator,
        store,
        lambda view: view.update("a", name="First"),
        lambda view: view.update("a", name="Second", description="mine"),
    )

    found = await ada.get("a")
    assert (found.name, found.description) == ("Second", "mine")
    await agree(store)


async def test_fork_is_not_begun_again(emulator: Emulator, store: Store) -> None:
    """What is done to the fork in between stays, and the fork is no error."""
    ada = opened(store.client, store.table)
    await ada.session("a", name="A").add_items(numbered(0, 3))

    await in_between(
        emulator,
        store,
        lambda view: view.fork("a", "b"),
        lambda view: view.session("b").add_items(numbered(7, 8)),
    )

    assert await ada.session("b").get_items() == numbered(0, 3) + numbered(7, 8)
    await agree(store)


@pytest.mark.parametrize("items", [numbered(0, 2), LONG], ids=["short", "long"])
async def test_append_does_not_undo_a_delete(
    emulator: Emulator, store: Store, items: list[Any]
) -> None:
    """A conversation that is deleted before its append is sent again stays deleted."""
    ada = opened(store.client, store.table)
    await ada.session("a").add_items(numbered(0, 1))

    await in_between(
        emulator,
        store,
        lambda view: view.session("a").add_items(items),
        lambda view: view.delete("a"),
    )

    assert await ada.get("a") is None
    await agree(store)
    await erased(store)


async def test_clear_takes_no_newer_items_along(emulator: Emulator, store: Store) -> None:
    """What is appended before a clear is sent again stays."""
    ada = opened(store.client, store.table)
    await ada.session("a", name="A").add_items(numbered(0, 3))

    await in_between(
        emulator,
        store,
        lambda view: view.session("a").clear_session(),
        lambda view: view.session("a").add_items(numbered(7, 8)),
    )

    assert await ada.session("a").get_items() == numbered(7, 8)
    assert (await ada.get("a")).name == "A"
    await agree(store)


async def test_stranded_append_does_not_bring_it_back(emulator: Emulator, store: Store) -> None:
    """A copy of a request that arrives after the delete changes nothing."""
    ada = opened(store.client, store.table)
    await ada.session("a").add_items(numbered(0, 1))
    arrives = asyncio.Event()
    async with behind(emulator.url, on(strand_until(arrives), "UpdateItem", 1)) as (proxy, client):
        await opened(client, store.table).session("a").add_items(numbered(1, 2))
        assert await ada.session("a").get_items() == numbered(0, 2)
        assert await ada.delete("a") is True
        executed = proxy.requests["UpdateItem"]
        arrives.set()
        await proxy.executed(executed)
    assert await ada.get("a") is None
    await agree(store)


async def test_writer_that_has_seen_it_ends(emulator: Emulator, store: Store) -> None:
    """With ``recreate=False``, the same request that would write finds the conversation gone."""
    ada = opened(store.client, store.table)
    session = ada.session("a", recreate=False)
    await session.add_items(LONG)
    assert await session.get_items() == LONG
    for end in ("delete", "erase", "expire"):
        await ada.session("a").add_items(numbered(0, 1))
        if end == "delete":
            await ada.delete("a")
        elif end == "erase":
            await ada.erase()
        else:
            await store.set_ttl(-1, key_of(ADA, "a"))
        before = await store.everything()
        async with behind(emulator.url, once_each(LOSE_ANSWER)) as (_, client):
            lossy = opened(client, store.table).session("a", recreate=False)
            lossy._conversation._seen = True
            for each in (session, lossy):
                with pytest.raises(SessionNotFoundError, match="deleted meanwhile, or has expired"):
                    await each.add_items(numbered(1, 2))
                with pytest.raises(SessionNotFoundError):
                    await each.replace_items(LONG)
                await each.clear_session()
                await each.replace_items([])
                assert await each.pop_item() is None
        assert await store.everything() == before


# --- a crash in the middle --------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", [CUT_BEFORE, slow(LOSE_ANSWER)], ids=["before", "after"])
@pytest.mark.parametrize("operation", ["add a lot", "clear", "delete", "fork", "update", "erase"])
async def test_it_ends_after_each_request(
    emulator: Emulator, store: Store, operation: str, fault: Fault
) -> None:
    """Wherever it ends, items and index agree, and doing it again does all that is left."""
    call = (lambda ada: ada.erase()) if operation == "erase" else OPERATIONS[operation][0]
    ends, sent = 0, 0
    while sent >= ends:
        ends, sent = ends + 1, 0
        ada = opened(store.client, store.table)
        await ada.session("a", name="A").add_items(LONG)
        await ada.session("other", name="Other").add_items(LONG)

        def plan(_name: str, _number: int, ends: int = ends) -> Fault | None:
            nonlocal sent
            sent += 1
            return fault if sent >= ends else None

        async with behind(emulator.url, plan, **ONCE) as (_, client):
            try:
                await call(opened(client, store.table))
            except (BotoCoreError, asyncio.TimeoutError):
                assert sent >= ends
        await agree(store, unused=True)
        if operation != "erase":
            assert await ada.session("other").get_items() == LONG
        for each in ("a", "b"):
            items = await ada.session(each).get_items()
            assert items in ([], LONG, LONG + LONG)
        if operation in {"delete", "erase"}:
            await call(ada)
            left = await store.everything()
            assert await ada.get("a") is None
            assert not named_pages(left, key_of(ADA, "a")) or operation == "delete"
            if operation == "delete":
                assert not [key for key in left if key.startswith(key_of(ADA, "a~"))]
        await erased(store)
    assert ends > 1


@pytest.mark.usefixtures("impatient")
async def test_erase_reaches_what_crashes_have_left(emulator: Emulator, store: Store) -> None:
    """Pages that nobody names, and items whose conversation never began."""
    ada = opened(store.client, store.table)
    secret = [user(f"secret {at} {'x' * 1500}") for at in range(9)]
    plan = on(CUT_BEFORE, "UpdateItem", 2)
    async with behind(emulator.url, plan, **ONCE) as (_, client):
        with pytest.raises(BotoCoreError):
            await opened(client, store.table).session("a", name="secret").add_items(secret)
    assert "secret" in json.dumps(await store.everything(), default=str)
    await ada.erase()
    assert await store.everything() == {}


@pytest.mark.parametrize("operation", ["add a lot", "clear", "delete", "fork", "update", "erase"])
async def test_cancelled_at_any_moment(store: Store, operation: str) -> None:
    """What has begun is done when the cancellation arrives, and what has not is not."""
    call = (lambda ada: ada.erase()) if operation == "erase" else OPERATIONS[operation][0]
    ada = opened(store.client, store.table)
    for turns in (0, 1, 2, 4, 8, 16, 32, 64):
        await ada.session("a", name="A").replace_items(LONG)
        await ada.delete("b")
        before = await ada.get("a")
        task = asyncio.ensure_future(call(ada))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        after = await ada.get("a")
        await agree(store)
        await asyncio.gather(*(ada.get("a") for _ in range(5)))
        assert await ada.get("a") == after  # nothing goes on behind the caller's back
        if operation == "fork":
            assert await ada.session("b").get_items() in ([], LONG)
        elif operation == "add a lot":
            assert await ada.session("a").get_items() in (LONG, LONG + LONG)
        elif after is not None:
            assert after == before or after.item_count == 0 or operation == "update"
    await erased(store)


# --- many writers ------------------------------------------------------------------------------


async def test_many_writers_with_every_third_answer_lost(
    emulator: Emulator, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever they do to the same conversations, each item is there once, and all agrees."""
    monkeypatch.setattr(_pauses, "RETRY_SECONDS", 30.0)
    async with behind(emulator.url, lose_one_in(3, seed=1)) as (proxy, client):
        lossy = DynamoDBStore(client, store.table, page_bytes=SMALLEST)
        did = await asyncio.gather(*(churn(lossy, writer, 20) for writer in range(4)))
        assert proxy.lost_successes >= 8  # of the appends alone, in any order

    await assert_churned(DynamoDBStore(store.client, store.table), did)
    await agree(store, unused=True)
