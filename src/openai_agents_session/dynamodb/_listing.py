"""What a listing shows of an item: the index, what is asked for, and what it comes to. Pure.

The index is sparse: only items with a ``user`` are in it, by the moment of the last write. What
has no conversation, as a page or what a delete leaves, has ``~`` in the place of that moment: it
sorts after all that a listing asks for, and ``erase`` finds it.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from openai_agents_session._catalog import ConversationInfo, CursorError
from openai_agents_session.dynamodb._owner import MAX_KEY_BYTES, id_of, key_of
from openai_agents_session.dynamodb._state import NEVER, ItemState
from openai_agents_session.dynamodb._updates import names_in

if TYPE_CHECKING:
    from openai_agents_session._catalog import Cursor
    from openai_agents_session.dynamodb._state import Attribute

INDEX = "by_user"

SHOWN = ("about", "count", "created_at", "ttl")
"""Attributes in the index beside its keys and the table's."""

_SHOWN = "#session_id, #user, #updated_at, #about, #count, #created_at, #ttl"
_LIVES = "(attribute_not_exists(#ttl) OR #ttl > :now)"


def one_request() -> dict[str, Any]:
    """Return what to ask for of one item."""
    shown = f"{_SHOWN}, #cleared_at, #page_of"
    return {"ProjectionExpression": shown, "ExpressionAttributeNames": names_in(shown)}


def page_request(user: str, now: int, *, active: bool | None) -> dict[str, Any]:
    """Return the query for a user's conversations, the last written to first."""
    key = "#user = :user AND #updated_at < :never"
    condition = _LIVES
    values = {":user": {"S": user}, ":never": {"S": NEVER}, ":now": {"N": str(now)}}
    if active is not None:  # what is said is only what is not so by default
        condition += f" AND attribute{'_not' * active}_exists(#about.#is_active)"
    return {
        "IndexName": INDEX,
        "KeyConditionExpression": key,
        "FilterExpression": condition,
        "ExpressionAttributeNames": names_in(key + condition),
        "ExpressionAttributeValues": values,
        "ScanIndexForward": False,
    }


def all_request(user: str) -> dict[str, Any]:
    """Return the query for the keys of all items of a user's."""
    return {
        "IndexName": INDEX,
        "KeyConditionExpression": "#user = :user",
        "ProjectionExpression": "#session_id",
        "ExpressionAttributeNames": names_in("#user#session_id"),
        "ExpressionAttributeValues": {":user": {"S": user}},
    }


def scan_request(now: int) -> dict[str, Any]:
    """Return the scan for all conversations in the table."""
    condition = f"attribute_not_exists(#page_of) AND attribute_not_exists(#cleared_at) AND {_LIVES}"
    return {
        "FilterExpression": condition,
        "ProjectionExpression": _SHOWN,
        "ExpressionAttributeNames": names_in(condition + _SHOWN),
        "ExpressionAttributeValues": {":now": {"N": str(now)}},
    }


def shown(attributes: dict[str, Attribute]) -> ConversationInfo | None:
    """Return the conversation that an item has; None if it has none."""
    state = ItemState.parse(attributes)
    if not state.is_there or "page_of" in attributes:
        return None
    count = attributes.get("count", {}).get("N")
    return conversation(state, attributes["session_id"]["S"], None if count is None else int(count))


def conversation(state: ItemState, key: str, count: int | None) -> ConversationInfo:
    """Return what an item says of its conversation."""
    expires_at = None
    if state.ttl is not None:
        with suppress(ValueError, OverflowError, OSError):  # something else may have set it
            expires_at = datetime.fromtimestamp(state.ttl, timezone.utc)
    return ConversationInfo(
        id_of(state.user, key),
        state.user,
        **state.about,
        item_count=count,
        created_at=_moment(state.created_at),
        updated_at=_moment(state.updated_at),
        expires_at=expires_at,
    )


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


# --- cursors ---------------------------------------------------------------------------------


def page_cursor(user: str, key: dict[str, Attribute]) -> Cursor:
    """Return the place of an item in a user's list, which does not say whose list it is."""
    return [key["updated_at"]["S"], id_of(user, key["session_id"]["S"])]


def page_start(user: str, cursor: Cursor) -> dict[str, Attribute]:
    """Return the key of the item at such a place in this user's list.

    Raises:
        CursorError: there is no such place.
    """
    moment, session_id = _texts(cursor, 2)
    if _moment(moment) is None or moment >= NEVER:
        raise _wrong()
    try:
        key = key_of(user, session_id)
    except ValueError:
        raise _wrong() from None
    return {"user": {"S": user}, "updated_at": {"S": moment}, "session_id": {"S": key}}


def scan_start(cursor: Cursor) -> dict[str, Attribute]:
    """Return the key of the item at which a scan goes on.

    Raises:
        CursorError: it is no key.
    """
    (key,) = _texts(cursor, 1)
    if len(key.encode()) > MAX_KEY_BYTES:
        raise _wrong()
    return {"session_id": {"S": key}}


def _texts(cursor: Cursor, count: int) -> list[str]:
    if len(cursor) != count:
        raise _wrong()
    for text in cursor:
        if not isinstance(text, str) or not text:
            raise _wrong()
        try:
            text.encode()
        except UnicodeEncodeError:
            raise _wrong() from None
    return cursor


def _wrong() -> CursorError:
    return CursorError("cursor must be the cursor of a page of this list, or None")
