"""P9: records that cannot be read."""

from __future__ import annotations

import asyncio

import pytest

from tests.contract.base import AnySession, Contract, requires
from tests.contract.values import SECRET, numbered


class UnreadableContract(Contract):
    """A record that cannot be read hides no other."""

    @requires("keeps_unreadable")
    @pytest.mark.parametrize("at", range(10))
    async def test_unreadable_record_is_skipped(
        self,
        session: AnySession,
        session_id: str,
        caplog: pytest.LogCaptureFixture,
        at: int,
    ) -> None:
        """A record that cannot be read hides nothing, is warned of, and stays stored."""
        bad = self.unreadable[at % len(self.unreadable)]
        await self.corrupt(session, bad)
        await session.add_items(numbered(0, 2))
        await self.corrupt(session, bad)
        await session.add_items(numbered(2, 4))
        await self.corrupt(session, bad)
        assert (await self.raw(session)).count(bad) == 3
        caplog.clear()

        assert await session.get_items() == numbered(0, 4)

        warnings = [entry for entry in caplog.records if entry.levelname == "WARNING"]
        assert any(session_id in entry.getMessage() for entry in warnings)
        assert SECRET not in caplog.text
        for limit in range(1, 5):
            assert await session.get_items(limit=limit) == numbered(4 - limit, 4)
        assert await session.get_items(limit=5) == numbered(0, 4)
        popped = [await session.pop_item() for _ in range(5)]
        assert popped == [*reversed(numbered(0, 4)), None]
        assert await self.raw(session) == [bad] * 3
        assert await session.get_items() == []
        await session.add_items(numbered(4, 5))
        assert await session.get_items() == numbered(4, 5)

    @requires("keeps_unreadable")
    async def test_many_unreadable_records_hide_nothing(self, session: AnySession) -> None:
        """However many records cannot be read, a limit and a pop reach the older items."""
        await session.add_items(numbered(0, 5))
        for at in range(300):
            await self.corrupt(session, self.unreadable[at % len(self.unreadable)])
        assert len(await self.raw(session)) == 305

        assert await session.get_items(limit=3) == numbered(2, 5)
        assert await session.pop_item() == numbered(4, 5)[0]
        assert await session.get_items() == numbered(0, 4)
        assert len(await self.raw(session)) == 304

    @requires("keeps_unreadable")
    async def test_concurrent_pops_pass_over_the_unreadable(self, session: AnySession) -> None:
        """Pops that race over unreadable records still share the items exactly once."""
        for number in range(10):
            await session.add_items(numbered(number, number + 1))
            await self.corrupt(session, self.unreadable[0])

        popped = await asyncio.gather(*(session.pop_item() for _ in range(12)))

        assert popped.count(None) == 2
        got = [item for item in popped if item is not None]
        assert sorted(got, key=str) == sorted(numbered(0, 10), key=str)
        assert await self.raw(session) == [self.unreadable[0]] * 10

    @requires("keeps_unreadable")
    async def test_clear_takes_the_unreadable_too(self, session: AnySession) -> None:
        """Clearing deletes all that is stored, whether it can be read or not."""
        await session.add_items(numbered(0, 1))
        await self.corrupt(session, self.unreadable[0])
        assert len(await self.raw(session)) == 2

        await session.clear_session()

        assert await self.raw(session) == []

    @requires("keeps_unreadable", "replaces")
    async def test_replace_takes_the_unreadable_too(self, session: AnySession) -> None:
        """A replacement stands in place of all that is stored."""
        await session.add_items(numbered(0, 1))
        await self.corrupt(session, self.unreadable[0])

        await session.replace_items(numbered(1, 3))

        assert len(await self.raw(session)) == 2
        assert await session.get_items() == numbered(1, 3)
