"""Eight processes change one user's conversations while answers are lost (P3, P5, P6, P16)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from openai_agents_session.redis import RedisStore
from tests.faults import FaultyProxy, one_in
from tests.processes import eight_processes
from tests.redis.stores import assert_agreement
from tests.servers import sweep
from tests.shares import share_of
from tests.store_processes import check_store

if TYPE_CHECKING:
    from redis.asyncio import Redis, RedisCluster

    from tests.servers import Endpoint
    from tests.servers import RedisCluster as ClusterServers

PRELOAD = ("redis.asyncio", "openai_agents_session.redis", "hypothesis", "tests.store_processes")


@pytest.mark.parametrize("steps", share_of([25, 200], 25))
async def test_eight_processes_while_answers_are_lost(
    redis_server: Endpoint, redis_client: Redis, key_prefix: str, steps: int
) -> None:
    """One answer in ten."""

    async def agree(_: RedisStore) -> None:
        await assert_agreement(redis_client, key_prefix)

    store = RedisStore(redis_client, key_prefix=key_prefix)
    proxy = FaultyProxy(redis_server, one_in(10, seed=1))
    with eight_processes(*PRELOAD) as workers:
        async with proxy:
            await check_store(
                workers, proxy.url, "ada", store, agree, steps=steps, key_prefix=key_prefix
            )
    assert proxy.cuts > steps / 2  # of the ledger's lines alone, in any order
    sweep(redis_server, key_prefix)


async def test_eight_processes_on_a_cluster(
    redis_cluster: ClusterServers, cluster_client: RedisCluster, key_prefix: str
) -> None:
    """The keys of a user are in one slot, so all of it is the same there."""

    async def agree(_: RedisStore) -> None:
        await assert_agreement(cluster_client, key_prefix)

    store = RedisStore(cluster_client, key_prefix=key_prefix)
    url = f"redis+cluster://{redis_cluster.host}:{redis_cluster.port}"
    with eight_processes(*PRELOAD) as workers:
        await check_store(workers, url, "ada", store, agree, steps=15, key_prefix=key_prefix)
    await store.user("ada").erase()
