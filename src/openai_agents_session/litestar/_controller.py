"""AgentController: routes for the conversations of the current user."""

# Litestar reads these annotations at run time, so they are not postponed.
from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from advanced_alchemy.exceptions import NotFoundError
from litestar import Controller, Request, Response, delete, get, patch, post
from litestar.datastructures import CacheControlHeader
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import FromQuery, QueryParameter
from litestar.response import ServerSentEvent, ServerSentEventMessage
from litestar.status_codes import HTTP_200_OK, HTTP_201_CREATED
from litestar.types import ASGIApp, Receive, Scope, Send

from openai_agents_session._arguments import MAX_NAME, MAX_NUMBER
from openai_agents_session._session import BaseSession
from openai_agents_session._store import BaseStore, UserConversations
from openai_agents_session._web import errors, routes
from openai_agents_session._web.runs import Event, answer, begin
from openai_agents_session._web.schemas import (
    MAX_BODY,
    STREAM,
    STREAM_EXAMPLES,
    WITHOUT_NUL,
    ChatEvent,
    ChatResponse,
    ConversationPage,
    ConversationRead,
    HealthRead,
    MessageRead,
)
from openai_agents_session.database import CursorError
from openai_agents_session.litestar._errors import answer_error, operation_of, raised_by
from openai_agents_session.litestar._json import require_json
from openai_agents_session.litestar._schemas import (
    ChatBody,
    ForkBody,
    PatchBody,
    SessionId,
    TheAgent,
)

Conversations: TypeAlias = NamedDependency[UserConversations]
Limit: TypeAlias = Annotated[int, QueryParameter(ge=1, le=100, description="How many at most.")]

_STREAM = "openai_agents_session_stream"
"""Of a request's state: the events that answer it."""

_EVENTS = ResponseSpec(
    ChatEvent,
    media_type="text/event-stream",
    description=STREAM,
    generate_examples=False,
    examples=[
        Example(summary, value={"event": event, "data": data})
        for summary, (event, data) in STREAM_EXAMPLES.items()
    ],
)


def _path(route: routes.Route) -> str:
    return route.path.replace("{session_id}", "{session_id:str}")


def _shown(route: routes.Route) -> Mapping[str, Any]:
    """Return what OpenAPI says of a route, as Litestar takes it."""
    return {
        "summary": route.summary,
        "description": route.description,
        "raises": raised_by(route),
        "operation_class": operation_of(route),
    }


def _sent_as(event: Event) -> ServerSentEventMessage:
    if not event.name:
        return ServerSentEventMessage(data=None, comment=event.data)
    return ServerSentEventMessage(event=event.name, data=event.data)


def _ending_stream(app: ASGIApp) -> ASGIApp:
    """Close a request's events when it has ended, whatever ended it.

    Litestar leaves them to Python's garbage collector where the client goes away before the first
    one, or while one is sent.
    """

    async def ending(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        finally:
            if stream := scope["state"].get(_STREAM):
                await stream.aclose()

    return ending


def _not_found(request: Request[Any, Any, Any], _: NotFoundError) -> Response[Any]:
    return answer_error(request, errors.NotFoundError())


def _bad_cursor(request: Request[Any, Any, Any], _: CursorError) -> Response[Any]:
    return answer_error(request, errors.BadCursorError())


class AgentController(Controller):
    """Routes for a user's own conversations.

    A subclass may change the ``path``, and add guards and routes. The plugin provides these
    dependencies:

        agent                    the agent that answers
        user_id                  the current user's id, or a 401
        conversations            the ``UserConversations`` of the current user
        agent_session            their session for the path's ``session_id``
        agent_session_store      the store of all conversations
        agent_session_service    on a SQL database, the ``AgentSessionService`` for this request
        run_options              more arguments for ``Runner.run``
        lease_wait               how long a message waits for the one before it
        all_messages             whether messages of tools are shown as well

    They never come from the query: without a provider for each, the application doesn't start.

    ``request_max_body_size`` is 385,000 bytes, which is enough for every valid message. A larger
    body is refused with 413, because it is read before the user is known.
    """

    path = "/agents"
    tags = ("agents",)
    request_max_body_size = MAX_BODY
    cache_control = CacheControlHeader(no_store=True)
    exception_handlers = {  # noqa: RUF012 - as Litestar declares it
        errors.WebError: answer_error,
        NotFoundError: _not_found,
        CursorError: _bad_cursor,
    }

    @post(
        _path(routes.CHAT),
        status_code=HTTP_200_OK,
        guards=[require_json],
        **_shown(routes.CHAT),
    )
    async def chat(
        self,
        *,
        session_id: SessionId,
        data: ChatBody,
        agent: TheAgent,
        agent_session: NamedDependency[BaseSession],
        run_options: NamedDependency[dict[str, Any]],
        lease_wait: NamedDependency[float | None],
    ) -> ChatResponse:
        """Answer a message."""
        response = await answer(
            agent, data.message, agent_session, run_options, lease_wait=lease_wait
        )
        return ChatResponse(response=response, session_id=session_id)

    @post(
        _path(routes.CHAT_STREAM),
        status_code=HTTP_200_OK,
        guards=[require_json],
        middleware=[_ending_stream],
        responses={HTTP_200_OK: _EVENTS},
        **_shown(routes.CHAT_STREAM),
    )
    async def chat_stream(
        self,
        *,
        request: Request[Any, Any, Any],
        session_id: SessionId,  # noqa: ARG002 - for OpenAPI; agent_session has it
        data: ChatBody,
        agent: TheAgent,
        agent_session: NamedDependency[BaseSession],
        run_options: NamedDependency[dict[str, Any]],
        lease_wait: NamedDependency[float | None],
    ) -> ServerSentEvent:
        """Answer a message piece by piece."""
        stream = await begin(
            agent, data.message, agent_session, run_options, _sent_as, lease_wait=lease_wait
        )
        request.state[_STREAM] = stream
        return ServerSentEvent(stream)

    @get(_path(routes.LIST_SESSIONS), **_shown(routes.LIST_SESSIONS))
    async def list_sessions(
        self,
        *,
        conversations: Conversations,
        limit: Limit = 50,
        after: Annotated[
            str | None,
            QueryParameter(max_length=1000, description="The cursor of the previous page."),
        ] = None,
        is_active: FromQuery[bool | None] = None,
        search: Annotated[
            str | None,
            QueryParameter(
                max_length=MAX_NAME, pattern=WITHOUT_NUL, description="Part of the name."
            ),
        ] = None,
    ) -> ConversationPage:
        """Return a page of conversations."""
        return await routes.list_sessions(
            conversations, limit=limit, after=after, is_active=is_active, search=search
        )

    @get(_path(routes.LIST_MESSAGES), **_shown(routes.LIST_MESSAGES))
    async def list_messages(
        self,
        *,
        session_id: SessionId,
        conversations: Conversations,
        all_messages: NamedDependency[bool],
        limit: Limit = 50,
        before: Annotated[
            int | None,
            QueryParameter(ge=0, le=MAX_NUMBER, description="Only messages before this position."),
        ] = None,
    ) -> list[MessageRead]:
        """Return messages of a conversation."""
        return await routes.list_messages(
            conversations, session_id, limit=limit, before=before, all_messages=all_messages
        )

    @patch(_path(routes.UPDATE_SESSION), guards=[require_json], **_shown(routes.UPDATE_SESSION))
    async def update_session(
        self, session_id: SessionId, data: PatchBody, conversations: Conversations
    ) -> ConversationRead:
        """Change what is said about a conversation."""
        return await routes.update_session(conversations, session_id, data)

    @post(
        _path(routes.FORK_SESSION),
        status_code=HTTP_201_CREATED,
        guards=[require_json],
        **_shown(routes.FORK_SESSION),
    )
    async def fork_session(
        self, session_id: SessionId, data: ForkBody, conversations: Conversations
    ) -> ConversationRead:
        """Begin a conversation with the items of another."""
        return await routes.fork_session(conversations, session_id, data)

    @delete(_path(routes.DELETE_SESSION), **_shown(routes.DELETE_SESSION))
    async def delete_session(self, session_id: SessionId, conversations: Conversations) -> None:
        """Delete a conversation."""
        await routes.delete_session(conversations, session_id)

    @get(_path(routes.HEALTH), exclude_from_auth=True, **_shown(routes.HEALTH))
    async def check_health(self, agent_session_store: NamedDependency[BaseStore]) -> HealthRead:
        """Say whether the store answers."""
        return await routes.check_health(agent_session_store)
