"""The routes: what OpenAPI says of each, and what each does once its request has been read."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from openai_agents_session._arguments import MAX_NAME
from openai_agents_session._messages import words_of
from openai_agents_session._web.errors import (
    AgentFailedError,
    ApprovalNeededError,
    BadIdError,
    BusyError,
    IdTakenError,
    NoSearchError,
    NotFoundError,
    NotJSONError,
    RefusedError,
    TooLargeError,
    UnavailableError,
    WebError,
    is_refusal,
    quietly,
)
from openai_agents_session._web.schemas import (
    MAX_SESSION_ID,
    ConversationPage,
    ConversationRead,
    HealthRead,
    MessageRead,
)

if TYPE_CHECKING:
    from collections.abc import Generator

    from agents import Agent

    from openai_agents_session._catalog import ConversationInfo
    from openai_agents_session._session import BaseSession
    from openai_agents_session._store import BaseStore, UserConversations
    from openai_agents_session._web.schemas import ConversationFork, ConversationPatch

HEALTH_SECONDS = 5.0
"""So long the store may take to answer a health check."""


@dataclass(frozen=True)
class Route:
    """What OpenAPI says of a route.

    Attributes:
        path: below the prefix.
        summary: in a few words.
        description: more about it.
        raises: the errors that it may answer with, besides a request that is not valid.
    """

    path: str
    summary: str
    description: str
    raises: tuple[type[WebError], ...] = ()

    def answers(self) -> dict[int, str]:
        """Return what each status of an error means."""
        sentences: dict[int, list[str]] = {}
        for error in self.raises:
            sentences.setdefault(error.status_code, []).append(error.detail)
        return {status: " Or: ".join(each) for status, each in sentences.items()}


_BODY = (NotJSONError, TooLargeError)
_WAITS = (
    "While another message to the conversation is being answered, this one waits for a moment. If "
    "that takes longer, the answer is 409 with `Retry-After`, and the message was not heard."
)

CHAT = Route(
    "/sessions/{session_id}/chat",
    "Send a message and get the answer",
    "Continue the user's conversation, or begin it: a new one needs no other call.\n\n" + _WAITS,
    (
        NotFoundError,
        ApprovalNeededError,
        BusyError,
        *_BODY,
        RefusedError,
        AgentFailedError,
        UnavailableError,
    ),
)
CHAT_STREAM = Route(
    "/sessions/{session_id}/chat/stream",
    "Send a message and stream the answer",
    "Send the same answer piece by piece, and the tool calls as they happen.\n\n"
    "If the run fails, the stream ends with an `error` event with `status_code` and `detail`. "
    "If the client goes away, the current turn is finished and stored, and no other begins.\n\n"
    + _WAITS,
    (BusyError, *_BODY, UnavailableError),
)
LIST_SESSIONS = Route(
    "/sessions",
    "List the user's conversations",
    "Return a page of conversations, the last written to first.",
    (UnavailableError,),
)
LIST_MESSAGES = Route(
    "/sessions/{session_id}/messages",
    "Read a conversation",
    "Return the newest messages, or those before a position; oldest first.",
    (NotFoundError, UnavailableError),
)
UPDATE_SESSION = Route(
    "/sessions/{session_id}",
    "Rename, describe or archive a conversation",
    "Change the fields that are sent; null clears.",
    (NotFoundError, *_BODY, UnavailableError),
)
FORK_SESSION = Route(
    "/sessions/{session_id}/fork",
    "Fork a conversation",
    "Begin a new conversation with the items of this one, which stays as it is.",
    (NotFoundError, IdTakenError, *_BODY, UnavailableError),
)
DELETE_SESSION = Route(
    "/sessions/{session_id}",
    "Delete a conversation",
    "Delete a conversation with its messages.",
    (NotFoundError, UnavailableError),
)
HEALTH = Route(
    "/health",
    "Check that the conversations can be reached",
    "Answer 200 if the store answers. Nobody needs to be logged in.",
    (UnavailableError,),
)


HEADERS = {
    "Retry-After": "After how many seconds to try again. Not sent where tools need an approval."
}
"""What OpenAPI says of the headers of errors. Each is a number."""


def conversations_of(store: BaseStore, user_id: Any) -> UserConversations:
    """Return a user's conversations.

    Applications have users with keys that are UUIDs or numbers. A store that takes texts gets
    their text.

    Raises:
        WebError: the application's provider of users has returned what is none.
    """
    with quietly("Finding the conversations"):
        try:
            return store.user(user_id)
        except TypeError:
            if isinstance(user_id, (UUID, int)) and not isinstance(user_id, bool):
                with suppress(ValueError):
                    return store.user(str(user_id))
            raise


def session_of(conversations: UserConversations, session_id: str, agent: Agent[Any]) -> BaseSession:
    """Return the session of a user's conversation, new or not.

    Raises:
        WebError: the id is too long.
    """
    with on(f"Preparing session {session_id!r}", session_id):
        return conversations.session(
            session_id,
            agent_name=words_of(agent.name)[:MAX_NAME],
            recreate=False,  # while the agent thinks, the user may delete it
        )


@contextmanager
def on(what: str, *session_ids: str) -> Generator[None]:
    """Do something with conversations, and turn its errors into answers.

    Args:
        what: is done, for the log.
        session_ids: name the conversations.

    Raises:
        WebError: in place of any error; an id is too long.
    """
    if any(len(each.encode("utf-8", "replace")) > MAX_SESSION_ID for each in session_ids):
        raise BadIdError
    with quietly(what):
        try:
            yield
        except ValueError as error:
            if is_refusal(error):  # of an id, since all else has been checked
                raise BadIdError from None
            raise


async def list_sessions(
    conversations: UserConversations,
    *,
    limit: int,
    after: str | None,
    is_active: bool | None,
    search: str | None,
) -> ConversationPage:
    """Return a page of a user's conversations.

    Raises:
        WebError: the cursor is none, the store cannot search, or it is not available.
    """
    with quietly("Listing the conversations"):
        try:
            page = await conversations.list(limit, after, is_active, search)
        except NotImplementedError:
            if search:
                raise NoSearchError from None
            raise
        total = await conversations.count(is_active, search)
        return ConversationPage(
            items=[_read(each) for each in page.conversations],
            cursor=page.cursor,
            limit=limit,
            total=total,
        )


async def list_messages(
    conversations: UserConversations,
    session_id: str,
    *,
    limit: int,
    before: int | None,
    all_messages: bool,
) -> list[MessageRead]:
    """Return messages of a conversation; with ``all_messages``, those of tools as well.

    Raises:
        WebError: there is no such conversation, or the store is not available.
    """
    with on(f"Reading session {session_id!r}", session_id):
        found = await conversations.messages(session_id, limit, before, tools=all_messages)
        return [MessageRead.model_validate(each, from_attributes=True) for each in found]


async def update_session(
    conversations: UserConversations, session_id: str, data: ConversationPatch
) -> ConversationRead:
    """Change what is said about a conversation, and return it.

    Raises:
        WebError: there is no such conversation, or the store is not available.
    """
    changes = data.model_dump(exclude_unset=True)
    if "session_name" in changes:
        changes["name"] = changes.pop("session_name")
    with on(f"Changing session {session_id!r}", session_id):
        if changes:
            return _read(await conversations.update(session_id, **changes))
        return _read(await conversations.get(session_id))


async def fork_session(
    conversations: UserConversations, session_id: str, data: ConversationFork
) -> ConversationRead:
    """Begin a new conversation with the items of another, and return it.

    Raises:
        WebError: there is no such conversation, there is one of the new id already, or the store
            is not available.
    """
    with on(f"Forking session {session_id!r}", session_id, data.session_id):
        await conversations.fork(session_id, data.session_id, data.items)
        return _read(await conversations.get(data.session_id))


async def delete_session(conversations: UserConversations, session_id: str) -> None:
    """Delete a conversation.

    Raises:
        WebError: there is no such conversation, or the store is not available.
    """
    with on(f"Deleting session {session_id!r}", session_id):
        if not await conversations.delete(session_id):
            raise NotFoundError


async def check_health(store: BaseStore) -> HealthRead:
    """Return normally if the store answers.

    Raises:
        WebError: it does not, or not in time.
    """
    with quietly("The health check", otherwise=UnavailableError):
        if not await asyncio.wait_for(store.ping(), HEALTH_SECONDS):
            raise UnavailableError
    return HealthRead(status="ok")


def _read(conversation: ConversationInfo | None) -> ConversationRead:
    if conversation is None:
        raise NotFoundError
    return ConversationRead.model_validate(
        {
            "session_id": conversation.session_id,
            "session_name": conversation.name,
            "description": conversation.description,
            "is_active": conversation.is_active,
            "agent_name": conversation.agent_name,
            "created_at": conversation.created_at,
            "updated_at": conversation.updated_at,
        }
    )
