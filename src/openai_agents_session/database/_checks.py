"""Checks of arguments: each raises a TypeError for a wrong type, a ValueError for a wrong value.

The messages say what is right, and quote nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from openai_agents_session.database._statements import python_type_of, tables_of
from openai_agents_session.database.types import MAX_NAME

if TYPE_CHECKING:
    from openai_agents_session.database.mixins import AgentSessionMixin

UNSET: Any = object()
"""The default of arguments for which None has a meaning."""

MAX_ROWS = 2**31 - 1
"""The largest number of rows that may be asked for; no conversation has so many."""

MAX_POSITION = 2**63 - 1
"""The largest position that its column holds."""

_NAMES = ("session_name", "agent_name", "search")
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


def checked_text(name: str, text: str | None) -> str | None:
    """Return a text that is not too long and that every database can hold, or None."""
    if text is None:
        return None
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a str or None, not {type(text).__name__}")
    if name in _NAMES and len(text) > MAX_NAME:
        raise ValueError(f"{name} must have {MAX_NAME} characters at most")
    if "\x00" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError(f"{name} must not have a NUL character or a lone surrogate")
    return text


def checked_flag(is_active: bool) -> bool:
    """Return ``is_active``, which is a bool."""
    if is_active is None:
        raise ValueError("is_active must be True or False; None clears what may be empty")
    if not isinstance(is_active, bool):
        raise TypeError(f"is_active must be a bool, not {type(is_active).__name__}")
    return is_active


def checked_metadata(**values: Any) -> dict[str, Any]:
    """Return the columns to change: those whose value was passed."""
    return {
        name: checked_flag(value) if name == "is_active" else checked_text(name, value)
        for name, value in values.items()
        if value is not UNSET
    }


def checked_number(name: str, number: int, most: int = MAX_ROWS) -> int:
    """Return an integer that is neither negative nor over ``most``."""
    if not isinstance(number, int) or isinstance(number, bool):
        raise TypeError(f"{name} must be an int, not {type(number).__name__}")
    if not 0 <= number <= most:
        raise ValueError(f"{name} must be from 0 to {most}")
    return number
