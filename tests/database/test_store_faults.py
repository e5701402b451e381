"""A store's connections break: each operation is done once, says what it did, and is no error."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from openai_agents_session import _pauses
from openai_agents_session.database import Base, DatabaseStore, User, _driver
from openai_agents_session.store import SessionExistsError
from tests.contract import numbered
from tests.database.proxy import Fault, PostgresProxy
from tests.database.test_faults import commits, fault_at, nothing
from tests.shares import share_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from openai_agents_session.store import UserConversations

pytestmark = pytest.mark.parametrize(
    "url", share_of(["postgres", "psycopg"], "postgres"), indirect=True
)

OPERATIONS: dict[str, Callable[[UserConversations], Awaitable[Any]]] = {
    "begin": lambda ada: ada.session("new", name="New").add_items(numbered(0, 2)),
    "add": lambda ada: ada.session("a").add_items(numbered(3, 4)),
    "get": lambda ada: ada.get("a"),
    "list": lambda ada: ada.list(),
    "messages": lambda ada: ada.messages("a"),
    "update": lambda ada: ada.update("a", name="B"),
    "touch": lambda ada: ada.touch("a"),
    "delete": lambda ada: ada.delete("a"),
    "fork": lambda ada: ada.fork("a", "b"),
    "erase": lambda ada: ada.erase(),
}


@pytest_asyncio.fixture
async def proxy(url: str) -> AsyncIterator[PostgresProxy]:
    """A database with the tables, behind a proxy that makes no faults yet."""
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    await engine.dispose()
    async with PostgresProxy(url, nothing) as proxy:
        yield proxy


@pytest_asyncio.fixture
async def store(
    proxy: PostgresProxy, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[DatabaseStore]:
    """A store behind the proxy; no slow machine is taken for a server that is away."""
    monkeypatch.setattr(_pauses, "RETRY_SECONDS", 60.0)
    monkeypatch.setattr(_driver, "SETTLE_SECONDS", 60.0)
    async with DatabaseStore.from_url(proxy.url) as store:
        yield store
        proxy.choose = nothing


async def state_of(ada: UserConversations) -> dict[str, tuple[str | None, int]]:
    """What a user has: for each id the name, and how many items can be read."""
    return {
        one.session_id: (one.name, len(await ada.session(one.session_id).get_items()))
        async for one in ada
    }


def check(operation: str, result: Any, ada_id: UUID) -> None:
    """Check what an operation said."""
    if operation == "delete":
        assert result is True
    elif operation == "erase":
        assert (result.user_id, result.conversations, result.items) == (ada_id, 1, 3)
    elif operation in {"get", "update"}:
        assert (result.session_id, result.item_count) == ("a", 3)


AFTER = {
    "begin": {"a": ("A", 3), "new": ("New", 2)},
    "add": {"a": ("A", 4)},
    "update": {"a": ("B", 3)},
    "delete": {},
    "fork": {"a": ("A", 3), "b": ("A", 3)},
    "erase": {},
}


@pytest.mark.parametrize("fault", share_of(["lose answer", "cut before"], "lose answer"))
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_connection_breaks_anywhere(
    store: DatabaseStore, proxy: PostgresProxy, operation: str, fault: Fault
) -> None:
    """At each request of an operation in turn: it is done once, and it is no error."""
    for number in count():
        ada = store.user(uuid4())
        await ada.session("a", name="A").add_items(numbered(0, 3))
        before, proxy.choose = proxy.faults, fault_at(number, fault)

        result = await OPERATIONS[operation](ada)

        proxy.choose = nothing
        check(operation, result, ada.user_id)
        assert await state_of(ada) == AFTER.get(operation, {"a": ("A", 3)})
        if proxy.faults == before:
            assert number > 1
            return


@pytest.mark.parametrize("fault", ["lose answer", "cut before"])
async def test_the_first_write_of_a_user(
    store: DatabaseStore, proxy: PostgresProxy, fault: Fault
) -> None:
    """The user's row and the conversation are made together, once."""
    ada = store.user(uuid4())
    proxy.choose = commits(fault, times=1)

    await ada.session("a", name="A").add_items(numbered(0, 2))

    assert proxy.faults == 1
    assert await state_of(ada) == {"a": ("A", 2)}


@pytest.mark.parametrize("operation", ["update", "delete", "fork", "erase"])
async def test_a_number_given_twice_deceives_nobody(
    store: DatabaseStore, proxy: PostgresProxy, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crashed server may say "committed" of another transaction's: the rows know better."""
    ada = store.user(uuid4())
    await ada.session("a", name="A").add_items(numbered(0, 3))
    monkeypatch.setattr(_driver, "_STATUS", text("SELECT 'committed', CAST(:xact_id AS text)"))
    proxy.choose = commits("cut before", times=1)

    check(operation, await OPERATIONS[operation](ada), ada.user_id)

    assert await state_of(ada) == AFTER[operation]
    assert proxy.faults == 1


async def test_what_was_begun_anew_meanwhile_stays(
    store: DatabaseStore, proxy: PostgresProxy
) -> None:
    """A delete whose answer was lost does not delete what somebody began afterwards."""
    ada = store.user(uuid4())
    await ada.session("a", name="A").add_items(numbered(0, 3))
    proxy.choose = commits("late", times=1)
    deleting = asyncio.create_task(ada.delete("a"))
    await proxy.faulty.wait()
    beginning = asyncio.create_task(ada.session("a", name="New").add_items(numbered(7, 8)))
    proxy.released.set()

    assert await deleting is True

    await beginning
    assert await state_of(ada) == {"a": ("New", 1)}


async def test_a_fork_whose_answer_is_lost_is_not_taken(
    store: DatabaseStore, proxy: PostgresProxy
) -> None:
    """It is the one that has the id; the next is told that it is taken."""
    ada = store.user(uuid4())
    await ada.session("a").add_items(numbered(0, 3))
    proxy.choose = commits("lose answer", times=1)

    await ada.fork("a", "b")

    assert proxy.faults == 1
    with pytest.raises(SessionExistsError):
        await ada.fork("a", "b")


@pytest.mark.parametrize("at", range(12))
async def test_an_erase_that_ends_in_the_middle_is_run_again(
    store: DatabaseStore, proxy: PostgresProxy, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it had done, all is gone after the second one."""
    ada = store.user(uuid4())
    for each in "abc":
        await ada.session(each).add_items(numbered(0, 3))
    monkeypatch.setattr(_pauses, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(_driver, "SETTLE_SECONDS", 0.0)
    numbers = count()
    proxy.choose = lambda _: "cut before" if next(numbers) >= at else None
    said = await asyncio.gather(ada.erase(), return_exceptions=True)
    proxy.choose = nothing
    monkeypatch.undo()
    assert at > 8 or isinstance(said[0], (DBAPIError, OSError))

    await ada.erase()

    assert await state_of(ada) == {}


async def test_setting_up(url: str) -> None:
    """A broken connection leaves no half of the tables, and the migration is run again."""
    async with PostgresProxy(url, commits("lose answer", times=1)) as proxy:
        async with DatabaseStore.from_url(proxy.url, setup=True) as store:
            await store.user(uuid4()).session("a").add_items(numbered(0, 1))
        assert proxy.faults == 1


async def test_users_are_not_made_twice(url: str) -> None:
    """Many tasks that begin a user's conversations at once make one row."""
    engine = create_async_engine(url, pool_size=10)
    maker = async_sessionmaker(engine)
    async with DatabaseStore(maker) as store:
        await store.setup()
        ada = store.user(uuid4())
        await asyncio.gather(*(ada.session(f"{at}").add_items(numbered(0, 1)) for at in range(10)))
        assert await ada.count() == 10
        async with maker() as db:
            assert (await db.scalars(select(User.id))).all() == [ada.user_id]
    await engine.dispose()
