"""P3 and P6: whole batches, many writers, popping and clearing."""

from __future__ import annotations

import asyncio

from tests.contract.base import AnySession, Contract
from tests.contract.values import numbered, user


class WritingContract(Contract):
    """Writes are atomic, and lose nothing beside each other."""

    async def test_empty_batch_is_a_no_op(self, session: AnySession) -> None:
        """An empty batch creates nothing and changes nothing."""
        await session.add_items([])
        assert await session.get_items() == []

        await session.add_items(numbered(0, 1))
        await session.add_items([])

        assert await session.get_items() == numbered(0, 1)

    async def test_batches_of_concurrent_writers_stay_whole(
        self, session: AnySession, session_id: str
    ) -> None:
        """Batches of many writers are all there, each whole and in its own order."""
        writers = [await self.make_session(session_id) for _ in range(20)]
        batches = [[user(f"{writer}.{at}") for at in range(7)] for writer in range(20)]

        await asyncio.gather(
            *(one.add_items(batch) for one, batch in zip(writers, batches, strict=True))
        )

        items = await session.get_items()
        assert len(items) == 140
        stored = [items[start : start + 7] for start in range(0, 140, 7)]
        assert sorted(stored, key=str) == sorted(batches, key=str)
        for writer in writers:
            await self.close_session(writer)

    async def test_one_object_serves_concurrent_writers(self, session: AnySession) -> None:
        """One session object may be used by many tasks at once."""
        batches = [[user(f"{writer}.{at}") for at in range(3)] for writer in range(20)]

        await asyncio.gather(*(session.add_items(batch) for batch in batches))

        items = await session.get_items()
        stored = [items[start : start + 3] for start in range(0, len(items), 3)]
        assert sorted(stored, key=str) == sorted(batches, key=str)

    async def test_reader_never_sees_half_a_batch(
        self, session: AnySession, session_id: str
    ) -> None:
        """A read that runs beside a write sees all of a batch or nothing of it."""
        reader = await self.make_session(session_id)
        lengths: set[int] = set()

        async def read() -> None:
            while max(lengths, default=0) < 200:
                lengths.add(len(await reader.get_items()))

        reading = asyncio.create_task(read())
        for _ in range(10):
            await session.add_items(numbered(0, 20))
        await asyncio.wait_for(reading, 10)

        assert {length % 20 for length in lengths} == {0}
        await self.close_session(reader)

    async def test_pop_takes_the_newest(self, session: AnySession) -> None:
        """Pops take item after item from the end, then give nothing."""
        await session.add_items(numbered(0, 3))

        popped = [await session.pop_item() for _ in range(4)]

        assert popped == [*reversed(numbered(0, 3)), None]
        assert await session.get_items() == []
        await session.add_items(numbered(7, 8))
        assert await session.get_items() == numbered(7, 8)

    async def test_pop_of_an_absent_session_gives_nothing(self, session: AnySession) -> None:
        """A pop from a conversation that never was gives nothing and creates nothing."""
        assert await session.pop_item() is None
        assert await session.get_items() == []

    async def test_pop_gives_an_empty_item(self, session: AnySession) -> None:
        """An empty dict is an item like any other and is not taken for the end."""
        await session.add_items([user("first"), {}])

        assert await session.pop_item() == {}
        assert await session.pop_item() == user("first")
        assert await session.pop_item() is None

    async def test_concurrent_pops_share_the_items(
        self, session: AnySession, session_id: str
    ) -> None:
        """Concurrent pops hand out every item exactly once, and nothing to the rest."""
        await session.add_items(numbered(0, 20))
        assert len(await session.get_items()) == 20
        poppers = [await self.make_session(session_id) for _ in range(5)]

        popped = await asyncio.gather(*(one.pop_item() for one in poppers for _ in range(5)))

        assert popped.count(None) == 5
        got = [item for item in popped if item is not None]
        assert sorted(got, key=str) == sorted(numbered(0, 20), key=str)
        assert await session.get_items() == []
        for popper in poppers:
            await self.close_session(popper)

    async def test_pops_beside_appends_lose_nothing(self, session: AnySession) -> None:
        """What was added is either still there or was popped once, never both."""
        given = [user(f"{number}") for number in range(40)]
        await session.add_items(given[:10])

        results = await asyncio.gather(
            *(session.add_items([item]) for item in given[10:]),
            *(session.pop_item() for _ in range(20)),
        )

        popped = [item for item in results if item is not None]
        left = await session.get_items()
        assert popped
        assert sorted(popped + left, key=str) == sorted(given, key=str)

    async def test_clear_removes_everything(self, session: AnySession) -> None:
        """A cleared conversation is empty and can be started again."""
        await session.add_items(numbered(0, 3))
        assert await session.get_items() == numbered(0, 3)

        await session.clear_session()

        assert await session.get_items() == []
        assert await session.pop_item() is None
        await session.add_items(numbered(5, 6))
        assert await session.get_items() == numbered(5, 6)

    async def test_clear_of_an_absent_session_is_a_no_op(self, session: AnySession) -> None:
        """Clearing a conversation that never was, or twice, is no error."""
        assert await session.get_items() == []

        await session.clear_session()
        await session.clear_session()

        assert await session.get_items() == []
