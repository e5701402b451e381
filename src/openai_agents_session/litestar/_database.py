"""A SQL database as advanced-alchemy configures it, and what handlers get of it."""

# Litestar reads these annotations at run time, so they are not postponed.
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from advanced_alchemy.extensions.litestar import (
    EngineConfig,
    SQLAlchemyAsyncConfig,
    SQLAlchemyInitPlugin,
    SQLAlchemyPlugin,
)
from litestar import Litestar
from litestar.config.app import AppConfig
from litestar.di import NamedDependency, Provide
from litestar.exceptions import ImproperlyConfiguredException
from sqlalchemy.engine import make_url

from openai_agents_session._arguments import MAX_NAME
from openai_agents_session._messages import words_of
from openai_agents_session._session import BaseSession
from openai_agents_session._store import BaseStore, UserConversations
from openai_agents_session._web import routes
from openai_agents_session.database import AgentSessionMixin, AgentSessionService, DatabaseStore
from openai_agents_session.litestar._schemas import SessionId, TheAgent

_BACKENDS = ("sqlite", "postgresql")


def is_database(url: str) -> bool:
    """Whether it is the URL of a SQL database."""
    return url.partition("://")[0].partition("+")[0].lower() in _BACKENDS


class Database:
    """The conversations in a SQL database.

    Attributes:
        config: of the database.

    Args:
        database: the application's configuration, or the URL of a database for the conversations
            alone.
        model: the model of a conversation.
    """

    def __init__(
        self, database: SQLAlchemyAsyncConfig | str, model: type[AgentSessionMixin]
    ) -> None:
        self._registers = not isinstance(database, str)
        self._sets_up = False
        if isinstance(database, str):
            url = make_url(database)
            self._sets_up = str(url.query.get("setup", "")).lower() in ("true", "1")
            database = SQLAlchemyAsyncConfig(
                connection_string=url.difference_update_query(["setup"]).render_as_string(
                    hide_password=False
                ),
                engine_config=EngineConfig(hide_parameters=True),
            )
        self.config = database
        self._model = model

    @property
    def dependencies(self) -> dict[str, Provide]:
        """What the routes ask for."""
        return {
            "agent_session_store": Provide(
                _store_provider(self.config, self._model), sync_to_thread=False
            ),
            "agent_session": Provide(_provide_session, sync_to_thread=False),
            "agent_session_service": Provide(_service_provider(self.config, self._model)),
        }

    def add_to(self, app_config: AppConfig) -> None:
        """Add the engine and the service to an application."""
        others = [config for plugin in app_config.plugins for config in _configs(plugin)]
        if not any(self.config is other for other in others):
            if self._registers:
                _refuse_same_keys(self.config, others)
                app_config.plugins.append(SQLAlchemyPlugin(self.config))
            app_config.on_shutdown.append(self._dispose)
        if self._sets_up:
            app_config.lifespan.append(self._set_up)
        app_config.dependencies.setdefault(
            "agent_session_service", Provide(_service_provider(self.config, self._model))
        )

    @asynccontextmanager
    async def _set_up(self, _: Litestar) -> AsyncGenerator[None, None]:
        await _store_provider(self.config, self._model)().setup()
        yield

    async def _dispose(self) -> None:
        # advanced-alchemy does so for a process's first configuration only.
        await self.config.get_engine().dispose()


# Providers are functions, and no methods: Litestar copies them deeply, and a method's object,
# with the engine in it, would be copied along.


def _store_provider(config: SQLAlchemyAsyncConfig, model: Any) -> Callable[..., BaseStore]:
    def provide() -> BaseStore:
        # Not the request's db_session, which ends with the handler: a stream begins then.
        maker: Any = config.create_session_maker()
        return DatabaseStore(maker, session_model=model)

    return provide


def _service_provider(
    config: SQLAlchemyAsyncConfig, model: Any
) -> Callable[..., AsyncGenerator[AgentSessionService, None]]:
    async def provide() -> AsyncGenerator[AgentSessionService, None]:
        # Not the request's db_session: whoever looked the user up there has begun a
        # transaction, and nobody would commit it.
        async with config.create_session_maker()() as session:
            yield AgentSessionService(session, session_model=model)

    return provide


def _provide_session(
    session_id: SessionId, conversations: NamedDependency[UserConversations], agent: TheAgent
) -> BaseSession:
    """Return a session whose row has the agent's instructions as well, which only SQL keeps."""
    about = {"agent_name": words_of(agent.name)[:MAX_NAME]}
    if isinstance(agent.instructions, str):
        about["agent_instructions"] = agent.instructions
    with routes.on(f"Preparing session {session_id!r}", session_id):
        return conversations._catalog.session(
            conversations.user_id, session_id, about, recreate=False, session_settings=None
        )


def _configs(plugin: Any) -> Any:
    """Return the databases that a plugin of advanced-alchemy's is for."""
    if isinstance(plugin, (SQLAlchemyPlugin, SQLAlchemyInitPlugin)):
        return plugin.config
    return ()


def _refuse_same_keys(config: SQLAlchemyAsyncConfig, others: list[Any]) -> None:
    for other in others:
        if (
            other.session_dependency_key == config.session_dependency_key
            or other.engine_dependency_key == config.engine_dependency_key
        ):
            raise ImproperlyConfiguredException(
                "Two databases of this application use the same dependency keys: give the "
                "SQLAlchemyAsyncConfig of the conversations its own session_dependency_key and "
                "engine_dependency_key, or pass a URL."
            )
