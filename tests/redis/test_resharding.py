"""A slot moves to another node of the cluster while its conversations are written (P3, P5, P6)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import RedisCluster as ClusterClient

from openai_agents_session import RedisSession, _pauses
from tests.redis.writer import Writer, batch_of, numbers_of
from tests.servers import sweep, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers import ClusterNode, RedisCluster


@pytest.fixture
def neighbours(request: pytest.FixtureRequest) -> int:
    """How many other keys the slot holds."""
    return int(request.param)


class Slot:
    """One slot, of keys that have a prefix for their tag."""

    def __init__(self, cluster: RedisCluster, tag: str) -> None:
        self.tag = tag
        self.number = int(cluster.nodes[0].call("CLUSTER", "KEYSLOT", tag))
        self.home = cluster.primary_of(tag)
        self.other = next(node for node in cluster.nodes[:3] if node is not self.home)
        self._nodes = cluster.nodes

    def fill(self, keys: int) -> None:
        """Put keys there that are nobody's."""
        with self.home.client() as client, client.pipeline(transaction=False) as pipe:
            for number in range(keys):
                pipe.set(f"{{{self.tag}}}{number}", "x")
            pipe.execute()

    def move(self, source: ClusterNode, target: ClusterNode) -> None:
        """Move it with all its keys, as redis-cli does."""
        target.call("CLUSTER", "SETSLOT", self.number, "IMPORTING", source.node_id())
        source.call("CLUSTER", "SETSLOT", self.number, "MIGRATING", target.node_id())
        with source.client() as client:
            while keys := client.execute_command("CLUSTER GETKEYSINSLOT", self.number, 20):
                to = (target.host, target.port, "", 0, 10_000)
                client.execute_command("MIGRATE", *to, "KEYS", *keys)
        owner = target.node_id()
        target.call("CLUSTER", "SETSLOT", self.number, "NODE", owner)
        for node in self._nodes[:3]:
            node.call("CLUSTER", "SETSLOT", self.number, "NODE", owner)


@pytest.fixture
def slot(redis_cluster: RedisCluster, key_prefix: str) -> Iterator[Slot]:
    """A slot of the test's own, at home again afterwards."""
    made = Slot(redis_cluster, key_prefix)
    yield made
    if redis_cluster.primary_of(key_prefix) is not made.home:
        made.move(made.other, made.home)
    sweep(made.home, key_prefix)


async def rewrite_while_moving(session: RedisSession, slot: Slot) -> None:
    """Pop, replace and read for as long as the slot moves: away, and back if that was too fast."""
    rounds, source, target = 0, slot.home, slot.other
    await session.replace_items(batch_of(0))
    while rounds == 0:
        moving = asyncio.ensure_future(asyncio.to_thread(slot.move, source, target))
        while not moving.done():
            assert await session.pop_item() == batch_of(rounds)[-1]
            rounds += 1
            await session.replace_items(batch_of(rounds))
            assert await session.get_items() == batch_of(rounds)
        await moving
        source, target = target, source


@pytest.mark.parametrize(
    "neighbours", [1000, pytest.param(20_000, marks=pytest.mark.slow)], indirect=True
)
async def test_a_slot_moves_unnoticed(
    cluster_client: ClusterClient, slot: Slot, neighbours: int
) -> None:
    """No error reaches anybody, and nothing is lost, doubled or reordered."""
    slot.fill(neighbours)
    sessions = [RedisSession(f"{{{slot.tag}}}-{n}", cluster_client, slot.tag, 600) for n in "abcd"]
    *written, rewritten = sessions
    writers = [Writer(session) for session in written]
    async with writers[0], writers[1], writers[2]:
        await asyncio.gather(*(writer.acknowledges(5) for writer in writers))
        await rewrite_while_moving(rewritten, slot)
        await asyncio.gather(*(writer.acknowledges(5) for writer in writers))
    for writer, session in zip(writers, written, strict=True):
        assert writer.errors == []
        assert numbers_of(await session.get_items()) == writer.acknowledged


async def test_a_slot_that_takes_its_time_is_waited_for(
    cluster_client: ClusterClient, slot: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Patience with what moves is not the second that other faults have."""
    monkeypatch.setattr(_pauses, "RETRY_SECONDS", 0.0)
    session = RedisSession(f"{{{slot.tag}}}", cluster_client, slot.tag, 600)
    await session.add_items(batch_of(0))

    def refusals() -> int:
        stats = slot.home.info("errorstats")
        return int(stats.get("errorstat_TRYAGAIN", {}).get("count", 0))

    before = refusals()
    slot.other.call("CLUSTER", "SETSLOT", slot.number, "IMPORTING", slot.home.node_id())
    slot.home.call("CLUSTER", "SETSLOT", slot.number, "MIGRATING", slot.other.node_id())
    task = asyncio.ensure_future(session.add_items(batch_of(1)))
    # redis-py tries sixteen times, and then says that it gives up: here, two times at least.
    await asyncio.to_thread(
        wait_until, lambda: task.done() or refusals() > before + 3 * 16, "it is tried again"
    )
    for node in (slot.home, slot.other):
        node.call("CLUSTER", "SETSLOT", slot.number, "STABLE")
    await task
    assert await session.get_items() == batch_of(0) + batch_of(1)


async def test_a_slot_moves_unnoticed_where_there_are_no_scripts(
    redis_cluster: RedisCluster, slot: Slot
) -> None:
    """A transaction is begun again where its key is."""
    slot.fill(1000)
    name = f"user-of-{slot.tag}"
    for node in redis_cluster.nodes:
        node.call("ACL", "SETUSER", name, "on", ">any", "~*", "+@all", "-@scripting")
    async with ClusterClient(
        host=redis_cluster.host, port=redis_cluster.port, username=name, password="any"
    ) as client:
        session = RedisSession(f"{{{slot.tag}}}", client, slot.tag, 600)
        await rewrite_while_moving(session, slot)
    for node in redis_cluster.nodes:
        node.call("ACL", "DELUSER", name)
