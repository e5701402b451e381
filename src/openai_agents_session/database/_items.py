"""Record <-> the columns of a message."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic_core import from_json

from openai_agents_session._messages import content_of, role_of, tool_of
from openai_agents_session._serializer import deserialize

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    return (role_of(item).value, content_of(item), *tool_of(item), _strict(record))


def _strict(record: bytes) -> str:
    """Return what databases take for JSON: the item's own text, or a string that holds it."""
    text = record.decode()
    if b"NaN" in record or b"Infinity" in record:
        try:
            from_json(record, allow_inf_nan=False)
        except ValueError:
            return json.dumps(text)
    return text
