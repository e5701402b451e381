"""AgentSessionsPlugin: gives an application the store and the routes."""

# Litestar reads these annotations at run time, so they are not postponed.
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from copy import copy
from typing import Any

from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig
from agents import Agent
from litestar import Litestar, Request, Router
from litestar.config.app import AppConfig
from litestar.di import NamedDependency, Provide
from litestar.exceptions import NotAuthorizedException
from litestar.plugins import InitPlugin

from openai_agents_session._session import BaseSession
from openai_agents_session._store import BaseStore, UserConversations
from openai_agents_session._web import routes
from openai_agents_session._web.opening import Opening
from openai_agents_session._web.runs import checked_options, checked_wait, drain
from openai_agents_session.database import AgentSession, AgentSessionMixin
from openai_agents_session.litestar._controller import AgentController
from openai_agents_session.litestar._database import Database, is_database
from openai_agents_session.litestar._schemas import SessionId, TheAgent


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

    With a SQL database, your own handlers can use the ``AgentSessionService`` as the dependency
    ``agent_session_service``, unless you have something else of that name. The plugin makes no
    tables: run the migration, or use the configuration's ``create_all`` with your own models.

    When the application ends, it waits up to 20 seconds for turns whose clients went away.

    Args:
        agent: the agent that answers, or a ``Provide`` that chooses one for each request.
        store: where the conversations are: a URL, as ``open_store`` takes it, whose store is
            opened and closed with the application; a store that your application opens and
            closes; or your ``SQLAlchemyAsyncConfig``, which the plugin registers unless you have.
        user_id: a ``Provide`` for the current user's id, which raises
            ``NotAuthorizedException`` if nobody is logged in; by default
            ``connection.user.id``. In SQL it is the user's key, elsewhere a text.
        run_options: more arguments for ``Runner.run``, such as ``max_turns`` or ``context``;
            or a ``Provide`` of such a dict for each request.
        all_messages: whether the messages of a conversation are all that it has, with tool
            calls, their outputs, reasoning and system messages; by default only what the user
            and the agent said.
        lease_wait: how many seconds a message waits while another one to the same conversation
            is being answered; then it is refused with 409. None lets the runs go side by side.
        session_model: your own class with ``AgentSessionMixin``, for a configuration or the URL
            of a SQL database; None takes the shipped one.
        controller: a subclass of ``AgentController``.

    Raises:
        TypeError: ``agent`` is neither an ``Agent`` nor a ``Provide``, ``store`` is nothing of
            the above, there is a ``session_model`` for another store, or ``lease_wait`` is no
            number.
        ValueError: ``run_options`` has an argument that the route sets itself, there is no
            store at such a URL, or ``lease_wait`` is negative.
        litestar.exceptions.ImproperlyConfiguredException: when the application starts, if
            the configuration uses the dependency keys of another one.
    """

    def __init__(
        self,
        agent: Agent[Any] | Provide,
        store: SQLAlchemyAsyncConfig | BaseStore | str,
        *,
        user_id: Provide | None = None,
        run_options: Mapping[str, Any] | Provide | None = None,
        all_messages: bool = False,
        lease_wait: float | None = 2,
        session_model: type[AgentSessionMixin] | None = None,
        controller: type[AgentController] = AgentController,
    ) -> None:
        if not isinstance(agent, (Agent, Provide)):
            raise TypeError(f"agent must be an Agent or a Provide, not {type(agent).__name__}")
        if not isinstance(run_options, Provide):
            run_options = checked_options(run_options)
        self._source: Database | Opening
        if isinstance(store, SQLAlchemyAsyncConfig) or (
            isinstance(store, str) and is_database(store)
        ):
            self._source = Database(store, session_model or AgentSession)
        elif session_model is not None:
            raise TypeError("session_model is for a SQLAlchemyAsyncConfig or a database's URL")
        else:
            self._source = Opening(store)
        self._controller = controller
        self._dependencies = {
            "agent": _provided(agent),
            "user_id": _provided(user_id or Provide(provide_user_id, sync_to_thread=False)),
            "run_options": _provided(run_options),
            "all_messages": _provided(all_messages),
            "lease_wait": _provided(checked_wait(lease_wait)),
            "conversations": Provide(_provide_conversations, sync_to_thread=False),
            **(
                self._source.dependencies
                if isinstance(self._source, Database)
                else _opened_for(self._source)
            ),
        }

    @property
    def config(self) -> SQLAlchemyAsyncConfig:
        """The configuration of the SQL database that the conversations are in.

        Raises:
            AttributeError: they are in another store, or in one of the application's.
        """
        config: SQLAlchemyAsyncConfig | None = getattr(self._source, "config", None)
        if config is None:
            raise AttributeError("the conversations are in a store, which has no configuration")
        return config

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Add the store, what handlers may ask for, and the routes."""
        if isinstance(self._source, Database):
            self._source.add_to(app_config)
        else:
            app_config.lifespan.append(_opening(self._source))
        app_config.plugins.append(_DrainFirst())
        app_config.route_handlers.append(
            Router("/", route_handlers=[self._controller], dependencies=self._dependencies)
        )
        return app_config


class _DrainFirst(InitPlugin):
    """Comes after the other plugins, so that at the end it is before them: engines are open."""

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        app_config.lifespan.append(_draining)
        return app_config


def _opening(opening: Opening) -> Callable[[Litestar], Any]:
    return lambda _: opening.opened()


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


def _opened_for(opening: Opening) -> dict[str, Provide]:
    """Return what the routes ask for where the store is one of ours, or the application's."""

    def provide() -> BaseStore:
        return opening.store

    return {
        "agent_session_store": Provide(provide, sync_to_thread=False),
        "agent_session": Provide(_provide_session, sync_to_thread=False),
    }


def _provide_conversations(
    agent_session_store: NamedDependency[BaseStore], user_id: NamedDependency[Any]
) -> UserConversations:
    return routes.conversations_of(agent_session_store, user_id)


def _provide_session(
    session_id: SessionId, conversations: NamedDependency[UserConversations], agent: TheAgent
) -> BaseSession:
    return routes.session_of(conversations, session_id, agent)


def _provided(value: Any) -> Provide:
    if not isinstance(value, Provide):
        return Provide(lambda: value, sync_to_thread=False)
    ours = copy(value)
    ours.__class__ = _Ours
    return ours
