"""Models and a service of an application's own, for type checkers that applications use.

Never run: ``mypy --strict``, ``pyright`` and ``ty check`` must accept every line, and infer the
asserted types.
"""

# Litestar reads annotations at run time, so they are not postponed.
from collections.abc import Sequence
from uuid import UUID

from litestar import get
from litestar.di import NamedDependency
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from typing_extensions import assert_type

from openai_agents_session.database import (
    AgentSession,
    AgentSessionMixin,
    AgentSessionService,
    DatabaseSession,
    SessionMessageMixin,
)


class Base(DeclarativeBase):
    """The application's base."""


class Account(Base):
    """Its users."""

    __tablename__ = "account"

    id: Mapped[int] = mapped_column(primary_key=True)


class Talk(AgentSessionMixin, Base):
    """Its conversations, with a column of its own."""

    __user_model__ = "Account"
    __user_key__ = "account.id"
    __message_model__ = "TalkMessage"

    starred: Mapped[bool] = mapped_column(default=False)


class TalkMessage(SessionMessageMixin, Base):
    """Their messages."""

    __session_model__ = "Talk"


async def with_own_models(maker: async_sessionmaker[AsyncSession], account: Account) -> None:
    """What the service returns has the application's columns."""
    session = DatabaseSession("talk", account.id, maker, session_model=Talk)
    await session.add_items([{"role": "user", "content": "Hello"}])
    async with maker() as db:
        service = AgentSessionService(db, session_model=Talk)
        assert_type(service, AgentSessionService[Talk])
        page = await service.list_for_user(account.id, limit=10, search="hello")
        assert_type(page, Sequence[Talk])
        await service.list_for_user(account.id, after=page[-1])
        await service.list_for_user(account.id, after=service.cursor(page[-1]))
        assert_type((await service.get("talk", user_id=account.id)).starred, bool)
        assert_type(await service.rename("talk", "Ours", user_id=account.id), Talk)
        assert_type(await service.deactivate("talk", user_id=account.id), Talk)
        changed = await service.update_metadata("talk", user_id=account.id, description=None)
        assert_type(changed, Talk)
        assert_type(service.create_session("talk", account.id), DatabaseSession)
        assert_type(await service.count_for_user(account.id), int)
        await service.delete("talk", user_id=account.id)


async def with_the_shipped_models(db: AsyncSession, user_id: UUID) -> None:
    """Without a model it is the shipped one."""
    service = AgentSessionService(db)
    assert_type(service, AgentSessionService[AgentSession])
    assert_type(service, AgentSessionService)
    assert_type(await service.list_for_user(user_id), Sequence[AgentSession])


@get("/starred")
async def starred(
    agent_session_service: NamedDependency[AgentSessionService[Talk]],
    shipped: NamedDependency[AgentSessionService],
    user_id: NamedDependency[int],
) -> list[str]:
    """Handlers of Litestar that have it injected."""
    assert_type(await shipped.list_for_user(user_id), Sequence[AgentSession])
    talks = await agent_session_service.list_for_user(user_id)
    return [talk.session_id for talk in talks if talk.starred]
