"""P4: the newest items, as many as asked for."""

from __future__ import annotations

from typing import Any

import pytest
from agents.memory import SessionSettings

from tests.contract.base import AnySession, Contract, requires
from tests.contract.values import numbered


class LimitContract(Contract):
    """A limit gives the newest items."""

    @pytest.mark.parametrize(
        ("limit", "start"), [(None, 0), (0, 5), (1, 4), (3, 2), (5, 0), (6, 0), (2147483647, 0)]
    )
    async def test_limit_gives_the_newest_items(
        self, session: AnySession, limit: int | None, start: int
    ) -> None:
        """A limit gives that many of the newest items, oldest of them first."""
        await session.add_items(numbered(0, 5))
        assert await session.get_items() == numbered(0, 5)

        assert await session.get_items(limit=limit) == numbered(start, 5)
        assert await session.get_items(limit) == numbered(start, 5)

    @requires("strict_limits")
    @pytest.mark.parametrize("limit", [-1, -5, -2147483648])
    async def test_limit_below_zero_gives_nothing(self, session: AnySession, limit: int) -> None:
        """A limit below zero gives no items."""
        await session.add_items(numbered(0, 5))
        assert await session.get_items() == numbered(0, 5)

        assert await session.get_items(limit=limit) == []

    @pytest.mark.parametrize("settings", [SessionSettings(limit=2), {"limit": 2}])
    async def test_settings_give_the_default_limit(
        self, session: AnySession, session_id: str, settings: Any
    ) -> None:
        """The session's settings, typed or as a dict, hold unless a limit is given."""
        await session.add_items(numbered(0, 5))
        limited = await self.make_session(session_id, session_settings=settings)
        assert limited.session_settings == SessionSettings(limit=2)

        assert await limited.get_items() == numbered(3, 5)
        assert await limited.get_items(limit=None) == numbered(3, 5)
        assert await limited.get_items(limit=4) == numbered(1, 5)
        assert await limited.get_items(limit=0) == []
        assert await limited.pop_item() == numbered(4, 5)[0]
        await self.close_session(limited)

    @pytest.mark.parametrize("settings", [None, SessionSettings(), {}, {"limit": None}])
    async def test_settings_without_limit_give_everything(
        self, session: AnySession, session_id: str, settings: Any
    ) -> None:
        """Settings that name no limit hide nothing."""
        await session.add_items(numbered(0, 5))
        unlimited = await self.make_session(session_id, session_settings=settings)

        assert await unlimited.get_items() == numbered(0, 5)
        await self.close_session(unlimited)

    async def test_default_limit_of_zero_gives_nothing(
        self, session: AnySession, session_id: str
    ) -> None:
        """A default limit of zero is a limit, not the lack of one."""
        await session.add_items(numbered(0, 2))
        silent = await self.make_session(session_id, session_settings={"limit": 0})

        assert await silent.get_items() == []
        assert await silent.get_items(limit=1) == numbered(1, 2)
        await self.close_session(silent)
