"""Eight processes with wrong clocks take turns at one conversation, and answers are lost (P17)."""

from __future__ import annotations

import os
import random
import time
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING
from unittest import mock

from openai_agents_session import DynamoDBSession
from openai_agents_session.dynamodb import _lease, _lease_item
from tests.dynamodb import emulators
from tests.dynamodb.emulators import create_client
from tests.dynamodb.proxy import FaultyHTTPProxy, one_in
from tests.dynamodb.writer import SMALLEST
from tests.lease_processes import Amount, check, each_amount, turns_taken

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from pathlib import Path

    from tests.dynamodb.emulators import Emulator

EMULATORS = emulators.servers()
WRONG_SECONDS = 660
"""By how much the clock of a process may be wrong; AWS takes no request that is later."""


@asynccontextmanager
async def opened(url: str, table: str) -> AsyncGenerator[DynamoDBSession]:
    """A session in a process that has a clock of its own."""
    with wrong_clock(random.Random(os.getpid()).uniform(-WRONG_SECONDS, WRONG_SECONDS)):
        async with create_client(url) as client:
            yield DynamoDBSession("shared", client, table, page_bytes=SMALLEST)


@contextmanager
def wrong_clock(seconds: float) -> Generator[None]:
    right, right_ns = time.time, time.time_ns

    def wrong() -> float:
        return right() + seconds

    def wrong_ns() -> int:
        return right_ns() + int(seconds * 10**9)

    with ExitStack() as patches:
        patches.enter_context(mock.patch.multiple(time, time=wrong, time_ns=wrong_ns))
        # These have the functions under their own names.
        patches.enter_context(mock.patch.multiple(_lease, time_ns=wrong_ns))
        patches.enter_context(mock.patch.multiple(_lease_item, time=wrong))
        yield


@each_amount
async def test_eight_processes_while_answers_are_lost(
    emulator: Emulator, table: str, tmp_path: Path, amount: Amount
) -> None:
    """One answer in ten, with the smallest pages, and clocks up to eleven minutes off."""
    async with FaultyHTTPProxy(emulator.url, one_in(10, seed=1)) as proxy:
        shared = partial(opened, proxy.url, table)
        report = await turns_taken(shared, tmp_path, **amount)
    print(f"\n{report}; {proxy.lost_successes} answers lost")
    check(report)
    assert report.errors == []
    assert proxy.lost_successes > amount["runs"] / 4
