"""A session and a plain list, side by side, through whatever can be done to them.

After every step the session has the items of the list, for a fresh reader as well, and the
table has its item, the pages that this one names, and nothing else. Several objects of the
same session take turns, so what each remembers of the item is outdated most of the time.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from openai_agents_session.dynamodb import _packing
from tests.dynamodb import emulators
from tests.dynamodb.store import ID, Store, epoch, temporary_table, user
from tests.shares import share_of

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from openai_agents_session import DynamoDBSession
    from tests.dynamodb.emulators import Emulator

EMULATORS = emulators.servers()

SIZES = st.sampled_from([1, 20, 300, 1200, 3000, 4040, 4100, 9000])
BATCHES = st.lists(SIZES, max_size=6)
SEVERAL = st.integers(0, 2)


class Conversation(RuleBasedStateMachine):
    """The steps, and what must hold after each."""

    loop: asyncio.AbstractEventLoop
    store: Store

    def __init__(self) -> None:
        super().__init__()
        self.items: list[Any] = []
        self.made = 0
        self.sessions = [self.store.session(page_bytes=4096) for _ in range(3)]

    def teardown(self) -> None:
        """Leave an empty table to the next example."""

        async def empty() -> None:
            for key in await self.store.everything():
                await self.store.delete(key)

        self.run(empty())

    def run(self, step: Coroutine[Any, Any, Any]) -> Any:
        """Run a step to its end."""
        return self.loop.run_until_complete(step)

    def batch(self, sizes: list[int]) -> list[Any]:
        """Return items that none was equal to before."""
        self.made += len(sizes)
        first = self.made - len(sizes)
        return [user(f"{first + at}:" + "xü"[at % 2] * size) for at, size in enumerate(sizes)]

    @rule(
        at=SEVERAL,
        ttl=st.sampled_from([None, 1000, 10**6]),
        page_bytes=st.sampled_from([4096, 4097, 20_000]),
    )
    def reopen(self, at: int, ttl: int | None, page_bytes: int) -> None:
        """Take a new object, with another time to live and other pages."""
        self.sessions[at] = self.store.session(ttl_seconds=ttl, page_bytes=page_bytes)

    @rule(at=SEVERAL, sizes=BATCHES)
    def add(self, at: int, sizes: list[int]) -> None:
        """Append a batch."""
        batch = self.batch(sizes)
        self.run(self.sessions[at].add_items(batch))
        self.items += batch

    @rule(at=SEVERAL, size=st.sampled_from([310_000, 700_000]))
    def add_large(self, at: int, size: int) -> None:
        """Append an item of several pages."""
        self.add(at, [size])

    @rule(sizes=st.lists(st.sampled_from([20, 1200, 3000]), min_size=3, max_size=3))
    def add_at_once(self, sizes: list[int]) -> None:
        """Append by all objects at the same time."""
        batch = self.batch(sizes)

        async def all_of_them() -> None:
            writes = [self.sessions[at].add_items(batch[at : at + 1]) for at in range(3)]
            await asyncio.gather(*writes)

        self.run(all_of_them())
        stored = self.run(self.store.session().get_items())
        assert stored[: len(self.items)] == self.items
        assert sorted(stored[len(self.items) :], key=str) == sorted(batch, key=str)
        self.items = stored

    @rule(at=SEVERAL, times=st.integers(1, 4))
    def pop(self, at: int, times: int) -> None:
        """Take the newest items, one by one."""
        for _ in range(times):
            expected = self.items.pop() if self.items else None
            assert self.run(self.sessions[at].pop_item()) == expected

    @rule(at=SEVERAL, limit=st.integers(-1, 30))
    def get(self, at: int, limit: int) -> None:
        """Read the newest items."""
        expected = self.items[-limit:] if limit > 0 else []
        assert self.run(self.sessions[at].get_items(limit)) == expected

    @rule(at=SEVERAL)
    def clear(self, at: int) -> None:
        """Delete the conversation."""
        self.run(self.sessions[at].clear_session())
        self.items = []

    @rule(at=SEVERAL, sizes=BATCHES)
    def replace(self, at: int, sizes: list[int]) -> None:
        """Put a batch in the place of everything."""
        self.items = self.batch(sizes)
        self.run(self.sessions[at].replace_items(self.items))

    @rule(at=SEVERAL, limit=st.integers(1, 12), sizes=BATCHES, data=st.data())
    def compact(self, at: int, limit: int, sizes: list[int], data: st.DataObject) -> None:
        """Replace the end of what the SDK's compaction was shown."""
        shown = self.run(self.sessions[at]._get_compaction_snapshot(limit))
        assert shown.items == self.items[-limit:]
        assert shown.complete == (len(self.items) <= limit)
        start = data.draw(st.integers(0, len(shown.items)))
        batch = self.batch(sizes)
        if self.run(shown.replace_suffix(start, batch)):
            cut = len(self.items) - len(shown.items) + start
            self.items = self.items[:cut] + batch
        else:
            assert start == len(shown.items)

    @precondition(lambda self: self.is_there())
    @rule()
    def expire(self) -> None:
        """Let the conversation's time be over."""
        self.run(self.store.set_ttl(-1))
        self.items = []

    @precondition(lambda self: self.is_there() and self.items)
    @rule(at=SEVERAL, ttl=st.sampled_from([None, 60, 10**8]))
    def move_ttl(self, at: int, ttl: int | None) -> None:
        """Change the conversation's time from outside; the next write makes all agree."""
        value = None if ttl is None else {"N": str(epoch(ttl))}
        self.run(self.store.change(ttl=value))
        self.add(at, [20])

    @precondition(lambda self: not self.run(self.store.page_keys()))
    @rule(at=SEVERAL)
    def write_by_the_old_release(self, at: int) -> None:
        """Overwrite the item as release 0.1.0 does, and go on from there."""
        self.run(self.store.put(conversation_data={"S": json.dumps(self.items)}))
        self.get(at, 5)
        self.add(at, [20])

    def is_there(self) -> bool:
        """Whether there is an item."""
        return bool(self.run(self.store.item()))

    @invariant()
    def has_the_items_of_the_list(self) -> None:
        """A fresh reader gets exactly what is in the list."""
        session: DynamoDBSession = self.store.session()
        stored = self.run(session.get_items())
        same = stored == self.items
        assert same, f"{[_mark(item) for item in stored]} != {[_mark(item) for item in self.items]}"

    @invariant()
    def has_no_other_pages(self) -> None:
        """The table has the session's item and its pages, and all bookkeeping agrees."""
        self.run(self.store.assert_whole(ID))


def _mark(item: Any) -> str:
    return str(item["content"]).partition(":")[0]


@pytest.mark.parametrize("examples", share_of([2, 6], 2))
def test_session_is_like_a_list(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, examples: int
) -> None:
    """Whatever is done to a session and a list by turns, both have the same items."""
    monkeypatch.setattr(_packing, "REFERENCES_PER_PAGE", 2)
    monkeypatch.setattr(_packing, "KEPT_REFERENCES", 1)
    loop, stack = asyncio.new_event_loop(), AsyncExitStack()
    try:
        client = loop.run_until_complete(
            stack.enter_async_context(emulators.create_client(emulator.url))
        )
        store = loop.run_until_complete(stack.enter_async_context(temporary_table(client)))
        run_state_machine_as_test(
            type("On", (Conversation,), {"loop": loop, "store": store}),
            settings=settings(
                max_examples=examples,
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        loop.run_until_complete(stack.aclose())
        loop.close()
