"""Forks: a new conversation that begins with what another has."""

from __future__ import annotations

import asyncio

import pytest

from openai_agents_session.store import SessionExistsError, SessionNotFoundError
from tests.contract.store_base import AnyView, StoreBase, eventually_listed
from tests.contract.values import LOSSLESS, assert_same, numbered, user


class ForkingContract(StoreBase):
    """A fork is there as a whole, or not at all."""

    async def test_a_whole_conversation(self, ada: AnyView) -> None:
        """The new one has all that the other has, and both go on by themselves."""
        items = [item for item in LOSSLESS.values() if isinstance(item, dict)]
        session = ada.session("a", name="A", description="First", agent_name="Agent")
        await session.add_items(items)
        source = await ada.get("a")

        await ada.fork("a", "b")

        fork = ada.session("b")
        for stored, given in zip(await fork.get_items(), items, strict=True):
            assert_same(stored, given)
        found = await ada.get("b")
        assert (found.name, found.description, found.agent_name) == ("A", "First", "Agent")
        assert found.item_count == len(items)
        assert found.created_at > source.created_at
        assert found.updated_at == found.created_at
        assert await ada.get("a") == source
        await eventually_listed(ada, ["b", "a"])
        await fork.add_items([user("on and on")])
        await session.pop_item()
        assert len(await fork.get_items()) == len(items) + 1
        assert len(await session.get_items()) == len(items) - 1
        assert await ada.delete("a")
        assert len(await fork.get_items()) == len(items) + 1

    @pytest.mark.parametrize(("count", "copied"), [(0, 0), (1, 1), (3, 3), (5, 5), (9, 5)])
    async def test_the_oldest_items(self, ada: AnyView, count: int, copied: int) -> None:
        """A fork may end before the source does."""
        await ada.session("a", name="A").add_items(numbered(0, 5))

        await ada.fork("a", "b", count)

        assert await ada.session("b").get_items() == numbered(0, copied)
        found = await ada.get("b")
        assert (found.name, found.item_count) == ("A", copied)
        assert await ada.session("a").get_items() == numbered(0, 5)
        await ada.session("b").add_items(numbered(7, 8))
        assert await ada.session("b").get_items() == numbered(0, copied) + numbered(7, 8)

    async def test_a_long_one(self, ada: AnyView) -> None:
        """What does not fit into one record or request is copied as well."""
        items = [user(f"{at} " + "x" * 3000) for at in range(150)]
        await ada.session("a").add_items(items)

        await ada.fork("a", "b")
        await ada.fork("a", "c", 101)
        await ada.delete("a")

        assert await ada.session("b").get_items() == items
        assert await ada.session("c").get_items() == items[:101]

    async def test_there_must_be_one_and_no_other(self, ada: AnyView) -> None:
        """A missing source and a taken id are errors that name them; nothing changes."""
        await ada.session("a").add_items(numbered(0, 2))
        await ada.session("b", name="B").add_items(numbered(5, 6))

        with pytest.raises(SessionNotFoundError, match="'x'"):
            await ada.fork("x", "y")
        with pytest.raises(SessionExistsError, match="'b'"):
            await ada.fork("a", "b")
        with pytest.raises(SessionExistsError, match="'a'"):
            await ada.fork("a", "a")
        with pytest.raises(ValueError, match="items"):
            await ada.fork("a", "c", -1)
        with pytest.raises(TypeError, match="items"):
            await ada.fork("a", "c", "1")

        assert await ada.get("y") is None
        assert await ada.get("c") is None
        assert await ada.session("b").get_items() == numbered(5, 6)
        assert (await ada.get("b")).name == "B"

    async def test_an_emptied_one_is_taken_and_can_be_copied(self, ada: AnyView) -> None:
        """A conversation without items is one all the same."""
        await ada.session("a", name="A").add_items(numbered(0, 2))
        await ada.session("b").add_items(numbered(0, 1))
        await ada.session("b").clear_session()
        with pytest.raises(SessionExistsError):
            await ada.fork("a", "b")
        await ada.session("a").clear_session()

        await ada.fork("a", "c")

        found = await ada.get("c")
        assert (found.name, found.item_count) == ("A", 0)

    async def test_to_the_id_of_a_deleted_one(self, ada: AnyView) -> None:
        """A deleted conversation leaves its id free."""
        for each in "ab":
            await ada.session(each, name=each).add_items(numbered(0, 2))
        assert await ada.delete("b")

        await ada.fork("a", "b")

        assert (await ada.get("b")).name == "a"
        assert await ada.session("b").get_items() == numbered(0, 2)

    async def test_one_of_many_has_the_id(self, ada: AnyView) -> None:
        """Concurrent forks to one id leave one whole conversation."""
        for at in range(6):
            await ada.session(f"{at}").add_items([user(f"{at}")] * (at + 1))

        said = await asyncio.gather(
            *(ada.fork(f"{at}", "new") for at in range(6)), return_exceptions=True
        )

        assert [type(each) for each in said].count(SessionExistsError) == 5
        winner = said.index(None)
        assert await ada.session("new").get_items() == [user(f"{winner}")] * (winner + 1)

    async def test_beside_appends(self, ada: AnyView) -> None:
        """A fork has whole batches, as of one moment."""
        session = ada.session("a")
        await session.add_items(numbered(0, 3))

        async def write() -> None:
            for at in range(1, 12):
                await session.add_items(numbered(3 * at, 3 * at + 3))

        async def copy() -> None:
            for at in range(8):
                await ada.fork("a", f"fork {at}")

        await asyncio.gather(write(), copy())

        for at in range(8):
            items = await ada.session(f"fork {at}").get_items()
            assert len(items) % 3 == 0
            assert items == numbered(0, len(items))
