"""A user's slot moves to another node, key by key: nobody is told that something is gone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from openai_agents_session import RedisStore
from tests.redis.stores import all_keys, assert_agreement, index_of
from tests.redis.test_resharding import Slot, slot
from tests.servers import eventually

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.asyncio import RedisCluster

    from openai_agents_session.store import UserConversations

__all__ = ["slot"]  # a fixture

ITEMS: list[Any] = [{"role": "user", "content": f"item {number}"} for number in range(3)]
IDS = [f"{number}" for number in range(6)]


async def ids(view: UserConversations) -> list[str]:
    """Return what is listed."""
    return [each.session_id async for each in view]


async def erased(view: UserConversations) -> tuple[int, int]:
    """Erase all, and return what the receipt counts."""
    receipt = await view.erase()
    return receipt.conversations, receipt.items


OPERATIONS: dict[str, tuple[Callable[[Any], Awaitable[Any]], Any]] = {
    "list": (ids, IDS[::-1]),
    "erase": (erased, (6, 18)),
    "get": (lambda view: view.get("0"), None),
    "fork": (lambda view: view.fork("0", "new"), None),
    "delete": (lambda view: view.delete("0"), True),
    "add": (lambda view: view.session("0").add_items(ITEMS), None),
}


@pytest.mark.parametrize("moved", ["index", "hash", "list", "all but a hash"])
@pytest.mark.parametrize("name", OPERATIONS)
async def test_in_the_middle_of_a_move(
    cluster_client: RedisCluster, slot: Slot, name: str, moved: str
) -> None:
    """What needs keys of both nodes waits until they are together, and is right then."""
    operation, expected = OPERATIONS[name]
    view = RedisStore(cluster_client, key_prefix=slot.tag, ttl=600).user(slot.tag)
    for each in IDS:
        await view.session(each, name=each).add_items(ITEMS)
    index = index_of(slot.tag, slot.tag)
    keys = {"index": [index], "hash": [index + b"~0"], "list": [index + b":0"]}.get(moved)
    if keys is None:
        keys = [key for key in slot.home.call("KEYS", f"{slot.tag}@*") if key != index + b"~0"]
    slot.other.call("CLUSTER", "SETSLOT", slot.number, "IMPORTING", slot.home.node_id())
    slot.home.call("CLUSTER", "SETSLOT", slot.number, "MIGRATING", slot.other.node_id())
    with slot.home.client() as client:
        to = (slot.other.host, slot.other.port, "", 0, 10_000)
        client.execute_command("MIGRATE", *to, "KEYS", *keys)

    task = asyncio.ensure_future(operation(view))
    before = requests_of(slot)

    async def was_tried() -> bool:
        return task.done() or requests_of(slot) > before + 5

    await eventually(was_tried)
    await asyncio.to_thread(slot.move, slot.home, slot.other)
    found = await task

    if expected is not None:
        assert found == expected
    if name == "erase":
        assert await ids(view) == []
        assert await all_keys(cluster_client, f"{slot.tag}@*".encode()) == []
    else:
        lost = {"0"} if name == "delete" else set()
        assert {*await ids(view)} - {"new"} == {*IDS} - lost
        # A key that moves takes along how long it has to live, not until when.
        await assert_agreement(cluster_client, slot.tag, tolerance=2000)
        await view.erase()


def requests_of(slot: Slot) -> int:
    """Return how many scripts the two nodes were sent."""
    return sum(
        stats.get("calls", 0) + stats.get("rejected_calls", 0)
        for node in (slot.home, slot.other)
        for name, stats in node.info("commandstats").items()
        if name.startswith("cmdstat_eval")
    )
