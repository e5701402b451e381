"""Calls as applications write them, for the type checker; never run.

``ty check`` must accept every line, infer the asserted types, and find the errors that
are marked: a marked line without an error is reported too.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from agents import Agent, Runner
from agents.extensions.memory.encrypt_session import EncryptedSession
from agents.memory import (
    OpenAIResponsesCompactionSession,
    Session,
    SessionABC,
    SessionSettings,
)
from fastapi import APIRouter, Depends
from litestar import Litestar, Request
from litestar.di import Provide
from sqlalchemy.orm import DeclarativeBase
from typing_extensions import assert_type

import openai_agents_session
from openai_agents_session import (
    AgentSessionService,
    DatabaseSession,
    DynamoDBSession,
    RedisSession,
)
from openai_agents_session.database import (
    AgentSession,
    AgentSessionMixin,
    MessageRole,
    SessionMessageMixin,
)
from openai_agents_session.database import DatabaseSession as DirectDatabaseSession
from openai_agents_session.dynamodb import DynamoDBSession as DirectDynamoDBSession
from openai_agents_session.dynamodb import create_table_if_not_exists, remove_orphaned_pages
from openai_agents_session.fastapi import agent_router
from openai_agents_session.litestar import (
    AgentController,
    AgentSessionsPlugin,
    ChatRequest,
    ChatResponse,
    ConversationPatch,
    ConversationRead,
    MessageRead,
    provide_user_id,
)
from openai_agents_session.redis import RedisSession as DirectRedisSession

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    import redis
    from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig
    from agents import TResponseInputItem
    from aiobotocore.client import AioBaseClient
    from aiobotocore.session import AioSession
    from redis.asyncio import Redis, RedisCluster
    from redis.asyncio.sentinel import Sentinel
    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

    from openai_agents_session.store import BaseStore


def construct(client: Redis, cluster: RedisCluster, sentinel: Sentinel) -> None:
    """The constructor's arguments, by position and by name."""
    assert_type(RedisSession("user-123", client), RedisSession)
    RedisSession("user-123", client, "my_app", 3600)
    RedisSession(session_id="user-123", redis_client=client, key_prefix="my_app", ttl=3600)
    RedisSession("user-123", client, ttl=None, session_settings=None)
    RedisSession("user-123", client, session_settings=SessionSettings(limit=50))
    RedisSession("user-123", client, session_settings={"limit": 50})
    RedisSession("user-123", cluster)
    RedisSession("user-123", sentinel.master_for("main"))
    assert_type(openai_agents_session.RedisSession("user-123", client), RedisSession)
    assert_type(DirectRedisSession("user-123", client), RedisSession)
    assert_type(openai_agents_session.__version__, str)


def construct_from_url() -> None:
    """``from_url`` is a plain call, and forwards the client's options."""
    url = "redis://localhost:6379"
    assert_type(RedisSession.from_url("user-123", url), RedisSession)
    RedisSession.from_url(session_id="user-123", url=url, key_prefix="my_app", ttl=3600)
    RedisSession.from_url("user-123", url, session_settings={"limit": 50})
    RedisSession.from_url("user-123", url, max_connections=20, socket_timeout=2.5)


async def use(session: RedisSession, items: list[TResponseInputItem]) -> None:
    """What the methods take and return."""
    assert_type(await session.get_items(), "list[TResponseInputItem]")
    assert_type(await session.get_items(10), "list[TResponseInputItem]")
    assert_type(await session.get_items(limit=None), "list[TResponseInputItem]")
    assert_type(await session.add_items(items), None)
    await session.add_items([{"role": "user", "content": "Hello"}])
    assert_type(await session.pop_item(), "TResponseInputItem | None")
    assert_type(await session.clear_session(), None)
    assert_type(await session.replace_items(items), None)
    assert_type(await session.ping(), bool)
    assert_type(await session.close(), None)
    assert_type(session.session_id, str)
    async with session as entered:
        assert_type(entered, RedisSession)
    async with RedisSession.from_url("user-123", "redis://localhost") as made:
        assert_type(made, RedisSession)


class Audited(RedisSession):
    """A subclass, as an application may write one."""

    async def add_items(self, items: list[TResponseInputItem]) -> None:
        """Append after looking."""
        await super().add_items(items)


async def subclass(client: Redis) -> None:
    """A subclass stays itself through ``from_url`` and ``async with``."""
    assert_type(Audited("user-123", client), Audited)
    assert_type(Audited.from_url("user-123", "redis://localhost"), Audited)
    async with Audited("user-123", client) as session:
        assert_type(session, Audited)


async def with_the_sdk(session: RedisSession) -> None:
    """A session goes wherever the SDK takes one."""
    agent = Agent(name="Assistant")
    await Runner.run(agent, "Hello", session=session)
    Runner.run_sync(agent, "Hello", session=session)
    Runner.run_streamed(agent, "Hello", session=session)
    structural: Session = session
    nominal: SessionABC = session
    encrypted = EncryptedSession("user-123", structural, encryption_key="secret")
    compacted = OpenAIResponsesCompactionSession("user-123", session)
    await Runner.run(agent, "Hello", session=encrypted)
    await Runner.run(agent, "Hello", session=compacted)
    await nominal.clear_session()


def factory(make: Callable[[str], Session]) -> Session:
    """A function that makes a session of any kind from its id."""
    return make("user-123")


factory(lambda session_id: RedisSession.from_url(session_id, "redis://localhost"))


async def mistakes(client: Redis, synchronous: redis.Redis, session: RedisSession) -> None:
    """Each of these is an error to a type checker."""
    RedisSession()  # ty: ignore[missing-argument] - no arguments at all
    RedisSession("user-123")  # ty: ignore[missing-argument] - no client
    RedisSession(123, client)  # ty: ignore[invalid-argument-type] - an id is text
    RedisSession("user-123", synchronous)  # ty: ignore[invalid-argument-type] - not asynchronous
    RedisSession("user-123", "redis://localhost")  # ty: ignore[invalid-argument-type] - a URL
    RedisSession("user-123", client, ttl="1h")  # ty: ignore[invalid-argument-type] - seconds
    RedisSession("user-123", client, ttl_seconds=60)  # ty: ignore[unknown-argument] - it is ttl
    RedisSession("user-123", client, "app", 60, None)  # ty: ignore[too-many-positional-arguments] - by name only
    RedisSession.from_url("user-123")  # ty: ignore[missing-argument] - no URL
    await RedisSession.from_url("user-123", "redis://localhost")  # ty: ignore[invalid-await] - a plain call
    await session.add_items("Hello")  # ty: ignore[invalid-argument-type] - a list of items
    await session.get_items(limit="10")  # ty: ignore[invalid-argument-type] - a number
    forgotten: list[TResponseInputItem] = session.get_items()  # ty: ignore[invalid-assignment] - no await
    pending: Awaitable[list[TResponseInputItem]] = session.get_items()
    del forgotten, pending


def construct_on_dynamodb(client: AioBaseClient) -> None:
    """The constructor's arguments, by position and by name."""
    assert_type(DynamoDBSession("user-123", client, "agent_sessions"), DynamoDBSession)
    DynamoDBSession("user-123", client, "agent_sessions", 3600)
    DynamoDBSession("user-123", client, "agent_sessions", None, page_bytes=128 * 1024)
    DynamoDBSession(
        session_id="user-123",
        dynamodb_client=client,
        table_name="agent_sessions",
        ttl_seconds=3600,
        page_bytes=4096,
        session_settings=SessionSettings(limit=50),
    )
    DynamoDBSession("user-123", client, "agent_sessions", session_settings={"limit": 50})
    assert_type(
        openai_agents_session.DynamoDBSession("user-123", client, "agent_sessions"),
        DynamoDBSession,
    )
    assert_type(DirectDynamoDBSession("user-123", client, "agent_sessions"), DynamoDBSession)


async def use_on_dynamodb(aws: AioSession, items: list[TResponseInputItem]) -> None:
    """From the client to the conversation, as an application does it."""
    async with aws.create_client("dynamodb", region_name="eu-central-1") as client:
        assert_type(await create_table_if_not_exists(client, "agent_sessions"), None)
        await create_table_if_not_exists(client, "agent_sessions", enable_ttl=False)
        assert_type(await remove_orphaned_pages(client, "agent_sessions"), int)
        await remove_orphaned_pages(client, "agent_sessions", older_than_seconds=60, dry_run=True)
        async with DynamoDBSession("user-123", client, "agent_sessions", 3600) as session:
            assert_type(session, DynamoDBSession)
            assert_type(await session.get_items(), "list[TResponseInputItem]")
            assert_type(await session.get_items(limit=10), "list[TResponseInputItem]")
            assert_type(await session.add_items(items), None)
            assert_type(await session.pop_item(), "TResponseInputItem | None")
            assert_type(await session.clear_session(), None)
            assert_type(await session.replace_items(items), None)
            assert_type(await session.ping(), bool)
            await Runner.run(Agent(name="Assistant"), "Hello", session=session)
            nominal: SessionABC = session
            structural: Session = session
            EncryptedSession("user-123", structural, encryption_key="secret")
            OpenAIResponsesCompactionSession("user-123", nominal)


async def mistakes_on_dynamodb(client: AioBaseClient, aws: AioSession, redis: Redis) -> None:
    """Each of these is an error to a type checker."""
    DynamoDBSession("user-123", client)  # ty: ignore[missing-argument] - no table
    DynamoDBSession(123, client, "table")  # ty: ignore[invalid-argument-type] - an id is text
    DynamoDBSession("user-123", redis, "table")  # ty: ignore[invalid-argument-type] - another store
    DynamoDBSession("user-123", aws, "table")  # ty: ignore[invalid-argument-type] - no client
    DynamoDBSession("user-123", client, "table", "1h")  # ty: ignore[invalid-argument-type] - seconds
    DynamoDBSession("user-123", client, "table", ttl=60)  # ty: ignore[unknown-argument] - it is ttl_seconds
    DynamoDBSession("user-123", client, "table", 60, 4096)  # ty: ignore[too-many-positional-arguments] - by name only
    await create_table_if_not_exists(client)  # ty: ignore[missing-argument] - no table
    await create_table_if_not_exists(client, "table", False)  # ty: ignore[too-many-positional-arguments] - by name only


async def use_in_sql(
    maker: async_sessionmaker, db: AsyncSession, user_id: UUID, items: list[TResponseInputItem]
) -> None:
    """From the constructor's arguments to the conversation."""
    DatabaseSession("user-123", str(user_id), db, "Assistant", "Be brief.", "Holidays")
    DatabaseSession(
        session_id="user-123",
        user_id=user_id,
        db_session=maker,
        agent_name="Assistant",
        agent_instructions=None,
        session_name="Holidays",
        session_settings=SessionSettings(limit=50),
        session_model=None,
    )
    assert_type(openai_agents_session.DatabaseSession("user-123", 5, maker), DatabaseSession)
    assert_type(DirectDatabaseSession("user-123", user_id, maker), DatabaseSession)
    async with DatabaseSession("user-123", user_id, maker) as session:
        assert_type(session, DatabaseSession)
        assert_type(await session.get_items(limit=10), "list[TResponseInputItem]")
        assert_type(await session.add_items(items), None)
        assert_type(await session.pop_item(), "TResponseInputItem | None")
        assert_type(await session.clear_session(), None)
        assert_type(await session.replace_items(items), None)
        await session.update_session_metadata(session_name="Summer", description=None)
        assert_type(await session.ping(), bool)
        await Runner.run(Agent(name="Assistant"), "Hello", session=session)
        structural: Session = session
        EncryptedSession("user-123", structural, encryption_key="secret")
        OpenAIResponsesCompactionSession("user-123", session)
    service = AgentSessionService(db)
    assert_type(await service.count_for_user(user_id), int)
    assert_type(service.create_session("user-123", user_id), DatabaseSession)


async def mistakes_in_sql(maker: async_sessionmaker, engine: AsyncEngine, user_id: UUID) -> None:
    """Each of these is an error to a type checker."""
    DatabaseSession("user-123", user_id)  # ty: ignore[missing-argument] - no database
    DatabaseSession(123, user_id, maker)  # ty: ignore[invalid-argument-type] - an id is text
    DatabaseSession("user-123", user_id, engine)  # ty: ignore[invalid-argument-type] - no maker
    DatabaseSession("user-123", user_id, maker, ttl=60)  # ty: ignore[unknown-argument] - nothing expires
    session = DatabaseSession("user-123", user_id, maker)
    await session.update_session_metadata("Summer")  # ty: ignore[too-many-positional-arguments] - by name only


async def list_in_sql(db: AsyncSession, user_id: UUID) -> None:
    """What the service takes and returns."""
    service = AgentSessionService(db)
    (row,) = await service.list_for_user(
        user_id, limit=1, after=None, is_active=True, search="holi"
    )
    assert_type(row, AgentSession)
    assert_type(row.session_name, "str | None")
    assert_type(await service.get("user-123", user_id=user_id), AgentSession)
    assert_type(await service.rename("user-123", None, user_id=user_id), AgentSession)
    assert_type(await service.deactivate("user-123", user_id=user_id), AgentSession)
    assert_type(await service.delete("user-123", user_id=user_id), None)
    month = timedelta(days=30)
    assert_type(await service.delete_older_than(month, user_id=None, dry_run=True), int)
    await service.delete("user-123")  # ty: ignore[missing-argument] - whose?
    await service.delete_older_than(month)  # ty: ignore[missing-argument] - everybody's has to be said
    await service.delete_older_than(30, user_id=None)  # ty: ignore[invalid-argument-type] - of what?
    await service.get_one(session_id="user-123")  # ty: ignore[missing-attribute] - whose?
    AgentSessionService(db, session_model=OwnMessage)  # ty: ignore[invalid-argument-type] - the other one


class Own(DeclarativeBase):
    """An application's base."""


class OwnSession(AgentSessionMixin, Own):
    """A conversation on it."""

    __user_model__ = "Account"
    __user_key__ = "account.id"


class OwnMessage(SessionMessageMixin, Own):
    """A message on it."""

    __session_model__ = "OwnSession"


def with_own_models(maker: async_sessionmaker, row: OwnSession, message: OwnMessage) -> None:
    """An application's classes go where the shipped ones do, and have their columns."""
    DatabaseSession("user-123", 5, maker, session_model=OwnSession)
    assert_type(row.session_id, str)
    assert_type(row.is_active, bool)
    assert_type(message.role, MessageRole)
    DatabaseSession("user-123", 5, maker, session_model=OwnMessage)  # ty: ignore[invalid-argument-type] - the other one


class OwnController(AgentController):
    """A subclass, as an application may write one."""

    path = "/assistants"


def current_user_id(request: Request[Any, Any, Any]) -> UUID:
    """A provider that falls back on the default one."""
    found: UUID = provide_user_id(request)
    return found


def over_http(agent: Agent, config: SQLAlchemyAsyncConfig) -> Litestar:
    """The plugin's arguments, by position and by name."""
    AgentSessionsPlugin(agent, "sqlite+aiosqlite:///app.db")
    AgentSessionsPlugin(
        Provide(lambda: agent, sync_to_thread=False),
        config,
        user_id=Provide(current_user_id, sync_to_thread=False),
        run_options={"max_turns": 5},
        session_model=OwnSession,
        controller=OwnController,
    )
    AgentSessionsPlugin(agent)  # ty: ignore[missing-argument] - no store
    AgentSessionsPlugin("Assistant", config)  # ty: ignore[invalid-argument-type] - no agent
    AgentSessionsPlugin(agent, config, user_id=current_user_id)  # ty: ignore[invalid-argument-type] - no Provide
    AgentSessionsPlugin(agent, config, controller=AgentSession)  # ty: ignore[invalid-argument-type] - no controller
    AgentSessionsPlugin(agent, config, {"max_turns": 5})  # ty: ignore[too-many-positional-arguments] - by name only
    return Litestar(plugins=[AgentSessionsPlugin(agent, config)])


def with_any_store(agent: Agent, store: BaseStore) -> APIRouter:
    """A store, or its URL, is for both frameworks."""
    AgentSessionsPlugin(agent, store, all_messages=True)
    AgentSessionsPlugin(agent, "redis://localhost")
    agent_router(agent, store)  # ty: ignore[missing-argument] - no user
    agent_router(agent, 5, user_id=Depends())  # ty: ignore[invalid-argument-type] - no store
    return agent_router(Depends(), "redis://localhost", user_id=Depends(), prefix="/talk")


def schemas(said: ChatResponse, read: ConversationRead, message: MessageRead) -> None:
    """What a client of the routes sends and gets, for those who write one in Python."""
    assert_type(ChatRequest(message="Hello").message, str)
    ConversationPatch(session_name=None, is_active=False)
    assert_type(said.session_id, str)
    assert_type(read.session_name, "str | None")
    assert_type(message.role, MessageRole)
    ConversationPatch(agent_name="Assistant")  # ty: ignore[unknown-argument] - that is the application's
