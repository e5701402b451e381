"""Listing conversations: where a page ended, and names whatever the case of their letters."""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import defaultdict
from datetime import datetime, timezone
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import literal, tuple_

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

    from openai_agents_session.database.mixins import AgentSessionMixin


class CursorError(ValueError):
    """What was passed for a cursor is none that ``AgentSessionService.cursor`` gave."""


def cursor_of(conversation: AgentSessionMixin) -> str:
    """Return when a conversation was last written to, and its key, as text without spaces."""
    place = [conversation.updated_at.isoformat(), str(conversation.id)]
    return urlsafe_b64encode(json.dumps(place).encode()).decode()


def is_after(model: type[AgentSessionMixin], last: AgentSessionMixin | str) -> ColumnElement[bool]:
    """Return the condition for what comes after a conversation, the last written to first.

    Args:
        model: what is listed.
        last: the conversation, or its cursor.

    Raises:
        TypeError: it is neither.
        CursorError: it is a text that is no cursor.
    """
    if isinstance(last, model):
        updated_at, key = last.updated_at, last.id
    elif isinstance(last, str):
        updated_at, key = _place_of(last, model)
    else:
        raise TypeError(f"after must be a {model.__name__} or a cursor, not {type(last).__name__}")
    columns = model.updated_at, model.id
    values = (literal(updated_at, model.updated_at.type), literal(key, model.id.type))
    return tuple_(*columns) < tuple_(*values)


def _place_of(cursor: str, model: type[AgentSessionMixin]) -> tuple[datetime, Any]:
    try:
        moment, key = json.loads(urlsafe_b64decode(cursor.encode()))
        return datetime.fromisoformat(moment).astimezone(timezone.utc), model.id.type.python_type(
            key
        )
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise CursorError(
            "after must be a cursor that AgentSessionService.cursor gave, or None"
        ) from None


def in_any_case(text: str) -> str:
    """Return a regular expression for a text, whatever the case of its letters.

    PostgreSQL and Python, which SQLAlchemy lets SQLite ask, read it alike.
    """
    return "".join(map(_letter, text))


def _letter(char: str) -> str:
    same = _same_letters().get(char.casefold(), "")
    return f"[{same}]" if len(same) > 1 else re.escape(char)


@cache
def _same_letters() -> dict[str, str]:
    """Return the letters that differ by their case alone, by what they are folded to.

    It is what Unicode calls simple case folding, to one letter: Python has no table of it.
    """
    letters: defaultdict[str, str] = defaultdict(str)
    for char in map(chr, range(0x20000)):  # beyond, there are no letters with a case
        folded = char.casefold()
        if char != folded or char.upper() != char:
            letters[folded] += char
    return dict(letters)
