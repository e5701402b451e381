"""What a session means whatever its store, where the contract leaves it open how."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.contract import numbered, user
from tests.memory import MemoryConversation, MemorySession, Store

if TYPE_CHECKING:
    from openai_agents_session._conversation import Found

BAD = b"not JSON"
SUMMARY: list[Any] = [user("summary")]


class Watched(MemoryConversation):
    """Notes how many records each read asks for, and lets others in between."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, "a", None)
        self.asked: list[int | None] = []
        self.others: list[list[bytes]] = []

    async def read(self, newest: int | None) -> Found:
        """Read, after the next of the others has appended."""
        self.asked.append(newest)
        found = await super().read(newest)
        if self.others:
            await self.append(self.others.pop())
        return found


def stored(*records: Any) -> Store:
    """Return a store with one conversation of these items or raw records."""
    texts = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in records]
    store = Store()
    store["a"] = [*texts], None
    return store


def watched(store: Store) -> tuple[MemorySession, Watched]:
    """Return a session, and the conversation that it uses."""
    session, conversation = MemorySession("a", store), Watched(store)
    session._conversation = conversation
    return session, conversation


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was warned of."""
    return [entry.getMessage() for entry in caplog.records if entry.levelname == "WARNING"]


@pytest.mark.parametrize(
    ("limit", "items", "passed_over"),
    [
        (None, numbered(0, 3), 3),
        (3, numbered(0, 3), 2),
        (2, numbered(1, 3), 1),
        (1, [user("item 2")], 0),
    ],
)
async def test_one_warning_counts_what_was_passed_over(
    caplog: pytest.LogCaptureFixture, limit: int | None, items: list[Any], passed_over: int
) -> None:
    """Only the records among and after the items that are returned were passed over."""
    store = stored(BAD, user("item 0"), BAD, user("item 1"), BAD, user("item 2"))

    assert await MemorySession("a", store).get_items(limit) == items

    assert warnings(caplog) == (
        [f"Passed over {passed_over} unreadable record(s) of session 'a'"] if passed_over else []
    )


async def test_a_pop_warns_once_however_often_it_tries(caplog: pytest.LogCaptureFixture) -> None:
    """A pop that others come before looks again, and takes what is newest then."""
    session, conversation = watched(stored(user("old"), BAD))
    conversation.others = [[BAD], [b'{"role": "user", "content": "new"}', BAD]]

    assert await session.pop_item() == user("new")

    assert warnings(caplog) == ["Passed over 2 unreadable record(s) of session 'a'"]
    assert len(conversation.asked) > 2
    assert await session.get_items() == [user("old")]


async def test_a_pop_of_nothing_readable_warns(caplog: pytest.LogCaptureFixture) -> None:
    """There is no item, and two reasons why."""
    assert await MemorySession("a", stored(BAD, BAD)).pop_item() is None

    assert warnings(caplog) == ["Passed over 2 unreadable record(s) of session 'a'"]


async def test_a_limit_is_asked_of_the_store() -> None:
    """No more is read than is wanted; twice as many where some cannot be read."""
    session, conversation = watched(stored(*numbered(0, 20), BAD))

    assert await session.get_items(3) == numbered(17, 20)
    assert await session.get_items() == numbered(0, 20)
    assert await session.get_items(2**31 - 1) == numbered(0, 20)

    assert conversation.asked == [3, 6, None, None]


@pytest.mark.parametrize("limit", [2, 9])
async def test_a_snapshot_whose_head_is_pruned_meanwhile_still_fits(limit: int) -> None:
    """What counts is that the end is as it was; what may go is seen when it goes."""
    store = stored(user("stale"), user("stale"), *numbered(0, 3))
    session = MemorySession("a", store)

    def is_stale(item: Any) -> bool:
        return item["content"] == "stale"

    snapshot = await session._get_compaction_snapshot(limit, prune_prefix=is_stale)
    assert snapshot is not None
    assert snapshot.complete is (limit == 9)
    if limit == 2:
        del store["a"][0][0]

    assert await snapshot.replace_suffix(1, SUMMARY)

    kept = numbered(0, 2) if limit == 2 else []
    assert await session.get_items() == [*kept, *SUMMARY]


@pytest.mark.parametrize("start", [1, 2, 5])
async def test_a_snapshot_of_a_shortened_conversation_replaces_nothing(start: int) -> None:
    """Also where what is read again is shorter than what is to be replaced."""
    store = stored(*numbered(0, 6))
    session = MemorySession("a", store)
    snapshot = await session._get_compaction_snapshot(5, prune_prefix=lambda _: True)
    assert snapshot is not None
    await session.replace_items(numbered(5, 6))

    assert not await snapshot.replace_suffix(start, SUMMARY)

    assert await session.get_items() == numbered(5, 6)


async def test_nothing_to_replace_replaces_nothing() -> None:
    """A replacement that begins behind the end was made for another snapshot."""
    session = MemorySession("a", stored(*numbered(0, 2)))
    snapshot = await session._get_compaction_snapshot(5)
    assert snapshot is not None

    assert not await snapshot.replace_suffix(2, SUMMARY)
    assert await session.get_items() == numbered(0, 2)
