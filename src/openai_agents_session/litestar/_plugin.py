"""AgentSessionsPlugin: gives an application the engine, the service and the routes."""

# Litestar reads these annotations at run time, so they are not postponed.
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from copy import copy
from typing import Any

from advanced_alchemy.extensions.litestar import (
    EngineConfig,
    SQLAlchemyAsyncConfig,
    SQLAlchemyInitPlugin,
    SQLAlchemyPlugin,
)
from agents import Agent
from litestar import Litestar, Request, Router
from litestar.config.app import AppConfig
from litestar.di import NamedDependency, Provide
from litestar.exceptions import (
    ImproperlyConfiguredException,
    NotAuthorizedException,
    ValidationException,
)
from litestar.plugins import InitPlugin

from openai_agents_session._web.errors import quietly
from openai_agents_session._web.runs import drain
from openai_agents_session.database import (
    AgentSession,
    AgentSessionMixin,
    AgentSessionService,
    DatabaseSession,
)
from openai_agents_session.database.types import MAX_NAME, MAX_SESSION_ID_BYTES, stored
from openai_agents_session.litestar._controller import AgentController, TheAgent
from openai_agents_session.litestar._schemas import SessionId


def provide_user_id(request: Request[Any, Any, Any]) -> Any:
    """Return the ``id`` of the user that the authentication middleware has set.

    Raises:
        litestar.exceptions.NotAuthorizedException: it has set none, or there is no such
            middleware.
    """
    user = request.scope.get("user")
    if user is None:
        raise NotAuthorizedException
    return user.id


class AgentSessionsPlugin(InitPlugin):
    """Adds the routes of ``AgentController`` to an application, and what they need.

    One line does it::

        Litestar(plugins=[AgentSessionsPlugin(agent, "sqlite+aiosqlite:///app.db")])

    Your own handlers can use the ``AgentSessionService`` as the dependency
    ``agent_session_service``, unless you have something else of that name. The plugin makes no
    tables: run the migration, or use the configuration's ``create_all`` with your own models.

    When the application ends, it waits up to 20 seconds for turns whose clients went away.

    Args:
        agent: the agent that answers, or a ``Provide`` that chooses one for each request.
        database: your ``SQLAlchemyAsyncConfig``, which the plugin registers unless you have;
            or the URL of a database for the conversations alone.
        user_id: a ``Provide`` for the current user's key, which raises
            ``NotAuthorizedException`` if nobody is logged in; by default
            ``connection.user.id``.
        run_options: more arguments for ``Runner.run``, such as ``max_turns`` or ``context``;
            or a ``Provide`` of such a dict for each request.
        session_model: your own class with ``AgentSessionMixin``.
        controller: a subclass of ``AgentController``.

    Raises:
        TypeError: ``agent`` is neither an ``Agent`` nor a ``Provide``.
        ValueError: ``run_options`` has an argument that the route sets itself.
        litestar.exceptions.ImproperlyConfiguredException: when the application starts, if
            ``database`` uses the dependency keys of another one.
    """

    def __init__(
        self,
        agent: Agent[Any] | Provide,
        database: SQLAlchemyAsyncConfig | str,
        *,
        user_id: Provide | None = None,
        run_options: Mapping[str, Any] | Provide | None = None,
        session_model: type[AgentSessionMixin] = AgentSession,
        controller: type[AgentController] = AgentController,
    ) -> None:
        if not isinstance(agent, (Agent, Provide)):
            raise TypeError(f"agent must be an Agent or a Provide, not {type(agent).__name__}")
        if not isinstance(run_options, Provide):
            run_options = dict(run_options or {})
            if taken := {"starting_agent", "input", "session"} & set(run_options):
                raise ValueError(f"run_options must not have {', '.join(sorted(taken))}")
        self._registers = not isinstance(database, str)
        if isinstance(database, str):
            database = SQLAlchemyAsyncConfig(
                connection_string=database, engine_config=EngineConfig(hide_parameters=True)
            )
        self.config = database
        self._model = session_model
        self._controller = controller
        self._dependencies = {
            "agent": _provided(agent),
            "user_id": _provided(user_id or Provide(provide_user_id, sync_to_thread=False)),
            "run_options": _provided(run_options),
            "agent_session": Provide(
                _session_provider(database, session_model), sync_to_thread=False
            ),
            "agent_session_service": Provide(_service_provider(database, session_model)),
        }

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Add the engine, the service and the routes."""
        others = [config for plugin in app_config.plugins for config in _configs(plugin)]
        if not any(self.config is other for other in others):
            if self._registers:
                _refuse_same_keys(self.config, others)
                app_config.plugins.append(SQLAlchemyPlugin(self.config))
            app_config.on_shutdown.append(self._dispose)
        app_config.plugins.append(_DrainFirst())
        app_config.dependencies.setdefault(
            "agent_session_service", Provide(_service_provider(self.config, self._model))
        )
        app_config.route_handlers.append(
            Router("/", route_handlers=[self._controller], dependencies=self._dependencies)
        )
        return app_config

    async def _dispose(self) -> None:
        # advanced-alchemy does so for a process's first configuration only.
        await self.config.get_engine().dispose()


class _DrainFirst(InitPlugin):
    """Comes after the other plugins, so that at the end it is before them: engines are open."""

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        app_config.lifespan.append(_draining)
        return app_config


@asynccontextmanager
async def _draining(_: Litestar) -> AsyncGenerator[None, None]:
    yield
    await drain()


class _Ours(Provide):
    """Equals no other: Litestar refuses one that the application has under another name."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__


# Providers are functions, and no methods: Litestar copies them deeply, and a method's object,
# with the engine in it, would be copied along.


def _service_provider(
    config: SQLAlchemyAsyncConfig, model: Any
) -> Callable[..., AsyncGenerator[AgentSessionService, None]]:
    async def provide() -> AsyncGenerator[AgentSessionService, None]:
        # Not the request's db_session: whoever looked the user up there has begun a
        # transaction, and nobody would commit it.
        async with config.create_session_maker()() as session:
            yield AgentSessionService(session, session_model=model)

    return provide


def _session_provider(config: SQLAlchemyAsyncConfig, model: Any) -> Callable[..., DatabaseSession]:
    def provide(
        session_id: SessionId, user_id: NamedDependency[Any], agent: TheAgent
    ) -> DatabaseSession:
        if len(stored(session_id).encode("utf-8", "replace")) > MAX_SESSION_ID_BYTES:
            raise ValidationException(
                f"session_id must have {MAX_SESSION_ID_BYTES} bytes at most in UTF-8"
            )
        # A maker, since an AsyncSession would end with the handler, and a stream begins then.
        maker: Any = config.create_session_maker()
        instructions = agent.instructions if isinstance(agent.instructions, str) else None
        with quietly(f"Preparing session {session_id!r}"):  # the client can do no more wrong
            return DatabaseSession(
                session_id,
                user_id,
                maker,
                agent.name[:MAX_NAME],
                instructions,
                session_model=model,
                recreate=False,  # while the agent thinks, the user may delete it
            )

    return provide


def _provided(value: Any) -> Provide:
    if not isinstance(value, Provide):
        return Provide(lambda: value, sync_to_thread=False)
    ours = copy(value)
    ours.__class__ = _Ours
    return ours


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
