"""Eight processes change one user's conversations while answers are lost (P3, P5, P6, P16)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from openai_agents_session.dynamodb import DynamoDBStore
from tests.dynamodb import emulators
from tests.dynamodb.proxy import FaultyHTTPProxy, lose_one_in
from tests.dynamodb.store import assert_agrees, temporary_table
from tests.processes import eight_processes
from tests.shares import share_of
from tests.store_processes import check_store

if TYPE_CHECKING:
    from tests.dynamodb.emulators import Emulator

EMULATORS = emulators.servers()
PRELOAD = ("aiobotocore.session", "openai_agents_session.dynamodb", "tests.store_processes")


@pytest.mark.parametrize("steps", share_of([12, 100], 12))
async def test_eight_processes_while_answers_are_lost(
    emulator: Emulator, dynamodb_client: Any, steps: int
) -> None:
    """One answer in ten, with the smallest pages."""
    async with temporary_table(dynamodb_client, users=True) as table:

        async def agree(_: DynamoDBStore) -> None:
            assert_agrees(await table.everything(), await table.indexed())

        store = DynamoDBStore(dynamodb_client, table.table)
        proxy = FaultyHTTPProxy(emulator.url, lose_one_in(10, seed=1))
        with eight_processes(*PRELOAD) as workers:
            async with proxy:
                await check_store(
                    workers,
                    f"dynamodb://{table.table}",
                    "ada",
                    store,
                    agree,
                    steps=steps,
                    region=emulators.REGION,
                    endpoint_url=proxy.url,
                    aws_access_key_id="test",
                    aws_secret_access_key="test",
                    page_bytes=4096,
                )
        assert proxy.lost_successes > steps / 2  # of the ledger's lines alone, in any order
