"""DatabaseSession: a user's conversation in a SQL database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from agents.memory.session_settings import resolve_session_limit

from openai_agents_session._base import BaseSession
from openai_agents_session._session import CompactionSnapshot
from openai_agents_session.database._checks import (
    MAX_ROWS,
    UNSET,
    checked_metadata,
    checked_user_id,
)
from openai_agents_session.database._conversation import Conversation, UnreadableError
from openai_agents_session.database._driver import Work, is_lost
from openai_agents_session.database._items import items_of
from openai_agents_session.database._rows import Name
from openai_agents_session.database.models import AgentSession
from openai_agents_session.database.types import MAX_SESSION_ID_BYTES, stored

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from agents import SessionSettings, TResponseInputItem
    from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

    from openai_agents_session.database.mixins import AgentSessionMixin


class DatabaseSession(BaseSession):
    """A user's conversation in SQL, for ``Runner.run(agent, "Hi", session=session)``.

    Its row appears with the first write, and carries what is said here about the agent and
    the conversation; where there is a row already, that stays as it is.

    Args:
        session_id: names the conversation among those of the user; any non-empty text of up
            to 2,000 bytes in UTF-8.
        user_id: the user's key; a UUID may be given as text. The same ``session_id`` of two
            users is two conversations.
        db_session: an ``async_sessionmaker``, with which each operation is a short transaction
            of its own; or an ``AsyncSession``, which stays the caller's to close. In a
            transaction that the caller began, writes are savepoints and the commit is the
            caller's; otherwise each operation commits.
        agent_name: the agent's name, of up to 255 characters.
        agent_instructions: what the agent was told.
        session_name: the conversation's name for people, of up to 255 characters.
        session_settings: the SDK's ``SessionSettings``, or a dict of its fields;
            ``limit`` is the default for ``get_items``.
        session_model: the application's own class with ``AgentSessionMixin``; None takes the
            shipped one.
        recreate: whether a write makes the conversation again when this session has seen it
            and somebody has deleted it since. If not, ``add_items`` and ``replace_items``
            raise ``advanced_alchemy.exceptions.NotFoundError``: for a run of an agent.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: the id is empty or too long, the user's id is no UUID, or a text has a NUL
            or a lone surrogate or is too long.
    """

    def __init__(  # noqa: PLR0917 - the order of the arguments is the design
        self,
        session_id: str,
        user_id: UUID | str | Any,
        db_session: AsyncSession | async_sessionmaker[Any],
        agent_name: str | None = None,
        agent_instructions: str | None = None,
        session_name: str | None = None,
        *,
        session_settings: SessionSettings | dict[str, Any] | None = None,
        session_model: type[AgentSessionMixin] | None = None,
        recreate: bool = True,
    ) -> None:
        super().__init__(session_id, session_settings)
        if len(stored(session_id).encode()) > MAX_SESSION_ID_BYTES:
            raise ValueError(f"session_id must have {MAX_SESSION_ID_BYTES} bytes at most in UTF-8")
        model = session_model or AgentSession
        self.user_id = checked_user_id(model, user_id)
        metadata = checked_metadata(
            agent_name=agent_name,
            agent_instructions=agent_instructions,
            session_name=session_name,
        )
        self._rows = Conversation(
            Work(db_session, model),
            model,
            Name(self.user_id, session_id, metadata),
            recreate=recreate,
        )

    async def get_items(self, limit: int | None = None) -> list[TResponseInputItem]:
        """Return the conversation's newest items, oldest first.

        A record that cannot be read is skipped with a logged warning, and does not count.

        Args:
            limit: how many items at most; None takes the session's setting, then all.

        Returns:
            The items; ``[]`` where there are none, and for a limit of 0 or less.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: as SQLAlchemy raises it.
        """
        wanted = resolve_session_limit(limit, self.session_settings)
        if wanted is not None and wanted <= 0:
            return []
        if wanted is None or wanted >= MAX_ROWS:
            items, unreadable = items_of(await self._rows.read())
            wanted = len(items)
        else:
            items, unreadable = await self._newest_of(wanted)
        if not unreadable:
            return cast("list[TResponseInputItem]", items)
        _, readable = self._newest_readable(items, wanted)
        return readable

    async def add_items(self, items: list[TResponseInputItem]) -> None:
        """Append a batch, whole and contiguous, in one transaction.

        Args:
            items: dicts or Pydantic models; none of them changes nothing at all.

        Raises:
            TypeError: an item holds what JSON cannot; nothing was written.
            sqlalchemy.exc.SQLAlchemyError: as SQLAlchemy raises it; an ``IntegrityError``
                where there is no such user.
        """
        if items:
            await self._rows.append(items)

    async def pop_item(self) -> TResponseInputItem | None:
        """Remove and return the newest item; it goes to exactly one caller.

        Records that cannot be read are passed over and stay where they are.

        Returns:
            The item, or None where there is none.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: as SQLAlchemy raises it.
        """
        try:
            return await self._rows.pop()
        except UnreadableError:
            _, popped = self._newest_readable(await self._rows.pop_readable(), 1)
            return popped[0] if popped else None

    async def clear_session(self) -> None:
        """Delete the conversation's items; where there are none, nothing happens.

        The row with its name and the like stays: ``AgentSessionService.delete`` removes it.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: as SQLAlchemy raises it.
        """
        await self._rows.clear()

    async def replace_items(self, items: list[TResponseInputItem]) -> None:
        """Put a batch in the place of the whole conversation, in one transaction.

        Args:
            items: dicts or Pydantic models; none of them empties the conversation.

        Raises:
            TypeError: an item holds what JSON cannot; nothing was written.
            sqlalchemy.exc.SQLAlchemyError: as SQLAlchemy raises it.
        """
        if items:
            await self._rows.append(items, replace=True)
        else:
            await self._rows.clear()

    async def update_session_metadata(
        self,
        *,
        session_name: str | None = UNSET,
        description: str | None = UNSET,
        agent_name: str | None = UNSET,
        agent_instructions: str | None = UNSET,
        is_active: bool = UNSET,
    ) -> None:
        """Change what the row says about the conversation; it is made where there is none.

        Only what is passed changes. None, passed on purpose, clears.

        Args:
            session_name: the conversation's name for people, of up to 255 characters.
            description: more about it.
            agent_name: the agent's name, of up to 255 characters.
            agent_instructions: what the agent was told.
            is_active: whether it goes on; the service can list by this.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: ``is_active`` is None, or a text is too long or has a NUL or a lone
                surrogate.
            sqlalchemy.exc.SQLAlchemyError: as SQLAlchemy raises it.
        """
        values = checked_metadata(
            session_name=session_name,
            description=description,
            agent_name=agent_name,
            agent_instructions=agent_instructions,
            is_active=is_active,
        )
        if values:
            await self._rows.change(values)

    async def ping(self) -> bool:
        """Return whether the database that holds the conversation answers.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: it answers with an error, such as a refused login
                or a missing table.
        """
        try:
            await self._rows.exists()
        except Exception as error:
            if is_lost(error):
                return False
            raise
        return True

    async def close(self) -> None:
        """Do nothing: what was passed in stays the caller's to close."""

    async def _snapshot(
        self, limit: int, prune_prefix: Callable[[TResponseInputItem], bool] | None
    ) -> CompactionSnapshot | None:
        rows = await self._rows.read_newest(min(limit, MAX_ROWS - 1) + 1)
        complete = len(rows) <= limit
        rows = rows[-limit:]
        items, unreadable = items_of([text for _, text in rows])
        if unreadable:
            return None

        async def replace_suffix(start: int, output: list[TResponseInputItem]) -> bool:
            expected = rows[start:]
            return bool(expected) and await self._rows.swap(expected, output, prune_prefix, limit)

        return CompactionSnapshot(cast("list[TResponseInputItem]", items), complete, replace_suffix)

    async def _newest_of(self, wanted: int) -> tuple[list[TResponseInputItem | None], int]:
        """Return the newest records, enough to hold so many readable ones, and how many are not."""
        window = wanted
        while True:
            rows = await self._rows.read_newest(window)
            items, unreadable = items_of([text for _, text in rows])
            if len(rows) - unreadable >= wanted or len(rows) < window:
                return items, unreadable
            window *= 2  # older records fill up
