"""What the tests of the SQL store share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from openai_agents_session.database import AgentSession
from openai_agents_session.database._statements import tables_of

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import async_sessionmaker

    from openai_agents_session.database import AgentSessionMixin


async def assert_agreement(
    maker: async_sessionmaker, model: type[AgentSessionMixin] = AgentSession
) -> None:
    """Assert that no message is without a conversation, and none at a position to come."""
    sessions, messages = tables_of(model)
    both = messages.outerjoin(sessions, messages.c.agent_session_id == sessions.c.id)
    stray = sessions.c.id.is_(None) | (messages.c.position > sessions.c.last_position)
    async with maker() as db:
        assert not (await db.execute(select(messages.c.id).select_from(both).where(stray))).all()
