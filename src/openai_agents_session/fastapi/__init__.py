"""Agents over HTTP: a FastAPI router for conversations, on any store.

    POST   /agents/sessions/{session_id}/chat           send a message, get the answer
    POST   /agents/sessions/{session_id}/chat/stream    the same, as server-sent events
    GET    /agents/sessions                             list the user's conversations
    GET    /agents/sessions/{session_id}/messages       read the messages of one
    PATCH  /agents/sessions/{session_id}                rename, describe or archive it
    POST   /agents/sessions/{session_id}/fork           begin a new one with its items
    DELETE /agents/sessions/{session_id}                delete it with its messages
    GET    /agents/health                               check that the store answers

``app.include_router(agent_router(agent, "redis://localhost:6379", user_id=Depends(current_user)))``
is all it takes. Your dependency says who the user is. Nothing else in a request can change that.
"""

from __future__ import annotations

from openai_agents_session._errors import explain_missing

try:
    from openai_agents_session._web.schemas import (
        ChatRequest,
        ChatResponse,
        ConversationFork,
        ConversationPage,
        ConversationPatch,
        ConversationRead,
        HealthRead,
        MessageRead,
    )
    from openai_agents_session.fastapi._router import agent_router
except ModuleNotFoundError as exc:
    explain_missing(exc, "openai_agents_session.fastapi", "fastapi", "fastapi", "starlette")
    raise

__all__ = [
    "ChatRequest",
    "ChatResponse",
    "ConversationFork",
    "ConversationPage",
    "ConversationPatch",
    "ConversationRead",
    "HealthRead",
    "MessageRead",
    "agent_router",
]
