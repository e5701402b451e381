"""AgentController: routes for the conversations of the current user."""

# Litestar reads these annotations at run time, so they are not postponed.
from typing import Annotated, Any, TypeAlias

from advanced_alchemy.exceptions import NotFoundError
from agents import Agent
from litestar import Controller, Request, Response, delete, get, patch, post
from litestar.datastructures import CacheControlHeader
from litestar.di import NamedDependency
from litestar.exceptions import NotAuthorizedException, NotFoundException, ValidationException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.exceptions.responses import create_exception_response
from litestar.openapi import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import FromQuery, QueryParameter, SkipValidation
from litestar.response import ServerSentEvent
from litestar.status_codes import HTTP_200_OK
from msgspec import UNSET, convert
from msgspec.structs import asdict

from openai_agents_session.database import AgentSessionService, CursorError, DatabaseSession
from openai_agents_session.database.types import MAX_NAME
from openai_agents_session.litestar._errors import (
    AgentFailedException,
    ApprovalNeededException,
    NotJSONException,
    RefusedException,
    UnavailableException,
    quietly,
)
from openai_agents_session.litestar._json import require_json
from openai_agents_session.litestar._runs import answer, begin
from openai_agents_session.litestar._schemas import (
    MAX_BODY,
    WITHOUT_NUL,
    ChatBody,
    ChatEvent,
    ChatResponse,
    ConversationPage,
    ConversationRead,
    MessageRead,
    PatchBody,
    SessionId,
)

TheAgent: TypeAlias = NamedDependency[SkipValidation[Agent[Any]]]
"""msgspec would look into the dataclass that an agent is."""

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


def _not_found(request: Request[Any, Any, Any], _: NotFoundError) -> Response[Any]:
    """Answer 404, in debug mode too."""
    return create_exception_response(request, NotFoundException("There is no such conversation."))


def _bad_cursor(request: Request[Any, Any, Any], _: CursorError) -> Response[Any]:
    """Answer 400: the query is validated, but for what a cursor is made of."""
    return create_exception_response(
        request, ValidationException("after must be the cursor of a page.")
    )


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
    exception_handlers = {NotFoundError: _not_found, CursorError: _bad_cursor}  # noqa: RUF012 - as Litestar declares it

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
        return ServerSentEvent(await begin(agent, data.message, agent_session, run_options))

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
            items=convert(found, list[ConversationRead], from_attributes=True),
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
            return convert(rows, list[MessageRead], from_attributes=True)

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
        changes = {name: value for name, value in asdict(data).items() if value is not UNSET}
        with quietly(f"Changing session {session_id!r}"):
            row = await agent_session_service.update_metadata(
                session_id, user_id=user_id, **changes
            )
            return convert(row, ConversationRead, from_attributes=True)

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
