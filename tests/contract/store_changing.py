"""Changing what is said about a conversation, touching and deleting it."""

from __future__ import annotations

import asyncio

import pytest

from openai_agents_session.store import SessionNotFoundError
from tests.contract.store_base import AnyStore, AnyView, StoreBase, eventually_listed
from tests.contract.values import SECRET, numbered


class ChangingContract(StoreBase):
    """What isn't passed stays as it is."""

    async def test_update_changes_what_is_passed(self, ada: AnyView) -> None:
        """None clears, and the items stay."""
        session = ada.session("a", name="A", description="First", agent_name="Agent")
        await session.add_items(numbered(0, 2))
        began = await ada.get("a")

        changed = await ada.update("a", name="B")
        assert (changed.name, changed.description, changed.agent_name) == ("B", "First", "Agent")
        assert changed == await ada.get("a")
        assert changed.created_at == began.created_at
        assert changed.updated_at > began.updated_at
        assert changed.item_count == 2

        changed = await ada.update("a", description=None, agent_name=None, is_active=False)
        assert (changed.name, changed.description, changed.agent_name) == ("B", None, None)
        assert changed.is_active is False
        changed = await ada.update("a", name=None, description="", is_active=True)
        assert (changed.name, changed.is_active) == (None, True)
        assert changed.description in {"", None}
        changed = await ada.update("a", name="ü" * 255, description="\n" * 4000)
        assert (changed.name, changed.description) == ("ü" * 255, "\n" * 4000)
        assert (await ada.update("a")).name == "ü" * 255
        assert await session.get_items() == numbered(0, 2)
        (listed,) = (await eventually_listed(ada, ["a"])).conversations
        assert listed.name == "ü" * 255

    async def test_what_is_not_there_is_not_changed(self, ada: AnyView) -> None:
        """Nothing begins by a change, and the error names the conversation."""
        with pytest.raises(SessionNotFoundError, match="'a'"):
            await ada.update("a", name=SECRET)
        assert await ada.touch("a") is False
        assert await ada.delete("a") is False
        assert await ada.get("a") is None
        assert [each async for each in ada] == []

    async def test_touch_changes_the_time_alone(self, ada: AnyView) -> None:
        """A touched conversation says what it said, and when."""
        await ada.session("a", name="A").add_items(numbered(0, 2))
        before = await ada.get("a")

        assert await ada.touch("a") is True

        after = await ada.get("a")
        assert after.updated_at > before.updated_at
        assert (after.name, after.item_count, after.created_at) == ("A", 2, before.created_at)
        assert await ada.session("a").get_items() == numbered(0, 2)

    async def test_delete_removes_everything(self, ada: AnyView) -> None:
        """A conversation of the same id is a new one, about which nothing is said."""
        session = ada.session("a", name="A")
        await session.add_items(numbered(0, 2))
        await ada.session("b").add_items(numbered(0, 1))
        began = await ada.get("a")

        assert await ada.delete("a") is True

        assert await ada.get("a") is None
        assert await session.get_items() == []
        assert await ada.delete("a") is False
        await eventually_listed(ada, ["b"])
        with pytest.raises(SessionNotFoundError):
            await ada.update("a", name="A")
        await ada.session("a").add_items(numbered(5, 6))
        found = await ada.get("a")
        assert (found.name, found.item_count) == (None, 1)
        assert found.created_at > began.created_at
        assert await session.get_items() == numbered(5, 6)
        await eventually_listed(ada, ["a", "b"])

    async def test_an_emptied_one_is_deleted_too(self, ada: AnyView) -> None:
        """A conversation without items is one all the same."""
        await ada.session("a", name="A").add_items(numbered(0, 2))
        await ada.session("a").clear_session()

        assert await ada.delete("a") is True
        assert await ada.get("a") is None

    async def test_one_of_many_deletes_it(self, ada: AnyView) -> None:
        """Of concurrent deletes, one says that there was a conversation."""
        await ada.session("a").add_items(numbered(0, 2))

        said = await asyncio.gather(*(ada.delete("a") for _ in range(8)))

        assert sorted(said) == [False] * 7 + [True]

    async def test_concurrent_changes_of_different_things(self, ada: AnyView) -> None:
        """Neither is lost, nor an item that is written meanwhile."""
        session = ada.session("a")
        await session.add_items(numbered(0, 1))

        await asyncio.gather(
            ada.update("a", name="A"),
            ada.update("a", description="First"),
            ada.update("a", is_active=False),
            ada.update("a", agent_name="Agent"),
            *(session.add_items(numbered(at, at + 1)) for at in range(1, 9)),
        )

        found = await ada.get("a")
        assert (found.name, found.description, found.agent_name) == ("A", "First", "Agent")
        assert (found.is_active, found.item_count) == (False, 9)

    async def test_a_cancelled_change_is_whole_or_nothing(self, ada: AnyView) -> None:
        """A change that has begun is carried to its end before the cancellation."""
        await ada.session("a", name="A").add_items(numbered(0, 1))
        for turns in range(12):
            task = asyncio.create_task(ada.update("a", name=f"{turns}", description=f"{turns}"))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            found = await ada.get("a")
            assert found.description in {None, found.name}
            await asyncio.sleep(0.01)
            assert await ada.get("a") == found

    async def test_nothing_private_is_shown(self, store: AnyStore, ada: AnyView) -> None:
        """Neither a store nor a view shows what is in it."""
        await ada.session("a", name=SECRET).add_items(numbered(0, 1))
        assert SECRET not in f"{store!r}{ada!r}{ada.session('a', name=SECRET)!r}"
