"""P7: the time to live."""

from __future__ import annotations

import pytest

from tests.contract.base import AnySession, Contract, requires
from tests.contract.values import numbered, user


class ExpiryContract(Contract):
    """A conversation lives as long as asked after its last write."""

    @requires("expires")
    async def test_write_sets_the_ttl(self, lasting: AnySession) -> None:
        """The first write starts the TTL, an absent session has none."""
        assert await self.ttl_left(lasting) is None

        await lasting.add_items(numbered(0, 1))

        left = await self.ttl_left(lasting)
        assert left is not None
        assert 990 < left <= 1000

    @requires("expires")
    @pytest.mark.parametrize("write", ["add", "pop", "replace"])
    async def test_every_write_slides_the_ttl(self, lasting: AnySession, write: str) -> None:
        """The TTL is counted from the last write, whatever that was."""
        await lasting.add_items(numbered(0, 2))
        await self.set_ttl_left(lasting, 50)
        before = await self.ttl_left(lasting)
        assert before is not None
        assert before <= 50

        if write == "add":
            await lasting.add_items(numbered(2, 3))
        elif write == "pop":
            assert await lasting.pop_item() == numbered(1, 2)[0]
        else:
            await lasting.replace_items(numbered(5, 7))

        left = await self.ttl_left(lasting)
        assert left is not None
        assert 990 < left <= 1000

    @requires("expires")
    async def test_reads_and_empty_batches_leave_the_ttl(self, lasting: AnySession) -> None:
        """Neither a read nor an empty batch makes a conversation live longer."""
        await lasting.add_items(numbered(0, 2))
        await self.set_ttl_left(lasting, 50)

        assert await lasting.get_items() == numbered(0, 2)
        assert await lasting.get_items(limit=1) == numbered(1, 2)
        await lasting.add_items([])

        left = await self.ttl_left(lasting)
        assert left is not None
        assert left <= 50

    @requires("expires")
    async def test_expired_is_gone(self, lasting: AnySession) -> None:
        """Nothing of an expired conversation is returned, popped or continued."""
        await lasting.add_items(numbered(0, 3))
        assert await lasting.get_items() == numbered(0, 3)

        await self.expire(lasting)

        assert await lasting.get_items() == []
        assert await lasting.get_items(limit=2) == []
        assert await lasting.pop_item() is None
        await lasting.clear_session()
        assert await lasting.get_items() == []

    @requires("expires")
    @pytest.mark.parametrize("write", ["add", "replace"])
    async def test_write_after_expiry_starts_anew(self, lasting: AnySession, write: str) -> None:
        """The first write after the expiry starts a new conversation with a TTL of its own."""
        await lasting.add_items(numbered(0, 3))
        await self.expire(lasting)

        if write == "add":
            await lasting.add_items(numbered(5, 6))
        else:
            await lasting.replace_items(numbered(5, 6))

        assert await lasting.get_items() == numbered(5, 6)
        left = await self.ttl_left(lasting)
        assert left is not None
        assert 990 < left <= 1000

    @requires("expires", "snapshots")
    async def test_snapshot_of_an_expired_session_replaces_nothing(
        self, lasting: AnySession
    ) -> None:
        """A snapshot does not bring back a conversation that has expired since."""
        await lasting.add_items(numbered(0, 3))
        snapshot = await lasting._get_compaction_snapshot(5)
        await self.expire(lasting)

        assert await snapshot.replace_suffix(0, [user("summary")]) is False

        assert await lasting.get_items() == []

    @requires("expires", "vanishes")
    async def test_end_of_the_items_is_the_end_of_the_ttl(self, lasting: AnySession) -> None:
        """An emptied conversation leaves nothing behind that would have to expire."""
        await lasting.add_items(numbered(0, 1))
        assert await lasting.pop_item() == numbered(0, 1)[0]
        assert await self.ttl_left(lasting) is None

        await lasting.add_items(numbered(0, 1))
        await lasting.clear_session()

        assert await self.ttl_left(lasting) is None
        assert await self.raw(lasting) == []

    @requires("expires")
    async def test_no_ttl_sets_none(self, session: AnySession) -> None:
        """Without a TTL no write makes the conversation expire."""
        await session.add_items(numbered(0, 3))
        assert await self.ttl_left(session) is None
        assert await session.pop_item() is not None
        assert await self.ttl_left(session) is None

        await session.replace_items(numbered(0, 2))

        assert await self.ttl_left(session) is None
        assert await session.get_items() == numbered(0, 2)

    @requires("expires", "leaves_expiry")
    @pytest.mark.parametrize("write", ["add", "pop", "replace"])
    async def test_no_ttl_removes_none(self, session: AnySession, write: str) -> None:
        """Without a TTL a write leaves an expiry that somebody else has set."""
        await session.add_items(numbered(0, 3))
        await self.set_ttl_left(session, 50)

        if write == "add":
            await session.add_items(numbered(3, 4))
        elif write == "pop":
            assert await session.pop_item() is not None
        else:
            await session.replace_items(numbered(0, 2))

        left = await self.ttl_left(session)
        assert left is not None
        assert 0 < left <= 50

    @requires("expires", "leaves_expiry", "snapshots")
    @pytest.mark.parametrize("start", [0, 2])
    async def test_no_ttl_removes_none_from_a_compacted_history(
        self, session: AnySession, start: int
    ) -> None:
        """Nor does compaction, of all of it or of its end."""
        await session.add_items(numbered(0, 3))
        await self.set_ttl_left(session, 50)
        snapshot = await session._get_compaction_snapshot(10)

        assert await snapshot.replace_suffix(start, [user("summary")]) is True

        assert await session.get_items() == [*numbered(0, start), user("summary")]
        left = await self.ttl_left(session)
        assert left is not None
        assert 0 < left <= 50
