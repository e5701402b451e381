"""The contract on SQLite and PostgreSQL: with makers, with one AsyncSession, with both drivers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import pytest_asyncio
from sqlalchemy import LargeBinary, Text, bindparam, cast, select, text, update

from openai_agents_session import DatabaseSession
from openai_agents_session.database import AgentSession, Base, MessageRole, SessionMessage
from tests.contract import SECRET, SHARE, AnySession, SessionContract
from tests.contract.leasing import LIFE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker


class DatabaseContract(SessionContract):
    """The hooks."""

    session_class = DatabaseSession
    expires = False  # SQL has no expiry; the service cleans up what is inactive
    maker: async_sessionmaker
    user_id: UUID
    column_type: ClassVar[Any]
    spoil: ClassVar[str] = "UPDATE session_message SET extra_data = :raw WHERE id = :id"

    @pytest_asyncio.fixture
    async def store(self, maker: async_sessionmaker, user_id: UUID) -> AsyncIterator[None]:
        """Use a database and a user of the test's own."""
        self.maker, self.user_id = maker, user_id
        yield

    async def make_session(
        self, session_id: Any, *, cls: type[Any] | None = None, **options: Any
    ) -> AnySession:
        """Make a session that opens its own transactions."""
        return (cls or self.session_class)(session_id, self.user_id, self.maker, **options)

    def stored(self, raw: bytes) -> Any:
        """Return a record as the statement takes it."""
        return raw

    async def raw(self, session: AnySession) -> list[bytes]:
        """Return the column that holds the items, as it is stored."""
        query = (
            select(cast(SessionMessage.extra_data, self.column_type))
            .join(AgentSession)
            .where(AgentSession.session_id == session.session_id)
            .order_by(SessionMessage.position)
        )
        async with self.maker() as db:
            texts = (await db.scalars(query)).all()
        return [one if isinstance(one, bytes) else one.encode() for one in texts]

    async def corrupt(self, session: AnySession, raw: bytes) -> None:
        """Append a message, and spoil its column behind the session's back."""
        async with self.maker() as db, db.begin():
            mine = AgentSession.session_id == session.session_id
            owner = await db.scalar(select(AgentSession).where(mine))
            if owner is None:
                owner = AgentSession(session_id=session.session_id, user_id=self.user_id)
                owner.last_position = 0
                db.add(owner)
            owner.last_position += 1
            message = SessionMessage(position=owner.last_position, role=MessageRole.USER)
            message.session, message.extra_data = owner, {}
            db.add(message)
            await db.flush()
            raw_id = bindparam("id", type_=SessionMessage.__table__.c.id.type)
            raw_value = bindparam("raw", type_=self.column_type)
            statement = text(self.spoil).bindparams(raw_id, raw_value)
            await db.execute(statement, {"raw": self.stored(raw), "id": message.id})

    async def lapse(self, session: AnySession) -> None:
        """Move the end of the lease, as if as much time had passed."""
        leases = Base.metadata.tables["agent_session_lease"]
        mine = leases.c.session_id == session.session_id
        async with self.maker() as db, db.begin():
            await db.execute(update(leases).where(mine).values(until=leases.c.until - 601_000))


class TestSQLite(DatabaseContract):
    """A file."""

    column_type = LargeBinary

    @pytest.fixture
    def url(self, sqlite_url: str) -> str:
        return sqlite_url


class TestPostgres(DatabaseContract):
    """A server. Its column takes nothing but JSON, which may still be no item."""

    column_type = Text
    spoil = "UPDATE session_message SET extra_data = CAST(:raw AS json) WHERE id = :id"
    unreadable = (
        json.dumps(f"not JSON: {SECRET}").encode(),
        json.dumps('{"role": "user", "content": "' + SECRET).encode(),
        json.dumps(json.dumps(SECRET)).encode(),
        b'["a", "list"]',
        b"null",
        b"42",
        b'""',
        b"true",
        f'["{SECRET}"]'.encode(),
        b"1e400",
    )

    @pytest.fixture
    def url(self, shared_postgres_url: str) -> str:
        return shared_postgres_url

    def stored(self, raw: bytes) -> Any:
        """Return the text of a record."""
        return raw.decode()


class TestPsycopg(TestPostgres):
    """A server, and the other driver."""

    share = SHARE

    @pytest.fixture
    def url(self, shared_postgres_url: str) -> str:
        return shared_postgres_url.replace("+asyncpg:", "+psycopg:")


class Holder(DatabaseContract):
    """Sessions of one holder: they do what others do, while nobody takes the lease from it."""

    leases = False  # it is theirs already

    async def make_session(
        self, session_id: Any, *, cls: type[Any] | None = None, **options: Any
    ) -> AnySession:
        """Make a session behind the fence of the holder, which is the same for each id."""
        session = await super().make_session(session_id, cls=cls, **options)
        claim = session._conversation.claim("holder", LIFE)
        assert await claim.acquire(0) == 0
        session._conversation = claim.fenced()
        return session


class TestHolder(Holder, TestPostgres):
    """A server."""

    share = SHARE


class TestHolderOnSQLite(Holder, TestSQLite):
    """A file."""

    share = SHARE


class OneAsyncSession(DatabaseContract):
    """Sessions that share an AsyncSession, and take turns on it."""

    db: AsyncSession

    @pytest_asyncio.fixture
    async def store(self, maker: async_sessionmaker, user_id: UUID) -> AsyncIterator[None]:
        self.maker, self.user_id = maker, user_id
        async with maker() as self.db:
            yield

    async def make_session(
        self, session_id: Any, *, cls: type[Any] | None = None, **options: Any
    ) -> AnySession:
        return (cls or self.session_class)(session_id, self.user_id, self.db, **options)


class TestSQLiteInOneAsyncSession(OneAsyncSession, TestSQLite):
    """A file."""

    share = SHARE


class TestPostgresInOneAsyncSession(OneAsyncSession, TestPostgres):
    """A server."""

    share = SHARE
