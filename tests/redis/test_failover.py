"""The node that holds the session hands over, or dies, while a writer writes (P3, P5, P6)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import RedisCluster as ClusterClient

from openai_agents_session import RedisSession
from tests.redis.writer import Writer, numbers_of
from tests.servers import RedisCluster, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers import ClusterNode

CRASH_IS_NOTICED_MS = 1000


@pytest.fixture(scope="module")
def fragile_cluster(redis_binary: str) -> Iterator[RedisCluster]:
    """A cluster for this module alone; each test leaves it whole."""
    with RedisCluster(redis_binary) as cluster:
        yield cluster


def is_primary(node: ClusterNode) -> bool:
    return bool(node.info("replication")["role"] == "master")


def hand_over(replica: ClusterNode) -> None:
    """Let a replica take over in good order, and wait until it has."""
    replica.call("CLUSTER", "FAILOVER")
    wait_until(lambda: is_primary(replica), "the replica took over")


def crash(cluster: RedisCluster, primary: ClusterNode) -> None:
    """Kill a node, of which the others are to hear soon."""
    for node in cluster.nodes:
        node.call("CONFIG", "SET", "cluster-node-timeout", CRASH_IS_NOTICED_MS)
    primary.kill()


def mend(cluster: RedisCluster, crashed: ClusterNode) -> None:
    """Bring a killed node back, as a replica of the one that took over."""
    crashed.start()
    for node in cluster.nodes:
        node.call("CONFIG", "SET", "cluster-node-timeout", 15000)
    wait_until(cluster.is_healthy, "the cluster is whole again")


async def test_a_failover_in_good_order_goes_unnoticed(
    fragile_cluster: RedisCluster, key_prefix: str
) -> None:
    """No error reaches the writer, and nothing is lost, doubled or reordered."""
    primary = fragile_cluster.primary_of(f"{key_prefix}:s")
    replica = fragile_cluster.replica_of(primary)
    async with ClusterClient(host=fragile_cluster.host, port=fragile_cluster.port) as client:
        session = RedisSession("s", client, key_prefix, ttl=600)
        async with Writer(session) as writer:
            await writer.acknowledges(150)
            await asyncio.to_thread(hand_over, replica)
            await writer.acknowledges(150)
        assert writer.errors == []
        assert numbers_of(await session.get_items()) == writer.acknowledged
    wait_until(lambda: fragile_cluster.primary_of(f"{key_prefix}:s") is replica, "all know of it")
    await asyncio.to_thread(wait_until, fragile_cluster.is_healthy, "the old primary follows")


async def test_a_crash_of_the_primary_tears_and_doubles_nothing(
    fragile_cluster: RedisCluster, key_prefix: str
) -> None:
    """What is missing are the last batches before the crash, which were not replicated yet."""
    primary = fragile_cluster.primary_of(f"{key_prefix}:s")
    replica = fragile_cluster.replica_of(primary)
    async with ClusterClient(host=fragile_cluster.host, port=fragile_cluster.port) as client:
        session = RedisSession("s", client, key_prefix, ttl=600)
        async with Writer(session) as writer:
            await writer.acknowledges(150)
            before = len(writer.acknowledged)
            await asyncio.to_thread(crash, fragile_cluster, primary)
            await asyncio.to_thread(wait_until, lambda: is_primary(replica), "an election")
            after = len(writer.acknowledged)
            await writer.acknowledges(150)
        stored = set(numbers_of(await session.get_items()))
        missing = [number for number in writer.acknowledged if number not in stored]
        # Redis replicates after it has answered, so a crash may take the last few writes.
        if missing:
            first = writer.acknowledged.index(missing[0])
            end = first + len(missing)
            assert missing == writer.acknowledged[first:end]
            assert before <= end <= after
    await asyncio.to_thread(mend, fragile_cluster, primary)
