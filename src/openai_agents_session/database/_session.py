"""DatabaseSession: a user's conversation in a SQL database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from openai_agents_session._arguments import UNSET
from openai_agents_session._session import BaseSession
from openai_agents_session.database._checks import (
    checked_metadata,
    checked_short_id,
    checked_user_id,
)
from openai_agents_session.database._conversation import DatabaseConversation
from openai_agents_session.database._driver import Work
from openai_agents_session.database.models import AgentSession

if TYPE_CHECKING:
    from uuid import UUID

    from agents import SessionSettings
    from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

    from openai_agents_session.database.mixins import AgentSessionMixin


class DatabaseSession(BaseSession):
    """A user's conversation in SQL, for ``Runner.run(agent, "Hi", session=session)``.

    The first write makes the conversation's row, with the names and instructions that are given
    here. A row that exists already stays as it is.

    Args:
        session_id: names the conversation among those of the user; any non-empty text of up
            to 2,000 bytes in UTF-8.
        user_id: the user's key; a UUID may be given as text. The same ``session_id`` of two
            users is two conversations.
        db_session: an ``async_sessionmaker``: each operation is then a short transaction of its
            own. Or an ``AsyncSession``, which you close yourself: in a transaction that you
            began, writes are savepoints and you commit; otherwise each operation commits.
        agent_name: the agent's name, of up to 255 characters.
        agent_instructions: the agent's instructions.
        session_name: the conversation's name for people, of up to 255 characters.
        session_settings: the SDK's ``SessionSettings``, or a dict of its fields;
            ``limit`` is the default for ``get_items``.
        session_model: the application's own class with ``AgentSessionMixin``; None takes the
            shipped one.
        recreate: whether a write makes the conversation again if somebody has deleted it since
            this session saw it. With False, ``add_items`` and ``replace_items`` raise
            ``SessionNotFoundError`` then, which ends the agent's run. It is also
            ``advanced_alchemy.exceptions.NotFoundError``.

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
        super().__init__(checked_short_id(session_id), session_settings)
        model = session_model or AgentSession
        self.user_id = checked_user_id(model, user_id)
        metadata = checked_metadata(
            agent_name=agent_name,
            agent_instructions=agent_instructions,
            session_name=session_name,
        )
        self._conversation = DatabaseConversation(
            Work(db_session, model),
            model,
            {"owner": self.user_id, "name": session_id},
            metadata,
            recreate=recreate,
        )

    async def update_session_metadata(
        self,
        *,
        session_name: str | None = UNSET,
        description: str | None = UNSET,
        agent_name: str | None = UNSET,
        agent_instructions: str | None = UNSET,
        is_active: bool = UNSET,
    ) -> None:
        """Change the conversation's metadata; make its row if there is none.

        What isn't passed stays as it is. None clears.

        Args:
            session_name: the conversation's name for people, of up to 255 characters.
            description: more about it.
            agent_name: the agent's name, of up to 255 characters.
            agent_instructions: the agent's instructions.
            is_active: whether the conversation goes on; the service can list by this.

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
            conversation = cast("DatabaseConversation", self._conversation)
            await self._write(conversation.change, values)


def session_of(
    conversation: DatabaseConversation, session_id: str, user_id: Any, session_settings: Any
) -> DatabaseSession:
    """Return the session of a conversation that a store has made and checked."""
    session = DatabaseSession.__new__(DatabaseSession)
    BaseSession.__init__(session, session_id, session_settings)
    session.user_id = user_id
    session._conversation = conversation
    return session
