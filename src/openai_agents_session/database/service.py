"""AgentSessionService: the conversations of a user, listed, renamed, put away and deleted."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from advanced_alchemy.exceptions import NotFoundError
from advanced_alchemy.filters import LimitOffset
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from advanced_alchemy.service import SQLAlchemyAsyncRepositoryService
from sqlalchemy import delete, func, select, update

from openai_agents_session.database._attempts import NUMBER, Transaction
from openai_agents_session.database._checks import checked_text, checked_user_id
from openai_agents_session.database._session import DatabaseSession
from openai_agents_session.database._statements import tables_of
from openai_agents_session.database._work import Work
from openai_agents_session.database.models import AgentSession
from openai_agents_session.database.types import MAX_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from sqlalchemy import ColumnElement

_CHUNK = 500
"""Keys in one statement: SQLite of old takes 999 parameters."""


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
    The objects that are returned keep their values after it. No messages are ever loaded.

    For an application's own model, give a subclass a ``repository_type`` of that
    ``model_type``.
    """

    repository_type = AgentSessionRepository

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
        offset: int = 0,
        is_active: bool | None = None,
        search: str | None = None,
    ) -> Sequence[AgentSession]:
        """Return a page of a user's conversations, the last written to first; one query.

        Args:
            user_id: the user's key.
            limit: how many at most.
            offset: how many to pass over.
            is_active: only those that are, or are not; None for both.
            search: only those with this text in their name, in any case; ``%`` and ``_``
                stand for themselves. None or empty for all.

        Returns:
            The conversations; ``[]`` beyond the last one.
        """
        conditions = self._matching(user_id, is_active, search)
        newest_first: list[Any] = [(self._model.updated_at, True), (self._model.id, True)]

        async def unit(_: Transaction) -> Sequence[AgentSession]:
            page = LimitOffset(limit, offset)
            return await self.repository.get_many(*conditions, page, order_by=newest_first)

        return await self._work.read(unit)

    async def count_for_user(
        self,
        user_id: UUID | str | Any,
        *,
        is_active: bool | None = None,
        search: str | None = None,
    ) -> int:
        """Return how many conversations ``list_for_user`` has in all; 0 where there are none."""
        conditions = self._matching(user_id, is_active, search)
        query = select(func.count()).select_from(self._model).where(*conditions)

        async def unit(transaction: Transaction) -> int:
            return await transaction.session.scalar(query) or 0

        return await self._work.read(unit)

    async def get(  # ty: ignore[incompatible-method-override] - one without a user must not be had
        self, session_id: str, *, user_id: UUID | str | Any
    ) -> AgentSession:
        """Return a user's conversation.

        Raises:
            advanced_alchemy.exceptions.NotFoundError: the user has none of this id.
        """

        async def unit(_: Transaction) -> AgentSession:
            return await self.repository.get_one(*self._mine(session_id, user_id))

        return await self._work.read(unit)

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
        name = checked_text("session_name", session_name, MAX_NAME)
        return await self._change(session_id, user_id, {"session_name": name})

    async def deactivate(self, session_id: str, *, user_id: UUID | str | Any) -> AgentSession:
        """Mark a user's conversation as no longer active, and return it; nothing is deleted.

        Raises:
            advanced_alchemy.exceptions.NotFoundError: the user has none of this id.
        """
        return await self._change(session_id, user_id, {"is_active": False})

    async def delete(  # ty: ignore[incompatible-method-override] - one without a user must not be had
        self, session_id: str, *, user_id: UUID | str | Any
    ) -> None:
        """Delete a user's conversation with its messages.

        Raises:
            advanced_alchemy.exceptions.NotFoundError: the user has none of this id.
        """
        if not await self._delete(self._mine(session_id, user_id)):
            raise NotFoundError("there is no such conversation")

    async def delete_inactive(
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
        return await self._delete(conditions, dry_run=dry_run)

    @property
    def _db_session(self) -> Any:
        return self.repository.session

    @property
    def _model(self) -> type[AgentSession]:
        return self.repository.model_type

    @property
    def _work(self) -> Work:
        return Work(self._db_session, self._model)

    def _mine(self, session_id: str, user_id: Any) -> list[ColumnElement[bool]]:
        owner = checked_user_id(self._model, user_id)
        return [self._model.user_id == owner, self._model.session_id == session_id]

    def _matching(
        self, user_id: Any, is_active: bool | None, search: str | None
    ) -> list[ColumnElement[bool]]:
        conditions = [self._model.user_id == checked_user_id(self._model, user_id)]
        if is_active is not None:
            conditions.append(self._model.is_active == is_active)
        if search := checked_text("search", search):
            conditions.append(self._model.session_name.icontains(search, autoescape=True))
        return conditions

    async def _change(self, session_id: str, user_id: Any, values: dict[str, Any]) -> AgentSession:
        statement = (
            update(self._model)
            .where(*self._mine(session_id, user_id))
            .values(values)
            .returning(self._model)
            .execution_options(populate_existing=True)
        )

        async def unit(transaction: Transaction) -> AgentSession:
            # Without its number: what is done twice here is as if it was done once.
            changed = (await transaction.session.scalars(statement)).one_or_none()
            if changed is None:
                raise NotFoundError("there is no such conversation")
            return changed

        return await self._work.write(unit)

    async def _delete(self, conditions: list[ColumnElement[bool]], *, dry_run: bool = False) -> int:
        sessions, messages = tables_of(self._model)
        count = select(func.count()).select_from(self._model).where(*conditions)
        # Locked, so that one that is written to meanwhile is looked at again and may stay.
        chosen = select(sessions.c.id).where(*conditions).with_for_update()

        async def unit(transaction: Transaction) -> int:
            session = transaction.session
            keys = (await session.scalars(chosen)).all()
            if keys and transaction.dialect.name == "postgresql":
                transaction.number = await session.scalar(select(NUMBER))
            for start in range(0, len(keys), _CHUNK):
                chunk = keys[start : start + _CHUNK]
                # Messages first: SQLite cascades only where foreign keys are switched on.
                await session.execute(
                    delete(messages).where(messages.c.agent_session_id.in_(chunk))
                )
                await session.execute(delete(sessions).where(sessions.c.id.in_(chunk)))
            return len(keys)

        async def counting(transaction: Transaction) -> int:
            return await transaction.session.scalar(count) or 0

        return await (self._work.read(counting) if dry_run else self._work.write(unit))
