"""Record <-> the columns of a message."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic_core import from_json

from openai_agents_session._serializer import deserialize
from openai_agents_session.database.types import MessageRole

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROLES = {
    **{role.value: role.value for role in MessageRole},
    "developer": MessageRole.SYSTEM.value,
}

_ROLES_OF_TYPES = {
    "mcp_approval_response": MessageRole.USER.value,
    "mcp_list_tools": MessageRole.TOOL.value,
    "compaction_trigger": MessageRole.SYSTEM.value,
    "configuration_update": MessageRole.SYSTEM.value,
}

# The fields of an item that may hold its text; the first that is there counts.
_WORDS = ("content", "output", "arguments", "input", "summary", "code", "result", "reason")


COLUMNS = ("role", "content", "tool_call_id", "tool_name", "extra_data")
"""The columns of a message that are derived from its item. All of them are texts."""

Columns: TypeAlias = "tuple[str, str, str | None, str | None, str]"
"""The values of ``COLUMNS``."""


def columns_of(records: Sequence[bytes]) -> list[Columns]:
    """Return the columns of each record's message."""
    return [_columns(record, deserialize(record) or {}) for record in records]


def record_of(stored: str | bytes | None) -> str | bytes:
    """Return the record of an ``extra_data``, whether or not it can be read."""
    if stored is None:
        return b""
    if stored[:1] in ('"', b'"'):
        try:
            return json.loads(stored)
        except ValueError:
            pass
    return stored


def _columns(record: bytes, item: Any) -> Columns:
    kind, role = item.get("type"), item.get("role")
    return (
        _role(role, kind),
        _text(_words(item)) or "",
        _text(item.get("call_id") or item.get("tool_call_id")),
        _text(_tool_name(item, kind, role)),
        _strict(record),
    )


def _strict(record: bytes) -> str:
    """Return what databases take for JSON: the item's own text, or a string that holds it."""
    text = record.decode()
    if b"NaN" in record or b"Infinity" in record:
        try:
            from_json(record, allow_inf_nan=False)
        except ValueError:
            return json.dumps(text)
    return text


def _role(role: object, kind: object) -> str:
    """Return the role that an item states, or else the one that its type implies."""
    if isinstance(role, str) and role in _ROLES:
        return _ROLES[role]
    if not isinstance(kind, str):
        return MessageRole.ASSISTANT.value
    if kind.endswith("_output"):
        return MessageRole.TOOL.value
    return _ROLES_OF_TYPES.get(kind, MessageRole.ASSISTANT.value)


def _tool_name(item: dict[str, Any], kind: object, role: object) -> Any:
    name = item.get("tool_name")
    if name is None and (isinstance(kind, str) or role == "tool"):
        name = item.get("name")
    if name is None and isinstance(kind, str) and kind.endswith("_call"):
        name = kind.removesuffix("_call")
    return name


def _words(item: dict[str, Any]) -> str:
    """Return the texts of an item's parts, a line each; parts without a text are skipped."""
    value = next(filter(None, map(item.get, _WORDS)), "")
    texts: list[str] = []
    for part in value if isinstance(value, list) else [value]:
        text = part
        if isinstance(part, dict):
            text = part.get("text") or part.get("refusal") or part.get("transcript")
        if isinstance(text, str):
            texts.append(text)
    return "\n".join(texts)


def _text(value: object) -> str | None:
    """Return a text as every database can hold it: no NUL, no lone surrogate."""
    if not isinstance(value, str):
        return None
    return value.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
