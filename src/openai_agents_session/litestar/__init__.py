"""Agents over HTTP: a Litestar controller for conversations, and the plugin that wires it.

    POST   /agents/sessions/{session_id}/chat           say something, get the answer
    POST   /agents/sessions/{session_id}/chat/stream    the same, as server-sent events
    GET    /agents/sessions                             the user's conversations
    GET    /agents/sessions/{session_id}/messages       the messages of one
    PATCH  /agents/sessions/{session_id}                rename, describe, put away
    DELETE /agents/sessions/{session_id}                delete, with its messages

``Litestar(plugins=[AgentSessionsPlugin(agent, "sqlite+aiosqlite:///app.db")])`` is all it
takes. Whose conversations they are is what the application's authentication says, and
nothing that is in a request's path, query or body.
"""

from __future__ import annotations

from openai_agents_session._errors import explain_missing

try:
    from openai_agents_session.litestar._controller import AgentController
    from openai_agents_session.litestar._errors import NotJSONException
    from openai_agents_session.litestar._json import require_json
    from openai_agents_session.litestar._plugin import AgentSessionsPlugin, provide_user_id
    from openai_agents_session.litestar._schemas import (
        ChatRequest,
        ChatResponse,
        ConversationPage,
        ConversationPatch,
        ConversationRead,
        MessageRead,
    )
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
    "ConversationPage",
    "ConversationPatch",
    "ConversationRead",
    "MessageRead",
    "NotJSONException",
    "provide_user_id",
    "require_json",
]
