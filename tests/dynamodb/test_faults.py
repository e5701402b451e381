"""Answers lost on the wire: everything is done once, and nobody hears of it (P5)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from openai_agents_session import DynamoDBSession, _pauses
from tests.dynamodb import emulators
from tests.dynamodb.proxy import LOSE_ANSWER, behind, lose_answer_at, lose_one_in, on
from tests.dynamodb.writer import (
    SMALLEST,
    add,
    batch_of,
    batches_of,
    item,
    named_pages,
    names_of,
    numbers_by_writer,
    pages_of,
)
from tests.shares import share_of, slow

if TYPE_CHECKING:
    from tests.dynamodb.emulators import Emulator
    from tests.dynamodb.store import Store

LARGE_PAGE_BYTES = 64 * 1024
EMULATORS = emulators.servers()

BATCHES, POPS = 40, 20
"""Of each lane: a session with one writer, so that the order of everything is known."""
SHARING = 4
"""Writers of one more session."""
PADDING = 400
"""Three batches to a page of the smallest size."""
ONCE: dict[str, Any] = {"retries": {"total_max_attempts": 1}}
"""botocore then sends nothing again, and it is left to the session."""


@pytest.fixture(params=[SMALLEST, LARGE_PAGE_BYTES], ids=["small pages", "large pages"])
def page_bytes(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Go on sending again for longer: by chance, several answers in a row are lost."""
    monkeypatch.setattr(_pauses, "RETRY_SECONDS", 30.0)


async def pop(session: DynamoDBSession, pops: int) -> list[Any]:
    return [await session.pop_item() for _ in range(pops)]


def assert_popped_once(before: list[Any], popped: list[list[Any]], after: list[Any]) -> None:
    """What several poppers got is the end of what there was, and each got it from the end on."""
    taken = names_of(each for share in popped for each in share)
    assert names_of(after) + sorted(taken, key=names_of(before).index) == names_of(before)
    for share in popped:
        ranks = [names_of(before).index(name) for name in names_of(share)]
        assert ranks == sorted(ranks, reverse=True)


# A thousand batches and 500 pops as most clients are; a fifth of that as others are.
@pytest.mark.parametrize(
    ("page_bytes", "config", "batches"),
    [
        pytest.param(SMALLEST, {}, 200, id="a share"),
        slow(SMALLEST, {}, 1000, id="small pages"),
        slow(SMALLEST, ONCE, 200, id="no retries"),
        slow(LARGE_PAGE_BYTES, {}, 200, id="large pages"),
    ],
)
async def test_a_thousand_batches_and_500_pops_with_every_tenth_answer_lost(
    emulator: Emulator, store: Store, page_bytes: int, config: dict[str, Any], batches: int
) -> None:
    """Nothing is lost, doubled, torn or reordered, and no error reaches the caller."""
    pops = batches // 2
    lane_count = pops // 25  # four fifths of all that is done, by one writer each
    shared_batches, shared_pops = batches // 20, pops // 20
    assert lane_count * BATCHES + SHARING * shared_batches == batches
    assert lane_count * POPS + SHARING * shared_pops == pops
    async with behind(emulator.url, lose_one_in(10, seed=1), **config) as (proxy, client):

        def session(name: str) -> DynamoDBSession:
            return DynamoDBSession(name, client, store.table, page_bytes=page_bytes)

        lanes = [session(f"lane-{lane}") for lane in range(lane_count)]
        sharing = [session("shared") for _ in range(SHARING)]
        shared = store.session("shared")

        await asyncio.gather(
            *(add(lane, 0, BATCHES, PADDING) for lane in lanes),
            *(add(each, n, shared_batches, PADDING) for n, each in enumerate(sharing)),
        )
        lost_while_writing = proxy.lost_successes
        written = batches_of(0, range(BATCHES), padding=PADDING)
        assert [await lane.get_items() for lane in lanes] == [written] * lane_count
        together = await shared.get_items()
        assert numbers_by_writer(together) == {
            str(writer): list(range(shared_batches)) for writer in range(SHARING)
        }

        popping = asyncio.gather(*(pop(lane, POPS) for lane in lanes))
        shares = await asyncio.gather(*(pop(each, shared_pops) for each in sharing))
        assert await popping == [written[: -POPS - 1 : -1]] * lane_count
        assert [await lane.get_items() for lane in lanes] == [written[:-POPS]] * lane_count
        assert_popped_once(together, shares, await shared.get_items())

        # What these seeds lose at least of so many successes.
        assert lost_while_writing >= batches * 0.02
        assert proxy.lost_successes - lost_while_writing >= pops * 0.02
        if page_bytes == SMALLEST:
            assert len(await pages_of(store.client, store.table)) > batches / 5


async def test_the_same_faults_do_harm_where_nothing_is_done_about_them(
    emulator: Emulator, table: str
) -> None:
    """A plain append to a list is sent again by botocore, and stored twice."""
    async with behind(emulator.url, lose_one_in(10, seed=1)) as (proxy, client):
        for _ in range(100):
            await client.update_item(
                TableName=table,
                Key={"session_id": {"S": "plain"}},
                UpdateExpression="SET #items = list_append(if_not_exists(#items, :none), :items)",
                ExpressionAttributeNames={"#items": "items"},
                ExpressionAttributeValues={":none": {"L": []}, ":items": {"L": [{"S": "one"}]}},
            )
        stored = await client.get_item(TableName=table, Key={"session_id": {"S": "plain"}})

        assert proxy.lost_successes > 0
        assert len(stored["Item"]["items"]["L"]) == 100 + proxy.lost_successes


@pytest.mark.parametrize("config", [{}, ONCE], ids=["defaults", "no retries"])
@pytest.mark.parametrize("reset", [False, slow(True)], ids=["FIN", "RST"])
async def test_replacements_and_clears_with_every_third_answer_lost(
    emulator: Emulator, table: str, config: dict[str, Any], reset: bool
) -> None:
    """Rewriting a session again and again, pages and all, shows each state in its turn."""
    async with behind(emulator.url, lose_one_in(3, seed=2), reset=reset, **config) as (
        proxy,
        client,
    ):

        async def rewrite(session: DynamoDBSession) -> None:
            for number in range(4):
                large = batches_of(number, range(6), padding=PADDING)
                await session.replace_items(large)
                await session.add_items(batch_of("next", number))
                assert await session.get_items() == large + batch_of("next", number)
                await session.clear_session()
                assert await session.get_items() == []

        names = [f"lane-{lane}" for lane in range(4)]
        await asyncio.gather(
            *(rewrite(DynamoDBSession(n, client, table, page_bytes=SMALLEST)) for n in names)
        )
        assert proxy.lost_successes >= 15


@pytest.mark.parametrize("config", [{}, ONCE], ids=["defaults", "no retries"])
async def test_several_answers_lost_in_a_row_change_nothing(
    emulator: Emulator, table: str, config: dict[str, Any]
) -> None:
    """A write and a pop outlast three losses each."""
    plan = on(LOSE_ANSWER, "UpdateItem", 1, 2, 3, 5, 6, 7)
    async with behind(emulator.url, plan, **config) as (proxy, client):
        session = DynamoDBSession("s", client, table)
        await session.add_items(batch_of("a", 0))
        assert await session.pop_item() == batch_of("a", 0)[-1]
        assert await session.get_items() == batch_of("a", 0)[:-1]
        assert proxy.faults == {"lose answer": 6}
        assert proxy.requests["UpdateItem"] == 8


@emulators.run_on(emulators.best())
@pytest.mark.parametrize("writes", share_of([100, 1000], 100))
async def test_a_thousand_writes_before_the_resend_double_nothing(
    emulator: Emulator, dynamodb_client: Any, table: str, page_bytes: int, writes: int
) -> None:
    """An append and a pop whose answers are lost a thousand writes later were done once."""
    lost = asyncio.Event()
    plan = on(lose_answer_at(lost), "UpdateItem", 1, 2)
    neighbour = DynamoDBSession("s", dynamodb_client, table, page_bytes=page_bytes)
    async with behind(emulator.url, plan) as (proxy, client):
        first = batches_of("first", range(20))
        await neighbour.add_items(first)
        appending = asyncio.create_task(
            DynamoDBSession("s", client, table, page_bytes=page_bytes).add_items(
                batch_of("held", 0)
            )
        )
        await proxy.waiting(1)
        popping = asyncio.create_task(
            DynamoDBSession("s", client, table, page_bytes=page_bytes).pop_item()
        )
        await proxy.waiting(2)
        for number in range(writes):
            await neighbour.add_items([item(f"other.{number}.0")])
        assert not appending.done()
        assert not popping.done()
        lost.set()
        await appending

        assert await popping == batch_of("held", 0)[-1]
        others = [item(f"other.{number}.0") for number in range(writes)]
        assert await neighbour.get_items() == first + batch_of("held", 0)[:-1] + others
        assert proxy.lost_successes == 2
        assert proxy.requests["UpdateItem"] == 4


async def test_a_replacement_whose_answer_is_lost_happens_once(
    emulator: Emulator, dynamodb_client: Any, table: str
) -> None:
    """What another writer appends before the replacement is sent again survives it."""
    lost = asyncio.Event()
    neighbour = DynamoDBSession("s", dynamodb_client, table)
    await neighbour.add_items(batch_of("old", 0))
    async with behind(emulator.url, on(lose_answer_at(lost), "UpdateItem", 1)) as (proxy, client):
        replacing = asyncio.create_task(
            DynamoDBSession("s", client, table).replace_items(batch_of("new", 0))
        )
        await proxy.waiting()
        await neighbour.add_items(batch_of("next", 0))
        lost.set()
        await replacing
        assert await neighbour.get_items() == batch_of("new", 0) + batch_of("next", 0)
        assert proxy.lost_successes == 1


@pytest.mark.parametrize("config", [{}, ONCE], ids=["defaults", "no retries"])
async def test_a_clear_whose_answer_is_lost_deletes_no_newer_conversation(
    emulator: Emulator, dynamodb_client: Any, table: str, config: dict[str, Any], page_bytes: int
) -> None:
    """A conversation that another session begins before the clear is sent again stays whole."""
    lost = asyncio.Event()
    old, new = (batches_of(name, range(8), padding=PADDING) for name in ("old", "new"))
    neighbour = DynamoDBSession("s", dynamodb_client, table, page_bytes=page_bytes)
    await neighbour.add_items(old)
    plan = on(lose_answer_at(lost), "UpdateItem", 1)
    async with behind(emulator.url, plan, **config) as (proxy, client):
        session = DynamoDBSession("s", client, table, page_bytes=page_bytes)
        assert await session.get_items() == old
        clearing = asyncio.create_task(session.clear_session())
        await proxy.waiting()
        assert await neighbour.get_items() == []
        await neighbour.add_items(new)
        lost.set()
        await clearing

        assert proxy.requests["UpdateItem"] == 2
        assert await neighbour.get_items() == new
        assert await session.get_items() == new
        stored = set(await pages_of(dynamodb_client, table))
        assert stored == await named_pages(dynamodb_client, table, "s")
        assert bool(stored) == (page_bytes == SMALLEST)
