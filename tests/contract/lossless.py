"""P2: items come back as they went in."""

from __future__ import annotations

import pytest

from tests.contract.base import AnySession, Contract, requires
from tests.contract.values import LOSSLESS, REFUSED, SECRET, assert_same, models, numbered, user


class LosslessContract(Contract):
    """What goes in comes out."""

    @pytest.mark.parametrize("name", LOSSLESS)
    async def test_item_comes_back_as_it_went_in(self, session: AnySession, name: str) -> None:
        """An item that JSON can hold comes back exactly as it went in, and so does a pop."""
        before, after = user("before"), user("after")
        assert await session.get_items() == []

        await session.add_items([before, LOSSLESS[name], after])

        assert_same(await session.get_items(), [before, LOSSLESS[name], after])
        assert await session.pop_item() == after
        assert_same(await session.pop_item(), LOSSLESS[name])
        assert await session.get_items() == [before]

    async def test_items_keep_their_order(self, session: AnySession) -> None:
        """Items come back in the order they were added in, over many batches."""
        for start in range(0, 30, 10):
            await session.add_items(numbered(start, start + 10))

        assert await session.get_items() == numbered(0, 30)

    async def test_equal_items_are_all_kept(self, session: AnySession) -> None:
        """Items that say the same are not taken for one."""
        await session.add_items([user("again")] * 3)
        await session.add_items([user("again")])

        assert await session.get_items() == [user("again")] * 4

    async def test_items_of_the_caller_are_left_alone(self, session: AnySession) -> None:
        """The caller's list stays the caller's: not changed, and free to be changed."""
        items = [user("mine")]
        await session.add_items(items)
        assert items == [user("mine")]

        items[0]["content"] = "changed later"

        assert await session.get_items() == [user("mine")]

    async def test_another_object_of_the_same_id_sees_the_items(
        self, session: AnySession, session_id: str
    ) -> None:
        """A conversation belongs to its id, not to the object that wrote it."""
        await session.add_items(numbered(0, 2))

        other = await self.make_session(session_id)

        assert await other.get_items() == numbered(0, 2)
        await other.add_items(numbered(2, 3))
        assert await session.get_items() == numbered(0, 3)
        await self.close_session(other)

    @requires("strict_items")
    @pytest.mark.parametrize("name", ["message", "call", "reasoning"])
    async def test_model_is_stored_as_its_dump(self, session: AnySession, name: str) -> None:
        """A Pydantic model goes in as its JSON dump, also somewhere inside a dict."""
        model = models()[name]
        dump = model.model_dump(mode="json")

        await session.add_items([model, {"type": "wrapper", "raw": model, "all": [model]}])

        assert_same(
            await session.get_items(), [dump, {"type": "wrapper", "raw": dump, "all": [dump]}]
        )

    @requires("strict_items")
    @pytest.mark.parametrize("name", REFUSED)
    async def test_what_json_cannot_hold_is_refused(self, session: AnySession, name: str) -> None:
        """A bad item is refused by position and type before any of its batch is written."""
        bad, type_name = REFUSED[name]
        await session.add_items(numbered(0, 2))
        assert await session.get_items() == numbered(0, 2)

        with pytest.raises(TypeError) as caught:
            await session.add_items([user(SECRET), user(SECRET), bad, user(SECRET)])

        message = str(caught.value)
        assert "2" in message
        assert type_name in message
        assert SECRET not in message
        assert await session.get_items() == numbered(0, 2)

    @requires("strict_items", "replaces")
    async def test_refused_replacement_changes_nothing(self, session: AnySession) -> None:
        """A replacement with an item that JSON cannot hold leaves the history as it was."""
        await session.add_items(numbered(0, 2))

        with pytest.raises(TypeError, match="bytes"):
            await session.replace_items([user("new"), {"content": b"raw"}])

        assert await session.get_items() == numbered(0, 2)
