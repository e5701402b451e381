"""agent_router: the routes for the conversations of the current user."""

# FastAPI reads these annotations at run time, so they are not postponed.
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeAlias

from agents import Agent
from fastapi import APIRouter, Depends, Path, Query
from fastapi.params import Depends as Dependency
from fastapi.responses import Response

from openai_agents_session._arguments import MAX_NAME, MAX_NUMBER
from openai_agents_session._session import BaseSession
from openai_agents_session._store import BaseStore, UserConversations
from openai_agents_session._web import routes
from openai_agents_session._web.opening import Opening
from openai_agents_session._web.runs import answer, begin, checked_options, checked_wait, drain
from openai_agents_session._web.schemas import (
    MAX_SESSION_ID,
    SESSION_ID,
    STREAM,
    STREAM_EXAMPLES,
    WITHOUT_NUL,
    ChatEvent,
    ChatRequest,
    ChatResponse,
    ConversationFork,
    ConversationPage,
    ConversationPatch,
    ConversationRead,
    ErrorRead,
    HealthRead,
    MessageRead,
)
from openai_agents_session.fastapi._route import AgentRoute, EventStream, sent_as

SessionId: TypeAlias = Annotated[
    str, Path(description=SESSION_ID, max_length=MAX_SESSION_ID, examples=["groceries"])
]
Limit: TypeAlias = Annotated[int, Query(ge=1, le=100, description="How many at most.")]


def agent_router(
    agent: Agent[Any] | Any,
    store: BaseStore | str,
    *,
    user_id: Any,
    run_options: Mapping[str, Any] | Any = None,
    all_messages: bool = False,
    lease_wait: float | None = 2,
    prefix: str = "/agents",
) -> APIRouter:
    """Return the routes for a user's own conversations.

    One line adds them to an application::

        app.include_router(agent_router(agent, store, user_id=Depends(current_user)))

    When the application ends, it waits up to 20 seconds for turns whose clients went away. That
    needs its lifespan, which servers run; with ``httpx.ASGITransport`` run it yourself.

    Args:
        agent: the agent that answers, or a ``Depends`` that chooses one for each request.
        store: a store that your application opens and closes; or the URL of one, as
            ``open_store`` takes it, which is opened and closed with the application.
        user_id: a ``Depends`` of the current user's id, which raises an ``HTTPException`` if
            nobody is logged in. Take it from your authentication, and never from a path, a
            query or a body.
        run_options: more arguments for ``Runner.run``, such as ``max_turns`` or ``context``; or
            a ``Depends`` of such a dict for each request.
        all_messages: whether the messages of a conversation are all that it has, with tool
            calls, their outputs, reasoning and system messages; by default only what the user
            and the agent said.
        lease_wait: how many seconds a message waits while another one to the same conversation
            is being answered; then it is refused with 409. None lets the runs go side by side.
        prefix: of the paths.

    Returns:
        A router for ``include_router``.

    Raises:
        TypeError: ``agent`` is neither an ``Agent`` nor a ``Depends``, ``store`` is neither a
            store nor a URL, ``user_id`` is no ``Depends``, or ``lease_wait`` no number.
        ValueError: ``run_options`` has an argument that the route sets itself, there is no
            store at such a URL, or ``lease_wait`` is negative.
    """
    if not isinstance(agent, (Agent, Dependency)):
        raise TypeError(f"agent must be an Agent or a Depends, not {type(agent).__name__}")
    if not isinstance(user_id, Dependency):
        raise TypeError(f"user_id must be a Depends, not {type(user_id).__name__}")
    if not isinstance(run_options, Dependency):
        run_options = checked_options(run_options)
    lease_wait = checked_wait(lease_wait)
    opening = Opening(store)
    the_agent = _provided(agent)

    async def provide_conversations(user: Any = user_id) -> UserConversations:
        return routes.conversations_of(opening.store, user)

    mine: Any = Depends(provide_conversations)

    async def provide_session(
        session_id: SessionId, conversations: UserConversations = mine, chosen: Any = the_agent
    ) -> BaseSession:
        return routes.session_of(conversations, session_id, chosen)

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncGenerator[None]:
        async with opening.opened():
            try:
                yield
            finally:
                await drain()

    router = APIRouter(prefix=prefix, tags=["agents"], route_class=AgentRoute, lifespan=lifespan)
    _add_chat(router, Depends(provide_session), the_agent, _provided(run_options), lease_wait)
    _add_conversations(router, mine, all_messages=all_messages)

    @router.get(routes.HEALTH.path, **_shown(routes.HEALTH))
    async def check_health() -> HealthRead:
        return await routes.check_health(opening.store)

    return router


def _add_chat(
    router: APIRouter,
    the_session: Any,
    the_agent: Any,
    the_options: Any,
    lease_wait: float | None,
) -> None:
    """Add the routes that run the agent; the session, the agent, the options are dependencies."""

    @router.post(routes.CHAT.path, **_shown(routes.CHAT))
    async def chat(
        session_id: SessionId,
        data: ChatRequest,
        session: Any = the_session,
        chosen: Any = the_agent,
        options: Any = the_options,
    ) -> ChatResponse:
        response = await answer(chosen, data.message, session, options, lease_wait=lease_wait)
        return ChatResponse(response=response, session_id=session_id)

    @router.post(
        routes.CHAT_STREAM.path,
        response_class=Response,  # which says of no answer that it is a stream, such as an error
        **_shown(routes.CHAT_STREAM, {200: _EVENTS}),
    )
    async def chat_stream(
        data: ChatRequest,
        session: Any = the_session,
        chosen: Any = the_agent,
        options: Any = the_options,
    ) -> EventStream:
        return EventStream(
            await begin(chosen, data.message, session, options, sent_as, lease_wait=lease_wait)
        )


def _add_conversations(router: APIRouter, mine: Any, *, all_messages: bool) -> None:
    """Add the routes for the conversations that the dependency ``mine`` gives."""

    @router.get(routes.LIST_SESSIONS.path, **_shown(routes.LIST_SESSIONS))
    async def list_sessions(
        *,
        conversations: UserConversations = mine,
        limit: Limit = 50,
        after: Annotated[
            str | None, Query(max_length=1000, description="The cursor of the previous page.")
        ] = None,
        is_active: bool | None = None,
        search: Annotated[
            str | None,
            Query(max_length=MAX_NAME, pattern=WITHOUT_NUL, description="Part of the name."),
        ] = None,
    ) -> ConversationPage:
        return await routes.list_sessions(
            conversations, limit=limit, after=after, is_active=is_active, search=search
        )

    @router.get(routes.LIST_MESSAGES.path, **_shown(routes.LIST_MESSAGES))
    async def list_messages(
        session_id: SessionId,
        conversations: UserConversations = mine,
        limit: Limit = 50,
        before: Annotated[
            int | None,
            Query(ge=0, le=MAX_NUMBER, description="Only messages before this position."),
        ] = None,
    ) -> list[MessageRead]:
        return await routes.list_messages(
            conversations, session_id, limit=limit, before=before, all_messages=all_messages
        )

    @router.patch(routes.UPDATE_SESSION.path, **_shown(routes.UPDATE_SESSION))
    async def update_session(
        session_id: SessionId, data: ConversationPatch, conversations: UserConversations = mine
    ) -> ConversationRead:
        return await routes.update_session(conversations, session_id, data)

    @router.post(routes.FORK_SESSION.path, status_code=201, **_shown(routes.FORK_SESSION))
    async def fork_session(
        session_id: SessionId, data: ConversationFork, conversations: UserConversations = mine
    ) -> ConversationRead:
        return await routes.fork_session(conversations, session_id, data)

    @router.delete(routes.DELETE_SESSION.path, status_code=204, **_shown(routes.DELETE_SESSION))
    async def delete_session(
        session_id: SessionId, conversations: UserConversations = mine
    ) -> None:
        await routes.delete_session(conversations, session_id)


_EVENTS = {
    "description": STREAM,
    "content": {
        "text/event-stream": {
            "schema": ChatEvent.model_json_schema(),
            "examples": {
                summary: {"value": {"event": event, "data": data}}
                for summary, (event, data) in STREAM_EXAMPLES.items()
            },
        }
    },
}


def _shown(route: routes.Route, responses: Mapping[Any, Any] | None = None) -> dict[str, Any]:
    """Return what OpenAPI says of a route, as FastAPI takes it."""
    shown: dict[int | str, Any] = dict(responses or {})
    if route is not routes.HEALTH:
        shown[400] = {"model": ErrorRead, "description": "The request is not valid."}
        shown[401] = {"description": "Nobody is logged in."}
        # Without this, FastAPI would say that what is not valid is answered with 422.
        shown["4XX"] = {"description": "An error of the application's, such as of its login."}
    for status, description in route.answers().items():
        shown[status] = {"model": ErrorRead, "description": description}
    for error in route.raises:
        if error.headers:
            shown[error.status_code]["headers"] = {
                name: {"description": routes.HEADERS[name], "schema": {"type": "integer"}}
                for name in error.headers
            }
    return {"summary": route.summary, "description": route.description, "responses": shown}


def _provided(value: Any) -> Any:
    """Return a dependency as it is, and one of a value for the value."""
    if isinstance(value, Dependency):
        return value

    async def provide() -> Any:
        return value

    return Depends(provide)
