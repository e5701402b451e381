"""AgentSessionService: lists, renames and deletes the conversations of a user."""

from __future__ import annotations

import warnings
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import TYPE_CHECKING, Any, Generic

from advanced_alchemy.exceptions import NotFoundError
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession
from typing_extensions import TypeVar

from openai_agents_session._arguments import (
    UNSET,
    checked_number,
    checked_session_id,
    checked_text,
)
from openai_agents_session.database._checks import MAX_ROWS, checked_metadata, checked_user_id
from openai_agents_session.database._deleting import delete_counted, delete_many
from openai_agents_session.database._driver import Transaction, Work
from openai_agents_session.database._listing import (
    count_of,
    cursor_of,
    matching,
    messages_of,
    named,
    newest_first,
    owned,
    place_after,
)
from openai_agents_session.database._session import DatabaseSession
from openai_agents_session.database._statements import tables_of
from openai_agents_session.database.mixins import AgentSessionMixin
from openai_agents_session.database.models import AgentSession

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from sqlalchemy import Row, Select
    from sqlalchemy.sql.dml import ReturningUpdate

    from openai_agents_session.database._listing import Conditions

ModelT = TypeVar("ModelT", bound=AgentSessionMixin, default=AgentSession)


class AgentSessionRepository(SQLAlchemyAsyncRepository[AgentSession]):
    """advanced-alchemy's repository of the shipped model, for queries of your own.

    Nothing in it is filtered by user.
    """

    model_type = AgentSession


class AgentSessionService(Generic[ModelT]):
    """Lists, renames and deletes the conversations of a user.

    Each method takes the user's key and sees no other user's conversations. To it, they don't
    exist.

    Transactions are as with ``DatabaseSession``: in a transaction that you began, writes are
    savepoints and you commit; otherwise each call is a transaction of its own. The returned
    objects keep their values afterwards. Only ``list_messages`` loads messages.

    Args:
        db_session: an ``AsyncSession`` with a bind; ``binds`` alone are not enough.
        session_model: the application's own class with ``AgentSessionMixin``, which is what the
            methods return; None takes the shipped ``AgentSession``.

    Raises:
        TypeError: ``db_session`` is not an ``AsyncSession``.
    """

    def __init__(
        self, db_session: AsyncSession, *, session_model: type[ModelT] | None = None
    ) -> None:
        if not isinstance(db_session, AsyncSession):
            raise TypeError(
                f"db_session must be an AsyncSession, not {type(db_session).__name__}: "
                "use 'async with maker() as db_session' and pass that"
            )
        self._db_session = db_session
        self._model: type[AgentSessionMixin] = session_model or AgentSession
        self._work = Work(db_session, self._model)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse a ``repository_type``, by which subclasses used to choose the model."""
        super().__init_subclass__(**kwargs)
        if hasattr(cls, "repository_type"):
            raise TypeError(
                f"{cls.__name__} has a repository_type, which is not used any more: "
                "pass the model, AgentSessionService(db_session, session_model=…)"
            )

    def create_session(
        self,
        session_id: str,
        user_id: UUID | str | Any,
        agent_name: str | None = None,
        agent_instructions: str | None = None,
        session_name: str | None = None,
    ) -> DatabaseSession:
        """Return the session of a conversation, new or not; nothing is stored yet.

        The arguments are those of ``DatabaseSession``, and so are the errors.
        """
        return DatabaseSession(
            session_id,
            user_id,
            self._db_session,
            agent_name,
            agent_instructions,
            session_name,
            session_model=self._model,
        )

    async def list_for_user(
        self,
        user_id: UUID | str | Any,
        *,
        limit: int = 50,
        after: ModelT | str | None = None,
        is_active: bool | None = None,
        search: str | None = None,
    ) -> Sequence[ModelT]:
        """Return a page of a user's conversations in one query, the last written to first.

        A page begins where the one before ended, so no conversation is missed or shown twice
        unless somebody writes to it meanwhile: it then moves to the front, and isn't on the pages
        that follow.

        Args:
            user_id: the user's key.
            limit: how many at most.
            after: the last conversation of the page before, or its ``cursor``; None for the
                first page.
            is_active: only active ones, or only others; None for both.
            search: only those whose name contains this text, in upper or lower case. None or
                empty for all.

        Returns:
            The conversations; ``[]`` beyond the last one.

        Raises:
            TypeError: an argument has the wrong type.
            CursorError: ``after`` is a text that is no cursor.
            ValueError: the limit is negative or over 2,147,483,647, or the text to search has
                a NUL or a lone surrogate or over 255 characters.
            sqlalchemy.exc.SQLAlchemyError: as SQLAlchemy raises it.
        """
        model = self._model
        chosen = select(model).where(*self._matching(user_id, is_active, search))
        place = None if after is None else place_after(model, after)
        limit = checked_number("limit", limit, most=MAX_ROWS)
        rows = await self._rows(newest_first(chosen, model, place, limit))
        return [row[0] for row in rows]

    @staticmethod
    def cursor(conversation: AgentSessionMixin) -> str:
        """Return the end of a page of ``list_for_user`` as text, for ``after``.

        Args:
            conversation: the last one of the page.
        """
        return cursor_of(conversation)

    async def count_for_user(
        self,
        user_id: UUID | str | Any,
        *,
        is_active: bool | None = None,
        search: str | None = None,
    ) -> int:
        """Return how many conversations ``list_for_user`` has in all; 0 where there are none."""
        return await self._count(self._matching(user_id, is_active, search))

    async def get(self, session_id: str, *, user_id: UUID | str | Any) -> ModelT:
        """Return a user's conversation.

        Raises:
            advanced_alchemy.exceptions.NotFoundError: the user has none of this id.
        """
        query = select(self._model).where(*self._named(session_id, user_id))
        return _only(await self._rows(query))

    async def list_messages(
        self,
        session_id: str,
        *,
        user_id: UUID | str | Any,
        limit: int = 50,
        before: int | None = None,
    ) -> Sequence[Row[Any]]:
        """Return a page of a conversation's messages, as people read them; one query.

        ``DatabaseSession.get_items`` returns the items themselves, as an agent needs them.

        Args:
            session_id: names the conversation.
            user_id: the user's key.
            limit: how many at most: the newest ones.
            before: only those before this position; None for those up to the end.

        Returns:
            Rows of ``position``, ``role``, ``content``, ``tool_call_id``, ``tool_name`` and
            ``created_at``, oldest first.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: the limit is negative or over 2,147,483,647, or ``before`` is negative or
                over 9,223,372,036,854,775,807.
            advanced_alchemy.exceptions.NotFoundError: the user has no conversation of this id.
        """
        limit = checked_number("limit", limit, most=MAX_ROWS)
        before = None if before is None else checked_number("before", before)
        m = tables_of(self._model)[1].c
        columns = m.position, m.role, m.content, m.tool_call_id, m.tool_name, m.created_at
        mine = self._named(session_id, user_id)
        # With no row at all, there would be none to tell whether there is the conversation.
        rows = await self._rows(messages_of(self._model, mine, columns, before, max(limit, 1)))
        if not rows:
            raise _not_found()
        return [row for row in reversed(rows[:limit]) if row.position is not None]

    async def update_metadata(
        self,
        session_id: str,
        *,
        user_id: UUID | str | Any,
        session_name: str | None = UNSET,
        description: str | None = UNSET,
        agent_name: str | None = UNSET,
        agent_instructions: str | None = UNSET,
        is_active: bool = UNSET,
    ) -> ModelT:
        """Change the metadata of a user's conversation, and return it.

        Only what is passed changes, and None clears, as with
        ``DatabaseSession.update_session_metadata``.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: an argument has a wrong value.
            advanced_alchemy.exceptions.NotFoundError: the user has none of this id.
        """
        values = checked_metadata(
            session_name=session_name,
            description=description,
            agent_name=agent_name,
            agent_instructions=agent_instructions,
            is_active=is_active,
        )
        if not values:
            return await self.get(session_id, user_id=user_id)
        statement = (
            update(self._model)
            .where(*self._named(session_id, user_id))
            .values(values)
            .returning(self._model)
        )
        return _only(await self._rows(statement))

    async def rename(
        self, session_id: str, session_name: str | None, *, user_id: UUID | str | Any
    ) -> ModelT:
        """Give a user's conversation another name, or none, and return it.

        Raises:
            TypeError: the name is neither a text nor None.
            ValueError: the name is longer than 255 characters, or has a NUL or a lone
                surrogate.
            advanced_alchemy.exceptions.NotFoundError: the user has none of this id.
        """
        return await self.update_metadata(session_id, user_id=user_id, session_name=session_name)

    async def deactivate(self, session_id: str, *, user_id: UUID | str | Any) -> ModelT:
        """Mark a user's conversation as no longer active, and return it; nothing is deleted.

        Raises:
            advanced_alchemy.exceptions.NotFoundError: the user has none of this id.
        """
        return await self.update_metadata(session_id, user_id=user_id, is_active=False)

    async def delete(self, session_id: str, *, user_id: UUID | str | Any) -> None:
        """Delete a user's conversation with its messages.

        Raises:
            advanced_alchemy.exceptions.NotFoundError: the user has none of this id.
        """
        mine = self._named(session_id, user_id)
        deleted, _ = await self._work.write(partial(delete_counted, self._model, mine))
        if not deleted:
            raise _not_found()

    async def delete_older_than(
        self, older_than: timedelta, *, user_id: UUID | str | Any | None, dry_run: bool = False
    ) -> int:
        """Delete conversations whose last write is that long ago, with their messages.

        Args:
            older_than: how long ago the last write must be. Active conversations are deleted
                as well.
            user_id: the user's key; None, which you have to pass, is for all users.
            dry_run: delete nothing, and only count.

        Returns:
            How many were deleted, or would have been.

        Raises:
            TypeError: ``older_than`` is no ``timedelta``.
            ValueError: it is negative.
        """
        if not isinstance(older_than, timedelta):
            raise TypeError(f"older_than must be a timedelta, not {type(older_than).__name__}")
        if older_than < timedelta(0):
            raise ValueError("older_than must not be negative")
        try:
            before = datetime.now(timezone.utc) - older_than
        except OverflowError:  # nothing is that old
            return 0
        conditions = [] if user_id is None else owned(self._model, self._user(user_id))
        conditions.append(tables_of(self._model)[0].c.updated_at < before)
        if dry_run:
            return await self._count(conditions)
        return await self._work.write(partial(delete_many, self._model, conditions))

    async def delete_inactive(
        self, older_than: timedelta, *, user_id: UUID | str | Any | None, dry_run: bool = False
    ) -> int:
        """Call ``delete_older_than``; deprecated, as this name promises something else."""
        warnings.warn(
            "delete_inactive is deprecated, since it does not look at is_active: "
            "call delete_older_than",
            DeprecationWarning,
            stacklevel=2,
        )
        return await self.delete_older_than(older_than, user_id=user_id, dry_run=dry_run)

    def _user(self, user_id: Any) -> Any:
        return checked_user_id(self._model, user_id)

    def _named(self, session_id: str, user_id: Any) -> Conditions:
        return named(self._model, self._user(user_id), checked_session_id(session_id))

    def _matching(self, user_id: Any, is_active: bool | None, search: str | None) -> Conditions:
        search = checked_text("search", search)
        return matching(self._model, self._user(user_id), is_active, search)

    async def _count(self, conditions: Conditions) -> int:
        return (await self._rows(count_of(self._model, conditions)))[0][0]

    async def _rows(self, statement: Select[Any] | ReturningUpdate[Any]) -> Sequence[Row[Any]]:
        """Return the rows of a query, or of an update that may safely be run twice."""
        # An object that the AsyncSession holds already gets the values that are stored.
        fresh = statement.execution_options(populate_existing=True)

        async def unit(transaction: Transaction) -> Sequence[Row[Any]]:
            return (await transaction.session.execute(fresh)).all()

        return await (self._work.read if statement.is_select else self._work.write)(unit)


def _only(rows: Sequence[Row[Any]]) -> Any:
    if not rows:
        raise _not_found()
    return rows[0][0]


def _not_found() -> NotFoundError:
    return NotFoundError("there is no such conversation")
