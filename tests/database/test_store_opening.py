"""A store from a URL: its options, its tables, and its end."""

from __future__ import annotations

import asyncio
import multiprocessing
import traceback
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import inspect
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.pool import NullPool

from openai_agents_session import DatabaseStore, open_store
from openai_agents_session.database import Base, DatabaseSession, _migrate
from tests.contract import numbered
from tests.database.conftest import each_driver
from tests.database.test_models import Talk
from tests.database.test_service import record

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

PASSWORD = "s3cr3t-s3cr3t"
ADA = UUID("6b0b0b0b-0000-4000-8000-000000000001")


async def tables(url: str) -> set[str]:
    """Return the tables that a database has."""
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        found = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    await engine.dispose()
    return set(found)


@each_driver
async def test_it_makes_its_tables_and_is_used(url: str) -> None:
    """One line opens it on an empty database, and another program goes on."""
    async with open_store(url, setup=True, user_id=str(ADA)) as store:
        assert isinstance(store, DatabaseStore)
        assert await store.ping() is True
        session = store.session("groceries")
        assert isinstance(session, DatabaseSession)
        assert session.user_id == ADA
        await session.add_items(numbered(0, 2))

    async with open_store(url) as store:
        again = store.user(ADA)
        assert await again.session("groceries").get_items() == numbered(0, 2)
        [found] = [one async for one in again]
        assert (found.session_id, found.user_id) == ("groceries", ADA)
    assert await tables(url) == {*Base.metadata.tables, _migrate.VERSION_TABLE}


@pytest.mark.parametrize("url", ["sqlite+aiosqlite://", "sqlite+aiosqlite:///:memory:"])
async def test_a_database_in_memory(url: str) -> None:
    """It is there as long as the store is, for any number of tasks."""
    async with open_store(url, setup=True) as store:
        ada = store.user(ADA)
        await asyncio.gather(
            *(ada.session(f"{at}").add_items(numbered(0, 2)) for at in range(10)),
            store.setup(),
        )
        assert await ada.count() == 10
        assert (await ada.erase()).conversations == 10


async def test_options_stand_in_the_url_or_are_passed(sqlite_url: str) -> None:
    """What is passed goes before what the URL says; the rest is the driver's and SQLAlchemy's."""
    url = f"{sqlite_url}?user_id={uuid4()}&setup=true&timeout=7.5"
    store = DatabaseStore.from_url(
        url, user_id=ADA, poolclass=NullPool, session_settings={"limit": 1}
    )

    async with store:
        session = store.session("s")
        assert isinstance(session, DatabaseSession)
        await session.add_items(numbered(0, 2))
        assert session.user_id == ADA
        assert await session.get_items() == numbered(1, 2)
        unlimited = store.session("s", session_settings={"limit": None})
        assert await unlimited.get_items() == numbered(0, 2)
        [found] = [one async for one in store]
        assert found.user_id == ADA


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("ttl=3600", "no option 'ttl' .*user_id, setup, and the driver's: .*timeout"),
        ("key_prefix=a&x=1", "no option 'key_prefix', 'x'"),
        ("setup=maybe", "setup in the url must be true or false"),
        ("setup=true&setup=false", "setup stands more than once"),
        ("user_id=ada", "user_id must be a UUID"),
    ],
)
@pytest.mark.parametrize(
    "url",
    [
        "sqlite+aiosqlite:///app.db",
        f"postgresql+asyncpg://me:{PASSWORD}@localhost/app",
        f"postgresql+psycopg://me:{PASSWORD}@localhost/app",
    ],
)
def test_an_unknown_option_in_the_url(url: str, query: str, said: str) -> None:
    """The error says which there are, and nothing else of the URL."""
    said = said.replace("timeout", "timeout" if "psycopg" not in url else "sslmode")
    with pytest.raises(ValueError, match=said) as caught:
        open_store(f"{url}?{query}")
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


def test_an_unknown_option_that_is_passed(sqlite_url: str) -> None:
    """The error says which there are."""
    expected = "'ttl'; the options are user_id, session_model, session_settings, setup"
    with pytest.raises(TypeError, match=expected):
        open_store(sqlite_url, ttl=3600)
    with pytest.raises(TypeError, match="setup must be a bool"):
        open_store(sqlite_url, setup="yes")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"postgresql+asyncpg://me:{PASSWORD}@host:{PASSWORD}/app", "the port .* not a number"),
        (f"nothing://me:{PASSWORD}@host/app", "knows no nothing://"),
        (f"me:{PASSWORD}@host/app", "cannot parse the url"),
        ("sqlite:///app.db", r"sqlite is no asynchronous driver.* sqlite\+aiosqlite"),
        (f"postgresql+psycopg2://me:{PASSWORD}@host/app", "no asynchronous driver"),
        (f"mysql+aiomysql://me:{PASSWORD}@host/app", "mysql.*no database that is supported"),
    ],
)
def test_a_url_of_no_use(url: str, said: str) -> None:
    """What is wrong is said, and the URL is not repeated."""
    with pytest.raises(ValueError, match=said) as caught:
        DatabaseStore.from_url(url)
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))
    wrong: Any = None
    with pytest.raises(TypeError, match="url must be a str"):
        DatabaseStore.from_url(wrong)


@pytest.mark.parametrize("wrong", [None, "sqlite+aiosqlite://", object()])
def test_a_store_is_around_a_maker(wrong: Any) -> None:
    """Anything else is refused with a word of what is right."""
    with pytest.raises(
        TypeError, match=r"must be a .*async_sessionmaker, not .*async_sessionmaker"
    ):
        DatabaseStore(wrong)


async def test_a_session_needs_a_user(maker: async_sessionmaker) -> None:
    """The error says where to name one; a wrong one is refused."""
    store = DatabaseStore(maker)
    with pytest.raises(RuntimeError, match=r"store\.user\(user_id\).*open_store\(…, user_id=…\)"):
        store.session("s")
    for wrong, error in ((1, TypeError), ("ada", ValueError), (None, TypeError)):
        with pytest.raises(error, match="user_id must be a UUID"):
            store.user(wrong)


@each_driver
async def test_a_closed_store_does_nothing(url: str) -> None:
    """Neither do its views and sessions; they say so, and no connection is left."""
    async with open_store(url, setup=True, user_id=ADA) as store:
        session, ada = store.session("s"), store.user(ADA)
        await session.add_items(numbered(0, 1))

    calls: list[Any] = [session.get_items, session.pop_item, session.clear_session, session.ping]
    calls += [store.list, store.setup, store.ping, ada.list, ada.erase, lambda: ada.get("s")]
    for call in calls:
        with pytest.raises(RuntimeError, match="the store is closed"):
            await call()
    await store.close()


async def test_an_engine_that_was_passed_stays_open(
    maker: async_sessionmaker, user_id: UUID
) -> None:
    """A store closes only what it has opened."""
    async with DatabaseStore(maker) as store:
        await store.user(user_id).session("s").add_items(numbered(0, 2))

    assert await DatabaseSession("s", user_id, maker).get_items() == numbered(0, 2)


async def test_a_store_that_cannot_set_up_is_closed(sqlite_url: str) -> None:
    """What it fails with is raised, and it is of no use afterwards."""
    store = open_store(sqlite_url, setup=True, session_model=Talk)
    with pytest.raises(NotImplementedError, match="the tables of Talk are the application's"):
        await store.__aenter__()
    with pytest.raises(RuntimeError, match="closed"):
        await store.ping()


async def test_set_up_again_and_again(url: str) -> None:
    """The second time, it is one look, and nothing is written."""
    engine = create_async_engine(url)
    store = DatabaseStore(async_sessionmaker(engine))
    await asyncio.gather(*(store.setup() for _ in range(4)))
    await store.user(ADA).session("s").add_items(numbered(0, 2))
    statements = record(engine)

    await store.setup()

    verbs = {each.split(maxsplit=1)[0] for each in statements}
    assert verbs <= {"SELECT", "PRAGMA", "BEGIN", "COMMIT"} - {"BEGIN"}
    assert await store.user(ADA).session("s").get_items() == numbered(0, 2)
    await engine.dispose()


@pytest.mark.parametrize("made", ["now", "before there were leases"])
async def test_tables_that_somebody_else_has_made(url: str, made: str) -> None:
    """An application's migrations, or ``create_all``, are enough, also of an earlier version."""
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        if made == "before there were leases":
            await connection.run_sync(Base.metadata.tables["agent_session_lease"].drop)
    before = await tables(url)

    async with open_store(url, setup=True) as store:
        await store.user(ADA).session("s").add_items(numbered(0, 2))

    assert await tables(url) == before
    await engine.dispose()


async def test_tables_of_an_earlier_version(url: str) -> None:
    """They are brought up to date, with what is in them."""
    await asyncio.to_thread(_migrate.run, "upgrade", url, "oas_0001")
    async with open_store(url, user_id=ADA) as store:
        await store.session("s").add_items(numbered(0, 2))

    async with open_store(url, user_id=ADA, setup=True) as store:
        async with store.session("s").lease(0) as held:
            await held.add_items(numbered(2, 3))
        assert await store.session("s").get_items() == numbered(0, 3)
    assert await tables(url) == {*Base.metadata.tables, _migrate.VERSION_TABLE}


_everybody: Barrier
"""In a worker: where it waits for the others."""


def _join(barrier: Barrier) -> None:
    global _everybody  # noqa: PLW0603 - what an initializer leaves to its process
    _everybody = barrier


def _open(url: str, number: int) -> None:
    async def main() -> None:
        async with open_store(url, setup=True) as store:
            session = store.user(ADA).session("s")
            await session.add_items(numbered(number, number + 1))

    _everybody.wait()
    asyncio.run(main())


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # the tests have threads
def test_replicas_that_open_together(url: str) -> None:
    """One makes the tables, one the user's row, and all write."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(4, timeout=60)
    with ProcessPoolExecutor(4, context, _join, (barrier,)) as pool:
        runs = [pool.submit(_open, url, number) for number in range(4)]
        assert [run.exception() for run in runs] == [None] * 4

    async def read() -> list[Any]:
        async with open_store(url, user_id=ADA) as store:
            return await store.session("s").get_items()

    assert sorted(map(str, asyncio.run(read()))) == sorted(map(str, numbered(0, 4)))
