"""P8: replacing the history, and what the SDK's compaction and encryption make of it."""

from __future__ import annotations

import asyncio

import pytest
from agents.extensions.memory import RedisSession as SdkRedisSession
from agents.extensions.memory.encrypt_session import EncryptedSession
from agents.memory import OpenAIResponsesCompactionSession

from tests.contract.base import AnySession, Contract, requires
from tests.contract.values import SECRET, FakeCompactor, Item, numbered, user


class ReplacingContract(Contract):
    """A history is replaced in one step."""

    @requires("replaces")
    @pytest.mark.parametrize("count", [0, 1, 3, 10])
    async def test_replace_swaps_the_history(self, session: AnySession, count: int) -> None:
        """The new history, of any length, stands in place of the old one, in order."""
        await session.add_items(numbered(0, 3))
        assert await session.get_items() == numbered(0, 3)

        await session.replace_items(numbered(50, 50 + count))

        assert await session.get_items() == numbered(50, 50 + count)
        await session.add_items(numbered(9, 10))
        assert await session.get_items() == numbered(50, 50 + count) + numbered(9, 10)

    @requires("replaces")
    async def test_replace_of_an_absent_session_starts_it(self, session: AnySession) -> None:
        """Replacing a conversation that never was starts it; with nothing, it stays absent."""
        await session.replace_items([])
        assert await session.get_items() == []

        await session.replace_items(numbered(0, 2))

        assert await session.get_items() == numbered(0, 2)

    @requires("replaces")
    async def test_replace_is_one_step(self, session: AnySession, session_id: str) -> None:
        """A reader beside a replacement sees the old history or the new one, whole."""
        old, new = numbered(0, 8), numbered(8, 20)
        reader = await self.make_session(session_id)
        await session.add_items(old)
        seen: list[list[Item]] = []
        done = asyncio.Event()

        async def read() -> None:
            while not done.is_set():
                seen.append(await reader.get_items())

        reading = asyncio.create_task(read())
        for _ in range(10):
            await session.replace_items(new)
            await session.replace_items(old)
        done.set()
        await reading

        assert seen
        assert all(items in (old, new) for items in seen)
        await self.close_session(reader)

    @requires("replaces")
    async def test_replace_beside_appends(self, session: AnySession) -> None:
        """What comes after a replacement survives it; what came before is gone whole."""
        await session.add_items(numbered(0, 3))
        summary = [user("so far"), user("so good")]

        await asyncio.gather(
            *(session.add_items([user(f"{at}.a"), user(f"{at}.b")]) for at in range(6)),
            session.replace_items(summary),
            *(session.add_items([user(f"{at}.a"), user(f"{at}.b")]) for at in range(6, 12)),
        )

        items = await session.get_items()
        assert items[:2] == summary
        rest = [item["content"] for item in items[2:]]
        assert [text.removesuffix(".a") for text in rest[::2]] == [
            text.removesuffix(".b") for text in rest[1::2]
        ]

    @requires("replaces")
    async def test_hook_of_the_sdk_replaces_and_says_so(self, session: AnySession) -> None:
        """The SDK's hook, looked up on the type as the SDK does, commits and returns True."""
        await session.add_items(numbered(0, 3))

        replaced = await type(session)._atomic_replace_items(session, numbered(7, 9))

        assert replaced is True
        assert await session.get_items() == numbered(7, 9)

    @requires("snapshots")
    async def test_snapshot_shows_the_newest_items(self, session: AnySession) -> None:
        """A snapshot holds the newest items and says whether they are all there are."""
        await session.add_items(numbered(0, 5))

        part = await session._get_compaction_snapshot(3)
        whole = await session._get_compaction_snapshot(6)

        assert (part.items, part.complete) == (numbered(2, 5), False)
        assert (whole.items, whole.complete) == (numbered(0, 5), True)

    @requires("snapshots")
    async def test_snapshot_replaces_its_end(self, session: AnySession) -> None:
        """Replacing from a position of the snapshot keeps everything before it."""
        await session.add_items(numbered(0, 5))
        snapshot = await session._get_compaction_snapshot(3)

        assert await snapshot.replace_suffix(1, [user("summary")]) is True

        assert await session.get_items() == [*numbered(0, 3), user("summary")]

    @requires("snapshots")
    async def test_snapshot_replaces_everything(self, session: AnySession) -> None:
        """A complete snapshot can be replaced from its first item on."""
        await session.add_items(numbered(0, 5))
        snapshot = await session._get_compaction_snapshot(10)

        assert await snapshot.replace_suffix(0, [user("a"), user("b")]) is True

        assert await session.get_items() == [user("a"), user("b")]

    @requires("snapshots")
    @pytest.mark.parametrize("change", ["added", "popped", "swapped", "cleared"])
    async def test_snapshot_of_the_past_replaces_nothing(
        self, session: AnySession, change: str
    ) -> None:
        """A snapshot whose end has changed since replaces nothing and says False."""
        await session.add_items(numbered(0, 5))
        snapshot = await session._get_compaction_snapshot(3)
        if change == "added":
            await session.add_items(numbered(5, 6))
        elif change == "cleared":
            await session.clear_session()
        else:
            assert await session.pop_item() == numbered(4, 5)[0]
        if change == "swapped":
            await session.add_items(numbered(9, 10))
        now = await session.get_items()
        assert now != numbered(0, 5)

        assert await snapshot.replace_suffix(0, [user("summary")]) is False

        assert await session.get_items() == now

    @requires("snapshots")
    async def test_snapshot_prunes_the_head(self, session: AnySession) -> None:
        """Pruning removes what the caller calls stale at the head, and stops at the rest."""
        stale = [user("stale 1"), user("stale 2")]
        kept = [user("kept"), user("stale 3")]
        await session.add_items([*stale, *kept, *numbered(0, 2)])

        def is_stale(item: Item) -> bool:
            return str(item["content"]).startswith("stale")

        snapshot = await session._get_compaction_snapshot(2, prune_prefix=is_stale)
        assert snapshot.items == numbered(0, 2)
        assert await session.get_items() == [*stale, *kept, *numbered(0, 2)]

        assert await snapshot.replace_suffix(0, [user("summary")]) is True

        assert await session.get_items() == [*kept, user("summary")]

    @requires("snapshots", "keeps_unreadable")
    async def test_snapshot_over_the_unreadable(self, session: AnySession) -> None:
        """Unreadable records do not shift what a snapshot replaces; or there is none."""
        await session.add_items(numbered(0, 2))
        await self.corrupt(session, self.unreadable[0])
        await session.add_items(numbered(2, 4))
        snapshot = await session._get_compaction_snapshot(3)

        if snapshot is not None:
            at = snapshot.items.index(numbered(3, 4)[0])
            await snapshot.replace_suffix(at, [user("summary")])

        items = await session.get_items()
        assert items == (numbered(0, 4) if snapshot is None else [*numbered(0, 3), user("summary")])

    @requires("snapshots")
    async def test_snapshot_of_an_absent_session_is_empty(self, session: AnySession) -> None:
        """There is nothing to see, or nothing at all, where there is no conversation."""
        snapshot = await session._get_compaction_snapshot(3)

        assert snapshot is None or (snapshot.items, snapshot.complete) == ([], True)

    @requires("replaces")
    async def test_subclass_is_not_bypassed(self, session_id: str) -> None:
        """Compaction goes through the item methods that a subclass has changed."""

        class Upper(self.session_class):  # type: ignore[name-defined, misc] - known only here
            async def add_items(self, items: list[Item]) -> None:
                await super().add_items([user(item["content"].upper()) for item in items])

        session = await self.make_session(session_id, cls=Upper)
        await session.add_items([user("hello")])
        assert await session.get_items() == [user("HELLO")]
        compaction = OpenAIResponsesCompactionSession(
            session_id,
            session,
            client=FakeCompactor([user("summary")]).as_client(),
            compaction_mode="input",
        )

        await compaction.run_compaction({"force": True})

        assert await session.get_items() == [user("SUMMARY")]
        await self.close_session(session)

    @requires("snapshots")
    async def test_snapshot_does_not_bypass_a_subclass(self, session_id: str) -> None:
        """A snapshot of a changed subclass, if there is one, writes as the subclass does."""

        class Upper(self.session_class):  # type: ignore[name-defined, misc] - known only here
            async def add_items(self, items: list[Item]) -> None:
                await super().add_items([user(item["content"].upper()) for item in items])

        session = await self.make_session(session_id, cls=Upper)
        await session.add_items([user("hello")])
        snapshot = await session._get_compaction_snapshot(5)

        replaced = snapshot is not None and await snapshot.replace_suffix(0, [user("summary")])

        assert await session.get_items() == [user("SUMMARY" if replaced else "HELLO")]
        await self.close_session(session)

    async def test_encrypted_session_on_top(self, session: AnySession, session_id: str) -> None:
        """The SDK's encryption works on top, and nothing readable reaches the store."""
        encrypted = EncryptedSession(session_id, session, encryption_key="a key of our own")
        items: list[Item] = [user(f"{SECRET} {number}") for number in range(4)]
        assert await encrypted.get_items() == []

        await encrypted.add_items(items)

        assert await encrypted.get_items() == items
        assert await encrypted.get_items(limit=2) == items[2:]
        assert SECRET not in str(await session.get_items())
        assert await encrypted.pop_item() == items[3]
        assert await encrypted.get_items() == items[:3]
        await encrypted.clear_session()
        assert await session.get_items() == []

    async def test_compaction_session_on_top(self, session: AnySession, session_id: str) -> None:
        """The SDK's compaction sends the history and leaves the answer in its place."""
        output = [user("summary"), {"type": "compaction", "id": "c", "encrypted_content": "x"}]
        client = FakeCompactor(output)
        compaction = OpenAIResponsesCompactionSession(
            session_id, session, client=client.as_client(), compaction_mode="input"
        )
        await compaction.add_items(numbered(0, 4))
        assert await session.get_items() == numbered(0, 4)

        await compaction.run_compaction({"force": True})

        assert [request["input"] for request in client.requests] == [numbered(0, 4)]
        assert await session.get_items() == output
        assert await compaction.get_items() == output

    @requires("replaces")
    async def test_encryption_over_compaction_replaces_in_one_step(
        self, session: AnySession, session_id: str
    ) -> None:
        """Both wrappers together swap the history in one step, without clearing it first.

        Before 0.24 the SDK does clear it, and puts the answer in its place all the same.
        """
        in_one_step = hasattr(SdkRedisSession, "_atomic_replace_items")
        output = [user(f"{SECRET} in short")]
        compaction = OpenAIResponsesCompactionSession(
            session_id,
            session,
            client=FakeCompactor(output).as_client(),
            compaction_mode="input",
        )
        encrypted = EncryptedSession(session_id, compaction, encryption_key="a key of our own")
        await encrypted.add_items(numbered(0, 4))
        assert await encrypted.get_items() == numbered(0, 4)
        lengths: set[int] = set()
        done = asyncio.Event()

        async def read() -> None:
            while not done.is_set():
                lengths.add(len(await session.get_items()))

        async def refuse() -> None:
            raise AssertionError("the history was cleared on the way")

        reading = asyncio.create_task(read())
        if in_one_step:
            session.clear_session = refuse
        await encrypted.run_compaction({"force": True})
        done.set()
        await reading

        assert lengths <= ({4, 1} if in_one_step else {4, 0, 1})
        assert await encrypted.get_items() == output
        stored = await session.get_items()
        assert len(stored) == 1
        assert SECRET not in str(stored)
