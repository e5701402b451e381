"""AgentSessionService: the conversations of a user, listed, renamed, put away and deleted."""

from __future__ import annotations

import warnings
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from advanced_alchemy.exceptions import NotFoundError
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService
from sqlalchemy import inspect, select
from sqlalchemy.ext.asyncio import async_sessionmaker

from openai_agents_session._arguments import checked_session_id
from openai_agents_session.database._checks import (
    MAX_POSITION,
    UNSET,
    checked_flag,
    checked_metadata,
    checked_number,
    checked_text,
    checked_user_id,
)
from openai_agents_session.database._driver import Work
from openai_agents_session.database._listing import cursor_of, in_any_case, is_after
from openai_agents_session.database._queries import Queries
from openai_agents_session.database._session import DatabaseSession
from openai_agents_session.database.models import AgentSession
from openai_agents_session.database.types import MAX_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from sqlalchemy import ColumnElement, Row
    from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session

_NOT_FOUND = "there is no such conversation"


class AgentSessionRepository(SQLAlchemyAsyncRepository[AgentSession]):
    """advanced-alchemy's repository of the shipped model."""

    model_type = AgentSession


class AgentSessionService(SQLAlchemyAsyncRepositoryService[AgentSession, AgentSessionRepository]):
    """The conversations of a user; made as ``AgentSessionService(db_session)``.

    What is defined here sees the conversations of the user that it is told, and no others: a
    stranger's is one that does not exist. Whatever else advanced-alchemy's service has, such
    as ``update`` and ``get_many``, knows nothing of users and is for the application itself.

    Transactions are as with ``DatabaseSession``: in one that the caller began, writes are
    savepoints and the commit is the caller's; otherwise each call is a transaction of its own.
    The objects that are returned keep their values after it. No messages are loaded but by
    ``list_messages``. The AsyncSession needs a bind of its own; ``binds`` alone are not enough.

    For an application's own model, give a subclass a ``repository_type`` of that
    ``model_type``.
    """

    repository_type = AgentSessionRepository

    def __init__(self, session: AsyncSession | async_scoped_session[AsyncSession], **kwargs: Any):
        if isinstance(session, async_sessionmaker):
            raise TypeError(
                "db_session must be an AsyncSession, not an async_sessionmaker: "
                "use 'async with maker() as db_session' and pass that"
            )
        super().__init__(session, **kwargs)

    def create_session(
        self,
        session_id: str,
        user_id: UUID | str | Any,
        agent_name: str | None = None,
        agent_instructions: str | None = None,
        session_name: str | None = None,
    ) -> DatabaseSession:
        """Return the session of a conversation, new or not; nothing is stored yet.

        Args:
            session_id: names the conversation.
            user_id: the user's key.
            agent_name: as for ``DatabaseSession``, and so are the other arguments.
            agent_instructions: likewise.
            session_name: likewise.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: an argument has a wrong value.
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
        after: AgentSession | str | None = None,
        is_active: bool | None = None,
        search: str | None = None,
    ) -> Sequence[AgentSession]:
        """Return a page of a user's conversations, the last written to first; one query.

        A page begins where the one before ended, so none that stands still is missed or shown
        twice. One that is written to meanwhile moves to the front: it is not on the pages that
        follow.

        Args:
            user_id: the user's key.
            limit: how many at most.
            after: the last conversation of the page before, or its ``cursor``; None for the
                first page.
            is_active: only those that are, or are not; None for both.
            search: only those with this text in their name, letter by letter and whatever
                their case. None or empty for all.

        Returns:
            The conversations; ``[]`` beyond the last one.

        Raises:
            TypeError: an argument has the wrong type.
            CursorError: ``after`` is a text that is no cursor.
            ValueError: the limit is negative or over 2,147,483,647, or the text to search has
                a NUL or a lone surrogate or over 255 characters.
            sqlalchemy.exc.SQLAlchemyError: as SQLAlchemy raises it.
        """
        conditions = self._matching(user_id, is_active, search)
        model = self._model
        if after is not None:
            conditions.append(is_after(model, after))
        query = (
            select(model)
            .where(*conditions)
            .order_by(model.updated_at.desc(), model.id.desc())
            .limit(checked_number("limit", limit))
        )
        return await self._queries.select(query)

    @staticmethod
    def cursor(conversation: AgentSession) -> str:
        """Return where a page of ``list_for_user`` ended, as text for ``after``.

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
        return await self._queries.count(self._matching(user_id, is_active, search))

    async def get(  # ty: ignore[incompatible-method-override] - one without a user must not be had
        self, session_id: str, *, user_id: UUID | str | Any
    ) -> AgentSession:
        """Return a user's conversation.

        Raises:
            advanced_alchemy.exceptions.NotFoundError: the user has none of this id.
        """
        found = await self._queries.select(
            select(self._model).where(*self._mine(session_id, user_id))
        )
        if not found:
            raise NotFoundError(_NOT_FOUND)
        return found[0]

    async def list_messages(
        self,
        session_id: str,
        *,
        user_id: UUID | str | Any,
        limit: int = 50,
        before: int | None = None,
    ) -> Sequence[Row[Any]]:
        """Return a page of a conversation's messages, as people read them; one query.

        To an agent, ``DatabaseSession.get_items`` gives them whole.

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
        limit = checked_number("limit", limit)
        message = inspect(self._model).relationships["messages"].mapper.class_
        shown = (
            message.position,
            message.role,
            message.content,
            message.tool_call_id,
            message.tool_name,
            message.created_at,
        )
        here = message.agent_session_id == self._model.id
        if before is not None:
            here &= message.position < checked_number("before", before, MAX_POSITION)
        # A conversation without messages has one row, of nothing; none that is not there.
        query = (
            select(*shown)
            .select_from(self._model)
            .outerjoin(message, here)
            .where(*self._mine(session_id, user_id))
            .order_by(message.position.desc())
            .limit(max(limit, 1))
        )

        rows = await self._queries.rows(query)
        if not rows:
            raise NotFoundError(_NOT_FOUND)
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
    ) -> AgentSession:
        """Change what is said about a user's conversation, and return it.

        Args:
            session_id: names the conversation.
            user_id: the user's key.
            session_name: as for ``DatabaseSession.update_session_metadata``, and so are the
                others: only what is passed changes, and None clears.
            description: likewise.
            agent_name: likewise.
            agent_instructions: likewise.
            is_active: likewise.

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
        changed = await self._queries.change(self._mine(session_id, user_id), values)
        if changed is None:
            raise NotFoundError(_NOT_FOUND)
        return changed

    async def rename(
        self, session_id: str, session_name: str | None, *, user_id: UUID | str | Any
    ) -> AgentSession:
        """Give a user's conversation another name, or none, and return it.

        Raises:
            TypeError: the name is neither a text nor None.
            ValueError: the name is longer than 255 characters, or has a NUL or a lone
                surrogate.
            advanced_alchemy.exceptions.NotFoundError: the user has none of this id.
        """
        return await self.update_metadata(session_id, user_id=user_id, session_name=session_name)

    async def deactivate(self, session_id: str, *, user_id: UUID | str | Any) -> AgentSession:
        """Mark a user's conversation as no longer active, and return it; nothing is deleted.

        Raises:
            advanced_alchemy.exceptions.NotFoundError: the user has none of this id.
        """
        return await self.update_metadata(session_id, user_id=user_id, is_active=False)

    async def delete(  # ty: ignore[incompatible-method-override] - one without a user must not be had
        self, session_id: str, *, user_id: UUID | str | Any
    ) -> None:
        """Delete a user's conversation with its messages.

        Raises:
            advanced_alchemy.exceptions.NotFoundError: the user has none of this id.
        """
        if not await self._queries.delete(self._mine(session_id, user_id)):
            raise NotFoundError(_NOT_FOUND)

    async def delete_older_than(
        self, older_than: timedelta, *, user_id: UUID | str | Any | None, dry_run: bool = False
    ) -> int:
        """Delete conversations that were not written to for so long, with their messages.

        Args:
            older_than: how long ago the last write must be; whether a conversation is marked
                as active makes no difference.
            user_id: the user's key; None, which has to be said, is for every user's.
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
        conditions = [self._model.updated_at < before]
        if user_id is not None:
            conditions.append(self._model.user_id == checked_user_id(self._model, user_id))
        return await (
            self._queries.count(conditions) if dry_run else self._queries.delete(conditions)
        )

    async def delete_inactive(
        self, older_than: timedelta, *, user_id: UUID | str | Any | None, dry_run: bool = False
    ) -> int:
        """Do what ``delete_older_than`` does, under a name that promised something else."""
        warnings.warn(
            "delete_inactive is deprecated, since it does not look at is_active: "
            "call delete_older_than",
            DeprecationWarning,
            stacklevel=2,
        )
        return await self.delete_older_than(older_than, user_id=user_id, dry_run=dry_run)

    @property
    def _db_session(self) -> Any:
        return self.repository.session

    @property
    def _model(self) -> type[AgentSession]:
        return self.repository.model_type

    @property
    def _queries(self) -> Queries:
        return Queries(Work(self._db_session, self._model), self._model)

    def _mine(self, session_id: str, user_id: Any) -> list[ColumnElement[bool]]:
        owner = checked_user_id(self._model, user_id)
        return [
            self._model.user_id == owner,
            self._model.session_id == checked_session_id(session_id),
        ]

    def _matching(
        self, user_id: Any, is_active: bool | None, search: str | None
    ) -> list[ColumnElement[bool]]:
        conditions = [self._model.user_id == checked_user_id(self._model, user_id)]
        if is_active is not None:
            conditions.append(self._model.is_active == checked_flag(is_active))
        if search := checked_text("search", search, MAX_NAME):
            # LIKE knows the cases of ASCII's letters, or those of the database's locale.
            conditions.append(self._model.session_name.regexp_match(in_any_case(search)))
        return conditions
