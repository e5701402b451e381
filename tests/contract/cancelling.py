"""P10: cancelled tasks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.contract.base import AnySession, Contract, requires
from tests.contract.values import numbered

if TYPE_CHECKING:
    from collections.abc import Callable


class CancellingContract(Contract):
    """A cancelled write is done or not, and never half."""

    @pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 8])
    async def test_cancelled_append_is_all_or_nothing(
        self, session: AnySession, steps: int
    ) -> None:
        """A cancelled append has happened or not; it is not half done, nor still to come."""
        await session.add_items(numbered(0, 1))
        appending = asyncio.create_task(session.add_items(numbered(1, 5)))
        for _ in range(steps):
            await asyncio.sleep(0)

        appending.cancel()
        await asyncio.wait({appending})

        now = await session.get_items()
        assert now in (numbered(0, 1), numbered(0, 5))
        await self.settle()
        assert await session.get_items() == now
        await session.add_items(numbered(8, 9))
        assert await session.get_items() == now + numbered(8, 9)

    @pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 8])
    async def test_cancelled_pop_takes_one_item_at_most(
        self, session: AnySession, steps: int
    ) -> None:
        """A cancelled pop has taken the newest item or none, and leaves a usable session."""
        await session.add_items(numbered(0, 4))
        popping = asyncio.create_task(session.pop_item())
        for _ in range(steps):
            await asyncio.sleep(0)

        popping.cancel()
        await asyncio.wait({popping})

        now = await session.get_items()
        assert now in (numbered(0, 4), numbered(0, 3))
        await self.settle()
        assert await session.get_items() == now
        assert await session.pop_item() == now[-1]

    @requires("settles")
    @pytest.mark.parametrize("write", ["add", "pop", "replace", "clear"])
    async def test_write_under_way_is_done_before_the_event_loop_ends(
        self, session: AnySession, write: str
    ) -> None:
        """At its end asyncio.run cancels all tasks: a write that has begun is done by then."""
        writes: dict[str, tuple[Callable[[AnySession], Any], list[Any]]] = {
            "add": (lambda session: session.add_items(numbered(3, 9)), numbered(0, 9)),
            "pop": (lambda session: session.pop_item(), numbered(0, 2)),
            "replace": (lambda session: session.replace_items(numbered(5, 6)), numbered(5, 6)),
            "clear": (lambda session: session.clear_session(), []),
        }
        operation, after = writes[write]
        own = asyncio.all_tasks()
        for steps in (1, 2, 4, 7, 11, 16, 22):
            await session.replace_items(numbered(0, 3))
            writing = asyncio.ensure_future(operation(session))
            for _ in range(steps):
                await asyncio.sleep(0)

            ending = asyncio.all_tasks() - own
            for task in ending:
                task.cancel()
            await asyncio.wait({writing, *ending})

            assert await session.get_items() == after, steps
