"""Checks of arguments: each raises a TypeError for a wrong type, a ValueError for a wrong value.

The messages say what is right, and quote nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from openai_agents_session._arguments import (
    MAX_NAME,
    UNSET,
    checked_flag,
    checked_session_id,
    checked_text,
)
from openai_agents_session.database._statements import python_type_of, tables_of
from openai_agents_session.database.types import MAX_SESSION_ID_BYTES, stored

if TYPE_CHECKING:
    from openai_agents_session.database.mixins import AgentSessionMixin

MAX_ROWS = 2**31 - 1
"""The largest number of rows that may be asked for; no conversation has so many."""


def checked_short_id(session_id: str) -> str:
    """Return a conversation's id, of a length that an index can hold."""
    if len(stored(checked_session_id(session_id)).encode()) > MAX_SESSION_ID_BYTES:
        raise ValueError(f"session_id must have {MAX_SESSION_ID_BYTES} bytes at most in UTF-8")
    return session_id


_NAMES = ("session_name", "agent_name")
"""Texts that are at most as long as a name."""


def checked_user_id(model: type[AgentSessionMixin], user_id: Any) -> Any:
    """Return a user's key in the type of its column; a UUID may be given as text."""
    expected = python_type_of(tables_of(model)[0].c.user_id)
    if isinstance(user_id, expected) and not isinstance(user_id, bool):
        return user_id
    # Drivers have UUID classes of their own, with this name and the same text.
    if expected is not UUID or not (isinstance(user_id, str) or type(user_id).__name__ == "UUID"):
        raise TypeError(
            f"user_id must be a {expected.__name__}, as {model.__name__}.user_id is, not "
            f"{type(user_id).__name__}; pass a model of your own as session_model"
        )
    try:
        return UUID(str(user_id))
    except ValueError:
        raise ValueError("user_id must be a UUID") from None


def checked_metadata(**values: Any) -> dict[str, Any]:
    """Return the columns to change: those whose value was passed."""
    return {
        name: checked_flag(name, value)
        if name == "is_active"
        else checked_text(name, value, MAX_NAME if name in _NAMES else None)
        for name, value in values.items()
        if value is not UNSET
    }
