"""What a page lists: where it begins, the search for names, and messages as people read them."""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import defaultdict
from datetime import datetime, timezone
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import inspect, literal, select, tuple_

from openai_agents_session.database._statements import python_type_of

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Select

    from openai_agents_session.database.mixins import AgentSessionMixin


class CursorError(ValueError):
    """The text was not returned by ``AgentSessionService.cursor``."""


def cursor_of(conversation: AgentSessionMixin) -> str:
    """Return the time of a conversation's last write and its key, as text for a URL."""
    values = [conversation.updated_at.isoformat(), str(conversation.id)]
    return urlsafe_b64encode(json.dumps(values).encode()).decode()


def is_after(model: type[AgentSessionMixin], last: AgentSessionMixin | str) -> ColumnElement[bool]:
    """Return the condition for what follows a conversation, or its cursor, in a list.

    Raises:
        TypeError: ``last`` is neither.
        CursorError: it is a text that is no cursor.
    """
    if isinstance(last, model):
        updated_at, key = last.updated_at, last.id
    elif isinstance(last, str):
        updated_at, key = _values_of(last, model)
    else:
        raise TypeError(f"after must be a {model.__name__} or a cursor, not {type(last).__name__}")
    values = literal(updated_at, model.updated_at.type), literal(key, model.id.type)
    return tuple_(model.updated_at, model.id) < tuple_(*values)


def _values_of(cursor: str, model: type[AgentSessionMixin]) -> tuple[datetime, Any]:
    try:
        time, key = json.loads(urlsafe_b64decode(cursor.encode()))
        updated_at = datetime.fromisoformat(time).astimezone(timezone.utc)
        python_type = python_type_of(model.id)
        # The mixins say that keys are UUIDs; a type that doesn't tell is taken for one.
        return updated_at, (UUID if python_type is object else python_type)(key)
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise CursorError(
            "after must be a cursor that AgentSessionService.cursor returned, or None"
        ) from None


def messages_of(model: type[AgentSessionMixin], before: int | None) -> Select[Any]:
    """Return the query for a conversation's messages as people read them, newest first.

    A conversation without messages gives one row of NULLs; an unknown one gives none.

    Args:
        model: the model of a conversation.
        before: only those before this position; None for all.
    """
    message = inspect(model).relationships["messages"].mapper.class_
    here = message.agent_session_id == model.id
    if before is not None:
        here &= message.position < before
    columns = (
        message.position,
        message.role,
        message.content,
        message.tool_call_id,
        message.tool_name,
        message.created_at,
    )
    joined = select(*columns).select_from(model).outerjoin(message, here)
    return joined.order_by(message.position.desc())


def case_insensitive(text: str) -> str:
    """Return a regular expression that matches a text in upper or lower case.

    LIKE and the flags of regular expressions ignore the case only of ASCII, or of what the
    database's locale has. This expression means the same to PostgreSQL and to Python, whose
    regular expressions SQLAlchemy gives to SQLite.
    """
    cases = _letters_by_fold()
    return "".join(
        f"[{cases[folded]}]" if (folded := char.casefold()) in cases else re.escape(char)
        for char in text
    )


@cache
def _letters_by_fold() -> dict[str, str]:
    """Return for each case-folded letter all letters that differ from it only in case.

    Unicode has a table of that, "simple case folding", and Python does not.
    """
    letters: defaultdict[str, str] = defaultdict(str)
    for char in map(chr, range(0x20000)):  # beyond, there are no letters with a case
        folded = char.casefold()
        if not char == folded == char.lower() == char.upper():
            letters[folded] += char
    return dict(letters)
