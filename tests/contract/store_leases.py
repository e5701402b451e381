"""P17 in stores: a lease is no conversation, and goes with all that is its user's."""

from __future__ import annotations

import pytest

from openai_agents_session import LeaseLostError, SessionBusyError
from openai_agents_session._conversation import LostError
from tests.contract.base import requires
from tests.contract.store_base import AnyStore, AnyView, StoreBase, eventually_listed
from tests.contract.values import numbered


class LeasesContract(StoreBase):
    """Leases of users' conversations."""

    @requires("leases")
    async def test_a_lease_is_not_listed(self, store: AnyStore, ada: AnyView) -> None:
        """There may be one before the conversation begins, and after it was deleted."""
        session = ada.session("a", name="A")
        async with session.lease(0, 600) as held:
            assert [each async for each in ada] == []
            assert await ada.get("a") is None
            assert not [each async for each in store if each.user_id == ada.user_id]
            await held.add_items(numbered(0, 2))
            await eventually_listed(ada, ["a"])
            assert (await ada.get("a")).name == "A"
            assert (await ada.get("a")).item_count == 2
            assert await ada.delete("a")
            assert [each async for each in ada] == []
            await held.add_items(numbered(2, 3))
            await eventually_listed(ada, ["a"])
        assert await session.get_items() == numbered(2, 3)
        assert await session.busy() is None

    @requires("leases")
    async def test_each_user_has_leases_of_their_own(self, ada: AnyView, bob: AnyView) -> None:
        """The same id is another conversation, which nobody holds."""
        async with ada.session("chat").lease(0, 600):
            assert await bob.session("chat").busy() is None
            async with bob.session("chat").lease(0, 600):
                with pytest.raises(SessionBusyError):
                    await ada.session("chat").lease(0).__aenter__()

    @requires("leases", "plain")
    async def test_a_plain_conversation_has_a_lease_of_its_own(
        self, store: AnyStore, ada: AnyView, name: str
    ) -> None:
        """A session without a user is another conversation than a user's of that id."""
        plain, users = store.session(f"a-{name}"), ada.session(f"a-{name}")
        before = [each.session_id async for each in store]
        async with plain.lease(0, 600) as held, users.lease(0, 600) as ada_held:
            assert [each.session_id async for each in store] == before
            await ada_held.add_items(numbered(0, 1))
            await held.add_items(numbered(1, 2))
        assert await plain.get_items() == numbered(1, 2)
        assert await users.get_items() == numbered(0, 1)
        await plain.clear_session()

    @requires("leases")
    async def test_a_fork_is_not_held(self, ada: AnyView) -> None:
        """A copy of a held conversation is free, and its writes ask for no lease."""
        async with ada.session("a").lease(0, 600) as held:
            await held.add_items(numbered(0, 2))
            await ada.fork("a", "b")
            assert await ada.session("b").busy() is None
            await ada.session("b").add_items(numbered(2, 3))
            async with ada.session("b").lease(0, 600) as other:
                await other.add_items(numbered(3, 4))
        assert await ada.session("a").get_items() == numbered(0, 2)
        assert await ada.session("b").get_items() == numbered(0, 4)

    @requires("leases")
    async def test_erase_takes_leases_and_waiters_with_it(self, store: AnyStore, name: str) -> None:
        """No byte is left of them, and who held one writes no more."""
        user_id = self.user_id(f"grace-{name}")
        view = store.user(user_id)
        held = view.session("held")._conversation.claim("holderofgrace", 600)
        waiting = view.session("held")._conversation.claim("waiterofgrace", 600)
        unwritten = view.session(f"unwritten-{name}")._conversation.claim("anotherofgrace", 600)
        assert await held.acquire(600) == 0
        await held.fenced().append([b'{"role":"user","content":"Hi"}'])
        assert await waiting.acquire(600) == 1
        assert await unwritten.acquire(600) == 0

        assert (await view.erase()).conversations == 1

        left = await self.dump()
        for said in (f"unwritten-{name}".encode(), b"ofgrace", *self.bytes_of(user_id)):
            assert said not in left
        with pytest.raises(LostError):
            await held.fenced().append([b'{"role":"user","content":"Ho"}'])
        assert not await unwritten.renew()
        assert [each async for each in view] == []
        assert await view.session("held").busy() is None
        for claim in (held, waiting, unwritten):
            await claim.release()
        await view.erase()
        assert b"ofgrace" not in await self.dump()

    @requires("leases")
    async def test_a_session_of_an_erased_user_lost_its_lease(
        self, store: AnyStore, name: str
    ) -> None:
        """The run that goes on writes nothing."""
        view = store.user(self.user_id(f"grace-{name}"))
        async with view.session("a").lease(0, 600) as held:
            await held.add_items(numbered(0, 2))
            await view.erase()
            with pytest.raises(LeaseLostError):
                await held.add_items(numbered(2, 4))
        assert [each async for each in view] == []
        assert await view.get("a") is None
