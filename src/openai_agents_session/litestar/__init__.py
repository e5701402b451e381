"""Agents over HTTP: a Litestar controller for conversations, and the plugin that wires it.

    POST   /agents/sessions/{session_id}/chat           send a message, get the answer
    POST   /agents/sessions/{session_id}/chat/stream    the same, as server-sent events
    GET    /agents/sessions                             list the user's conversations
    GET    /agents/sessions/{session_id}/messages       read the messages of one
    PATCH  /agents/sessions/{session_id}                rename, describe or archive it
    POST   /agents/sessions/{session_id}/fork           begin a new one with its items
    DELETE /agents/sessions/{session_id}                delete it with its messages
    GET    /agents/health                               check that the store answers

``Litestar(plugins=[AgentSessionsPlugin(agent, "sqlite+aiosqlite:///app.db")])`` is all it
takes; any store's URL will do. The application's authentication says who the user is. Nothing in
a request's path, query or body can change that.
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
    from openai_agents_session.litestar._controller import AgentController
    from openai_agents_session.litestar._errors import NotJSONException
    from openai_agents_session.litestar._json import require_json
    from openai_agents_session.litestar._plugin import AgentSessionsPlugin, provide_user_id
except ModuleNotFoundError as exc:
    explain_missing(
        exc,
        "openai_agents_session.litestar",
        "litestar",
        "litestar",
        "advanced_alchemy",
        "sqlalchemy",
    )
    raise

__all__ = [
    "AgentController",
    "AgentSessionsPlugin",
    "ChatRequest",
    "ChatResponse",
    "ConversationFork",
    "ConversationPage",
    "ConversationPatch",
    "ConversationRead",
    "HealthRead",
    "MessageRead",
    "NotJSONException",
    "provide_user_id",
    "require_json",
]
