"""The requests that change a session's item: pure functions that make what is sent.

Each is one ``UpdateItem`` with a condition. Where the condition fails, DynamoDB answers
with the item that did not meet it.
"""

from __future__ import annotations

import math
import re
import time
from typing import TYPE_CHECKING, Any

from openai_agents_session.dynamodb._owner import NOBODY, Owner
from openai_agents_session.dynamodb._state import (
    MAX_REFERENCES,
    MAX_TOKENS,
    NEVER,
    REMEMBERED_SECONDS,
    WRONG_CLOCK_SECONDS,
    ItemState,
    about_value,
    is_said,
    references_value,
    timestamp,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openai_agents_session.dynamodb._packing import Room
    from openai_agents_session.dynamodb._state import Attribute, Token


ABSENT_OR = "attribute_not_exists(#session_id) OR "
"""How the condition begins of what also makes an item where there is none."""


def append_update(
    records: list[Attribute],
    token: Token,
    *,
    size: int,
    room: Room,
    ttl: int | None,
    start: int,
    owner: Owner = NOBODY,
    begins: bool = True,
    changes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the update that appends to the item, if that takes it; see ``has_room``.

    To append nothing sets the time to live and the moment of the last write, nothing else.

    Args:
        records: what is appended.
        token: names the write.
        size: the bytes that they take.
        room: the bytes that all records of the item may take.
        ttl: when the item then expires; None leaves that alone.
        start: the version of an item that was not there, less one.
        owner: whose the item is.
        begins: whether to make the item where it is not there.
        changes: what is said about the conversation from now on; only where nothing begins. The
            answer then has the item.
    """
    lasting = (
        "(attribute_not_exists(#ttl) OR #ttl > :now) "
        "AND (attribute_not_exists(#pages_until) OR #pages_until >= #ttl)"
    )
    if ttl is not None:  # one that comes late takes no time away from what was written since
        lasting = (
            "(attribute_not_exists(#ttl) OR #ttl > :now AND #ttl <= :ttl) "
            "AND (attribute_not_exists(#pages) OR #pages_until >= :ttl)"
        )
    condition = (
        (ABSENT_OR if begins else "") + f"{owner.condition} AND NOT contains(#writes, :token) "
        "AND #writes_since < :stamp AND size(#writes) <= :most "
        "AND (attribute_not_exists(#pages) AND #bytes <= :first "
        "OR attribute_exists(#pages) AND size(#pages) <= :named AND #bytes <= :room) "
        f"AND attribute_not_exists(#cleared_at) AND {lasting}"
    )
    update = (
        "SET #items = list_append(if_not_exists(#items, :none), :records), "
        "#version = if_not_exists(#version, :start) + :one, "
        "#count = if_not_exists(#count, :zero) + :count, "
        "#bytes = if_not_exists(#bytes, :zero) + :size, "
        "#writes_since = if_not_exists(#writes_since, :zero), "
        "#created_at = if_not_exists(#created_at, :moment), #updated_at = :moment"
        + (", #ttl = :ttl" if ttl is not None else "")
    )
    values: dict[str, Attribute] = {
        ":none": {"L": []},
        ":records": {"L": records},
        ":start": number(start),
        ":zero": number(0),
        ":one": number(1),
        ":count": number(len(records)),
        ":size": number(size),
        ":room": number(room.later - size),
        ":first": number(room.first - size),
        ":most": number(MAX_TOKENS),
        ":named": number(MAX_REFERENCES),
        ":moment": {"S": timestamp(token.stamp)},
        ":stamp": number(token.stamp),
        ":token": {"B": bytes(token)},
        ":tokens": {"BS": [bytes(token)]},
        ":now": number(int(time.time())),
    }
    if ttl is not None:
        values[":ttl"] = number(ttl)
    values.update(owner.values)
    if owner.user is not None and begins:
        update += ", #user = :user, #about = if_not_exists(#about, :about)"
        values[":about"] = about_value(owner.about)
    gone: list[str] = []
    for name, value in (changes or {}).items():
        if is_said(name, value):
            update += f", #about.#{name} = :{name}"
            values[f":{name}"] = about_value({name: value})["M"][name]
        else:
            gone.append(f"#about.#{name}")
    update += f" REMOVE {', '.join(gone)}" * bool(gone) + " ADD #writes :tokens"
    request = {"UpdateExpression": update, **conditional(condition, values, update)}
    return request if changes is None else {**request, "ReturnValues": "ALL_NEW"}


def has_room(state: ItemState, size: int, room: Room, ttl: int | None) -> bool:
    """Whether ``append_update`` will do for such an item."""
    if not state.exists:
        return size <= room.first
    if ttl is not None:
        lasting = (state.ttl is None or state.ttl <= ttl) and (
            not state.pages or (state.pages_until or 0) >= ttl
        )
    else:
        lasting = state.pages_until is None or state.pages_until >= (state.ttl or math.inf)
    return (
        state.version is not None
        and "conversation_data" not in state.stored
        and not state.has_ended
        and state.size + size <= room.beside(state.pages)
        and len(state.writes) <= MAX_TOKENS
        and len(state.pages) <= MAX_REFERENCES
        and lasting
    )


def replace_update(
    state: ItemState,
    after: ItemState,
    token: Token,
    *,
    ended: bool,
    owner: Owner = NOBODY,
) -> dict[str, Any]:
    """Return the update that replaces what the item says, if it is still what was read.

    Args:
        state: what was read.
        after: what it says then.
        token: names the write.
        ended: whether the conversation that was read has ended, so that this begins another.
        owner: whose the item is.
    """
    values: dict[str, Attribute] = {
        ":version": number(after.version or 0),
        ":count": number(after.count),
        ":bytes": number(after.size),
        ":writes": {"BS": sorted(after.writes)},
        ":since": number(after.since),
        ":created_at": {"S": after.created_at},
        ":updated_at": {"S": timestamp(token.stamp)},
        ":items": {"L": after.records},
    }
    update = (
        "SET #items = :items, #version = :version, #count = :count, #bytes = :bytes, "
        "#writes = :writes, #writes_since = :since, "
        "#created_at = :created_at, #updated_at = :updated_at"
    )
    gone = ["#conversation_data", *(["#cleared_at"] if state.cleared else [])]
    changed: dict[str, Attribute | None] = {
        "pages": references_value(after.pages) if after.pages else None,
        "pages_until": None if after.pages_until is None else number(after.pages_until),
    }
    if after.ttl != state.ttl:
        changed["ttl"] = None if after.ttl is None else number(after.ttl)
    for name, value in changed.items():
        if value is None:
            gone.append(f"#{name}")
        else:
            values[f":{name}"] = value
            update += f", #{name} = :{name}"
    if owner.user is not None:
        update += ", #user = :user, #about = :about"
        values.update(owner.values)
        values[":about"] = about_value(after.about)
    update += f" REMOVE {', '.join(gone)}"

    condition, read = _as_read(state, owner, ended=ended)
    return {
        "UpdateExpression": update,
        **conditional(condition, {**values, **read}, update),
    }


def _as_read(state: ItemState, owner: Owner, *, ended: bool) -> tuple[str, dict[str, Attribute]]:
    """Return the condition that an item is still what was read, and the values in it."""
    values: dict[str, Attribute] = {}
    as_read: dict[str, Attribute | None] = {
        "version": None if state.version is None else number(state.version),
        "ttl": None if state.ttl is None else number(state.ttl),
    }
    if state.version is None:  # nothing else tells whether it is still the same
        as_read["conversation_data"] = state.stored.get("conversation_data")
    if state.exists:
        values.update(owner.values)
        clauses = ["attribute_exists(#session_id)", owner.condition]
    else:
        clauses = ["attribute_not_exists(#session_id)"]
    for name, value in as_read.items():
        if value is None:
            clauses.append(f"attribute_not_exists(#{name})")
        else:
            clauses.append(f"#{name} = :read_{name}")
            values[f":read_{name}"] = value
    if state.version is None and "L" in state.stored.get("items", {}):
        clauses.append("size(#items) = :read_size")  # dynalite finds no two lists equal
        values[":read_size"] = number(len(state.stored["items"]["L"]))
    if state.ttl is not None and not ended:  # it may be over when this arrives
        clauses.append("#ttl > :now")
        values[":now"] = number(int(time.time()))
    return " AND ".join(clauses), values


def empty_update(token: Token, owner: Owner, ttl: int | None) -> dict[str, Any]:
    """Return the update that leaves a user's conversation without items, but there.

    Args:
        token: names the write.
        owner: whose the conversation is.
        ttl: when the item then expires; None leaves that alone.
    """
    condition = (
        f"{owner.condition} AND attribute_not_exists(#page_of) "
        "AND attribute_not_exists(#cleared_at) AND NOT contains(#writes, :token) "
        "AND #writes_since < :stamp AND size(#writes) <= :most "
        "AND (attribute_not_exists(#ttl) OR #ttl > :now"
        + (" AND #ttl <= :ttl)" if ttl is not None else ")")
    )
    update = (
        "SET #items = :none, #count = :zero, #bytes = :zero, #version = #version + :one, "
        "#updated_at = :moment"
        + (", #ttl = :ttl" if ttl is not None else "")
        + " REMOVE #pages, #pages_until ADD #writes :tokens"
    )
    values: dict[str, Attribute] = {
        ":none": {"L": []},
        ":zero": number(0),
        ":one": number(1),
        ":moment": {"S": timestamp(token.stamp)},
        ":stamp": number(token.stamp),
        ":token": {"B": bytes(token)},
        ":tokens": {"BS": [bytes(token)]},
        ":most": number(MAX_TOKENS),
        ":now": number(int(time.time())),
        **owner.values,
    }
    if ttl is not None:
        values[":ttl"] = number(ttl)
    return {
        "UpdateExpression": update,
        "ReturnValues": "ALL_OLD",
        **conditional(condition, values, update),
    }


def clear_update(
    token: Token,
    names: set[Token],
    start: int,
    *,
    exists: bool = True,
    owner: Owner = NOBODY,
    expired: bool | None = None,
) -> dict[str, Any]:
    """Return the update that leaves an item without a conversation.

    The tokens stay for as long as a request may be on its way, so that one that comes late
    is refused. In a user's item the references to pages stay too, until the next write: if the
    answer is lost, they still say what is to be deleted.

    Args:
        token: names the write.
        names: all that may have named it in an earlier request.
        start: the version of an item that had none, less one.
        exists: clear an item, and do nothing where there is none; False makes one, where there
            is none.
        owner: whose the item is.
        expired: clear only an item that has expired, or only one that has not; None for both.
    """
    condition = (
        f"attribute_exists(#session_id) AND {owner.condition} AND attribute_not_exists(#page_of) "
        "AND attribute_not_exists(#cleared_at) "
        + {
            None: "",
            True: "AND #ttl <= :now ",
            False: "AND (attribute_not_exists(#ttl) OR #ttl > :now) ",
        }[expired]
        if exists
        else "attribute_not_exists(#session_id) "
    ) + (
        "AND (attribute_not_exists(#writes) OR NOT contains(#writes, :token)) "
        "AND (attribute_not_exists(#writes_since) OR #writes_since < :stamp)"
    )
    theirs = owner.user is not None
    update = (
        f"SET #cleared_at = :moment, #updated_at = {':never' if theirs else ':moment'}, "
        f"{'#user = :user, ' if theirs else ''}#count = :zero, #bytes = :zero, "
        "#ttl = :until, #version = if_not_exists(#version, :start) + :one, "
        "#writes_since = if_not_exists(#writes_since, :zero) "
        f"REMOVE #items, {'#about' if theirs else '#pages'}, #pages_until, #created_at, "
        "#conversation_data ADD #writes :tokens"
    )
    values: dict[str, Attribute] = {
        ":moment": {"S": timestamp(token.stamp)},
        ":zero": number(0),
        ":until": number(int(time.time()) + REMEMBERED_SECONDS + WRONG_CLOCK_SECONDS),
        ":start": number(start),
        ":one": number(1),
        ":stamp": number(token.stamp),
        ":token": {"B": bytes(token)},
        ":tokens": {"BS": sorted({bytes(each) for each in (token, *names)})},
    }
    if theirs:
        values[":never"] = {"S": NEVER}
        values.update(owner.values)
    if exists and expired is not None:
        values[":now"] = number(int(time.time()))
    return {
        "UpdateExpression": update,
        "ReturnValues": "ALL_OLD",
        **conditional(condition, values, update),
    }


def cleared(state: ItemState, request: dict[str, Any]) -> ItemState:
    """Return what a request of ``clear_update`` makes of an item."""
    values = request["ExpressionAttributeValues"]
    version = int(values[":start"]["N"]) if state.version is None else state.version
    return ItemState(
        exists=True,
        cleared=True,
        version=version + 1,
        writes=state.writes.union(values[":tokens"]["BS"]),
        since=state.since,
        ttl=int(values[":until"]["N"]),
    )


def conditional(condition: str, values: dict[str, Attribute], update: str = "") -> dict[str, Any]:
    """Return the parameters of a condition that tells what was there when it fails."""
    return {
        "ConditionExpression": condition,
        "ExpressionAttributeNames": names_in(condition + update),
        "ExpressionAttributeValues": values,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def names_in(expressions: str) -> dict[str, str]:
    """Return the names of attributes in expressions, where each has a ``#`` before it."""
    return {f"#{name}": name for name in re.findall(r"#(\w+)", expressions)}


def outlives(pages_until: float | None, ttl: float | None) -> bool:
    """Whether pages with such a time last as long as an item with such a time."""
    if ttl is None or pages_until is None:
        return pages_until is ttl
    return pages_until >= ttl


def number(value: float) -> Attribute:
    """Return a number as DynamoDB writes it."""
    return {"N": str(value)}
