"""What arguments must be, and what is said when they are not."""

from __future__ import annotations

from typing import Any

UNSET: Any = object()
"""The default of arguments for which None has a meaning."""

MAX_NAME = 255
"""Characters that the name of a conversation or of an agent may have."""

MAX_DESCRIPTION = 4_000
"""Characters that the description of a conversation in a store may have."""

MAX_NUMBER = 2**63 - 1
"""The largest number that every store can count to."""

MAX_TTL = 10**10
"""Seconds, over 300 years: stores compute the moment of expiry and fail beyond their range."""


def checked_session_id(session_id: str) -> str:
    """Return a session's id, or say what is wrong with it; see ``checked_id``."""
    return checked_id("session_id", session_id)


def checked_id(name: str, value: str) -> str:
    """Return an id that is a text, or say what is wrong with it.

    Raises:
        TypeError: it is no text.
        ValueError: it is empty, or has a lone surrogate.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if not value:
        raise ValueError(f"{name} must not be empty")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"{name} must be text that UTF-8 can encode; it has a lone surrogate"
        ) from None
    return value


def checked_ttl(name: str, ttl: int | None) -> int | None:
    """Return a time to live in seconds as it was passed, or say what is wrong with it.

    Raises:
        TypeError: it is not an integer.
        ValueError: it is not positive, or beyond what a store can compute with.
    """
    if ttl is None:
        return None
    if not isinstance(ttl, int) or isinstance(ttl, bool):
        raise TypeError(f"{name} must be an int in seconds or None, not {type(ttl).__name__}")
    if not 0 < ttl <= MAX_TTL:
        raise ValueError(f"{name} must be from 1 to {MAX_TTL} seconds, or None; got {ttl}")
    return ttl


def checked_text(name: str, text: str | None, most: int | None = MAX_NAME) -> str | None:
    """Return a text that is not too long and that every store can hold, or None.

    Raises:
        TypeError: it is no text.
        ValueError: it is longer than ``most``, or has a NUL or a lone surrogate.
    """
    if text is None:
        return None
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a str or None, not {type(text).__name__}")
    if most is not None and len(text) > most:
        raise ValueError(f"{name} must have {most} characters at most")
    if "\x00" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError(f"{name} must not have a NUL character or a lone surrogate")
    return text


def checked_flag(name: str, value: bool) -> bool:
    """Return a bool.

    Raises:
        TypeError: it is none.
        ValueError: it is None.
    """
    if value is None:
        raise ValueError(f"{name} must be True or False; None clears what may be empty")
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be a bool, not {type(value).__name__}")
    return value


def checked_about(**values: Any) -> dict[str, Any]:
    """Return what is said about a conversation: the values that were passed.

    Raises:
        TypeError: a value has the wrong type.
        ValueError: a text is too long or has a NUL or a lone surrogate, or a flag is None.
    """
    return {
        name: checked_flag(name, value)
        if name == "is_active"
        else checked_text(name, value, MAX_DESCRIPTION if name == "description" else MAX_NAME)
        for name, value in values.items()
        if value is not UNSET
    }


def checked_number(name: str, number: int, least: int = 0, most: int = MAX_NUMBER) -> int:
    """Return an integer in a range.

    Raises:
        TypeError: it is no integer.
        ValueError: it is out of the range.
    """
    if not isinstance(number, int) or isinstance(number, bool):
        raise TypeError(f"{name} must be an int, not {type(number).__name__}")
    if not least <= number <= most:
        raise ValueError(f"{name} must be from {least} to {most}")
    return number


def checked_seconds(name: str, seconds: float) -> float:
    """Return a length of time; it may be 0, and infinite.

    Raises:
        TypeError: it is no number.
        ValueError: it is negative or NaN.
    """
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool):
        raise TypeError(f"{name} must be a number of seconds, not {type(seconds).__name__}")
    if not seconds >= 0:
        raise ValueError(f"{name} must be 0 seconds or more; got {seconds}")
    return seconds
