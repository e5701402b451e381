"""A crash between any two requests of an operation leaves the old state or the new one.

Each operation runs once to count its requests, and then again and again: each time, from one
request on, none reaches the store any more. What a dying process leaves is the same.
"""

from __future__ import annotations

import json
import time
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import BotoCoreError

from openai_agents_session import DynamoDBSession, _pauses
from openai_agents_session.dynamodb import remove_orphaned_pages
from tests.dynamodb import emulators
from tests.dynamodb.proxy import (
    CUT_BEFORE,
    HANG,
    LOSE_ANSWER,
    FaultyHTTPProxy,
    behind,
    from_the,
    only_the,
)
from tests.dynamodb.writer import (
    SMALLEST,
    Child,
    batch_of,
    batches_of,
    item,
    named_pages,
    pages_of,
)
from tests.shares import share_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agents import TResponseInputItem

    from tests.dynamodb.emulators import Emulator

    Items = list[TResponseInputItem]

EMULATORS = emulators.best()

ONCE: dict[str, Any] = {"retries": {"total_max_attempts": 1}}
PADDING = 400
DAY = 24 * 3600

NEW = batch_of("new", 0, padding=PADDING)
OLD = batches_of("old", range(8), padding=PADDING)
"""Two pages, and some in the session's item."""
MANY = batches_of("many", range(90), padding=PADDING)
"""More pages than one request stores."""
LARGE = [item("large", padding=700_000), *NEW]


@dataclass(frozen=True)
class Place:
    """Where a conversation is prepared."""

    client: Any
    table: str
    session_id: str

    def session(self, ttl: int | None = None) -> DynamoDBSession:
        return DynamoDBSession(self.session_id, self.client, self.table, ttl, page_bytes=SMALLEST)

    async def update(self, update: str, **values: Any) -> None:
        await self.client.update_item(
            TableName=self.table,
            Key={"session_id": {"S": self.session_id}},
            UpdateExpression=update,
            ExpressionAttributeNames={f"#{name}": name for name in values},
            ExpressionAttributeValues={f":{name}": value for name, value in values.items()},
        )


async def nothing(_place: Place) -> None:
    """Begin with no item at all."""


async def one_item(place: Place) -> None:
    await place.session().add_items(OLD[:3])


async def full_item(place: Place) -> None:
    await place.session().add_items(OLD[:8])


async def pages(place: Place) -> None:
    for start in range(0, len(OLD), 3):
        await place.session().add_items(OLD[start : start + 3])


async def pages_and_an_empty_item(place: Place) -> None:
    await pages(place)
    for _ in range(8):
        await place.session().pop_item()


async def pages_that_expire_soon(place: Place) -> None:
    for start in range(0, len(OLD), 3):
        await place.session(ttl=600).add_items(OLD[start : start + 3])


async def expired_pages(place: Place) -> None:
    await pages_that_expire_soon(place)
    await place.update("SET #ttl = :ttl", ttl={"N": str(int(time.time()) - 1)})


async def release_0_1_0(place: Place) -> None:
    await place.update(
        "SET #conversation_data = :conversation_data", conversation_data={"S": json.dumps(OLD)}
    )


@dataclass(frozen=True)
class Case:
    """An operation on a prepared conversation, and what the conversation holds before and after."""

    prepare: Callable[[Place], Awaitable[None]]
    operate: Callable[[DynamoDBSession], Awaitable[object]]
    before: Items
    after: Items
    ttl: int | None = None
    requests: int = 2
    """How many it takes at least, as a proof that the case is what its name says."""
    reads: bool = False
    """Whether it must know the pages beforehand, where the item may go and no answer tell."""


CASES = {
    "append": Case(one_item, lambda s: s.add_items(NEW), OLD[:3], OLD[:3] + NEW, requests=1),
    "append, sealing": Case(full_item, lambda s: s.add_items(NEW), OLD[:8], OLD[:8] + NEW),
    "append of many pages": Case(pages, lambda s: s.add_items(MANY), OLD, OLD + MANY, requests=4),
    "append of a large item": Case(pages, lambda s: s.add_items(LARGE), OLD, OLD + LARGE),
    "append of a large item, the first": Case(nothing, lambda s: s.add_items(LARGE), [], LARGE),
    "append with a time to live": Case(
        pages_that_expire_soon,
        lambda s: s.add_items([item("new")]),
        OLD,
        [*OLD, item("new")],
        ttl=10 * DAY,
        requests=4,  # two pages are extended
    ),
    "append, sealing, with a time to live": Case(
        pages_that_expire_soon, lambda s: s.add_items(MANY), OLD, OLD + MANY, ttl=600
    ),
    "append with the first time to live": Case(
        pages, lambda s: s.add_items([item("new")]), OLD, [*OLD, item("new")], ttl=600, requests=4
    ),
    "append after the time is over": Case(
        expired_pages, lambda s: s.add_items(NEW), [], NEW, ttl=600, requests=3
    ),
    "append of pages after the time is over": Case(
        expired_pages, lambda s: s.add_items(MANY), [], MANY, ttl=600, requests=4
    ),
    "pop": Case(one_item, lambda s: s.pop_item(), OLD[:3], OLD[:2]),
    "pop into a page": Case(
        pages_and_an_empty_item, lambda s: s.pop_item(), OLD[:-8], OLD[:-9], requests=4
    ),
    "replace": Case(pages, lambda s: s.replace_items(MANY), OLD, MANY, requests=5),
    "replace by nothing": Case(pages, lambda s: s.replace_items([]), OLD, [], requests=3),
    "clear": Case(pages, lambda s: s.clear_session(), OLD, [], requests=2, reads=True),
    "append to an item of 0.1.0": Case(
        release_0_1_0, lambda s: s.add_items(NEW), OLD, OLD + NEW, requests=3
    ),
    "pop from an item of 0.1.0": Case(release_0_1_0, lambda s: s.pop_item(), OLD, OLD[:-1]),
    "replace an item of 0.1.0": Case(
        release_0_1_0, lambda s: s.replace_items(MANY), OLD, MANY, requests=4
    ),
    "clear an item of 0.1.0": Case(release_0_1_0, lambda s: s.clear_session(), OLD, [], requests=1),
}


ALWAYS = (
    "append, sealing",
    "append of a large item",
    "append with a time to live",
    "append of pages after the time is over",
    "pop into a page",
    "replace",
    "clear",
    "append to an item of 0.1.0",
)


@pytest.fixture(params=share_of(CASES, *ALWAYS))
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


async def orphans_of(place: Place) -> dict[str, dict[str, Any]]:
    """The pages that the session does not name."""
    named = await named_pages(place.client, place.table, place.session_id)
    found = await pages_of(place.client, place.table)
    assert named <= set(found)  # none is missing
    return {key: page for key, page in found.items() if key not in named}


async def prepared(case: Case, place: Place) -> DynamoDBSession:
    await case.prepare(place)
    assert await orphans_of(place) == {}
    observer = place.session()
    assert await observer.get_items() == case.before
    return observer


async def assert_cleaned(case: Case, place: Place, orphans: dict[str, dict[str, Any]]) -> None:
    """What a crash has left can expire, and can be found and removed, and nothing else goes."""
    if case.ttl is not None:
        ends = [float(page["ttl"]["N"]) for page in orphans.values() if "ttl" in page]
        assert len(ends) == len(orphans) or case.prepare is pages
    left = set(await pages_of(place.client, place.table)) - set(orphans)
    removed = await remove_orphaned_pages(place.client, place.table, older_than_seconds=0)
    assert removed == len(orphans)
    assert set(await pages_of(place.client, place.table)) == left


async def crash_before_each_request(url: str, dynamodb_client: Any, table: str, case: Case) -> None:
    """Run a case until it is through, and once for each of its requests, up to that one."""
    outcomes: list[bool] = []
    requests, number = 0, 0
    async with behind(url, **ONCE) as (proxy, client):
        while number <= requests:  # the first run, without a crash, says how many there are
            place = Place(dynamodb_client, table, f"s-{number}")
            observer = await prepared(case, place)
            session = DynamoDBSession(
                place.session_id, client, table, case.ttl, page_bytes=SMALLEST
            )
            if number:
                proxy.plan = from_the(number, CUT_BEFORE)
            proxy.requests.clear()
            try:
                await case.operate(session)
            except BotoCoreError:
                assert number > 0
            proxy.plan = lambda _name, _number: None
            requests = requests or proxy.requests.total()

            found = await observer.get_items()
            assert found in (case.before, case.after)
            assert await session.get_items() == found
            outcomes.append(found == case.after)
            orphans = await orphans_of(place)
            assert number or not orphans
            await assert_cleaned(case, place, orphans)
            assert await observer.get_items() == found
            await observer.add_items(batch_of("next", 0))
            assert await observer.get_items() == found + batch_of("next", 0)
            await observer.clear_session()
            number += 1

    assert requests >= case.requests
    completed, *crashed = outcomes
    assert completed
    assert crashed == sorted(crashed)  # one of the requests makes the new state, none before it
    assert not crashed[0]


async def lose_each_answer(url: str, dynamodb_client: Any, table: str, case: Case) -> None:
    """Run a case until it is through, and once for each of its requests without its answer."""
    requests, number = 0, 0
    async with behind(url) as (proxy, client):
        while number <= requests:
            place = Place(dynamodb_client, table, f"s-{number}")
            observer = await prepared(case, place)
            session = DynamoDBSession(
                place.session_id, client, table, case.ttl, page_bytes=SMALLEST
            )
            if case.reads:
                await session.get_items()
            if number:
                proxy.plan = only_the(number, LOSE_ANSWER)
            proxy.requests.clear()
            await case.operate(session)
            requests = requests or proxy.requests.total()

            assert await observer.get_items() == case.after
            assert await session.get_items() == case.after
            assert await orphans_of(place) == {}
            await observer.clear_session()
            number += 1
        assert proxy.faults["lose answer"] == requests


async def test_a_crash_before_any_request(
    emulator: Emulator,
    dynamodb_client: Any,
    table: str,
    monkeypatch: pytest.MonkeyPatch,
    case: Case,
) -> None:
    """The conversation is the old one or the new one, and what else is left can be removed."""
    monkeypatch.setattr(_pauses, "RETRY_SECONDS", 0.0)
    await crash_before_each_request(emulator.url, dynamodb_client, table, case)


async def test_each_answer_is_lost_in_turn(
    emulator: Emulator, dynamodb_client: Any, table: str, case: Case
) -> None:
    """Whichever answer is lost, the operation is done, once, and nobody hears of it."""
    await lose_each_answer(emulator.url, dynamodb_client, table, case)


@pytest.mark.slow  # as a crash before a request is, but for the processes
async def test_a_process_that_is_killed(
    emulator: Emulator, dynamodb_client: Any, table: str
) -> None:
    """A process killed while a request of its hangs leaves the old conversation or the new one."""
    requests = 5  # read, store pages (two requests), change the item, delete the old pages
    places = [Place(dynamodb_client, table, f"s-{number}") for number in range(requests)]
    for place in places:
        await pages(place)
    with ExitStack() as children:
        processes = [children.enter_context(Child()) for _ in places]
        async with AsyncExitStack() as stack:
            proxies = []
            for number, (place, child) in enumerate(zip(places, processes, strict=True), 1):
                proxy = FaultyHTTPProxy(emulator.url, from_the(number, HANG))
                proxies.append(await stack.enter_async_context(proxy))
                child.order(
                    do="replace",
                    url=proxy.url,
                    table=table,
                    session_id=place.session_id,
                    page_bytes=SMALLEST,
                    ttl=600,
                    items=MANY,
                )
            for proxy, child in zip(proxies, processes, strict=True):
                await proxy.waiting()
                child.kill()

    found = [await place.session().get_items() for place in places]
    assert found == [OLD] * 4 + [MANY]
    named = [await named_pages(dynamodb_client, table, place.session_id) for place in places]
    stored = await pages_of(dynamodb_client, table)
    orphans = set(stored) - set().union(*named)
    assert len(orphans) > 0
    removed = await remove_orphaned_pages(dynamodb_client, table, older_than_seconds=0)
    assert removed == len(orphans)
    assert [await place.session().get_items() for place in places] == found
