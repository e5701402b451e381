"""What goes over the wire: one command for each operation, none where nothing is to do."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
import pytest_asyncio
from redis.asyncio import Redis, RedisCluster

from openai_agents_session import RedisSession

if TYPE_CHECKING:
    from tests import servers

pytestmark = pytest.mark.redis

Operation: TypeAlias = Callable[[RedisSession], Awaitable[Any]]

ITEMS: list[Any] = [{"role": "user", "content": f"item {number}"} for number in range(4)]

# What is done, and whether that is a write: a script, sent by its digest.
OPERATIONS: dict[str, tuple[Operation, bool]] = {
    "add": (lambda session: session.add_items(ITEMS), True),
    "add 10,000": (lambda session: session.add_items(ITEMS * 2500), True),
    "get": (lambda session: session.get_items(), False),
    "get with a limit": (lambda session: session.get_items(limit=2), False),
    "get more than there is": (lambda session: session.get_items(limit=50), False),
    "pop": (lambda session: session.pop_item(), True),
    "replace": (lambda session: session.replace_items(ITEMS), True),
    "replace by nothing": (lambda session: session.replace_items([]), True),
    "clear": (lambda session: session.clear_session(), True),
    "snapshot": (lambda session: session._get_compaction_snapshot(2), False),
}

NO_OPERATIONS: dict[str, Operation] = {
    "an empty batch": lambda session: session.add_items([]),
    "a limit of zero": lambda session: session.get_items(limit=0),
    "a limit below zero": lambda session: session.get_items(limit=-3),
    "closing": lambda session: session.close(),
}

# Commands that a client of ours could send and no script of ours calls.
SENT = ("eval", "evalsha", "lrange", "multi", "watch", "asking")


class Wire:
    """Listens to all that a server is told."""

    def __init__(self, monitor: Any, client: Redis) -> None:
        self._monitor = monitor
        self._client = client

    async def sent(self) -> list[str]:
        """Return the names of the commands that clients have sent since the last call."""
        return [command.split()[0].upper() for command in await self.commands()]

    async def commands(self) -> list[str]:
        """Return the commands that clients have sent since the last call."""
        end = uuid.uuid4().hex
        await self._client.echo(end)
        commands: list[str] = []
        while True:
            heard = await self._monitor.next_command()
            if end in heard["command"]:
                return commands
            if heard["client_type"] != "lua":  # what a script does is not on the wire
                commands.append(heard["command"])


@pytest_asyncio.fixture
async def wire(redis_server: servers.Endpoint) -> AsyncIterator[Wire]:
    """Listen to the test's server on connections of their own."""
    async with Redis.from_url(redis_server.url) as client, client.monitor() as monitor:
        yield Wire(monitor, client)


@pytest_asyncio.fixture
async def session(redis_client: Redis, key_prefix: str) -> RedisSession:
    """Give a session with some items, on a client that is connected."""
    session = RedisSession("wire", redis_client, key_prefix, ttl=1000)
    await session.add_items(ITEMS)
    return session


@pytest.mark.parametrize("name", OPERATIONS)
async def test_operation_is_one_command(session: RedisSession, wire: Wire, name: str) -> None:
    """An operation is one command, also the first time, whether there is a conversation or not."""
    operation, is_write = OPERATIONS[name]
    await wire.sent()

    await operation(session)
    assert await wire.sent() in ([["EVAL"], ["EVALSHA"]] if is_write else [["LRANGE"]])

    for _ in range(3):
        await operation(session)
        assert await wire.sent() == ["EVALSHA" if is_write else "LRANGE"]
    await session.clear_session()
    await wire.sent()
    await operation(session)
    assert await wire.sent() == ["EVALSHA" if is_write else "LRANGE"]


async def test_a_lease_is_one_command_at_a_time(session: RedisSession, wire: Wire) -> None:
    """Taking it, waiting for it, renewing it, giving it back, and asking who has it."""
    conversation: Any = session._conversation
    for number in range(2):
        one, two = (conversation.claim(f"{name}{number}", 60) for name in ("one", "two"))
        for request in (one.acquire(0), two.acquire(1), one.renew(), one.release(), two.release()):
            await wire.sent()
            await request
            assert await wire.sent() in ([["EVALSHA"]] if number else [["EVAL"], ["EVALSHA"]])
    await session.busy()
    assert await wire.sent() == ["PTTL"]


@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_fence_is_no_further_command(session: RedisSession, wire: Wire, name: str) -> None:
    """What is done with a lease is one command as well, whether it is held or lost."""
    operation, is_write = OPERATIONS[name]
    async with session.lease(0, 600) as held:
        await operation(held)
        for _ in range(2):
            await wire.sent()
            await operation(held)
            assert await wire.sent() == ["EVALSHA" if is_write else "LRANGE"]


@pytest.mark.parametrize("name", OPERATIONS)
async def test_without_a_lease_nothing_is_sent_for_one(
    session: RedisSession, redis_client: Redis, key_prefix: str, wire: Wire, name: str
) -> None:
    """Every byte is as it was, but for the tokens, also while another holds the lease."""
    operation, is_write = OPERATIONS[name]
    token = re.compile(rf"(?<={{{key_prefix}:wire}}~)[\w+/]{{20}}(?= )")
    sent: list[list[str]] = []
    await operation(session)
    for holder in (None, RedisSession("wire", redis_client, key_prefix)):
        async with AsyncExitStack() as stack:
            if holder is not None:
                await stack.enter_async_context(holder.lease(0, 600))
            await session.replace_items(ITEMS)
            await wire.sent()
            await operation(session)
            sent.append([token.sub("TOKEN", each) for each in await wire.commands()])
    assert sent[0] == sent[1]
    (command,) = sent[0]
    if is_write:
        key = f"{key_prefix}:wire"
        assert f" 2 {key} {{{key}}}~TOKEN 180 1000" in command
    assert "lease" not in command


@pytest.mark.parametrize("name", OPERATIONS)
async def test_forgotten_script_is_sent_again(
    session: RedisSession, redis_client: Redis, key_prefix: str, wire: Wire, name: str
) -> None:
    """A server that has forgotten a script is sent it once more, for all sessions of a client."""
    operation, is_write = OPERATIONS[name]
    await operation(session)
    await redis_client.script_flush()
    await wire.sent()

    await operation(session)
    assert await wire.sent() == (["EVALSHA", "EVAL"] if is_write else ["LRANGE"])

    await operation(RedisSession("another", redis_client, key_prefix))
    assert await wire.sent() == ["EVALSHA" if is_write else "LRANGE"]


@pytest.mark.parametrize("name", NO_OPERATIONS)
async def test_nothing_to_do_is_no_command(session: RedisSession, wire: Wire, name: str) -> None:
    """What can be answered without the server does not ask it."""
    await wire.sent()

    await NO_OPERATIONS[name](session)

    assert await wire.sent() == []
    assert await session.get_items() == ITEMS


async def test_making_a_session_is_no_command(
    redis_client: Redis, key_prefix: str, wire: Wire
) -> None:
    """A session costs nothing until it is used."""
    await redis_client.ping()
    await wire.sent()

    RedisSession("new", redis_client, key_prefix, ttl=5)

    assert await wire.sent() == []


@pytest.mark.parametrize("name", OPERATIONS)
async def test_operation_on_a_cluster_is_one_command(
    redis_cluster: servers.RedisCluster, cluster_client: RedisCluster, key_prefix: str, name: str
) -> None:
    """On a cluster, too, an operation is one command, sent to the right node at once."""
    operation, is_write = OPERATIONS[name]
    session = RedisSession("wire", cluster_client, key_prefix, ttl=1000)
    await session.add_items(ITEMS)
    primary = redis_cluster.primary_of(f"{key_prefix}:wire")
    for node in redis_cluster.nodes[:3]:
        node.call("CONFIG", "RESETSTAT")

    await operation(session)

    # What a script calls is counted with the rest, so only what a client would send is
    # of interest.
    for node in redis_cluster.nodes[:3]:
        stats = node.info("commandstats")
        sent = {
            name: stats[f"cmdstat_{name}"]["calls"] for name in SENT if f"cmdstat_{name}" in stats
        }
        assert sum(sent.values()) == (node is primary), node.port
        assert set(sent) <= ({"eval", "evalsha"} if is_write else {"lrange"}), node.port
        assert not {"errorstat_MOVED", "errorstat_ASK"} & set(node.info("errorstats"))
