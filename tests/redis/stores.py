"""What the tests of the store look at behind its back."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any, TypeAlias
from urllib.parse import quote

from redis.asyncio import RedisCluster

from openai_agents_session.redis._keys import hash_tag

AnyClient: TypeAlias = Any  # a Redis or a RedisCluster, of redis.asyncio


def index_of(prefix: str, user_id: str) -> bytes:
    """Return the key of a user's index."""
    return f"{prefix}@{{{quote(user_id, safe='')}}}".encode()


def lease_of(session: Any) -> bytes:
    """Return the key of the lease on a session's conversation."""
    key = session.key.encode()
    if session.user_id is None:
        return b"{%b}~lease~%b" % (hash_tag(key), key)
    index, _, session_id = key.partition(b"}:")
    return index + b"}!" + session_id


async def lapse(client: AnyClient, session: Any) -> None:
    """Let the lease on a session's conversation run out now."""
    lease = lease_of(session)
    assert await client.pexpire(lease, 1)
    while await client.exists(lease):  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(0.001)


async def all_keys(client: AnyClient, pattern: bytes = b"*") -> list[bytes]:
    """Return all keys, of all primaries."""
    nodes = {"target_nodes": RedisCluster.PRIMARIES} if isinstance(client, RedisCluster) else {}
    return [key async for key in client.scan_iter(pattern, count=5000, **nodes)]


async def dump_of(client: AnyClient) -> bytes:
    """Return all keys and what they hold."""
    readers: dict[bytes, Any] = {
        b"string": client.get,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"hash": client.hgetall,
        b"zset": lambda key: client.zrange(key, 0, -1),
    }
    parts: list[Any] = []
    for key in await all_keys(client):
        kind = await client.type(key)
        if kind in readers:  # else it has just expired
            parts += [key, await readers[kind](key)]
    # Not repr, which would write bytes that are no ASCII as escapes.
    return b"\n".join(_texts(parts))


def _texts(value: Any) -> list[bytes]:
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, (list, set, tuple)):
        return [text for each in value for text in _texts(each)]
    return [] if value is None else [value]


async def assert_agreement(client: AnyClient, prefix: str, tolerance: int = 0) -> None:
    """Assert that index, hashes and lists of every user agree, as they lie in Redis.

    Args:
        client: of the server.
        prefix: how keys begin.
        tolerance: milliseconds between what is to expire at once.
    """
    users: defaultdict[bytes, list[bytes]] = defaultdict(list)
    stem = prefix.encode() + b"@{"
    for key in await all_keys(client):
        if key.startswith(stem):
            users[key[: key.index(b"}", len(stem)) + 1]].append(key)
    for index, keys in users.items():
        at = len(index)
        kinds = {
            kind: {k[at + 1 :] for k in keys if k[at : at + 1] == kind} for kind in (b":", b"~")
        }
        gone = [i for i in await client.zrange(index, 0, -1) if i not in kinds[b"~"]]
        listed = {*await client.zrange(index, 0, -1)} - {*gone}
        assert listed == kinds[b"~"], "hashes that are not listed"
        assert kinds[b":"] <= listed, "lists of no conversation"
        lasts = await client.pexpiretime(index)
        for session_id in listed:
            about = index + b"~" + session_id
            said = await client.hgetall(about)
            assert {b"created_at", b"updated_at"} <= {*said}
            assert int(said[b"created_at"]) <= int(said[b"updated_at"])
            assert int(said[b"updated_at"]) == await client.zscore(index, session_id)
            until = await client.pexpiretime(about)
            if session_id in kinds[b":"]:
                own = await client.pexpiretime(index + b":" + session_id)
                assert abs(own - until) <= tolerance, "not all of it ends at once"
            assert lasts == -1 or lasts >= until - tolerance > 0, "the index ends before"
