"""What arguments must be, and what is said when they are not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from openai_agents_session.database._statements import tables_of
from openai_agents_session.database.types import MAX_NAME

if TYPE_CHECKING:
    from openai_agents_session.database.mixins import AgentSessionMixin

UNSET: Any = object()
"""Stands for an argument that was not passed, where None says something."""

MAX_ROWS = 2**31 - 1
"""How many rows may be asked for; no conversation has so many."""

MAX_POSITION = 2**63 - 1
"""The last position that a column has room for."""

_LENGTHS = {"session_name": MAX_NAME, "agent_name": MAX_NAME}


def checked_user_id(model: type[AgentSessionMixin], user_id: Any) -> Any:
    """Return a user's key in the type of its column, or say what is wrong with it.

    Raises:
        TypeError: it has another type.
        ValueError: it is a text that is no UUID.
    """
    expected = tables_of(model)[0].c.user_id.type.python_type
    if isinstance(user_id, expected) and not isinstance(user_id, bool):
        return user_id
    # Other libraries have UUIDs of their own, of the same name and with the same text.
    if expected is not UUID or not (isinstance(user_id, str) or type(user_id).__name__ == "UUID"):
        raise TypeError(
            f"user_id must be a {expected.__name__}, as {model.__name__}.user_id is, not "
            f"{type(user_id).__name__}; pass a model of your own as session_model"
        )
    try:
        return UUID(str(user_id))
    except ValueError:
        raise ValueError("user_id must be a UUID") from None


def checked_text(name: str, text: str | None, length: int | None = None) -> str | None:
    """Return a text that every database can hold, or say what is wrong with it.

    Raises:
        TypeError: it is neither a text nor None.
        ValueError: it is longer than ``length`` characters, or has a NUL or a lone surrogate.
    """
    if text is None:
        return None
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a str or None, not {type(text).__name__}")
    if length is not None and len(text) > length:
        raise ValueError(f"{name} must have {length} characters at most")
    if "\x00" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError(f"{name} must not have a NUL character or a lone surrogate")
    return text


def checked_metadata(**values: Any) -> dict[str, Any]:
    """Return what was passed of a row's columns, or say what is wrong with it.

    Args:
        values: the names of columns, and what is to be in them or ``UNSET``.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: ``is_active`` is None, or a text is too long or has a NUL or a lone
            surrogate.
    """
    return {
        name: checked_flag(value)
        if name == "is_active"
        else checked_text(name, value, _LENGTHS.get(name))
        for name, value in values.items()
        if value is not UNSET
    }


def checked_number(name: str, number: int, most: int = MAX_ROWS) -> int:
    """Return how many of something, or a position, or say what is wrong with it.

    Raises:
        TypeError: it is no integer.
        ValueError: it is negative, or over ``most``.
    """
    if not isinstance(number, int) or isinstance(number, bool):
        raise TypeError(f"{name} must be an int, not {type(number).__name__}")
    if not 0 <= number <= most:
        raise ValueError(f"{name} must be from 0 to {most}")
    return number


def checked_flag(is_active: bool) -> bool:
    """Return whether a conversation goes on, or say what is wrong with that.

    Raises:
        TypeError: it is no bool.
        ValueError: it is None.
    """
    if is_active is None:
        raise ValueError("is_active must be True or False; None clears what may be empty")
    if not isinstance(is_active, bool):
        raise TypeError(f"is_active must be a bool, not {type(is_active).__name__}")
    return is_active
