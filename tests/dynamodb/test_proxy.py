"""The proxy does the faults that it says it does, and botocore meets them as it would in life."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError, HTTPClientError, ReadTimeoutError

from tests.dynamodb import emulators
from tests.dynamodb.emulators import create_client
from tests.dynamodb.proxy import (
    CUT_BEFORE,
    HANG,
    LOSE_ANSWER,
    Fault,
    FaultyHTTPProxy,
    delay_answer_until,
    delay_until,
    each_of,
    from_the,
    lose_answer_at,
    lose_one_in,
    on,
    one_in,
    only_the,
    refuse,
    refuse_done,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.dynamodb.emulators import Emulator
    from tests.dynamodb.proxy import Plan

EMULATORS = emulators.best()

ONCE: dict[str, Any] = {"retries": {"total_max_attempts": 1}}
REFUSALS = [
    (400, "ProvisionedThroughputExceededException"),
    (400, "ThrottlingException"),
    (500, "InternalServerError"),
]


class Counter:
    """A number in a table, counted up through a proxy and read past it."""

    def __init__(self, table: str, through: Any, past: Any) -> None:
        self._at: dict[str, Any] = {"TableName": table, "Key": {"session_id": {"S": "counter"}}}
        self._through = through
        self._past = past

    async def add(self) -> None:
        await self._through.update_item(
            **self._at,
            UpdateExpression="ADD n :one",
            ExpressionAttributeValues={":one": {"N": "1"}},
        )

    async def value(self) -> int:
        answer = await self._past.get_item(**self._at, ConsistentRead=True)
        return int(answer["Item"]["n"]["N"]) if "Item" in answer else 0

    async def reaches(self, value: int) -> None:
        while await self.value() != value:
            pass


@pytest.fixture
def at(emulator: Emulator, dynamodb_client: Any, table: str) -> Any:
    """Open a proxy with a plan, and a counter behind it."""

    @asynccontextmanager
    async def opened(
        plan: Plan, *, reset: bool = False, **config: Any
    ) -> AsyncGenerator[tuple[FaultyHTTPProxy, Counter]]:
        async with (
            FaultyHTTPProxy(emulator.url, plan, reset=reset) as proxy,
            create_client(proxy.url, **config) as client,
        ):
            yield proxy, Counter(table, client, dynamodb_client)

    return opened


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
async def test_a_lost_answer_is_of_an_executed_request(at: Any, reset: bool) -> None:
    """It is sent again by botocore, and the emulator executes it twice."""
    async with at(on(LOSE_ANSWER, "UpdateItem", 1), reset=reset) as (proxy, counter):
        await counter.add()

        assert await counter.value() == 2
        assert proxy.requests == {"UpdateItem": 2}
        assert proxy.faults == {"lose answer": 1}
        assert proxy.lost_successes == 1


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
async def test_a_request_that_is_cut_off_is_not_executed(at: Any, reset: bool) -> None:
    """It is sent again by botocore, and the emulator sees only that one."""
    async with at(on(CUT_BEFORE, "UpdateItem", 1), reset=reset) as (proxy, counter):
        await counter.add()

        assert await counter.value() == 1
        assert proxy.requests == {"UpdateItem": 2}
        assert proxy.faults == {"cut before": 1}
        assert proxy.lost_successes == 0


@pytest.mark.parametrize("fault", [LOSE_ANSWER, CUT_BEFORE], ids=lambda fault: fault.kind)
async def test_a_cut_is_an_error_of_the_connection(at: Any, fault: Fault) -> None:
    """A client that does not try again learns that the connection ended, and no more."""
    async with at(on(fault, "UpdateItem"), **ONCE) as (_, counter):
        with pytest.raises(HTTPClientError):
            await counter.add()

        assert await counter.value() == (1 if fault == LOSE_ANSWER else 0)


@pytest.mark.parametrize(("status", "code"), REFUSALS)
async def test_a_refusal_is_dynamodbs_own_error(at: Any, status: int, code: str) -> None:
    """A refused request is not executed; botocore knows the error and tries again."""
    async with at(on(refuse(status, code), "UpdateItem", 1, 2), **ONCE) as (proxy, counter):
        with pytest.raises(ClientError) as caught:
            await counter.add()
        assert caught.value.response["Error"]["Code"] == code
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
        assert "x-amz-crc32" not in caught.value.response["ResponseMetadata"]["HTTPHeaders"]

        async with create_client(proxy.url) as patient:
            await Counter(counter._at["TableName"], patient, patient).add()
        assert await counter.value() == 1
        assert proxy.requests["UpdateItem"] == 3
        assert proxy.faults == {"refuse": 2}


async def test_a_request_that_hangs_is_executed_late(at: Any) -> None:
    """A client gives up on a request that hangs; released, the emulator executes it still."""
    async with at(on(HANG, "UpdateItem"), read_timeout=0.2, **ONCE) as (proxy, counter):
        with pytest.raises(ReadTimeoutError):
            await counter.add()
        await proxy.waiting()
        assert await counter.value() == 0

        proxy.release()
        await asyncio.wait_for(counter.reaches(1), 10)
        assert proxy.faults == {"hang": 1}


async def test_a_request_is_held_back_until_the_event(at: Any) -> None:
    """The emulator sees a delayed request when the event is set, and the client its answer."""
    event = asyncio.Event()
    async with at(on(delay_until(event), "UpdateItem", 1)) as (proxy, counter):
        adding = asyncio.create_task(counter.add())
        await proxy.waiting()
        assert await counter.value() == 0
        assert not adding.done()

        event.set()
        await adding
        assert await counter.value() == 1
        assert proxy.requests == {"UpdateItem": 1}


async def test_an_answer_is_held_back_until_the_event(at: Any) -> None:
    """The emulator executes at once, while the client waits for the event."""
    event = asyncio.Event()
    async with at(on(delay_answer_until(event), "UpdateItem", 1)) as (proxy, counter):
        adding = asyncio.create_task(counter.add())
        await proxy.waiting()
        assert await counter.value() == 1
        assert not adding.done()

        event.set()
        await adding
        assert await counter.value() == 1
        assert proxy.requests == {"UpdateItem": 1}


async def test_an_answer_is_lost_at_the_event(at: Any) -> None:
    """The emulator executes at once, and the connection is cut when the event is set."""
    event = asyncio.Event()
    async with at(on(lose_answer_at(event), "UpdateItem", 1), **ONCE) as (proxy, counter):
        adding = asyncio.create_task(counter.add())
        await proxy.waiting()
        assert await counter.value() == 1
        assert not adding.done()

        event.set()
        with pytest.raises(HTTPClientError):
            await adding
        assert await counter.value() == 1
        assert proxy.lost_successes == 1


async def test_a_refusal_of_what_was_done(at: Any) -> None:
    """The emulator executes the request, and the client hears of an error."""
    fault = refuse_done(500, "InternalServerError")
    async with at(on(fault, "UpdateItem"), **ONCE) as (proxy, counter):
        with pytest.raises(ClientError, match="InternalServerError"):
            await counter.add()
        assert await counter.value() == 1
        assert proxy.faults == {"refuse": 1}


def test_plans_by_the_number_of_the_request() -> None:
    """Requests are counted whatever they ask for; the first plan that has a fault decides."""

    def faults(plan: Plan) -> list[Fault | None]:
        return [plan("GetItem", 1), plan("UpdateItem", 1), plan("GetItem", 2)]

    assert faults(from_the(2, HANG)) == [None, HANG, HANG]
    assert faults(only_the(2, HANG)) == [None, HANG, None]
    both = each_of(on(LOSE_ANSWER, "GetItem", 1), from_the(1, HANG))
    assert faults(both) == [LOSE_ANSWER, HANG, HANG]


async def test_one_answer_in_ten_is_lost(at: Any) -> None:
    """Of 200 counts, each whose answer is lost counts twice, or more; all arrive."""
    async with at(lose_one_in(10, seed=1)) as (proxy, counter):
        await asyncio.gather(*(counter.add() for _ in range(200)))

        assert 10 <= proxy.lost_successes <= 40
        assert await counter.value() == 200 + proxy.lost_successes
        assert proxy.requests == {"UpdateItem": 200 + proxy.lost_successes}


def test_as_many_successes_are_lost_whatever_comes_between_them() -> None:
    """Errors have draws of their own."""

    def lost(errors: int) -> list[bool]:
        fault = lose_one_in(3, seed=1)("UpdateItem", 1)
        assert fault is not None
        assert fault.loses is not None
        drawn = []
        for _ in range(100):
            for _ in range(errors):
                fault.loses(False)
            drawn.append(fault.loses(True))
        return drawn

    assert lost(0) == lost(1) == lost(2)
    assert sum(lost(0)) == 27
    assert lose_one_in(3, seed=1)("GetItem", 1) is None


def test_the_same_seed_loses_the_same() -> None:
    """A plan of chance repeats itself for a seed, and leaves reads alone."""
    plans = [one_in(10, seed) for seed in (1, 1, 2)]
    first, second, other = ([plan("UpdateItem", 0) for _ in range(1000)] for plan in plans)

    assert first == second != other
    assert 70 <= first.count(LOSE_ANSWER) <= 130
    assert {plans[0]("GetItem", 0) for _ in range(1000)} == {None}


async def test_connections_are_kept_alive(at: Any, emulator: Emulator) -> None:
    """Ten requests in turn share a connection, except where moto ends each."""
    async with at(on(CUT_BEFORE, "none")) as (proxy, counter):
        for _ in range(10):
            await counter.add()

        assert proxy.connections == (10 if emulator.name == "moto" else 1)
        assert await counter.value() == 10
