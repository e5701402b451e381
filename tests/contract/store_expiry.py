"""Expired is gone: not listed, not copied, not continued."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from openai_agents_session.store import SessionNotFoundError
from tests.contract.base import requires
from tests.contract.store_base import AnyStore, StoreBase, eventually_listed
from tests.contract.values import numbered


def seconds_left(conversation: object) -> float:
    """Return how long a conversation lives from now on."""
    until = getattr(conversation, "expires_at", None)
    assert until is not None
    assert until.utcoffset() == timedelta(0)
    return (until - datetime.now(timezone.utc)).total_seconds()


class StoreExpiryContract(StoreBase):
    """The time to live of a store's conversations."""

    @requires("expires")
    async def test_it_says_when_it_expires(self, backend: None, store: AnyStore, name: str) -> None:
        """The time counts from the last write, change or touch."""
        del backend, store
        for ttl, other in ((1000, 500), (500, 1000)):
            async with await self.make_store(ttl=ttl) as long:
                ada = long.user(self.user_id(f"ada-{name}"))
                await ada.session("a").add_items(numbered(0, 2))
                assert ttl - 10 < seconds_left(await ada.get("a")) <= ttl
                (listed,) = (await eventually_listed(ada, ["a"])).conversations
                assert ttl - 10 < seconds_left(listed) <= ttl
            for change in ("add", "pop", "clear", "update", "touch"):
                async with await self.make_store(ttl=other) as short:
                    ada = short.user(self.user_id(f"ada-{name}"))
                    if change == "add":
                        await ada.session("a").add_items(numbered(2, 4))
                    elif change == "pop":
                        await ada.session("a").pop_item()
                    elif change == "clear":
                        await ada.session("a").clear_session()
                    elif change == "update":
                        await ada.update("a", name="A")
                    else:
                        assert await ada.touch("a")
                    left = seconds_left(await ada.get("a"))
                    # A clock may be ahead, and time is never taken from a conversation then.
                    assert other - 10 < left <= max(ttl, other)
                    if change in {"update", "touch", "pop"}:
                        assert left <= other
            await ada.erase()

    @requires("expires")
    async def test_expired_is_gone(self, backend: None, store: AnyStore, name: str) -> None:
        """It is not got, listed, changed, touched, copied or deleted."""
        del backend, store
        async with await self.make_store(ttl=1000) as lasting:
            ada = lasting.user(self.user_id(f"ada-{name}"))
            for each in "ab":
                await ada.session(each, name=each).add_items(numbered(0, 2))
            await eventually_listed(ada, ["b", "a"])

            await self.expire(ada.user_id, "b")

            assert await ada.get("b") is None
            assert [each.session_id async for each in ada] == ["a"]
            assert (await ada.list(limit=1)).conversations[0].session_id == "a"
            everything = [each async for each in lasting if each.user_id == ada.user_id]
            assert [each.session_id for each in everything] == ["a"]
            with pytest.raises(SessionNotFoundError):
                await ada.update("b", name="B")
            assert await ada.touch("b") is False
            with pytest.raises(SessionNotFoundError):
                await ada.fork("b", "c")
            with pytest.raises(SessionNotFoundError):
                await ada.messages("b")
            assert await ada.session("b").get_items() == []
            assert await ada.session("b").pop_item() is None
            await ada.session("b").clear_session()
            assert await ada.delete("b") is False
            assert await ada.get("b") is None
            assert await ada.get("c") is None
            await ada.erase()

    @requires("expires")
    @pytest.mark.parametrize("write", ["add", "replace", "fork"])
    async def test_a_write_begins_another(
        self, backend: None, store: AnyStore, name: str, write: str
    ) -> None:
        """Nothing of the expired conversation is in the new one."""
        del backend, store
        async with await self.make_store(ttl=1000) as lasting:
            ada = lasting.user(self.user_id(f"ada-{name}"))
            await ada.session("a", name="Old", agent_name="Old").add_items(numbered(0, 2))
            await ada.session("source", name="New").add_items(numbered(7, 8))
            began = await ada.get("a")
            await self.expire(ada.user_id, "a")

            if write == "add":
                await ada.session("a", name="New").add_items(numbered(7, 8))
            elif write == "replace":
                await ada.session("a", name="New").replace_items(numbered(7, 8))
            else:
                await ada.fork("source", "a")

            found = await ada.get("a")
            assert (found.name, found.agent_name, found.item_count) == ("New", None, 1)
            assert found.created_at > began.created_at
            assert 990 < seconds_left(found) <= 1000
            assert await ada.session("a").get_items() == numbered(7, 8)
            await eventually_listed(ada, ["a", "source"])
            await ada.erase()

    @requires("expires")
    async def test_without_a_time_to_live_none_is_removed(
        self, backend: None, store: AnyStore, name: str
    ) -> None:
        """A store without one leaves the time of conversations as it is."""
        del backend
        async with await self.make_store(ttl=1000) as lasting:
            ada = lasting.user(self.user_id(f"ada-{name}"))
            await ada.session("a").add_items(numbered(0, 2))
        view = store.user(ada.user_id)
        await view.session("a").add_items(numbered(2, 3))
        assert 980 < seconds_left(await view.get("a")) <= 1000
        await view.session("a").clear_session()
        await view.session("a").add_items(numbered(2, 3))
        assert 980 < seconds_left(await view.get("a")) <= 1000
        await view.update("a", name="A")
        assert 980 < seconds_left(await view.get("a")) <= 1000
        assert await view.session("a").get_items() == numbered(2, 3)
