"""Erasing: everything of a user's, for good."""

from __future__ import annotations

from tests.contract.store_base import AnyStore, StoreBase
from tests.contract.values import SECRET, numbered, user


class ErasingContract(StoreBase):
    """Afterwards no byte of the user's is in the store."""

    async def test_erase_leaves_no_byte(self, store: AnyStore, name: str) -> None:
        """Neither names, ids nor items, of conversations in every state."""
        user_id = self.user_id(f"grace-{name}")
        view = store.user(user_id)
        await view.session("plain", name=f"{SECRET} name").add_items([user(f"{SECRET} 1")] * 3)
        long = view.session("long")
        for at in range(4):
            await long.add_items([user(f"{SECRET} {at} " + "x" * 2000)] * 25)
        await long.pop_item()
        await view.session("cleared").add_items([user(f"{SECRET} 2")])
        await view.session("cleared").clear_session()
        await view.session("deleted", description=SECRET).add_items([user(f"{SECRET} 3")])
        await view.delete("deleted")
        await view.fork("long", "fork")
        await view.update("plain", agent_name=SECRET, is_active=False)
        await view.session("popped").add_items([user(f"{SECRET} 4")])
        await view.session("popped").pop_item()
        await view.session("replaced").add_items([user(f"{SECRET} 5")])
        await view.session("replaced").replace_items([user(f"{SECRET} 6")])
        assert SECRET.encode() in await self.dump()

        erased = await view.erase()

        assert erased.user_id == user_id
        assert erased.conversations == 6
        assert erased.items == 3 + 99 + 0 + 99 + 0 + 1
        left = await self.dump()
        assert SECRET.encode() not in left
        assert f"grace-{name}".encode() not in left
        for byte in self.bytes_of(user_id):
            assert byte not in left
        assert [each async for each in view] == []
        assert await view.get("plain") is None
        again = await view.erase()
        assert (again.conversations, again.items) == (0, 0)

    async def test_the_user_may_come_back(self, store: AnyStore, name: str) -> None:
        """What is written afterwards is a new beginning."""
        view = store.user(self.user_id(f"grace-{name}"))
        session = view.session("a", name="A")
        await session.add_items(numbered(0, 2))
        await view.erase()

        await session.add_items(numbered(2, 3))

        assert await session.get_items() == numbered(2, 3)
        assert (await view.get("a")).item_count == 1
        assert (await view.erase()).conversations == 1

    async def test_nobody_to_erase(self, store: AnyStore, name: str) -> None:
        """A user of whom there is nothing has an empty receipt."""
        erased = await store.user(self.user_id(f"nobody-{name}")).erase()
        assert (erased.conversations, erased.items) == (0, 0)

    async def test_many_conversations(self, store: AnyStore, name: str) -> None:
        """However many there are, all are erased and counted."""
        view = store.user(self.user_id(f"grace-{name}"))
        for at in range(130):
            await view.session(f"{at}").add_items(numbered(0, 2))

        erased = await view.erase()

        assert (erased.conversations, erased.items) == (130, 260)
        assert [each async for each in view] == []
