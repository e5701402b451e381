"""Conversation item <-> the columns of a message."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic_core import from_json

from openai_agents_session._serializer import deserialize, deserialize_all, serialize
from openai_agents_session.database.types import MessageRole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agents import TResponseInputItem

# Plain texts: an enum's ``value`` costs more than all else that is asked of a role.
_USER, _ASSISTANT, _SYSTEM, _TOOL = (role.value for role in MessageRole)

_ROLES = {
    **{role.value: role.value for role in MessageRole},
    "developer": _SYSTEM,
}

_ROLES_OF_TYPES = {
    "mcp_approval_response": _USER,
    "mcp_list_tools": _TOOL,
    "compaction_trigger": _SYSTEM,
    "configuration_update": _SYSTEM,
}

_PLAIN = {str, type(None)}

# Where an item that is no message keeps its words, the first that is there.
_WORDS = ("content", "output", "arguments", "input", "summary", "code", "result", "reason")


COLUMNS = ("role", "content", "tool_call_id", "tool_name", "extra_data")
"""What is made of an item alone. All of them are texts."""

Texts: TypeAlias = "tuple[str, str, str | None, str | None, str]"
"""The values of ``COLUMNS``. A tuple, of which a batch makes thousands at no great cost."""


def rows_of(items: Sequence[TResponseInputItem]) -> list[Texts]:
    """Return the columns of each item's row.

    Raises:
        TypeError: an item holds what JSON cannot.
    """
    return [
        _row(text.decode(), item if type(item) is dict else deserialize(text))
        for text, item in zip(serialize(items), items, strict=True)
    ]


def items_of(
    stored: Sequence[str | bytes | None],
) -> tuple[list[TResponseInputItem | None], int]:
    """Return the item of each ``extra_data``, None for one that cannot be read; and how many."""
    texts = [b"" if text is None else text for text in stored]
    items, unreadable = deserialize_all(texts)
    if unreadable:
        items = [
            _item_in_string(text) if item is None else item
            for text, item in zip(texts, items, strict=True)
        ]
        unreadable = items.count(None)
    return items, unreadable


def item_of(stored: str | bytes | None) -> TResponseInputItem | None:
    """Return the item of an ``extra_data``; None if it cannot be read."""
    return items_of([stored])[0][0]


def _item_in_string(text: str | bytes) -> TResponseInputItem | None:
    if text[:1] not in ('"', b'"'):
        return None
    try:
        inner = json.loads(text)
    except ValueError:
        return None
    return deserialize(inner) if isinstance(inner, str) else None


def _row(text: str, item: Any) -> Texts:
    get = item.get
    kind, role = get("type"), get("role")
    words, name = _words(item), _tool_name(item, kind, role)
    call = get("call_id") or get("tool_call_id")
    # JSON escapes what databases cannot hold, a NUL and a lone surrogate; so without an escape
    # there is nothing to clean. One character alone is found much faster than two.
    escaped = "\\" in text and "\\u" in text
    if escaped or not _PLAIN.issuperset((type(words), type(name), type(call))):
        words, name, call = _shown(words) or "", _shown(name), _shown(call)
    return _role(role, kind), words, call, name, _strict(text)


def _strict(text: str) -> str:
    """Return a text that databases take for JSON: the item's own, or a string that holds it."""
    if ("N" in text and "NaN" in text) or ("I" in text and "Infinity" in text):
        try:
            from_json(text, allow_inf_nan=False)
        except ValueError:
            return json.dumps(text)
    return text


def _role(role: object, kind: object) -> str:
    """Whose an item is: what it says, and without that what it means."""
    if isinstance(role, str) and role in _ROLES:
        return _ROLES[role]
    if not isinstance(kind, str):
        return _ASSISTANT
    if kind.endswith("_output"):
        return _TOOL
    return _ROLES_OF_TYPES.get(kind, _ASSISTANT)


def _tool_name(item: dict[str, Any], kind: object, role: object) -> Any:
    name = item.get("tool_name")
    if name is None and (isinstance(kind, str) or role == "tool"):
        name = item.get("name")
    if name is None and isinstance(kind, str) and kind.endswith("_call"):
        name = kind.removesuffix("_call")
    return name


def _words(item: dict[str, Any]) -> str:
    for key in _WORDS:
        value = item.get(key)
        if value:
            return value if isinstance(value, str) else _text_of(value)
    return ""


def _text_of(value: object) -> str:
    """Return the texts of a message's parts, a line each; what is no text is passed over."""
    parts = value if isinstance(value, list) else [value]
    texts: list[str] = []
    for part in parts:
        if hasattr(part, "model_dump"):
            part = part.model_dump(mode="json")  # noqa: PLW2901 - the same part, as it is stored
        if isinstance(part, dict):
            part = part.get("text") or part.get("refusal") or part.get("transcript")  # noqa: PLW2901 - its text
        if isinstance(part, str):
            texts.append(part)
    return "\n".join(texts)


def _shown(text: object) -> str | None:
    """Return a text as every database can hold it: no NUL, no lone surrogate."""
    if not isinstance(text, str):
        return None
    if text.isascii() and text.isprintable():
        return str(text)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-8", "replace").decode()
    return str(text).replace("\x00", "\ufffd")
