"""DatabaseCatalog: all conversations in the two tables, each operation one unit of work."""

from __future__ import annotations

from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, literal, null, select, update

from openai_agents_session._catalog import ConversationInfo, Erased
from openai_agents_session._errors import add_note
from openai_agents_session.database._checks import checked_short_id, checked_user_id
from openai_agents_session.database._codes import is_lost
from openai_agents_session.database._conversation import DatabaseConversation
from openai_agents_session.database._deleting import delete_counted, wipe
from openai_agents_session.database._driver import XACT_ID
from openai_agents_session.database._forking import fork
from openai_agents_session.database._items import record_of
from openai_agents_session.database._lease import Leases
from openai_agents_session.database._listing import (
    count_of,
    everything,
    key_of,
    matching,
    messages_of,
    named,
    newest_first,
    owned,
    place_of,
)
from openai_agents_session.database._session import session_of
from openai_agents_session.database._statements import statements_of, tables_of
from openai_agents_session.database.models import Base

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Row, Select
    from sqlalchemy.ext.asyncio import AsyncConnection

    from openai_agents_session._catalog import Cursor, Forked, Found
    from openai_agents_session.database._driver import Transaction, Work
    from openai_agents_session.database._listing import Conditions, Model
    from openai_agents_session.database._session import DatabaseSession
    from openai_agents_session.database._users import Users


class DatabaseCatalog:
    """The conversations of one pair of models.

    Args:
        work: runs the units of work.
        model: the model of a conversation.
        users: makes and deletes the users' rows; None leaves users to the application.
        user_id: whose conversations are those without a user.
        session_settings: those of sessions that are given none.
    """

    resends = False

    def __init__(
        self,
        work: Work,
        model: Model,
        users: Users | None,
        user_id: Any = None,
        session_settings: Any = None,
    ) -> None:
        self._work = work
        self._model = model
        self._users = users
        self._leases = Leases(model)
        self._user_id = user_id
        self._settings = session_settings

    def checked_user(self, user_id: Any) -> Any:
        """Return a user's key in the type of its column; a UUID may be given as text."""
        return checked_user_id(self._model, user_id)

    def session(
        self,
        user: Any,
        session_id: str,
        about: Mapping[str, Any],
        *,
        recreate: bool,
        session_settings: Any,
    ) -> DatabaseSession:
        """Return the session of a conversation, without a request.

        Raises:
            RuntimeError: it has no user, and neither has the store.
        """
        owner = self._user_id if user is None else user
        if owner is None:
            raise RuntimeError(
                "in SQL each conversation has a user: use store.user(user_id).session(…), or make "
                "the store with the user's key, open_store(…, user_id=…)"
            )
        conversation = DatabaseConversation(
            self._work,
            self._model,
            {"owner": owner, "name": checked_short_id(session_id)},
            _columns_of(about),
            recreate=recreate,
            users=self._users,
        )
        settings = self._settings if session_settings is None else session_settings
        return session_of(conversation, session_id, owner, settings)

    async def page(
        self,
        user: Any,
        limit: int,
        cursor: Cursor | None,
        *,
        active: bool | None,
        search: str | None,
    ) -> Found:
        """Return a user's conversations, the last written to first, with one query."""
        place = None if cursor is None else place_of(self._model, cursor)
        query = self._query().where(*matching(self._model, user, active, search))
        rows = await self._rows(newest_first(query, self._model, place, limit + 1))
        return self._found(rows, limit, lambda row: [row.updated_at.isoformat(), str(row.id)])

    async def count(self, user: Any, *, active: bool | None, search: str | None) -> int:
        """Return how many conversations all pages have."""
        conditions = matching(self._model, user, active, search)
        return (await self._rows(count_of(self._model, conditions)))[0][0]

    async def get(self, user: Any, session_id: str) -> ConversationInfo | None:
        """Return a conversation with the number of its items, which are counted."""
        rows = await self._rows(self._counted(named(self._model, user, session_id)))
        return _info(rows[0], rows[0].item_count) if rows else None

    async def update(
        self, user: Any, session_id: str, changes: Mapping[str, Any]
    ) -> ConversationInfo | None:
        """Set some columns, and the time of the last write, and return the conversation."""
        sessions, _ = tables_of(self._model)
        mine, now = named(self._model, user, session_id), datetime.now(timezone.utc)
        values = {**_columns_of(changes), "updated_at": now}
        change = update(sessions).where(*mine).values(values)

        async def unit(transaction: Transaction) -> ConversationInfo | None:
            xact_id = null() if transaction.dialect.name == "sqlite" else XACT_ID
            returned = sessions.c.id, xact_id.label("xact_id")
            connection = transaction.connection
            changed = (await connection.execute(change.returning(*returned))).first()
            if changed is None:
                return None
            transaction.xact_id = changed.xact_id
            transaction.agrees = partial(self._is_written, changed.id, now)
            row = (await connection.execute(self._counted(mine))).one()
            return _info(row, row.item_count)

        return await self._work.run(unit, writes=True)

    async def delete(self, user: Any, session_id: str) -> bool:
        """Delete a conversation with its messages."""
        mine = named(self._model, user, session_id)
        deleted, _ = await self._work.run(partial(delete_counted, self._model, mine), writes=True)
        return bool(deleted)

    async def fork(self, user: Any, session_id: str, new_id: str, items: int | None) -> Forked:
        """Begin a conversation with what another one has; nothing of it goes to the client.

        Raises:
            ValueError: the new id is too long.
        """
        names = session_id, checked_short_id(new_id)
        return await self._work.run(partial(fork, self._model, user, *names, items), writes=True)

    async def erase(self, user: Any) -> Erased:
        """Delete a user's conversations with their messages, leases, and the row made for it.

        On SQLite, the file then has no byte of what was deleted.
        """

        async def unit(transaction: Transaction) -> Erased:
            # First, as a holder's write locks the lease before the conversation.
            await self._leases.remove(transaction.connection, user)
            deleted = await delete_counted(self._model, owned(self._model, user), transaction)
            if self._users:
                await self._users.remove(transaction.connection, user)
            return Erased(user, *deleted)

        erased = await self._work.run(unit, writes=True)
        try:
            await self._work.run(partial(wipe, self._model), writes=False)
        except Exception as error:
            add_note(error, "All is deleted, but the file may have bytes of it still: erase again.")
            raise
        return erased

    async def records(
        self, user: Any, session_id: str, newest: int, before: int | None
    ) -> Sequence[tuple[int, bytes | str, datetime | None]] | None:
        """Return the newest records, with one query."""
        mine, m = named(self._model, user, session_id), tables_of(self._model)[1].c

        async def unit(transaction: Transaction) -> Sequence[Row[Any]]:
            stored = statements_of(self._model, transaction.dialect.name).stored
            columns = m.position, stored, m.created_at
            query = messages_of(self._model, mine, columns, before, newest)
            return (await transaction.connection.execute(query)).all()

        rows = await self._work.read(unit)
        if not rows:
            return None
        return [
            (row.position, record_of(row.stored), _utc(row.created_at))
            for row in reversed(rows)
            if row.position is not None  # the one row of a conversation without messages
        ]

    async def scan(self, limit: int, cursor: Cursor | None) -> Found:
        """Return some conversations of all users, with one query."""
        after = None if cursor is None else key_of(self._model, cursor)
        rows = await self._rows(everything(self._query(), self._model, after, limit + 1))
        return self._found(rows, limit, lambda row: [str(row.id)])

    async def ping(self) -> bool:
        """Return whether the database that holds the tables answers."""
        try:
            await self._rows(select(tables_of(self._model)[0].c.id).limit(1))
        except Exception as error:
            if is_lost(error):
                return False
            raise
        return True

    async def setup(self) -> None:
        """Make the shipped tables by the migration, or bring them up to date.

        Raises:
            NotImplementedError: the models are the application's own.
        """
        if tables_of(self._model)[0].metadata is not Base.metadata:
            raise NotImplementedError(
                f"the tables of {self._model.__name__} are the application's: make them by its own "
                "migrations, or by create_all"
            )

        from openai_agents_session.database._migrate import (  # noqa: PLC0415 - Alembic takes long
            alone,
            is_needed,
            upgrade,
        )

        async def ask(transaction: Transaction) -> bool:
            return await transaction.connection.run_sync(is_needed)

        async def make(transaction: Transaction) -> None:
            await transaction.connection.run_sync(upgrade)

        if await self._work.read(ask):
            async with alone():
                await self._work.write(make)

    # ------------------------------------------------------------------------------- parts

    def _query(self) -> Select[Any]:
        s = tables_of(self._model)[0].c
        columns: Any = (
            *(s.id, s.session_id, s.user_id, s.session_name, s.description),
            *(s.is_active, s.agent_name, s.created_at, s.updated_at),
        )
        return select(*columns)

    def _counted(self, conditions: Conditions) -> Select[Any]:
        """Return the query for conversations with the number of their items."""
        sessions, messages = tables_of(self._model)
        here = messages.c.agent_session_id == sessions.c.id
        counted = select(func.count()).select_from(messages).where(here).scalar_subquery()
        return self._query().add_columns(counted.label("item_count")).where(*conditions)

    def _found(self, rows: Sequence[Row[Any]], limit: int, cursor: Any) -> Found:
        """Return the conversations of rows, of which one more was asked for than is wanted."""
        page = rows[:limit]
        return [_info(row) for row in page], cursor(page[-1]) if len(rows) > limit else None

    async def _rows(self, query: Select[Any]) -> Sequence[Row[Any]]:
        async def unit(transaction: Transaction) -> Sequence[Row[Any]]:
            return (await transaction.connection.execute(query)).all()

        return await self._work.read(unit)

    async def _is_written(self, key: Any, now: datetime, connection: AsyncConnection) -> bool:
        """Whether a conversation was written to at a time or since; or deleted, which says no."""
        s = tables_of(self._model)[0].c
        before = select(s.id).where(s.id == key, s.updated_at < literal(now, s.updated_at.type))
        return await connection.scalar(before) is None


def _columns_of(about: Mapping[str, Any]) -> dict[str, Any]:
    return {"session_name" if name == "name" else name: value for name, value in about.items()}


def _info(row: Row[Any], item_count: int | None = None) -> ConversationInfo:
    return ConversationInfo(
        session_id=row.session_id,
        user_id=row.user_id,
        name=row.session_name,
        description=row.description,
        is_active=row.is_active,
        agent_name=row.agent_name,
        item_count=item_count,
        created_at=_utc(row.created_at),
        updated_at=_utc(row.updated_at),
    )


def _utc(time: datetime) -> datetime:
    return time.astimezone(timezone.utc)
