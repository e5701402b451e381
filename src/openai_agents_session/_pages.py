"""Pages of conversations, and the texts of their cursors."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING

from openai_agents_session._catalog import CursorError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openai_agents_session._catalog import ConversationInfo, Cursor

MAX_PAGE = 1000
"""How many conversations or messages may be asked for at once."""


@dataclass(frozen=True)
class Page:
    """A page of conversations.

    Attributes:
        conversations: the conversations.
        cursor: pass it for the next page; None on the last one.
    """

    conversations: Sequence[ConversationInfo]
    cursor: str | None


def page_of(conversations: Sequence[ConversationInfo], cursor: Cursor | None) -> Page:
    """Return a page, and the text of its cursor."""
    if cursor is None:
        return Page(tuple(conversations), None)
    return Page(tuple(conversations), urlsafe_b64encode(json.dumps(cursor).encode()).decode())


def values_of(cursor: str | None) -> Cursor | None:
    """Return the values in the text of a cursor.

    Raises:
        TypeError: it is no text.
        CursorError: it is a text of something else.
    """
    if cursor is None:
        return None
    if not isinstance(cursor, str):
        raise TypeError(f"cursor must be a str or None, not {type(cursor).__name__}")
    try:
        values = json.loads(urlsafe_b64decode(cursor.encode()))
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, list):
        raise CursorError("cursor must be the cursor of a page of this list, or None")
    return values
