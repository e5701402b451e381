"""Which conversations and messages are meant, and in which order: conditions and queries.

The service and the store share them. They are made for an application's models, and name a user in
each; only ``everything`` is about all users.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import defaultdict
from datetime import datetime, timezone
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

from sqlalchemy import func, literal, select, true, tuple_

from openai_agents_session._arguments import checked_flag
from openai_agents_session._catalog import CursorError
from openai_agents_session.database._statements import python_type_of, tables_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Select

    from openai_agents_session.database.mixins import AgentSessionMixin

    Conditions: TypeAlias = "list[ColumnElement[bool]]"
    Place: TypeAlias = "tuple[datetime, Any]"
    Model: TypeAlias = type[AgentSessionMixin]


def owned(model: Model, user: Any) -> Conditions:
    """Return the condition for all conversations of a user."""
    return [tables_of(model)[0].c.user_id == user]


def named(model: Model, user: Any, session_id: str) -> Conditions:
    """Return the conditions for one conversation of a user."""
    return [*owned(model, user), tables_of(model)[0].c.session_id == session_id]


def matching(model: Model, user: Any, is_active: bool | None, search: str | None) -> Conditions:
    """Return the conditions for those conversations of a user that a list is asked for.

    Raises:
        TypeError: ``is_active`` is neither a bool nor None.
    """
    columns, conditions = tables_of(model)[0].c, owned(model, user)
    if is_active is not None:
        conditions.append(columns.is_active == checked_flag("is_active", is_active))
    if search:
        conditions.append(columns.session_name.regexp_match(_case_insensitive(search)))
    return conditions


def count_of(model: Model, conditions: Conditions) -> Select[Any]:
    """Return the query for how many conversations meet conditions."""
    return select(func.count()).select_from(tables_of(model)[0]).where(*conditions)


def newest_first(query: Select[Any], model: Model, after: Place | None, limit: int) -> Select[Any]:
    """Return a query for a page of conversations, the last written to first.

    Args:
        query: what to read of which conversations.
        model: the model of a conversation.
        after: where the page before ended.
        limit: how many at most.
    """
    columns = tables_of(model)[0].c
    if after is not None:
        place = literal(after[0], columns.updated_at.type), literal(after[1], columns.id.type)
        query = query.where(tuple_(columns.updated_at, columns.id) < tuple_(*place))
    return query.order_by(columns.updated_at.desc(), columns.id.desc()).limit(limit)


def messages_of(
    model: Model,
    conditions: Conditions,
    columns: Sequence[ColumnElement[Any]],
    before: int | None,
    limit: int,
) -> Select[Any]:
    """Return the query for a conversation's newest messages, the newest first.

    One without messages gives a row of NULLs; an unknown conversation gives none.

    Args:
        model: the model of a conversation.
        conditions: which one.
        columns: what to read of each message; the first is its position.
        before: only those before this position; None for all.
        limit: how many at most, at least 1.
    """
    sessions, messages = tables_of(model)
    position = messages.c.position
    # With the conversation in a subquery, and not joined, the index returns the newest in order.
    found = select(sessions.c.id).where(*conditions).scalar_subquery()
    newest = select(*columns).where(messages.c.agent_session_id == found)
    if before is not None:
        newest = newest.where(position < before)
    rows = newest.order_by(position.desc()).limit(limit).subquery()
    joined = sessions.outerjoin(rows, true())
    query: Any = select(*rows.c).select_from(joined)
    return query.where(*conditions).order_by(rows.c[0].desc())


def everything(query: Select[Any], model: Model, after: Any, limit: int) -> Select[Any]:
    """Return a query for a page of the conversations of all users, by their keys.

    Args:
        query: what to read of them.
        model: the model of a conversation.
        after: the key of the last one on the page before.
        limit: how many at most.
    """
    key = tables_of(model)[0].c.id
    if after is not None:
        query = query.where(key > literal(after, key.type))
    return query.order_by(key).limit(limit)


# --------------------------------------------------------------------- where a page ended


def place_of(model: Model, values: Any) -> Place:
    """Return the time of a last write and a conversation's key, from a cursor's values.

    Raises:
        CursorError: these are not the values of one.
    """
    try:
        time, key = values
        updated_at = datetime.fromisoformat(time)
        if updated_at.tzinfo is None:
            raise CursorError
        return updated_at.astimezone(timezone.utc), _key_of(model, key)
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise CursorError("cursor must be the cursor of a page of this list, or None") from None


def key_of(model: Model, values: Any) -> Any:
    """Return a conversation's key, from the values of the cursor of a list of everything.

    Raises:
        CursorError: these are not the values of one.
    """
    try:
        [key] = values
        return _key_of(model, key)
    except (ValueError, TypeError, AttributeError):
        raise CursorError("cursor must be the cursor of a page of this list, or None") from None


def _key_of(model: Model, text: Any) -> Any:
    if not isinstance(text, str):
        raise CursorError
    python_type = python_type_of(tables_of(model)[0].c.id)
    # The mixins say that keys are UUIDs; a type that doesn't tell is taken for one.
    return (UUID if python_type is object else python_type)(text)


def cursor_of(conversation: AgentSessionMixin) -> str:
    """Return the time of a conversation's last write and its key, as text for a URL."""
    values = [conversation.updated_at.isoformat(), str(conversation.id)]
    return urlsafe_b64encode(json.dumps(values).encode()).decode()


def place_after(model: Model, last: AgentSessionMixin | str) -> Place:
    """Return the place of a conversation in a list, or the one that a cursor names.

    Raises:
        TypeError: ``last`` is neither.
        CursorError: it is a text that is no cursor.
    """
    if isinstance(last, model):
        return last.updated_at, last.id
    if not isinstance(last, str):
        raise TypeError(f"after must be a {model.__name__} or a cursor, not {type(last).__name__}")
    try:
        return place_of(model, json.loads(urlsafe_b64decode(last.encode())))
    except (ValueError, RecursionError):
        raise CursorError(
            "after must be a cursor that AgentSessionService.cursor returned, or None"
        ) from None


# --------------------------------------------------------------------- the search for names


def _case_insensitive(text: str) -> str:
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
