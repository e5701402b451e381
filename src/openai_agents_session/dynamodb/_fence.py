"""The fence in a session's item: requests that put it there, or ask for it; pure.

``_lease`` says what a fence is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openai_agents_session.dynamodb._updates import ABSENT_OR, conditional

if TYPE_CHECKING:
    from openai_agents_session.dynamodb._owner import Owner
    from openai_agents_session.dynamodb._state import Attribute


def fence_update(fence: str, owner: Owner) -> dict[str, Any]:
    """Return the update that puts a fence into an item, if it is greater than the one there.

    Args:
        fence: what ``lease`` then says.
        owner: whose the item is.
    """
    condition = (
        f"attribute_exists(#session_id) AND {owner.condition} AND attribute_not_exists(#page_of) "
        "AND (attribute_not_exists(#lease) OR #lease < :lease)"
    )
    update = "SET #lease = :lease"
    values: dict[str, Attribute] = {":lease": {"S": fence}, **owner.values}
    return {"UpdateExpression": update, **conditional(condition, values, update)}


def begun_with(request: dict[str, Any], fence: str) -> dict[str, Any]:
    """Return a request of ``clear_update`` that makes an item, and puts a fence into it."""
    update = request["UpdateExpression"].replace("SET ", "SET #lease = :lease, ", 1)
    return _with_fence(request, fence, request["ConditionExpression"], update)


def fenced(request: dict[str, Any], fence: str) -> dict[str, Any]:
    """Return an update that is done only while an item has a fence."""
    condition = request["ConditionExpression"].removeprefix(ABSENT_OR)  # it is there then
    condition += " AND #lease = :lease"
    return _with_fence(request, fence, condition, request["UpdateExpression"])


def _with_fence(request: dict[str, Any], fence: str, condition: str, update: str) -> dict[str, Any]:
    values = {**request["ExpressionAttributeValues"], ":lease": {"S": fence}}
    return {**request, "UpdateExpression": update, **conditional(condition, values, update)}
