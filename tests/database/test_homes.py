"""One engine in several event loops and processes: each connection is used where it was opened."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import threading
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from openai_agents_session import DatabaseSession, SessionBusyError
from openai_agents_session.database import Base, _connections
from tests.contract import numbered, user
from tests.database.conftest import each_driver, new_user, on_postgres
from tests.processes import ended_well, forked, in_child

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

# The tests have threads, and Python warns of that.
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")

ADA, BOB = "ada", "bob"


class Shop:
    """A module of an application: an engine, and whose conversations there are."""

    def __init__(self, url: str, owner: UUID | None = None) -> None:
        self.engine = create_async_engine(url)
        self.maker = async_sessionmaker(self.engine)
        self.owner = owner

    def session(self, name: str) -> DatabaseSession:
        """The conversation of one of the owner's."""
        return DatabaseSession(name, self.owner, self.maker)

    async def open(self) -> None:
        """Make the tables and a user, as an application does when it starts."""
        async with self.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        self.owner = await new_user(self.maker)
        await self.engine.dispose()

    async def say(self, name: str, number: int) -> list[Any]:
        """Add an item and return all there are."""
        session = self.session(name)
        await session.add_items(said(name, number + 1)[-1:])
        return await session.get_items()


@pytest.fixture
def shop(url: str) -> Iterator[Shop]:
    """One that has started, in an event loop that is closed."""
    shop = Shop(url)
    asyncio.run(shop.open())
    yield shop
    asyncio.run(shop.engine.dispose())


def said(name: str, count: int) -> list[Any]:
    return [user(f"{name} {number}") for number in range(count)]


@each_driver
def test_a_hundred_event_loops_one_after_the_other(shop: Shop) -> None:
    """Each adds, pops and reads on the same engine, and nothing is lost, doubled or an error."""
    session = shop.session(ADA)

    async def turn(number: int) -> Any:
        await session.add_items(numbered(number, number + 2))
        popped = await session.pop_item()
        return popped, await session.get_items()

    for number in range(100 if shop.engine.dialect.driver != "psycopg" else 10):
        popped, items = asyncio.run(turn(number))

        assert popped == numbered(number + 1, number + 2)[0]
        assert items == numbered(0, number + 1)


@each_driver
def test_a_lease_goes_from_one_event_loop_to_the_next(shop: Shop) -> None:
    """It is a row, and no matter of a connection: each step may be in another event loop."""
    session: Any = shop.session(ADA)
    claim, other = (session._conversation.claim(name, 600) for name in ("one", "other"))

    assert asyncio.run(claim.acquire(60)) == 0
    assert asyncio.run(other.acquire(60)) == 1
    assert asyncio.run(claim.renew())
    asyncio.run(claim.fenced().append([b'{"role":"user","content":"Hi"}']))
    asyncio.run(claim.release())
    assert asyncio.run(other.acquire(60)) == 0
    asyncio.run(other.release())
    assert asyncio.run(session.busy()) is None
    assert asyncio.run(session.get_items()) == [user("Hi")]


@on_postgres
async def test_connections_are_closed_before_their_event_loop(url: str) -> None:
    """What is idle in the pool goes with it, and the server has no connection too many."""
    shop = Shop(url)
    await shop.open()
    idle = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )

    def run() -> None:
        asyncio.run(shop.say(ADA, 0))
        gc.collect()  # what is open still warns now

    async def gone() -> None:
        async with shop.engine.connect() as db:
            while await db.scalar(idle):  # noqa: ASYNC110 - only the server knows
                await asyncio.sleep(0.005)

    await asyncio.to_thread(run)
    await asyncio.wait_for(gone(), 30)
    assert await shop.say(ADA, 1) == said(ADA, 2)
    await shop.engine.dispose()


@each_driver
async def test_two_event_loops_at_once(url: str) -> None:
    """Each has connections of its own, though they share the engine."""
    shop = Shop(url)
    await shop.open()

    def other() -> list[Any]:
        async def turns() -> list[Any]:
            return [await shop.say(BOB, number) for number in range(20)][-1]

        return asyncio.run(turns())

    others = asyncio.create_task(asyncio.to_thread(other))
    for number in range(20):
        items = await shop.say(ADA, number)

    assert items == said(ADA, 20)
    assert await others == said(BOB, 20)
    await shop.engine.dispose()


async def test_a_refused_connection_is_closed_before_its_event_loop(postgres_url: str) -> None:
    """Another loop takes it out of the pool when its own has nothing left to do but to end."""
    shop = Shop(postgres_url)
    await shop.open()

    def ending() -> None:
        async def turn() -> None:
            await shop.say(ADA, 0)
            other = threading.Thread(target=lambda: asyncio.run(shop.say(BOB, 0)))
            other.start()
            other.join()  # and this event loop waits

        asyncio.run(turn())

    await asyncio.to_thread(ending)

    gc.collect()  # what is open still warns now
    assert await shop.say(ADA, 1) == said(ADA, 2)
    await shop.engine.dispose()


@on_postgres
async def test_an_event_loop_connects_while_another_ends(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has opened a connection in the place of one that is just being closed, and keeps it."""
    shop = Shop(url)
    await shop.open()
    opened: list[Any] = []
    event.listen(shop.engine.sync_engine, "connect", lambda *_: opened.append(1))
    loop, ended = asyncio.get_running_loop(), []
    terminate = shop.engine.dialect.do_terminate

    def say_and_close(connection: Any) -> None:
        ended.append(1)
        asyncio.run_coroutine_threadsafe(shop.say(ADA, 0), loop).result()
        terminate(connection)

    monkeypatch.setattr(shop.engine.dialect, "do_terminate", say_and_close)
    await asyncio.to_thread(lambda: asyncio.run(shop.say(BOB, 0)))
    monkeypatch.undo()

    gc.collect()  # what is open still warns now
    assert len(ended) == 1
    assert await shop.say(ADA, 1) == said(ADA, 2)
    assert len(opened) == 2
    await shop.engine.dispose()


async def test_two_threads_use_a_fresh_engine_at_once(sqlite_url: str) -> None:
    """SQLAlchemy sets up an engine with its first connection: one thread waits for the other."""
    setup = Shop(sqlite_url)
    await setup.open()
    for _ in range(10):
        shop = Shop(sqlite_url)
        shop.owner, together = setup.owner, threading.Barrier(4)

        def turn(shop: Shop = shop, together: threading.Barrier = together) -> None:
            async def read() -> None:
                together.wait()
                await shop.session(ADA).get_items()

            asyncio.run(read())

        await asyncio.gather(*(asyncio.to_thread(turn) for _ in range(4)))
        await shop.engine.dispose()


async def test_an_open_transaction_stays_in_its_event_loop(url: str) -> None:
    """Its connection is of that loop: another one is refused before anything is sent."""
    shop = Shop(url)
    await shop.open()
    async with shop.maker() as db:
        await db.begin()
        session = DatabaseSession(ADA, shop.owner, db)
        await session.add_items(said(ADA, 1))

        def elsewhere() -> None:
            asyncio.run(session.add_items(said(BOB, 1)))

        if shop.engine.dialect.name == "sqlite":
            await asyncio.to_thread(elsewhere)  # a connection of aiosqlite is of no event loop
        else:
            with pytest.raises(RuntimeError, match="another event loop or process"):
                await asyncio.to_thread(elsewhere)
            assert await session.get_items() == said(ADA, 1)
    await shop.engine.dispose()


# --------------------------------------------------------------------------- fork


@each_driver
async def test_a_forked_process_has_connections_of_its_own(url: str) -> None:
    """Parent and child ask for different conversations in turns, and each gets its own."""
    shop = Shop(url)
    await shop.open()
    await shop.say(ADA, 0)

    def child() -> None:
        async def converse() -> None:
            for number in range(10):
                assert await shop.say(BOB, number) == said(BOB, number + 1)

        asyncio.run(converse())

    forking = asyncio.create_task(asyncio.to_thread(forked, child))
    if shop.engine.dialect.name == "sqlite":
        await forking  # between two transactions, as docs/database.md asks for
    for number in range(1, 30):
        assert await shop.say(ADA, number) == said(ADA, number + 1)
    await asyncio.to_thread(ended_well, await forking)

    assert await shop.session(BOB).get_items() == said(BOB, 10)
    await shop.engine.dispose()


@each_driver
async def test_a_forked_process_holds_what_it_took_itself(url: str) -> None:
    """The parent's lease is not the child's; the child waits for it like any other process."""
    shop = Shop(url)
    await shop.open()
    theirs = shop.session(BOB)

    def child() -> None:
        async def converse() -> None:
            with pytest.raises(SessionBusyError):
                await shop.session(ADA).lease(0).__aenter__()
            async with theirs.lease(0) as held:
                await held.add_items(said(BOB, 1))

        asyncio.run(converse())

    async with shop.session(ADA).lease(0) as held:
        await held.add_items(said(ADA, 1))
        await asyncio.to_thread(in_child, child)
        await held.add_items(said(ADA, 2)[1:])

    assert await shop.session(ADA).get_items() == said(ADA, 2)
    assert await theirs.get_items() == said(BOB, 1)
    assert await theirs.busy() is await shop.session(ADA).busy() is None
    await shop.engine.dispose()


async def test_a_fork_while_another_thread_connects(sqlite_url: str) -> None:
    """That thread is not in the child, which neither waits for it nor for what it holds."""
    shop = Shop(sqlite_url)
    await shop.open()
    shop = Shop(sqlite_url, shop.owner)  # nobody has connected with this engine yet
    _connections._connecting[shop.engine.dialect] = [threading.get_ident() + 1]

    def child() -> None:
        assert asyncio.run(shop.say(BOB, 0)) == said(BOB, 1)

    in_child(child)
    _connections._connecting.clear()

    assert await shop.say(ADA, 0) == said(ADA, 1)
    await shop.engine.dispose()


def test_an_engine_that_the_application_used_before_the_fork(url: str) -> None:
    """As with gunicorn's preload: the parent used the engine, and no session was made by then."""
    shop = Shop(url)

    async def preload() -> None:
        async with shop.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        shop.owner = await new_user(shop.maker)

    loop = asyncio.new_event_loop()  # as one that goes on while its workers are forked
    try:
        loop.run_until_complete(preload())

        for name in (ADA, BOB):
            in_child(lambda name=name: asyncio.run(shop.say(name, 0)))

        assert loop.run_until_complete(shop.say(ADA, 1)) == said(ADA, 2)
        loop.run_until_complete(shop.engine.dispose())
    finally:
        loop.close()


_shop: Shop | None = None


def _converse(name: str) -> list[Any]:
    assert _shop is not None
    return asyncio.run(_shop.say(name, 0))


async def test_a_pool_of_forked_processes(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """ProcessPoolExecutor with the fork method: each worker gets its own conversation."""
    shop = Shop(url)
    await shop.open()
    await shop.say(ADA, 0)
    monkeypatch.setitem(globals(), "_shop", shop)
    names = [f"{BOB} {number}" for number in range(6)]

    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        answers = await asyncio.to_thread(lambda: list(pool.map(_converse, names)))

    assert answers == [said(name, 1) for name in names]
    assert await shop.say(ADA, 1) == said(ADA, 2)
    await shop.engine.dispose()
