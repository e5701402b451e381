"""Eight processes take turns at one conversation while the network and nodes fail (P17)."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis
from redis.asyncio import RedisCluster as ClusterClient

from openai_agents_session import RedisSession
from tests.faults import FaultyProxy, one_in
from tests.lease_processes import Amount, check, each_amount, turns_taken
from tests.redis.test_failover import crash, hand_over, is_primary
from tests.servers import RedisCluster, sweep, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path

    from tests.lease_processes import Progress
    from tests.servers import ClusterNode, Endpoint

LATE_SECONDS = 2.5
"""By how much a request is late: longer than a lease lives, and than its client waits."""


@asynccontextmanager
async def opened(url: str, prefix: str) -> AsyncGenerator[RedisSession]:
    async with Redis.from_url(url, socket_timeout=0.5) as client:
        yield RedisSession("shared", client, prefix, ttl=600)


@asynccontextmanager
async def opened_on_cluster(url: str, prefix: str) -> AsyncGenerator[RedisSession]:
    async with ClusterClient.from_url(url) as client:
        yield RedisSession("shared", client, prefix, ttl=600)


class SlowProxy(FaultyProxy):
    """Loses one answer in ten, and delivers one request in fifty when a lease is over."""

    def __init__(self, server: Endpoint) -> None:
        super().__init__(server, one_in(10, seed=1))
        self.late = 0
        self._delays = one_in(50, seed=2)

    async def _before_delivery(self) -> None:
        if next(self._delays):
            self.late += 1
            await asyncio.sleep(LATE_SECONDS)


@each_amount
async def test_eight_processes_while_requests_are_late_and_answers_lost(
    redis_server: Endpoint, key_prefix: str, tmp_path: Path, amount: Amount
) -> None:
    """Nobody waits for the late requests; they are sent again, and arrive all the same."""
    async with SlowProxy(redis_server) as proxy:
        shared = partial(opened, proxy.url, key_prefix)
        report = await turns_taken(shared, tmp_path, **amount)
    print(f"\n{report}; {proxy.cuts} answers lost, {proxy.late} requests late")
    check(report)
    # Where that happens several times in a row, the caller hears of it.
    assert len(report.errors) <= amount["runs"] / 5
    assert proxy.cuts > amount["runs"] / 4
    assert proxy.late > amount["runs"] / 20
    sweep(redis_server, key_prefix)


@pytest.fixture
def fragile_cluster(redis_binary: str) -> Iterator[RedisCluster]:
    """A cluster for one test, which leaves it broken."""
    with RedisCluster(redis_binary) as cluster:
        yield cluster


@each_amount
async def test_eight_processes_while_nodes_fail(
    fragile_cluster: RedisCluster,
    key_prefix: str,
    tmp_path: Path,
    amount: Amount,
) -> None:
    """A primary hands over in good order; the next one dies when its replica has all of it.

    What a primary has acknowledged and not replicated is lost with it, as Redis says.
    """
    primary = fragile_cluster.primary_of(f"{key_prefix}:shared")
    replica = fragile_cluster.replica_of(primary)

    async def meanwhile(has_done: Progress) -> None:
        await has_done(amount["runs"] // 3)
        await asyncio.to_thread(hand_over, replica)
        await has_done(2 * amount["runs"] // 3)
        await asyncio.to_thread(wait_until, fragile_cluster.is_healthy, "the old primary follows")
        await asyncio.to_thread(stop_writes, replica, primary)
        await asyncio.to_thread(crash, fragile_cluster, replica)
        await asyncio.to_thread(wait_until, lambda: is_primary(primary), "an election")

    shared = partial(opened_on_cluster, fragile_cluster.url, key_prefix)
    report = await turns_taken(
        shared,
        tmp_path,
        **amount,
        meanwhile=meanwhile,
    )
    print(f"\n{report}")
    check(report)


def stop_writes(primary: ClusterNode, replica: ClusterNode) -> None:
    """Let a primary take no more writes, and wait until its replica has all that there were."""
    primary.call("CLIENT", "PAUSE", 60_000, "WRITE")
    offset = primary.info("replication")["master_repl_offset"]
    wait_until(
        lambda: replica.info("replication")["slave_repl_offset"] >= offset, "the replica has all"
    )
