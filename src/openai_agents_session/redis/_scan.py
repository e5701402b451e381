"""``SCAN``: all conversations under a prefix, and what is left of a user.

The server walks through its keys a part at a time, and keeps nothing in between. In a cluster
the primaries are walked through one after the other.
"""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from redis.asyncio import RedisCluster
from redis.exceptions import ResponseError, SlotNotCoveredError

from openai_agents_session._catalog import CursorError
from openai_agents_session.redis._driver import Operation, is_passing, undecoded
from openai_agents_session.redis._info import FIELDS, info_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from openai_agents_session._catalog import ConversationInfo, Cursor, Found
    from openai_agents_session.redis._clients import Client, Clients
    from openai_agents_session.redis._driver import Command
    from openai_agents_session.redis._keys import UserKeys

_KEYS_AT_ONCE = 1000


async def scan(clients: Clients, key_prefix: str, limit: int, cursor: Cursor | None) -> Found:
    """Return conversations from a part of the keys, without their items.

    Args:
        clients: give the client to send with.
        key_prefix: how all keys begin.
        limit: how many keys to go through, about.
        cursor: where the part before has ended: in which division of the slots among the
            primaries, at which of these, its name, and the server's cursor.

    Raises:
        CursorError: the cursor is another one.
    """
    if cursor is None:
        cursor = [0, 0, "", 0]
    elif [type(value) for value in cursor] != [int, int, str, int] or not (
        min(cursor[1], cursor[3]) >= 0 and cursor[3] < 2**64
    ):
        raise CursorError("cursor must be the cursor of a page of this list, or None")
    operation = Operation(clients)
    stem = key_prefix.encode()
    pattern = _escaped(stem) + b"[:@]*"
    keys: list[bytes]
    keys, onwards = await operation.attempt(
        lambda client: _scan_part(client, cursor, pattern, limit)
    )
    sought = list(filter(None, (_conversation_of(key, stem) for key in dict.fromkeys(keys))))
    commands = [command for _, _, asked in sought for command in asked]
    answers = iter(await operation.ask_all(commands))
    found: list[ConversationInfo] = []
    for user, session_id, asked in sought:
        info = _listed(user, session_id, [next(answers) for _ in asked])
        if info is not None:
            found.append(info)
    return found, onwards


async def keys_of_user(clients: Clients, keys: UserKeys) -> AsyncGenerator[list[bytes]]:
    """Go through a user's keys on the node that holds them, whether the index knows them or not."""
    pattern = _escaped(keys.index) + b"*"
    name, position = None, 0

    async def part(client: Client) -> tuple[str, int, list[bytes]]:
        node = await _holder(client, keys.index)
        at = position if node == name else 0  # the slot has moved: from the beginning
        return node, *await _scan(client, node, at, pattern, _KEYS_AT_ONCE)

    async def holder(client: Client) -> str:
        # In a cluster, this is where redis-py learns that the slot has moved.
        await client.execute_command("EXISTS", keys.index)
        return await _holder(client, keys.index)

    while True:
        name, position, found = await Operation(clients).attempt(part)
        yield [key for key in found if keys.has(key)]
        if position == 0 and name == await Operation(clients).attempt(holder):
            return


async def _scan_part(
    client: Client, cursor: Cursor, pattern: bytes, count: int
) -> tuple[list[bytes], Cursor | None]:
    """Scan a part of what one node has, and say where to go on."""
    division, at, name, position = cursor
    now, nodes = await _primaries(client)
    if division != now:  # keys may be elsewhere: begin anew, which shows some of them again
        at, position = 0, 0
    if at >= len(nodes):
        return [], None
    if name != nodes[at]:  # a replica has taken over
        position = 0
    position, found = await _scan(client, nodes[at], position, pattern, count)
    if position:
        return found, [now, at, nodes[at], position]
    if at + 1 < len(nodes):
        return found, [now, at + 1, nodes[at + 1], 0]
    return found, None


async def _primaries(client: Client) -> tuple[int, list[str]]:
    """Return a number for how the slots are shared, and the nodes to walk through in order."""
    if not isinstance(client, RedisCluster):
        return 0, [""]
    await client.initialize()
    slots = client.nodes_manager.slots_cache
    order: dict[str, int] = {}
    holders = [order.setdefault(slots[slot][0].name, len(order)) for slot in sorted(slots)]
    return zlib.crc32(repr(holders).encode()), [*order]


async def _holder(client: Client, key: bytes) -> str:
    """Return the name of the node that holds a key; a single server has none."""
    if not isinstance(client, RedisCluster):
        return ""
    await client.initialize()
    node = client.get_node_from_key(key.decode())
    if node is None:
        raise SlotNotCoveredError("no node of the cluster holds the key's slot")
    return node.name


async def _scan(
    client: Client, node: str, position: int, pattern: bytes, count: int
) -> tuple[int, list[bytes]]:
    command = ("SCAN", position, "MATCH", pattern, "COUNT", count)
    if not isinstance(client, RedisCluster):
        return await undecoded(client, *command)
    positions, found = await undecoded(
        client, *command, target_nodes=client.get_node(node_name=node)
    )
    return positions[node], found


def _escaped(text: bytes) -> bytes:
    """Return a pattern that matches the text alone."""
    return re.sub(rb"([*?\[\]\\^])", rb"\\\1", text)


def _conversation_of(key: bytes, stem: bytes) -> tuple[str | None, str, list[Command]] | None:
    """Return whose conversation a key stands for, its id, and what to ask the server about it."""
    if key[len(stem) : len(stem) + 1] == b":":
        asked: list[Command] = [("LLEN", key), ("PEXPIRETIME", key)]
        return None, _text(key[len(stem) + 1 :]), asked
    user, _, session_id = key[len(stem) + 1 :].partition(b"}~")
    if not (user.startswith(b"{") and session_id) or b"}" in user:
        return None
    records = key[: len(stem) + len(user) + 2] + b":" + session_id
    asked = [("LLEN", records), ("PEXPIRETIME", key), ("HMGET", key, *FIELDS)]
    return unquote(user[1:]), _text(session_id), asked


def _text(key: bytes) -> str:
    return key.decode("utf-8", "replace")


def _listed(user: str | None, session_id: str, answers: list[Any]) -> ConversationInfo | None:
    """Return a conversation; None for a key that is another thing, or has just gone."""
    for answer in answers:
        if isinstance(answer, Exception):
            if not isinstance(answer, ResponseError) or is_passing(answer):
                raise answer
            return None
    item_count, expires_at, *said = answers
    if user is None:
        return info_of(None, session_id, {}, expires_at, item_count) if item_count else None
    fields = dict(zip(FIELDS, said[0], strict=True))
    if fields["created_at"] is None:
        return None
    return info_of(user, session_id, fields, expires_at, item_count)
