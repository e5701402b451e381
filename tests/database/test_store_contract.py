"""The contract of stores on SQLite and PostgreSQL, with both drivers, and on own models."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import NAMESPACE_OID, UUID, uuid5

import pytest
import pytest_asyncio
from sqlalchemy import LargeBinary, Text, bindparam, create_engine, insert, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from openai_agents_session.database import AgentSession, Base, DatabaseStore
from openai_agents_session.database._statements import tables_of
from tests.contract.stores import StoreContract
from tests.database.stores import assert_agreement
from tests.database.test_models import Account, PlainBase, Talk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncEngine
    from sqlalchemy.orm import DeclarativeBase

    from openai_agents_session.database import AgentSessionMixin

SHARE = (
    "test_an_agent_runs_with_a_session_of_a_user",
    "test_it_begins_with_the_first_write",
    "test_what_is_said_is_stored_with_the_first_write",
    "test_any_id_is_a_conversation",
    "test_update_changes_what_is_passed",
    "test_concurrent_changes_of_different_things",
    "test_one_of_many_deletes_it",
    "test_a_whole_conversation",
    "test_the_oldest_items",
    "test_one_of_many_has_the_id",
    "test_beside_appends",
    "test_erase_leaves_no_byte",
    "test_erase_takes_leases_and_waiters_with_it",
    "test_each_user_has_leases_of_their_own",
    "test_pages_follow_each_other",
    "test_a_cursor_of_something_else_is_refused",
    "test_everything_there_is",
    "test_pages_go_back_to_the_beginning",
    "test_what_nobody_can_read_is_left_out",
    "test_many_tasks",
)
"""What may still differ with another driver, or with an application's own models."""


class DatabaseStoreContract(StoreContract):
    """The hooks."""

    expires = False  # SQL has no expiry; the service cleans up what is inactive
    plain = False  # each conversation has a user
    texts = False  # users are keys
    counts = False  # a list does not count messages
    base: ClassVar[type[DeclarativeBase]] = Base
    model: ClassVar[type[AgentSessionMixin]] = AgentSession
    spoil: ClassVar[str] = "UPDATE {} SET extra_data = :raw WHERE id = :id"
    column_type: ClassVar[Any]
    engine: AsyncEngine
    maker: async_sessionmaker

    @pytest_asyncio.fixture
    async def backend(self, url: str) -> AsyncIterator[None]:
        """Use a database of the test's own."""
        self.engine = create_async_engine(url)
        self.maker = async_sessionmaker(self.engine)
        async with self.engine.begin() as connection:
            await connection.run_sync(self.base.metadata.create_all)
        yield
        await self.engine.dispose()

    async def make_store(self, **options: Any) -> DatabaseStore:
        """Return a store on the test's database."""
        return DatabaseStore(self.maker, session_model=self.model, **options)

    def user_id(self, name: str) -> Any:
        """Return a key; nobody has made a row for it."""
        return uuid5(NAMESPACE_OID, name)

    def bytes_of(self, user_id: object) -> list[bytes]:
        """Return the key as text, and as SQLite has it."""
        assert isinstance(user_id, UUID)
        return [*super().bytes_of(user_id), user_id.bytes, user_id.hex.encode()]

    async def corrupt(self, user_id: Any, session_id: str, raw: bytes) -> None:
        """Append a message, and spoil its column behind the library's back."""
        _, messages = tables_of(self.model)
        session = (await self.make_store()).user(user_id).session(session_id)
        await session.add_items([{"role": "user", "content": "spoiled"}])
        async with self.maker() as db, db.begin():
            newest = select(messages.c.id).order_by(messages.c.created_at.desc()).limit(1)
            raw_id = bindparam("id", type_=messages.c.id.type)
            raw_value = bindparam("raw", type_=self.column_type)
            statement = text(self.spoil.format(messages.name)).bindparams(raw_id, raw_value)
            values = {"raw": self.stored(raw), "id": await db.scalar(newest)}
            await db.execute(statement, values)

    def stored(self, raw: bytes) -> Any:
        """Return a record as the statement takes it."""
        return raw

    async def dump(self) -> bytes:
        """Return all rows, as the database writes them."""
        tables = [table.name for table in self.base.metadata.sorted_tables]
        async with self.engine.connect() as connection:
            rows = [
                str(row[0])
                for name in tables
                for row in await connection.execute(
                    text(f"SELECT CAST({name} AS text) FROM {name}")
                )
            ]
        return "\n".join(rows).encode()

    async def agree(self, store: Any) -> None:
        """See as well that no message is without a conversation, and no position too high."""
        await super().agree(store)
        await assert_agreement(self.maker, self.model)


class TestSQLite(DatabaseStoreContract):
    """A file."""

    column_type = LargeBinary

    @pytest.fixture
    def url(self, sqlite_url: str) -> str:
        return sqlite_url

    async def dump(self) -> bytes:
        """Return the file, and what is beside it."""
        path = self.engine.url.database
        assert path is not None
        return b"".join(each.read_bytes() for each in Path(path).parent.glob("*"))


class TestPostgres(DatabaseStoreContract):
    """A server. Rows that were deleted stay in its files until a VACUUM."""

    column_type = Text
    spoil = "UPDATE {} SET extra_data = to_json(CAST(:raw AS text)) WHERE id = :id"

    @pytest.fixture
    def url(self, postgres_url: str) -> str:
        return postgres_url

    def stored(self, raw: bytes) -> Any:
        """Return the text of a record."""
        return raw.decode()


class TestPsycopg(TestPostgres):
    """The other driver."""

    share = SHARE

    @pytest.fixture
    def url(self, psycopg_url: str) -> str:
        return psycopg_url


class OwnModels(DatabaseStoreContract):
    """An application's models, with other names, columns and keys, and users of its own."""

    share = SHARE
    base = PlainBase
    model = Talk

    def user_id(self, name: str) -> Any:
        """Make a user's row where there is none; return its key."""
        key = zlib.crc32(name.encode()) & 0x7FFFFFFF
        url = make_url(self.engine.url).set(drivername=self.engine.dialect.name)
        engine = create_engine(url.set(drivername=self.sync_driver))
        with engine.begin() as connection:
            here = select(Account.id).where(Account.id == key)
            if connection.scalar(here) is None:
                connection.execute(insert(Account).values(id=key, email=f"{key}@example.com"))
        engine.dispose()
        return key

    sync_driver: ClassVar[str]

    def bytes_of(self, user_id: object) -> list[bytes]:
        """Return nothing: the user's row is the application's."""
        del user_id
        return []


class TestOwnModelsOnSQLite(OwnModels, TestSQLite):
    """A file."""

    sync_driver = "sqlite"


class TestOwnModelsOnPostgres(OwnModels, TestPostgres):
    """A server."""

    sync_driver = "postgresql+psycopg"
