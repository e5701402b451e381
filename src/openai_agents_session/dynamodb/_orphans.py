"""Finding pages that no session names any more, and deleting them."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from openai_agents_session.dynamodb._driver import ConditionFailedError, Table
from openai_agents_session.dynamodb._item import ANYBODY, Item
from openai_agents_session.dynamodb._state import NAME_LENGTH, PageRef, getrandbits, timestamp
from openai_agents_session.dynamodb._updates import conditional, number

if TYPE_CHECKING:
    from aiobotocore.client import AioBaseClient

DEFAULT_AGE = 3600
"""Seconds: far longer than a write takes between storing a page and naming it."""


async def remove_orphaned_pages(
    client: AioBaseClient,
    table_name: str,
    *,
    older_than_seconds: int = DEFAULT_AGE,
    dry_run: bool = False,
) -> int:
    """Delete the pages that no session names: what a crash in the middle of a write left.

    Scans the whole table, which costs read capacity for all that is in it. Sessions can be
    in use meanwhile. Pages of sessions with a time to live go by themselves, later.

    Args:
        client: an aiobotocore client for DynamoDB that was entered.
        table_name: the table's name.
        older_than_seconds: how old a page must be; a write that is under way stores its
            pages before it names them. One that takes longer begins again.
        dry_run: only count.

    Returns:
        How many pages were deleted, or would have been.

    Raises:
        TypeError: the client is no entered aiobotocore client for DynamoDB.
        ValueError: the age is negative.
        RuntimeError: the client is closed, or of another event loop or process.
        botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError: as botocore
            raises it.
    """
    table = Table(client, table_name)
    if older_than_seconds < 0:
        raise ValueError(f"older_than_seconds must not be negative; got {older_than_seconds}")
    before = timestamp(int((time.time() - older_than_seconds) * 1000))
    scan: dict[str, Any] = {
        "FilterExpression": "attribute_exists(page_of) AND created_at <= :before",
        "ExpressionAttributeValues": {":before": {"S": before}},
        "ProjectionExpression": "session_id, page_of",
    }
    removed = 0
    while True:
        answer = await table.call("scan", **scan)
        found: dict[str, set[str]] = {}
        for item in answer["Items"]:
            names = found.setdefault(item["page_of"]["S"], set())
            names.add(item["session_id"]["S"][-NAME_LENGTH:])
        for session_id, names in found.items():
            session = Item(table, session_id, ANYBODY)
            orphans = names - await _named(session)
            if orphans and not dry_run:
                await _stop_writers(table, session_id)
                orphans = names - await _named(session)
                await session.pages.delete([PageRef(name, 0) for name in orphans])
            removed += len(orphans)
        if "LastEvaluatedKey" not in answer:
            return removed
        scan["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


async def _stop_writers(table: Table, session_id: str) -> None:
    """Let no writer name a page that it has stored before now.

    It would do so under the condition that the version is what it was before. Where there
    is no item, there is none that can name a page either.
    """
    update = "SET #version = if_not_exists(#version, :start) + :one"
    condition = "attribute_exists(#session_id) AND attribute_not_exists(#page_of)"
    values = {":start": number(getrandbits(48)), ":one": number(1)}
    with suppress(ConditionFailedError):
        await table.call(
            "update_item",
            Key={"session_id": {"S": session_id}},
            UpdateExpression=update,
            **conditional(condition, values, update),
        )


async def _named(item: Item) -> set[str]:
    """Return the names of the pages that a session names, also if it has expired."""
    state = await item.read()
    while True:
        named = {ref.name for ref in await item.pages.with_nested(state.pages)}
        if not any(ref.level for ref in state.pages):
            return named
        now = await item.read()
        if now.version == state.version:  # else a page of references may have gone meanwhile
            return named
        state = now
