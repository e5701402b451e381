"""What ``erase`` leaves in a SQLite file: no byte, however the file is kept."""

from __future__ import annotations

import random
import sqlite3
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import async_sessionmaker

from openai_agents_session.database import DatabaseStore, _catalog
from tests.contract import numbered, user
from tests.shares import share_of

if TYPE_CHECKING:
    from pathlib import Path

    from openai_agents_session.store import UserConversations


THEIRS: Any = user("<user 0>")
"""An item of whom is erased."""


def pragmas(store: DatabaseStore, *statements: str) -> None:
    """Run statements on each connection of a store."""
    engine = store._engine
    assert engine is not None

    @event.listens_for(engine.sync_engine, "connect")
    def connect(connection: sqlite3.Connection, _: object) -> None:
        for statement in statements:
            connection.execute(statement)


def raw(directory: Path) -> bytes:
    """The database's file, and what is beside it."""
    return b"".join(each.read_bytes() for each in directory.glob("*"))


async def talk(views: list[UserConversations], seed: int) -> None:
    """Let users write beside each other, so that their rows lie in the same pages."""
    chance = random.Random(seed)
    for _ in range(150):
        at = chance.randrange(len(views))
        text = f"<user {at}>"
        items: Any = [user(text * chance.randrange(1, 60))] * chance.randrange(1, 4)
        session_id = f"{text} {chance.randrange(12)}"
        await (
            views[at]
            .session(session_id, name=text * chance.randrange(1, 9))
            .add_items(items * chance.randrange(1, 4))
        )
        if chance.random() < 0.2:
            await views[at].session(session_id).pop_item()
        if chance.random() < 0.1:
            await views[at].delete(session_id)


@pytest.mark.parametrize("journal", share_of(["DELETE", "WAL", "TRUNCATE"], "DELETE", "WAL"))
@pytest.mark.parametrize("secure", share_of(["ON", "OFF", "FAST"], "ON", "OFF"))
async def test_no_byte_is_left(sqlite_url: str, tmp_path: Path, journal: str, secure: str) -> None:
    """Not of what was deleted before either, and all of the others' is there."""
    async with DatabaseStore.from_url(sqlite_url) as store:
        pragmas(store, f"PRAGMA journal_mode = {journal}", f"PRAGMA secure_delete = {secure}")
        await store.setup()
        views = [store.user(uuid4()) for _ in range(4)]
        await talk(views, seed=7)
        for at in range(0, 4, 2):
            session: Any = views[at].session(f"<user {at}> leased")
            assert await session._conversation.claim(f"holderof{at}", 600).acquire(60) == 0
        before = [one async for one in views[1]]
        assert b"<user 0>" in raw(tmp_path)

        erased = await views[0].erase()

        assert erased.conversations > 3
        left = raw(tmp_path)
        assert b"<user 0>" not in left
        assert b"holderof0" not in left
        assert b"holderof2" in left
        assert views[0].user_id.bytes not in left
        assert b"<user 1>" in left
        assert [one async for one in views[1]] == before


async def test_a_reader_keeps_the_log(sqlite_url: str, tmp_path: Path) -> None:
    """The log of a database in use is not said to be empty; the second time, it is."""
    async with DatabaseStore.from_url(f"{sqlite_url}?timeout=0.05") as store:
        pragmas(store, "PRAGMA journal_mode = WAL")
        await store.setup()
        ada = store.user(uuid4())
        await ada.session("a").add_items([THEIRS])
        other = sqlite3.connect(tmp_path / "test.db", isolation_level=None)
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM agent_session").fetchall()

        with pytest.raises((TimeoutError, OperationalError)) as caught:
            await ada.erase()

        assert "erase again" in str([caught.value.args, getattr(caught.value, "__notes__", "")])
        assert await ada.get("a") is None
        assert b"<user 0>" in raw(tmp_path)
        other.close()
        assert (await ada.erase()).conversations == 0
        assert b"<user 0>" not in raw(tmp_path)


async def test_a_crash_before_the_file_is_wiped(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a first call has deleted is wiped by the second one."""

    async def crash(*_: object) -> None:
        raise KeyboardInterrupt

    async with DatabaseStore.from_url(sqlite_url) as store:
        pragmas(store, "PRAGMA secure_delete = OFF")
        await store.setup()
        ada = store.user(uuid4())
        await ada.session("a").add_items([THEIRS] * 40)
        with monkeypatch.context() as patch:
            patch.setattr(_catalog, "wipe", crash)
            with pytest.raises(KeyboardInterrupt):
                await store._catalog.erase(ada.user_id)
        assert b"<user 0>" in raw(tmp_path)

        assert (await ada.erase()).conversations == 0

        assert b"<user 0>" not in raw(tmp_path)


async def test_an_engine_that_begins_its_own_transactions(sqlite_url: str, tmp_path: Path) -> None:
    """SQLAlchemy's documentation has such a recipe for SQLite."""
    async with DatabaseStore.from_url(sqlite_url) as store:
        pragmas(store, "PRAGMA secure_delete = OFF")
        await store.setup()
        engine = store._engine
        assert engine is not None
        event.listen(engine.sync_engine, "begin", lambda one: one.exec_driver_sql("BEGIN"))
        ada, bob = store.user(uuid4()), store.user(uuid4())
        await ada.session("a").add_items([THEIRS] * 40)
        await bob.session("a").add_items(numbered(0, 3))

        assert (await ada.erase()).conversations == 1

        assert b"<user 0>" not in raw(tmp_path)
        assert await bob.session("a").get_items() == numbered(0, 3)


async def test_a_transaction_of_the_application(sqlite_url: str, tmp_path: Path) -> None:
    """On a connection that it has passed on, it alone commits, and may take all back."""
    async with DatabaseStore.from_url(sqlite_url) as store:
        await store.setup()
        ada = store.user(uuid4())
        await ada.session("a").add_items([THEIRS])
        engine = store._engine
        assert engine is not None
        async with engine.connect() as connection:
            await connection.begin()
            joined = DatabaseStore(async_sessionmaker(bind=connection)).user(ada.user_id)
            await joined.session("b").add_items([THEIRS])
            assert (await joined.erase()).conversations == 2
            assert await joined.get("a") is None
            await connection.rollback()

        assert [one.session_id async for one in ada] == ["a"]
        assert b"<user 0>" in raw(tmp_path)
