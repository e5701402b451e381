"""AgentController: routes for the conversations of the current user."""

# Litestar reads these annotations at run time, so they are not postponed.
from typing import Annotated, Any, TypeAlias

from advanced_alchemy.exceptions import NotFoundError
from agents import Agent
from litestar import Controller, Request, Response, delete, get, patch, post
from litestar.datastructures import CacheControlHeader
from litestar.di import NamedDependency
from litestar.exceptions import NotAuthorizedException, NotFoundException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.openapi import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import FromQuery, QueryParameter, SkipValidation
from litestar.response import ServerSentEvent, ServerSentEventMessage
from litestar.status_codes import HTTP_200_OK

from openai_agents_session._arguments import MAX_NAME
from openai_agents_session._web import errors
from openai_agents_session._web.errors import quietly
from openai_agents_session._web.runs import Event, answer, begin
from openai_agents_session._web.schemas import (
    MAX_BODY,
    WITHOUT_NUL,
    ChatEvent,
    ChatResponse,
    ConversationPage,
    ConversationRead,
    MessageRead,
)
from openai_agents_session.database import AgentSessionService, CursorError, DatabaseSession
from openai_agents_session.litestar._errors import (
    AgentFailedException,
    ApprovalNeededException,
    NotJSONException,
    RefusedException,
    UnavailableException,
    answer_error,
)
from openai_agents_session.litestar._json import require_json
from openai_agents_session.litestar._schemas import ChatBody, PatchBody, SessionId

TheAgent: TypeAlias = NamedDependency[SkipValidation[Agent[Any]]]
"""Litestar would look into the dataclass that an agent is."""

Limit: TypeAlias = Annotated[int, QueryParameter(ge=1, le=100, description="How many at most.")]

STREAM = [
    Example("A piece of the answer", value={"event": "delta", "data": '{"text": "I will "}'}),
    Example(
        "A tool call, before it runs",
        value={
            "event": "tool_call",
            "data": '{"tool_call_id": "call_123", "tool_name": "add_todo", "content": "{}"}',
        },
    ),
    Example(
        "Its output",
        value={
            "event": "tool_output",
            "data": '{"tool_call_id": "call_123", "content": "It is on your list."}',
        },
    ),
    Example(
        "The whole answer, at the end",
        value={"event": "done", "data": '{"response": "I will.", "session_id": "groceries"}'},
    ),
    Example(
        "An error, instead of the answer",
        value={
            "event": "error",
            "data": '{"status_code": 502, "detail": "The agent could not answer."}',
        },
    ),
]


def _sent_as(event: Event) -> ServerSentEventMessage:
    if not event.name:
        return ServerSentEventMessage(data=None, comment=event.data)
    return ServerSentEventMessage(event=event.name, data=event.data)


def _not_found(request: Request[Any, Any, Any], _: NotFoundError) -> Response[Any]:
    return answer_error(request, errors.NotFoundError())


def _bad_cursor(request: Request[Any, Any, Any], _: CursorError) -> Response[Any]:
    return answer_error(request, errors.BadCursorError())


class AgentController(Controller):
    """Routes for a user's own conversations.

    A subclass may change the ``path``, and add guards and routes. The plugin provides these
    dependencies:

        agent                    the agent that answers
        user_id                  the current user's key, or a 401
        agent_session            the ``DatabaseSession`` for the path's ``session_id``
        agent_session_service    the ``AgentSessionService`` for this request
        run_options              more arguments for ``Runner.run``

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
        "/sessions/{session_id:str}/chat",
        status_code=HTTP_200_OK,
        guards=[require_json],
        summary="Send a message and get the answer",
        raises=[
            NotAuthorizedException,
            NotFoundException,
            ApprovalNeededException,
            NotJSONException,
            RequestEntityTooLarge,
            RefusedException,
            AgentFailedException,
            UnavailableException,
        ],
    )
    async def chat(
        self,
        session_id: SessionId,
        data: ChatBody,
        agent: TheAgent,
        agent_session: NamedDependency[DatabaseSession],
        run_options: NamedDependency[dict[str, Any]],
    ) -> ChatResponse:
        """Continue the user's conversation, or begin it: a new one needs no other call."""
        response = await answer(agent, data.message, agent_session, run_options)
        return ChatResponse(response=response, session_id=session_id)

    @post(
        "/sessions/{session_id:str}/chat/stream",
        status_code=HTTP_200_OK,
        guards=[require_json],
        summary="Send a message and stream the answer",
        raises=[NotAuthorizedException, NotJSONException, RequestEntityTooLarge],
        responses={
            HTTP_200_OK: ResponseSpec(
                ChatEvent,
                media_type="text/event-stream",
                description="Server-sent events: any number of `delta`, `tool_call` and "
                "`tool_output`, then `done` or `error`.",
                generate_examples=False,
                examples=STREAM,
            )
        },
    )
    async def chat_stream(
        self,
        session_id: SessionId,  # noqa: ARG002 - for OpenAPI; agent_session has it
        data: ChatBody,
        agent: TheAgent,
        agent_session: NamedDependency[DatabaseSession],
        run_options: NamedDependency[dict[str, Any]],
    ) -> ServerSentEvent:
        """Send the same answer piece by piece, and the tool calls as they happen.

        If the run fails, the stream ends with an `error` event with `status_code` and `detail`.
        If the client goes away, the current turn is finished and stored, and no other begins.
        """
        stream = await begin(agent, data.message, agent_session, run_options, _sent_as)
        return ServerSentEvent(stream)

    @get(
        "/sessions",
        summary="List the user's conversations",
        raises=[NotAuthorizedException, UnavailableException],
    )
    async def list_sessions(
        self,
        *,
        user_id: NamedDependency[Any],
        agent_session_service: NamedDependency[AgentSessionService],
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
        """Return a page of conversations, the last written to first."""
        with quietly("Listing the conversations"):
            found = await agent_session_service.list_for_user(
                user_id, limit=limit, after=after, is_active=is_active, search=search
            )
            total = await agent_session_service.count_for_user(
                user_id, is_active=is_active, search=search
            )
        return ConversationPage(
            items=[ConversationRead.model_validate(row, from_attributes=True) for row in found],
            cursor=agent_session_service.cursor(found[-1]) if len(found) == limit else None,
            limit=limit,
            total=total,
        )

    @get(
        "/sessions/{session_id:str}/messages",
        summary="Read a conversation",
        raises=[NotAuthorizedException, NotFoundException, UnavailableException],
    )
    async def list_messages(
        self,
        session_id: SessionId,
        user_id: NamedDependency[Any],
        agent_session_service: NamedDependency[AgentSessionService],
        limit: Limit = 50,
        before: Annotated[
            int | None,
            QueryParameter(ge=0, le=2**63 - 1, description="Only messages before this position."),
        ] = None,
    ) -> list[MessageRead]:
        """Return the newest messages, or those before a position; oldest first."""
        with quietly(f"Reading session {session_id!r}"):
            rows = await agent_session_service.list_messages(
                session_id, user_id=user_id, limit=limit, before=before
            )
            return [MessageRead.model_validate(row, from_attributes=True) for row in rows]

    @patch(
        "/sessions/{session_id:str}",
        guards=[require_json],
        summary="Rename, describe or archive a conversation",
        raises=[
            NotAuthorizedException,
            NotFoundException,
            NotJSONException,
            RequestEntityTooLarge,
            UnavailableException,
        ],
    )
    async def update_session(
        self,
        session_id: SessionId,
        data: PatchBody,
        user_id: NamedDependency[Any],
        agent_session_service: NamedDependency[AgentSessionService],
    ) -> ConversationRead:
        """Change the fields that are sent; null clears."""
        changes = data.model_dump(exclude_unset=True)
        with quietly(f"Changing session {session_id!r}"):
            row = await agent_session_service.update_metadata(
                session_id, user_id=user_id, **changes
            )
            return ConversationRead.model_validate(row, from_attributes=True)

    @delete(
        "/sessions/{session_id:str}",
        summary="Delete a conversation",
        raises=[NotAuthorizedException, NotFoundException, UnavailableException],
    )
    async def delete_session(
        self,
        session_id: SessionId,
        user_id: NamedDependency[Any],
        agent_session_service: NamedDependency[AgentSessionService],
    ) -> None:
        """Delete a conversation with its messages."""
        with quietly(f"Deleting session {session_id!r}"):
            await agent_session_service.delete(session_id, user_id=user_id)
