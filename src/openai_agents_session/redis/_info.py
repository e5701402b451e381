"""What is said about a conversation: to and from the fields of its hash; pure."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from openai_agents_session._catalog import ConversationInfo

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FIELDS = ("created_at", "updated_at", "name", "description", "is_active", "agent_name")
"""The fields of the hash. Times are in microseconds since 1970. What is None has no field, and
``is_active`` only one where it is false."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def fields_of(about: Mapping[str, Any]) -> list[bytes]:
    """Return what is said about a conversation, as pairs of field and value."""
    fields: list[bytes] = []
    for name, value in about.items():
        if name == "is_active":
            fields += [] if value else [b"is_active", b"0"]
        elif value is not None:
            fields += [name.encode(), value.encode()]
    return fields


def described(user: str, session_id: str, answer: Sequence[Any]) -> ConversationInfo | None:
    """Return what ``describe.lua`` says about a conversation; None where there is none."""
    if not answer:
        return None
    *pairs, expires_at, item_count = answer
    said = dict(zip((name.decode() for name in pairs[::2]), pairs[1::2], strict=True))
    if "created_at" not in said:  # something else has put its own there
        return None
    return info_of(user, session_id, said, int(expires_at), int(item_count))


def info_of(
    user: str | None,
    session_id: str,
    said: Mapping[str, bytes | None],
    expires_at: int,
    item_count: int,
) -> ConversationInfo:
    """Return a conversation as it is listed.

    Args:
        user: whose it is.
        session_id: names it.
        said: the fields of its hash.
        expires_at: in milliseconds since 1970; -1 for never.
        item_count: how many items it has.
    """
    return ConversationInfo(
        session_id=session_id,
        user_id=user,
        name=_text(said.get("name")),
        description=_text(said.get("description")),
        is_active=said.get("is_active") != b"0",
        agent_name=_text(said.get("agent_name")),
        item_count=item_count,
        created_at=_moment(said.get("created_at")),
        updated_at=_moment(said.get("updated_at")),
        expires_at=None if expires_at < 0 else _EPOCH + timedelta(milliseconds=expires_at),
    )


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")


def _moment(microseconds: bytes | None) -> datetime | None:
    return None if microseconds is None else _EPOCH + timedelta(microseconds=int(microseconds))
