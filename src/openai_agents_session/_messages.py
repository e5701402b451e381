"""Items as people read them: who says what, and which tool is called."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from openai_agents_session._serializer import deserialize

if TYPE_CHECKING:
    from datetime import datetime


class MessageRole(str, Enum):
    """Who a message is from."""

    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"
    TOOL = "tool"


_ROLES = {
    **{role.value: role for role in MessageRole},
    "developer": MessageRole.SYSTEM,
}

_ROLES_OF_TYPES = {
    "mcp_approval_response": MessageRole.USER,
    "mcp_list_tools": MessageRole.TOOL,
    "compaction_trigger": MessageRole.SYSTEM,
    "configuration_update": MessageRole.SYSTEM,
}

# The fields of an item that may hold its text; the first that is there counts.
_WORDS = ("content", "output", "arguments", "input", "summary", "code", "result", "reason")


@dataclass(frozen=True)
class Message:
    """A message as people read it. A tool call's text is its arguments, a tool's its output.

    Attributes:
        position: orders the messages of a conversation; gaps mean nothing.
        role: who it is from.
        content: its text, with a line for each part; empty where it has none.
        tool_call_id: names the call, in the call and in its output.
        tool_name: the tool that is called.
        is_spoken: whether the user or the agent said it; False for tool calls, their outputs,
            reasoning and what the system says.
        created_at: when it was stored, in UTC; None where the store does not know.
    """

    position: int
    role: MessageRole
    content: str
    tool_call_id: str | None
    tool_name: str | None
    is_spoken: bool
    created_at: datetime | None = None


def message_of(position: int, record: bytes | str, created_at: datetime | None) -> Message | None:
    """Return a record as people read it; None if it cannot be read."""
    item: Any = deserialize(record)
    if item is None:
        return None
    return Message(
        position,
        role_of(item),
        content_of(item),
        *tool_of(item),
        is_spoken=item.get("type", "message") == "message"
        and role_of(item) in (MessageRole.USER, MessageRole.ASSISTANT),
        created_at=created_at,
    )


def role_of(item: Any) -> MessageRole:
    """Return the role that an item states, or else the one that its type implies."""
    kind, role = item.get("type"), item.get("role")
    if isinstance(role, str) and role in _ROLES:
        return _ROLES[role]
    if not isinstance(kind, str):
        return MessageRole.ASSISTANT
    if kind.endswith("_output"):
        return MessageRole.TOOL
    return _ROLES_OF_TYPES.get(kind, MessageRole.ASSISTANT)


def tool_of(item: Any) -> tuple[str | None, str | None]:
    """Return the id of an item's tool call, and the tool's name."""
    kind, name = item.get("type"), item.get("tool_name")
    if name is None and (isinstance(kind, str) or item.get("role") == "tool"):
        name = item.get("name")
    if name is None and isinstance(kind, str) and kind.endswith("_call"):
        name = kind.removesuffix("_call")
    return _plain(item.get("call_id") or item.get("tool_call_id")), _plain(name)


def content_of(item: Any) -> str:
    """Return an item's text."""
    return words_of(next(filter(None, map(item.get, _WORDS)), ""))


def words_of(value: Any) -> str:
    """Return the texts of a content's parts, a line each; parts without a text are skipped."""
    texts: list[str] = []
    for part in value if isinstance(value, list) else [value]:
        text = part
        if isinstance(part, dict):
            text = part.get("text") or part.get("refusal") or part.get("transcript")
        if isinstance(text, str):
            texts.append(text)
    return _plain("\n".join(texts)) or ""


def _plain(value: object) -> str | None:
    """Return a text as every database and every client can hold it.

    That is without NUL and lone surrogates.
    """
    if not isinstance(value, str):
        return None
    return value.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
