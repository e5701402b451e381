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

import sys

try:
    from openai_agents_session.litestar._controller import AgentController
    from openai_agents_session.litestar._errors import NotJSONException
    from openai_agents_session.litestar._json import require_json
    from openai_agents_session.litestar._plugin import AgentSessionsPlugin, provide_user_id
    from openai_agents_session.litestar._schemas import (
        ChatRequest,
        ChatResponse,
        ConversationPatch,
        ConversationRead,
        MessageRead,
    )
except ModuleNotFoundError as exc:
    # Only what the extra installs and is not there: any other failure keeps its own words.
    missing = (exc.name or "").partition(".")[0]
    if missing not in {"litestar", "advanced_alchemy", "sqlalchemy"} or sys.modules.get(missing):
        raise
    raise ImportError(
        "openai_agents_session.litestar requires the 'litestar' extra. "
        "Install it with: pip install 'openai-agents-session[litestar]'",
        name=missing,
    ) from exc

__all__ = [
    "AgentController",
    "AgentSessionsPlugin",
    "ChatRequest",
    "ChatResponse",
    "ConversationPatch",
    "ConversationRead",
    "MessageRead",
    "NotJSONException",
    "provide_user_id",
    "require_json",
]
