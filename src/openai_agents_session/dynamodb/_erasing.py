"""Erasing a user: every item of theirs that the index knows of, for good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openai_agents_session.dynamodb._listing import all_request
from openai_agents_session.dynamodb._pages import Pages
from openai_agents_session.dynamodb._state import ItemState
from openai_agents_session.dynamodb._updates import names_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openai_agents_session.dynamodb._driver import Table
    from openai_agents_session.dynamodb._state import Attribute, PageRef

_READ_AT_ONCE = 100  # BatchGetItem (AWS API reference)
_WRITTEN_AT_ONCE = 25  # BatchWriteItem (AWS API reference)
_NEEDED = "#session_id, #user, #page_of, #pages, #count, #cleared_at, #ttl"


async def erase(table: Table, user: str) -> tuple[int, int]:
    """Delete all items of a user's: conversations, pages, and what deletes and crashes left.

    An item goes before its pages, so that no reader finds half a conversation. Whatever is left
    when this ends in the middle is still in the index.

    Returns:
        How many conversations there were, and how many records in them.
    """
    conversations = records = 0
    while True:
        erased = 0
        request = all_request(user)
        while True:
            answer = await table.call("query", **request)
            keys = [item["session_id"] for item in answer["Items"]]
            for start in range(0, len(keys), _READ_AT_ONCE):
                found = await _read(table, user, keys[start:][:_READ_AT_ONCE])
                await _delete(table, user, found)
                lived = [each for each in found if _is_conversation(each)]
                conversations += len(lived)
                records += sum(int(each.get("count", {}).get("N", 0)) for each in lived)
                erased += len(found)
            if "LastEvaluatedKey" not in answer:
                break
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
        if not erased:  # the index may still name what is gone
            return conversations, records


async def _read(table: Table, user: str, keys: Sequence[Attribute]) -> list[dict[str, Any]]:
    """Return those of these items that are there and are the user's."""
    found = await table.read_batch(
        [{"session_id": key} for key in keys],
        ProjectionExpression=_NEEDED,
        ExpressionAttributeNames=names_in(_NEEDED),
    )
    return [item for item in found if item.get("user") == {"S": user}]


async def _delete(table: Table, user: str, items: Sequence[dict[str, Any]]) -> None:
    pages: list[tuple[Pages, list[PageRef]]] = []
    for item in items:
        refs = ItemState.parse(item).pages
        if refs and "page_of" not in item:
            of_item = Pages(table, item["session_id"]["S"], user)
            pages.append((of_item, await of_item.with_nested(refs)))
    requests = [{"DeleteRequest": {"Key": {"session_id": item["session_id"]}}} for item in items]
    for start in range(0, len(requests), _WRITTEN_AT_ONCE):
        await table.write_batch(requests[start:][:_WRITTEN_AT_ONCE])
    for of_item, refs in pages:
        await of_item.delete(refs)


def _is_conversation(item: dict[str, Any]) -> bool:
    return "page_of" not in item and ItemState.parse(item).is_there
