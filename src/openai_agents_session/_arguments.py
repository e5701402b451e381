"""What arguments must be, and what is said when they are not."""

from __future__ import annotations

MAX_TTL = 10**10
"""Seconds, over 300 years: stores compute the moment of expiry and fail beyond their range."""


def checked_session_id(session_id: str) -> str:
    """Return a session's id, or say what is wrong with it.

    Raises:
        TypeError: it is no text.
        ValueError: it is empty, or has a lone surrogate.
    """
    if not isinstance(session_id, str):
        raise TypeError(f"session_id must be a str, not {type(session_id).__name__}")
    if not session_id:
        raise ValueError("session_id must not be empty")
    try:
        session_id.encode()
    except UnicodeEncodeError:
        raise ValueError(
            "session_id must be text that UTF-8 can encode; it has a lone surrogate"
        ) from None
    return session_id


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
