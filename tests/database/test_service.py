"""The service: each method sees one user's conversations, and no messages."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from inspect import signature
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import pytest
from advanced_alchemy.exceptions import NotFoundError
from sqlalchemy import event, func, insert, inspect, select, update
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from openai_agents_session import AgentSessionService, DatabaseSession
from openai_agents_session.database import (
    AgentSession,
    AgentSessionRepository,
    CursorError,
    SessionMessage,
)
from tests.contract import numbered

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker


@pytest.fixture
async def db(maker: async_sessionmaker) -> AsyncIterator[AsyncSession]:
    """The caller's own session, which expires what it has loaded with a commit."""
    async with maker() as db:
        yield db


@pytest.fixture
def service(db: AsyncSession) -> AgentSessionService:
    """The service, as a request makes it."""
    return AgentSessionService(db)


@pytest.fixture
async def talks(maker: async_sessionmaker, user_id: UUID, stranger_id: UUID) -> None:
    """Three conversations of the user, one of a stranger under the same id."""
    for session_id, name in (("a", "100% Ada"), ("b", "Bob_1"), ("c", None)):
        await DatabaseSession(session_id, user_id, maker, session_name=name).add_items(
            numbered(0, 2)
        )
    await DatabaseSession("a", stranger_id, maker, session_name="Theirs").add_items(numbered(7, 9))


def record(engine: AsyncEngine) -> list[str]:
    """Return a list that what the engine is told is added to."""
    statements: list[str] = []
    event.listen(
        engine.sync_engine,
        "before_cursor_execute",
        lambda _conn, _cursor, statement, *_: statements.append(statement),
    )
    return statements


def ids(found: Sequence[AgentSession]) -> list[str]:
    """The ids of conversations."""
    return [one.session_id for one in found]


async def messages_left(maker: async_sessionmaker) -> int | None:
    """How many messages there are in all."""
    async with maker() as db:
        return await db.scalar(select(func.count()).select_from(SessionMessage))


def test_it_has_nothing_that_is_not_filtered_by_user(service: AgentSessionService) -> None:
    """It has these methods and no others, and each of them has to be told the user."""
    methods = {name for name in dir(service) if not name.startswith("_")}

    assert methods == {
        *("create_session", "list_for_user", "cursor", "count_for_user", "get", "list_messages"),
        *("update_metadata", "rename", "deactivate"),
        *("delete", "delete_older_than", "delete_inactive"),
    }
    for name in methods - {"cursor"}:
        user_id = signature(getattr(service, name)).parameters["user_id"]
        assert user_id.default is user_id.empty


def test_a_repository_type_is_refused() -> None:
    """A subclass that chooses its model as it once did would be asked for the shipped one."""
    attributes = {"repository_type": AgentSessionRepository}
    with pytest.raises(TypeError, match="session_model"):
        type("Service", (AgentSessionService,), attributes)


@pytest.mark.usefixtures("talks")
async def test_the_repository_is_for_an_applications_own_queries(db: AsyncSession) -> None:
    """It is advanced-alchemy's, and sees the conversations of all users."""
    assert await AgentSessionRepository(session=db).count() == 4


@pytest.mark.usefixtures("talks")
async def test_a_page_is_newest_first(
    service: AgentSessionService, maker: async_sessionmaker, user_id: UUID
) -> None:
    """The last written to comes first, page by page."""
    assert ids(await service.list_for_user(user_id)) == ["c", "b", "a"]

    await DatabaseSession("a", user_id, maker).pop_item()

    assert ids(await service.list_for_user(user_id)) == ["a", "c", "b"]
    assert ids(await service.list_for_user(user_id, limit=2)) == ["a", "c"]
    assert await service.count_for_user(user_id) == 3


async def test_pages_go_on_where_they_ended(
    service: AgentSessionService, maker: async_sessionmaker, user_id: UUID
) -> None:
    """What stands still is shown once, whatever is written to, begun or deleted between pages."""
    names = [f"s{number:02}" for number in range(20)]
    for name in names:
        await DatabaseSession(name, user_id, maker).add_items(numbered(0, 1))
    async with maker() as db, db.begin():  # all at one moment, but for the ten newest
        old = AgentSession.session_id.in_(names[:10])
        long_ago = datetime(2020, 1, 1, tzinfo=timezone.utc)
        await db.execute(update(AgentSession).where(old).values(updated_at=long_ago))
        # Keys that are made within a millisecond are in random order.
        by_age = select(AgentSession.session_id).order_by(AgentSession.updated_at, AgentSession.id)
        names = list(await db.scalars(by_age))
    shown: list[str] = []
    after: AgentSession | str | None = None
    for turn in range(6):
        page = await service.list_for_user(user_id, limit=4, after=after)
        shown += ids(page)
        if not page:
            break
        after = page[-1] if turn % 2 else service.cursor(page[-1])
        # An old one moves to the front, a new one appears there, and one that was shown goes.
        await DatabaseSession(names[turn], user_id, maker).add_items(numbered(1, 2))
        await DatabaseSession(f"new {turn}", user_id, maker).add_items(numbered(0, 1))
        await service.delete(names[19 - turn], user_id=user_id)

    assert turn == 4
    still = names[4:]  # the others moved
    assert [name for name in shown if name in names[10:]] == names[10:][::-1]
    assert sorted(name for name in shown if name in still) == sorted(still)
    assert len(set(shown)) == len(shown)


@pytest.mark.parametrize(
    ("name", "search"),
    [
        ("Über uns", "über"),
        ("über uns", "ÜBER U"),
        ("Привет, мир", "привет"),
        ("café", "CAFÉ"),
        ("ΟΔΥΣΣΕΥΣ", "οδυσσευς"),
        ("Straße", "STRAẞE"),
        ("ᎣᏏᏣ", "ꭳꮟꮳ"),
        ("ꭳꮟꮳ", "ᎣᏏᏣ"),
        ("a*b[c]?", "A*B[C]?"),
        ("x^y-z.|$(){}\\", "Y-Z.|$(){}\\"),
        ("two\nlines", "O\nL"),
    ],
)
async def test_search_knows_every_letters_case(
    service: AgentSessionService,
    maker: async_sessionmaker,
    user_id: UUID,
    name: str,
    search: str,
) -> None:
    """Not only those of ASCII, or of the database's locale; and signs stand for themselves."""
    for session_id, called in (("yes", name), ("no", "another"), ("none", None)):
        session = DatabaseSession(session_id, user_id, maker, session_name=called)
        await session.add_items(numbered(0, 1))

    assert ids(await service.list_for_user(user_id, search=search)) == ["yes"]


async def test_the_old_name_of_delete_older_than(
    service: AgentSessionService, user_id: UUID
) -> None:
    """It goes on for one release, with a warning: it never looked at what is active."""
    with pytest.warns(DeprecationWarning, match="call delete_older_than"):
        assert await service.delete_inactive(timedelta(days=1), user_id=user_id) == 0


def test_a_maker_is_no_session(maker: async_sessionmaker) -> None:
    """What a DatabaseSession takes as well is refused with a word of what is right."""
    wrong: Any = maker
    with pytest.raises(TypeError, match="must be an AsyncSession, not async_sessionmaker"):
        AgentSessionService(wrong)


@pytest.mark.usefixtures("talks")
@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("ada", ["a"]),
        ("BOB", ["b"]),
        ("%", ["a"]),
        ("_", ["b"]),
        ("\\", []),
        ("", ["c", "b", "a"]),
        ("0%", ["a"]),
        ("x", []),
        ("'", []),
    ],
)
async def test_search_takes_text_for_text(
    service: AgentSessionService, user_id: UUID, search: str, found: list[str]
) -> None:
    """A part of the name in any case; the signs that LIKE knows stand for themselves."""
    assert ids(await service.list_for_user(user_id, search=search)) == found
    assert await service.count_for_user(user_id, search=search) == len(found)


@pytest.mark.usefixtures("talks")
async def test_a_deactivated_conversation_is_filtered(
    service: AgentSessionService, user_id: UUID, maker: async_sessionmaker
) -> None:
    """It stays with its messages, and is told apart."""
    changed = await service.deactivate("b", user_id=user_id)

    assert (changed.session_id, changed.is_active) == ("b", False)
    assert ids(await service.list_for_user(user_id, is_active=True)) == ["c", "a"]
    assert ids(await service.list_for_user(user_id, is_active=False)) == ["b"]
    assert await service.count_for_user(user_id, is_active=True) == 2
    assert await DatabaseSession("b", user_id, maker).get_items() == numbered(0, 2)


@pytest.mark.usefixtures("talks")
async def test_a_conversation_is_renamed(
    service: AgentSessionService, user_id: UUID, stranger_id: UUID
) -> None:
    """It has the new name at once, and the stranger's of the same id keeps its own."""
    before = await service.get("a", user_id=user_id)
    assert before.session_name == "100% Ada"

    assert (await service.rename("a", "Ada", user_id=user_id)).session_name == "Ada"

    assert (await service.get("a", user_id=user_id)).session_name == "Ada"
    assert (await service.get("a", user_id=stranger_id)).session_name == "Theirs"
    assert (await service.rename("a", None, user_id=user_id)).session_name is None
    with pytest.raises(ValueError, match="255"):
        await service.rename("a", "x" * 256, user_id=user_id)


@pytest.mark.usefixtures("talks")
async def test_what_is_stored_is_returned(
    service: AgentSessionService, db: AsyncSession, maker: async_sessionmaker, user_id: UUID
) -> None:
    """An object that the AsyncSession still has says what somebody else has made of it."""
    held = await service.get("a", user_id=user_id)
    async with maker() as other:
        await AgentSessionService(other).rename("a", "New", user_id=user_id)

    assert (await service.get("a", user_id=user_id)).session_name == "New"
    await DatabaseSession("a", user_id, maker).update_session_metadata(session_name="Newer")
    [again] = await service.list_for_user(user_id, search="newer")
    assert again.session_name == held.session_name == "Newer"
    async with db.begin():
        assert again is await service.deactivate("a", user_id=user_id)
        assert not held.is_active


@pytest.mark.usefixtures("talks")
async def test_metadata_changes_only_what_is_passed(
    service: AgentSessionService, user_id: UUID, stranger_id: UUID
) -> None:
    """What is not passed stays; None that is passed clears; it is nobody else's."""
    named: dict[str, Any] = {"agent_name": "Agent", "agent_instructions": "Be kind."}
    named["description"] = "More"
    row = await service.update_metadata("a", user_id=user_id, **named)
    assert {name: getattr(row, name) for name in named} == named
    assert (row.session_name, row.is_active) == ("100% Ada", True)

    row = await service.update_metadata("a", user_id=user_id, description=None, is_active=False)

    assert (row.description, row.is_active, row.agent_name) == (None, False, "Agent")
    row = await service.update_metadata("a", user_id=user_id)
    assert (row.session_name, row.agent_instructions) == ("100% Ada", "Be kind.")
    theirs = await service.get("a", user_id=stranger_id)
    assert (theirs.session_name, theirs.agent_name, theirs.is_active) == ("Theirs", None, True)
    changes: list[dict[str, Any]] = [{}, {"session_name": "Mine now"}]
    for values in changes:
        with pytest.raises(NotFoundError):
            await service.update_metadata("b", user_id=stranger_id, **values)
    with pytest.raises(ValueError, match="is_active"):
        await service.update_metadata("a", user_id=user_id, is_active=cast("Any", None))
    with pytest.raises(ValueError, match="255"):
        await service.update_metadata("a", user_id=user_id, agent_name="x" * 256)


async def test_messages_are_paged(
    service: AgentSessionService, maker: async_sessionmaker, user_id: UUID, stranger_id: UUID
) -> None:
    """The newest page comes first, each oldest first; all of one conversation of one user's."""
    for session_id, owner, first in (("s", user_id, 0), ("t", user_id, 50), ("s", stranger_id, 80)):
        await DatabaseSession(session_id, owner, maker).add_items(numbered(first, first + 5))

    async def page(**arguments: Any) -> list[tuple[int, str]]:
        rows = await service.list_messages("s", user_id=user_id, **arguments)
        return [(row.position, row.content) for row in rows]

    everything = [(at + 1, f"item {at}") for at in range(5)]
    assert await page() == everything
    assert await page(limit=2) == everything[3:]
    assert await page(limit=2, before=4) == everything[1:3]
    assert await page(limit=2, before=2) == everything[:1]
    assert await page(before=1) == await page(limit=0) == []
    [call, output] = [
        {"type": "function_call", "call_id": "c", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "sunny"},
    ]
    await DatabaseSession("s", user_id, maker).add_items(cast("Any", [call, output]))
    called, answered = await service.list_messages("s", user_id=str(user_id), limit=2)
    assert (called.role, called.tool_name, called.tool_call_id) == ("assistant", "weather", "c")
    assert (answered.role, answered.content, answered.tool_call_id) == ("tool", "sunny", "c")
    assert answered.created_at >= called.created_at


async def test_messages_of_an_empty_conversation(
    service: AgentSessionService, maker: async_sessionmaker, user_id: UUID, stranger_id: UUID
) -> None:
    """None is another thing than no conversation."""
    await DatabaseSession("s", user_id, maker).update_session_metadata(session_name="A talk")

    assert await service.list_messages("s", user_id=user_id) == []
    assert await service.list_messages("s", user_id=user_id, limit=0) == []
    for session_id, owner in (("t", user_id), ("s", stranger_id)):
        with pytest.raises(NotFoundError):
            await service.list_messages(session_id, user_id=owner)


async def test_a_page_of_messages_is_one_query(
    service: AgentSessionService, engine: AsyncEngine, maker: async_sessionmaker, user_id: UUID
) -> None:
    """Of a long conversation, only the page is read, and of a message not the whole item."""
    await DatabaseSession("s", user_id, maker).add_items(numbered(0, 300))
    statements = record(engine)

    assert len(await service.list_messages("s", user_id=user_id)) == 50

    [statement] = statements
    assert "extra_data" not in statement


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ({"limit": -1}, ValueError),
        ({"limit": 2**31}, ValueError),
        ({"limit": "5"}, TypeError),
        ({"limit": True}, TypeError),
        ({"limit": None}, TypeError),
        ({"after": ""}, CursorError),
        ({"after": "e30="}, CursorError),
        ({"after": "WyIyMDI2LTAxLTAxIiwgIngiXQ=="}, CursorError),  # its key is no UUID
        ({"after": "\ud800"}, CursorError),
        ({"after": 1}, TypeError),
        ({"is_active": "yes"}, TypeError),
        ({"search": "\ud800"}, ValueError),
        ({"search": "x" * 256}, ValueError),
        ({"search": "\x00"}, ValueError),
        ({"search": 7}, TypeError),
        ({"user_id": "me"}, ValueError),
        ({"user_id": None}, TypeError),
    ],
    ids=str,
)
async def test_bad_pages_are_refused(bad: dict[str, Any], error: type[Exception]) -> None:
    """What no database could be asked is refused in words before one is."""
    service = AgentSessionService(unconnected())
    arguments: dict[str, Any] = {"user_id": UUID(int=1), **bad}
    with pytest.raises(error, match=next(iter(bad))):
        await service.list_for_user(**arguments)
    if "limit" in bad or "user_id" in bad:
        with pytest.raises(error, match=next(iter(bad))):
            await service.list_messages("s", **arguments)


@pytest.mark.parametrize(
    ("before", "error"),
    [(-1, ValueError), (2**63, ValueError), ("5", TypeError), (True, TypeError)],
)
async def test_a_position_that_is_none_is_refused(before: Any, error: type[Exception]) -> None:
    """Drivers would quote it, or take it for something else."""
    service = AgentSessionService(unconnected())

    with pytest.raises(error, match="before"):
        await service.list_messages("s", user_id=UUID(int=1), before=before)


@pytest.mark.parametrize(
    ("session_id", "error"), [("\ud800", ValueError), ("", ValueError), (7, TypeError)]
)
@pytest.mark.parametrize(
    "method", ["get", "update_metadata", "rename", "deactivate", "delete", "list_messages"]
)
async def test_what_is_no_id_is_refused(
    method: str, session_id: Any, error: type[Exception]
) -> None:
    """It is said as at the construction of a session."""
    call = getattr(AgentSessionService(unconnected()), method)
    more = ("A talk",) if method == "rename" else ()

    with pytest.raises(error, match="session_id"):
        await call(session_id, *more, user_id=UUID(int=1))


def unconnected() -> AsyncSession:
    """A session whose database nobody can ask."""
    return AsyncSession(create_async_engine("postgresql+asyncpg://nobody@127.0.0.1:1/none"))


@pytest.mark.usefixtures("talks")
async def test_a_deleted_conversation_takes_its_messages(
    service: AgentSessionService, user_id: UUID, stranger_id: UUID, maker: async_sessionmaker
) -> None:
    """They go together, also where SQLite does not cascade; the stranger's stay."""
    assert await messages_left(maker) == 8

    await service.delete("a", user_id=user_id)

    assert await messages_left(maker) == 6
    assert ids(await service.list_for_user(user_id)) == ["c", "b"]
    assert await DatabaseSession("a", stranger_id, maker).get_items() == numbered(7, 9)


@pytest.mark.usefixtures("talks")
@pytest.mark.parametrize("method", ["get", "rename", "deactivate", "delete", "list_messages"])
async def test_a_strangers_conversation_does_not_exist(
    service: AgentSessionService,
    user_id: UUID,
    stranger_id: UUID,
    maker: async_sessionmaker,
    method: str,
) -> None:
    """With another user's id, an id is one that nobody has."""
    arguments: dict[str, tuple[Any, ...]] = {"rename": ("b", "Mine now")}

    with pytest.raises(NotFoundError):
        await getattr(service, method)(*arguments.get(method, ("b",)), user_id=stranger_id)

    row = await service.get("b", user_id=user_id)
    assert (row.session_name, row.is_active) == ("Bob_1", True)
    assert await messages_left(maker) == 8
    assert ids(await service.list_for_user(stranger_id)) == ["a"]
    assert await service.list_for_user(stranger_id, search="Bob") == []
    assert await service.count_for_user(stranger_id) == 1


async def age(maker: async_sessionmaker, session_id: str, days: int) -> None:
    """Let a conversation have been written to so long ago."""
    then = datetime.now(timezone.utc) - timedelta(days=days)
    async with maker() as db, db.begin():
        mine = AgentSession.session_id == session_id
        await db.execute(update(AgentSession).where(mine).values(updated_at=then))


@pytest.mark.usefixtures("talks")
async def test_what_is_inactive_is_cleaned_up(
    service: AgentSessionService, user_id: UUID, stranger_id: UUID, maker: async_sessionmaker
) -> None:
    """A dry run counts, a real one deletes the same; of one user, or of all when asked."""
    await age(maker, "a", 40)
    await age(maker, "b", 20)

    month = timedelta(days=30)
    assert await service.delete_older_than(month, user_id=user_id, dry_run=True) == 1
    assert await service.delete_older_than(month, user_id=None, dry_run=True) == 2
    assert await messages_left(maker) == 8
    assert await service.delete_older_than(month, user_id=user_id) == 1
    assert ids(await service.list_for_user(user_id)) == ["c", "b"]
    assert ids(await service.list_for_user(stranger_id)) == ["a"]
    assert await service.delete_older_than(timedelta(days=10), user_id=None) == 2
    assert await messages_left(maker) == 2
    assert ids(await service.list_for_user(user_id)) == ["c"]
    assert await service.delete_older_than(timedelta.max, user_id=None) == 0


async def test_a_clean_up_needs_a_duration(service: AgentSessionService) -> None:
    """What is no duration is refused before anything is deleted."""
    wrong: Any = 30
    with pytest.raises(TypeError, match="timedelta"):
        await service.delete_older_than(wrong, user_id=None)
    with pytest.raises(ValueError, match="negative"):
        await service.delete_older_than(timedelta(days=-1), user_id=None)


@pytest.mark.usefixtures("talks")
async def test_transactions_are_the_callers_where_it_began_one(
    service: AgentSessionService, db: AsyncSession, user_id: UUID
) -> None:
    """Otherwise each call ends its own, and what it returned stays readable."""
    [newest, *_] = await service.list_for_user(user_id)
    assert not db.in_transaction()
    renamed = await service.rename("a", "Ada", user_id=user_id)
    assert not db.in_transaction()
    assert (newest.session_id, renamed.session_name) == ("c", "Ada")

    await db.begin()
    await service.rename("a", "Not Ada", user_id=user_id)
    await service.delete("b", user_id=user_id)
    await db.rollback()

    assert (await service.get("a", user_id=user_id)).session_name == "Ada"
    assert await service.count_for_user(user_id) == 3


async def test_it_makes_sessions(
    service: AgentSessionService, db: AsyncSession, user_id: UUID, maker: async_sessionmaker
) -> None:
    """The session that it makes is one of the user's, on the same AsyncSession."""
    session = service.create_session("s", user_id, "Agent", "Be kind.", "A talk")
    assert isinstance(session, DatabaseSession)
    async with db.begin():
        await session.add_items(numbered(0, 1))

    row = await service.get("s", user_id=user_id)
    assert (row.agent_name, row.agent_instructions) == ("Agent", "Be kind.")
    assert row.session_name == "A talk"
    assert await messages_left(maker) == 1


async def test_a_page_is_one_query(
    service: AgentSessionService, engine: AsyncEngine, user_id: UUID, maker: async_sessionmaker
) -> None:
    """However many conversations and messages there are, a page is one query without them."""
    async with maker() as db, db.begin():
        rows = [
            {"user_id": user_id, "session_id": f"{at}", "is_active": True, "last_position": 0}
            for at in range(200)
        ]
        await db.execute(insert(AgentSession), rows)
    await DatabaseSession("0", user_id, maker).add_items(numbered(0, 500))
    statements = record(engine)

    page = await service.list_for_user(user_id)

    assert len(page) == 50
    assert page[0].session_id == "0"
    assert len(statements) == 1
    assert "session_message" not in statements[0]
    assert {"messages", "user"} <= inspect(page[0]).unloaded
