"""The models: as shipped, and on an application's own base with its own users."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import RFC_4122, UUID, uuid4

import pytest
import sqlalchemy as sa
from advanced_alchemy.base import UUIDAuditBase, create_registry, orm_registry
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import func, select
from sqlalchemy.exc import NoInspectionAvailable
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    declared_attr,
    mapped_column,
    relationship,
    selectinload,
)

from openai_agents_session import AgentSessionService, DatabaseSession
from openai_agents_session.database import (
    AgentSession,
    AgentSessionMixin,
    Base,
    MessageRole,
    SessionMessage,
    SessionMessageMixin,
    User,
    _conversation,
    _migrate,
    _statements,
)
from tests.contract import HOSTILE_IDS, numbered, user
from tests.database.conftest import each_driver, enforce_foreign_keys
from tests.interpreters import run_python

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


VERSION = "openai_agents_session_version"


class PlainBase(DeclarativeBase):
    """SQLAlchemy's own base, with nothing on it."""


class Account(PlainBase):
    """An application's users: another table, and numbers for keys."""

    __tablename__ = "account"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]


class Talk(AgentSessionMixin, PlainBase):
    """Conversations under names of the application's."""

    __tablename__ = "talk"
    __user_model__ = "Account"
    __user_key__ = "account.id"
    __message_model__ = "Line"

    topic: Mapped[str | None]


class Line(SessionMessageMixin, PlainBase):
    """Messages, likewise."""

    __tablename__ = "line"
    __session_model__ = "Talk"
    __session_key__ = "talk.id"

    language: Mapped[str] = mapped_column(default=lambda: "en")
    public_id: Mapped[UUID] = mapped_column(default=uuid4, unique=True)


class AppBase(UUIDAuditBase):
    """advanced-alchemy's base, with a metadata of the application's."""

    __abstract__ = True
    registry = create_registry()
    metadata = registry.metadata


class AppUser(AppBase):
    """The application's users, in a table of the very name that the shipped one has."""

    __tablename__ = "user_account"

    email: Mapped[str]
    agent_sessions: Mapped[list[AppAgentSession]] = relationship(
        back_populates="user", cascade="all, delete-orphan", passive_deletes=True
    )


class AppAgentSession(AgentSessionMixin, AppBase):
    """The shipped names on the application's base."""

    __user_model__ = "AppUser"
    __user_back_populates__ = "agent_sessions"
    __message_model__ = "AppSessionMessage"


class AppSessionMessage(SessionMessageMixin, AppBase):
    """Likewise."""

    __session_model__ = "AppAgentSession"


class OtherBase(DeclarativeBase):
    """A base without advanced-alchemy's map of types, for tables that the migration makes."""


class OtherUser(OtherBase):
    """Users with SQLAlchemy's own type of UUID for a key."""

    __tablename__ = "account"

    id: Mapped[UUID] = mapped_column(primary_key=True)


class OtherAgentSession(AgentSessionMixin, OtherBase):
    """Conversations in the table of the shipped name."""

    __user_model__ = "OtherUser"
    __user_key__ = "account.id"
    __message_model__ = "OtherSessionMessage"


class OtherSessionMessage(SessionMessageMixin, OtherBase):
    """Messages, likewise."""

    __session_model__ = "OtherAgentSession"


class Key(sa.TypeDecorator[UUID]):
    """A type of key as applications have: a text that says what it is of."""

    impl = sa.String(34)
    cache_ok = True

    def process_bind_param(self, value: UUID | None, dialect: sa.Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's signature
        return None if value is None else f"k_{value.hex}"

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> UUID | None:  # noqa: ARG002 - SQLAlchemy's signature
        return None if value is None else UUID(value.removeprefix("k_"))


class KeyBase(DeclarativeBase):
    """A base of which all keys have that type."""


class KeyUser(KeyBase):
    """Users."""

    __tablename__ = "user_account"

    id: Mapped[UUID] = mapped_column(Key(), primary_key=True, default=uuid4)
    email: Mapped[str]


class KeyAgentSession(AgentSessionMixin, KeyBase):
    """Conversations."""

    __user_model__ = "KeyUser"
    __message_model__ = "KeySessionMessage"

    id: Mapped[UUID] = mapped_column(Key(), primary_key=True, default=uuid4)


class KeySessionMessage(SessionMessageMixin, KeyBase):
    """Messages."""

    __session_model__ = "KeyAgentSession"

    id: Mapped[UUID] = mapped_column(Key(), primary_key=True, default=uuid4)


OWN: dict[str, tuple[Any, Any, Any]] = {
    "a plain base": (PlainBase, Account, Talk),
    "an audit base": (AppBase, AppUser, AppAgentSession),
    "a type of key": (KeyBase, KeyUser, KeyAgentSession),
}


@pytest.fixture
async def empty(url: str) -> AsyncIterator[AsyncEngine]:
    """An engine on a database without tables, where foreign keys are enforced."""
    engine = create_async_engine(url)
    await enforce_foreign_keys(engine)
    yield engine
    await engine.dispose()


async def with_ada(
    engine: AsyncEngine, base: type[DeclarativeBase], user_model: Any
) -> tuple[async_sessionmaker[Any], Any]:
    """Make the tables of a base and a user in them; return a maker and the user's key."""
    async with engine.begin() as connection:
        await connection.run_sync(base.metadata.create_all)
    maker = async_sessionmaker(engine)
    async with maker() as db, db.begin():
        db.add(owner := user_model(email="ada@example.com"))
        await db.flush()
        return maker, owner.id


@each_driver
@pytest.mark.parametrize("name", OWN)
async def test_an_applications_own_models(empty: AsyncEngine, name: str) -> None:
    """On its own base and with its own users, everything works as with the shipped models."""
    base, user_model, session_model = OWN[name]
    maker, key = await with_ada(empty, base, user_model)

    session = DatabaseSession("s", key, maker, session_name="A", session_model=session_model)
    await session.add_items(numbered(0, 3))

    assert await session.pop_item() == numbered(2, 3)[0]
    assert await session.get_items() == numbered(0, 2)
    async with maker() as db:
        found = await db.scalar(select(user_model).options(selectinload(user_model.agent_sessions)))
        assert found is not None
        assert [(one.session_name, one.user_id) for one in found.agent_sessions] == [("A", key)]
        await db.delete(found)
        await db.commit()
    assert await session.get_items() == []
    async with maker() as db:
        assert await db.scalar(select(func.count()).select_from(session_model)) == 0


@each_driver
async def test_keys_of_an_applications_own_type(empty: AsyncEngine) -> None:
    """They are stored as that type writes them, each message once and with what is its own."""
    maker, key = await with_ada(empty, KeyBase, KeyUser)
    session = DatabaseSession("s", key, maker, session_model=KeyAgentSession)
    items: Any = [user("Grüße 🎉"), {"type": "function_call", "call_id": "c", "name": "look"}]

    await session.add_items(numbered(0, 3))
    await session.add_items([*numbered(3, 30), *items])

    assert await session.get_items() == [*numbered(0, 30), *items]
    async with maker() as db:
        query = select(KeySessionMessage).order_by(KeySessionMessage.position)
        rows = (await db.scalars(query)).all()
        stored = (await db.scalars(sa.text("SELECT id FROM session_message"))).all()
        ours = await db.scalars(sa.text("SELECT DISTINCT agent_session_id FROM session_message"))
        [conversation] = ours.all()
        assert conversation == await db.scalar(sa.text("SELECT id FROM agent_session"))
    assert [row.position for row in rows] == list(range(1, 33))
    assert sorted(stored) == sorted(f"k_{row.id.hex}" for row in rows)
    assert {row.created_at for row in rows[3:]} == {rows[3].updated_at}
    assert [(row.role, row.tool_call_id, row.tool_name) for row in rows[-1:]] == [
        (MessageRole.ASSISTANT, "c", "look")
    ]
    async with maker() as db:
        service = AgentSessionService(db, session_model=KeyAgentSession)
        [row] = await service.list_for_user(key)
        assert await service.list_for_user(key, after=service.cursor(row)) == []


@each_driver
async def test_a_service_of_an_applications_own_model(empty: AsyncEngine) -> None:
    """A repository of the model is all that a service needs."""
    async with empty.begin() as connection:
        await connection.run_sync(PlainBase.metadata.create_all)
    async with async_sessionmaker(empty)() as db:
        owner = Account(email="ada@example.com")
        db.add(owner)
        await db.commit()
        await db.refresh(owner)
        key = owner.id
        await db.commit()
        service = AgentSessionService(db, session_model=Talk)

        await service.create_session("s", key, session_name="A").add_items(numbered(0, 1))

        [talk] = await service.list_for_user(key)
        assert isinstance(talk, Talk)
        await service.delete("s", user_id=key)
        assert await service.count_for_user(key) == 0
        with pytest.raises(TypeError, match="user_id must be a int"):
            await service.list_for_user("1")


async def migrate(engine: AsyncEngine) -> None:
    """Make the application's users, and what the command makes beside them."""
    url = engine.url.render_as_string(hide_password=False)
    async with engine.begin() as connection:
        await connection.run_sync(OtherBase.metadata.tables["account"].create)
    await asyncio.to_thread(_migrate.run, "upgrade", url, user_table="account")


async def test_a_plain_base_on_migrated_tables(
    empty: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys are stored as the migration has them, also those that look like numbers."""
    await migrate(empty)
    maker = async_sessionmaker(empty)
    digits = int("019a0000901274568901234567890123", 16)
    monkeypatch.setattr(_conversation, "new_ids", lambda count: range(digits, digits + count))
    owner = UUID("12345678-9012-4456-8901-234567890123")
    async with maker() as db, db.begin():
        db.add(OtherUser(id=owner))

    session = DatabaseSession("s", owner, maker, session_model=OtherAgentSession)
    await session.add_items(numbered(0, 3))

    assert await session.pop_item() == numbered(2, 3)[0]
    assert await session.get_items() == numbered(0, 2)
    async with maker() as db:
        row = await db.get(OtherAgentSession, UUID(int=digits))
        assert row is not None
        if empty.dialect.name == "sqlite":
            for column in ("agent_session.id", "session_message.id", "agent_session_id"):
                kind = f"SELECT DISTINCT typeof({column}) FROM agent_session, session_message"
                assert await db.scalar(sa.text(kind)) == "blob"


async def test_a_plain_base_has_the_columns_of_the_migration(empty: AsyncEngine) -> None:
    """An application's own Alembic finds nothing to change."""
    await migrate(empty)

    def same_type(_: Any, __: Any, ___: Any, found: Any, wanted: Any) -> bool | None:
        if isinstance(found, sa.Numeric) and str(found) == "NUMERIC(16)":
            # SQLite has no such type as BINARY(16), and reflects it so.
            return wanted.compile(empty.dialect) != "BINARY(16)"
        return None

    def differences(connection: sa.Connection) -> list[Any]:
        options = {"compare_type": same_type, "include_name": lambda name, *_: name != VERSION}
        context = MigrationContext.configure(connection, opts=options)
        return compare_metadata(context, OtherBase.metadata)

    async with empty.connect() as connection:
        found = await connection.run_sync(differences)
    assert found == []


def models(sessions: Any = None, messages: Any = None) -> tuple[Any, Any]:
    """Return models whose tables have such arguments; None for those of the mixins."""

    class Root(DeclarativeBase):
        pass

    class Person(Root):
        __tablename__ = "person"
        id: Mapped[int] = mapped_column(primary_key=True)

    class Thread(AgentSessionMixin, Root):
        __tablename__ = "thread"
        __user_model__ = "Person"
        __user_key__ = "person.id"
        __message_model__ = "Post"
        if sessions:
            __table_args__ = sessions

    class Post(SessionMessageMixin, Root):
        __tablename__ = "post"
        __session_model__ = "Thread"
        __session_key__ = "thread.id"
        if messages:
            __table_args__ = messages

    return Thread, Post


MORE = {"comment": "Of people"}
EXTENDED = declared_attr.directive(lambda _: (*AgentSessionMixin.__table_args__, MORE))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"sessions": MORE}, "Thread must have the unique constraint of user_id and session_id"),
        ({"messages": MORE}, "Post must have the unique constraint of agent_session_id and posi"),
    ],
    ids=["sessions", "messages"],
)
def test_a_table_without_its_constraint_is_refused(arguments: dict[str, Any], said: str) -> None:
    """Writers rely on it, so it is said where the session is made."""
    with pytest.raises(TypeError, match=said):
        DatabaseSession("s", 1, async_sessionmaker(), session_model=models(**arguments)[0])


def test_a_table_may_have_more_arguments() -> None:
    """Those of the mixin are kept as its documentation says."""
    model, _ = models(EXTENDED)

    DatabaseSession("s", 1, async_sessionmaker(), session_model=model)

    assert model.__table__.comment == "Of people"
    assert {"user_id", "updated_at"} in [set(one.columns.keys()) for one in model.__table__.indexes]


def test_the_metadata_are_apart() -> None:
    """The shipped tables are in no metadata but their own, and own tables only in the app's."""
    shipped = {"agent_session", "agent_session_lease", "session_message", "user_account"}

    assert set(Base.metadata.tables) == shipped
    assert not shipped & set(orm_registry.metadata.tables)
    assert set(PlainBase.metadata.tables) == {"account", "talk", "talk_lease", "line"}
    assert set(AppBase.metadata.tables) == shipped


def test_an_application_on_the_common_base() -> None:
    """advanced-alchemy's common metadata may hold the same names: nothing meets."""
    code = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "from advanced_alchemy.base import UUIDAuditBase\n"
        "from sqlalchemy.orm import configure_mappers\n"
        "from openai_agents_session.database import AgentSessionMixin, SessionMessageMixin\n"
        "class User(UUIDAuditBase): __tablename__ = 'user_account'\n"
        "class AgentSession(AgentSessionMixin, UUIDAuditBase): ...\n"
        "class SessionMessage(SessionMessageMixin, UUIDAuditBase): ...\n"
        "configure_mappers()\n"
        "print(*sorted(UUIDAuditBase.metadata.tables))\n"
    )

    done = run_python("-c", code)

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        "agent_session",
        "agent_session_lease",
        "session_message",
        "user_account",
    ]


async def test_cascades(maker: async_sessionmaker, engine: AsyncEngine, user_id: UUID) -> None:
    """A deleted user takes the conversations, a deleted conversation its messages."""
    await enforce_foreign_keys(engine)
    for name in ("a", "b"):
        await DatabaseSession(name, user_id, maker).add_items(numbered(0, 3))

    async def left() -> tuple[int | None, int | None]:
        async with maker() as db:
            count = func.count()
            return (
                await db.scalar(select(count).select_from(AgentSession)),
                await db.scalar(select(count).select_from(SessionMessage)),
            )

    assert await left() == (2, 6)
    async with maker() as db, db.begin():
        await db.delete(await db.scalar(select(AgentSession).where(AgentSession.session_id == "a")))
    assert await left() == (1, 3)
    async with maker() as db, db.begin():
        await db.execute(sa.delete(User).where(User.id == user_id))
    assert await left() == (0, 0)


async def test_relationships(maker: async_sessionmaker, user_id: UUID) -> None:
    """From the user to the messages and back, in order."""
    await DatabaseSession("a", user_id, maker).add_items(numbered(0, 3))

    async with maker() as db:
        query = select(User).options(
            selectinload(User.agent_sessions).selectinload(AgentSession.messages)
        )
        owner = await db.scalar(query)
        assert owner is not None
        [conversation] = owner.agent_sessions
        texts = [message.content for message in conversation.messages]
        assert texts == ["item 0", "item 1", "item 2"]
        assert [message.position for message in conversation.messages] == [1, 2, 3]
        assert conversation.user is owner  # it is loaded, so there is nothing to wait for
        assert all(message.session is conversation for message in conversation.messages)


async def test_hostile_ids_are_found_by_query(maker: async_sessionmaker, user_id: UUID) -> None:
    """Any id is in the column as it was given, NUL and its escape included."""
    for session_id in [*HOSTILE_IDS, "\x1a", "\x1a0", "\x1a1", "\x00"]:
        await DatabaseSession(session_id, user_id, maker).add_items(numbered(0, 1))
        async with maker() as db:
            query = select(AgentSession.session_id).where(AgentSession.session_id == session_id)
            assert (await db.scalars(query)).all() == [session_id]


def test_the_roles() -> None:
    """The roles are texts."""
    assert [role.value for role in MessageRole] == ["user", "assistant", "system", "tool"]
    assert MessageRole.TOOL == "tool"


@pytest.mark.parametrize(
    ("bad", "error"),
    [(int, NoInspectionAvailable), (AgentSessionMixin, NoInspectionAvailable)],
)
def test_what_is_no_model_is_refused(bad: Any, error: type[Exception]) -> None:
    """A session model is a mapped class."""
    with pytest.raises(error):
        DatabaseSession("s", UUID(int=1), async_sessionmaker(), session_model=bad)


@each_driver
async def test_a_column_of_the_application_has_its_default(url: str) -> None:
    """A batch stores what the model gives a column that this library does not know."""
    engine = create_async_engine(url)
    maker = async_sessionmaker(engine)
    async with engine.begin() as connection:
        await connection.run_sync(PlainBase.metadata.create_all)
    async with maker() as db, db.begin():
        db.add(Account(id=1, email="ada@example.org"))

    session = DatabaseSession("s", 1, maker, session_model=Talk)
    await session.add_items(numbered(0, 3))

    assert await session.get_items() == numbered(0, 3)
    async with maker() as db:
        lines = (await db.scalars(select(Line))).all()
    assert [line.language for line in lines] == ["en"] * 3
    assert len({line.public_id for line in lines}) == 3
    assert {line.id.version for line in lines} == {7}
    await engine.dispose()


@each_driver
@pytest.mark.parametrize("count", [1, 24, 25, 26, 77])
async def test_a_batch_of_any_size(maker: async_sessionmaker, user_id: UUID, count: int) -> None:
    """However many rows a statement takes: all are there once, and their keys are in order."""
    session = DatabaseSession("s", user_id, maker)
    await session.add_items(numbered(0, 3))

    await session.add_items(numbered(3, 3 + count))

    assert await session.get_items() == numbered(0, 3 + count)
    async with maker() as db:
        rows = (await db.scalars(select(SessionMessage).order_by(SessionMessage.position))).all()
    assert [row.position for row in rows] == list(range(1, 4 + count))
    keys = [row.id for row in rows]
    assert keys[3:] == sorted(set(keys[3:]))
    assert {key.version for key in keys} == {7}
    assert {key.variant for key in keys} == {RFC_4122}


def test_keys_are_of_their_time_and_never_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Version 7 begins with the milliseconds; two batches of one moment have nothing in common."""
    monkeypatch.setattr(_statements, "time_ns", lambda: 1_234_567_890_123_456)

    batches = [_statements.new_ids(2000) for _ in range(50)]

    assert len(set().union(*batches)) == 100_000
    assert {key >> 80 for batch in batches for key in batch} == {1_234_567_890}


def test_keys_at_the_end_of_their_range(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting on from the highest random bits changes neither version nor variant."""
    monkeypatch.setattr("os.urandom", lambda count: b"\xff" * count)

    keys = [UUID(int=number) for number in _statements.new_ids(3)]

    assert keys == sorted(keys)
    assert {(key.version, key.variant) for key in keys} == {(7, RFC_4122)}
