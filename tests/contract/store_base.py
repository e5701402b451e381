"""What a store has to say for its contract: its abilities, its hooks, and the fixtures on them."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias
from urllib.parse import quote

import pytest
import pytest_asyncio

from tests.contract.base import collect_able
from tests.contract.values import user

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# Stores of every backend come by here, and their views.
AnyStore: TypeAlias = Any
AnyView: TypeAlias = Any


class StoreBase:
    """The abilities and the hooks of a store; the tests of a promise derive from this."""

    # Abilities: switch off what the store does not promise.
    expires: ClassVar[bool] = True  # takes a ttl
    plain: ClassVar[bool] = True  # has sessions without a user
    texts: ClassVar[bool] = True  # users are any texts
    counts: ClassVar[bool] = True  # knows the number of items of each in a list
    keeps_unreadable: ClassVar[bool] = True  # may hold records that nobody can read
    leases: ClassVar[bool] = True  # its sessions have leases

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Take the tests of abilities that are switched off out of the collection."""
        super().__init_subclass__(**kwargs)
        collect_able(cls)

    # Hooks

    @pytest_asyncio.fixture
    async def backend(self) -> AsyncIterator[None]:
        """Prepare the backend before a test and tidy it up afterwards; override it."""
        yield

    async def make_store(self, **options: Any) -> AnyStore:
        """Return a store on the test's backend, which is set up.

        All stores of a test are on the same data. The options are ``ttl`` (only where
        ``expires``) and ``session_settings``.
        """
        raise NotImplementedError

    def user_id(self, name: str) -> Any:
        """Return the id of the user of this name; the same for the same name, in one test."""
        return name

    def bytes_of(self, user_id: object) -> list[bytes]:
        """Return what a user's id may look like in the store."""
        text = str(user_id)
        return [text.encode(), quote(text, safe="").encode()]

    async def expire(self, user_id: Any, session_id: str) -> None:
        """Move the record or the clock so that the conversation is past its TTL."""
        raise NotImplementedError

    async def corrupt(self, user_id: Any, session_id: str, raw: bytes) -> None:
        """Append a raw record that nobody can read to a conversation of a user's."""
        raise NotImplementedError

    async def dump(self) -> bytes:
        """Return everything in the backend: keys, names and values, in UTF-8 where it is text."""
        raise NotImplementedError

    async def agree(self, store: AnyStore) -> None:
        """Assert that what is listed and what is there agree, in both directions.

        Override it to look into the store behind the library's back, and call this as well.
        """
        everything = [each async for each in store]
        for user_id in {each.user_id for each in everything} - {None}:
            view = store.user(user_id)
            listed = [each async for each in view]
            theirs = {each.session_id for each in everything if each.user_id == user_id}
            assert {each.session_id for each in listed} == theirs
            assert len(listed) == len(theirs)
            for each in listed:
                got = await view.get(each.session_id)
                assert got is not None
                assert (got.name, got.is_active, got.updated_at) == (
                    each.name,
                    each.is_active,
                    each.updated_at,
                )
                items = await view.session(each.session_id).get_items()
                if self.keeps_unreadable:
                    assert got.item_count >= len(items)
                else:
                    assert got.item_count == len(items)

    # Fixtures

    @pytest_asyncio.fixture
    async def store(self, backend: None) -> AsyncIterator[AnyStore]:
        """Give a store; at the end, see that what is listed is what is there."""
        del backend
        store = await self.make_store()
        async with store:
            yield store
            await self.agree(store)

    @pytest.fixture
    def ada(self, store: AnyStore, name: str) -> AnyView:
        """Give the view of a user of whom there is nothing yet."""
        return store.user(self.user_id(f"ada-{name}"))

    @pytest.fixture
    def name(self) -> str:
        """Return a text that no other test uses."""
        return uuid.uuid4().hex

    @pytest_asyncio.fixture(autouse=True)
    async def bob(self, store: AnyStore, name: str) -> AsyncIterator[AnyView]:
        """Keep a conversation of another user's, and see that it stays as it is."""
        bob = store.user(self.user_id(f"bob-{name}"))
        items = [user("I am Bob"), user("and want to be left alone")]
        await bob.session("chat", name="Bob's").add_items(items)
        await eventually_listed(bob, ["chat"])
        before = await bob.get("chat")

        yield bob

        assert await bob.get("chat") == before, "another user's conversation was touched"
        assert await bob.session("chat").get_items() == items
        assert [each.session_id for each in (await bob.list()).conversations] == ["chat"]
        await bob.erase()


async def eventually_listed(view: AnyView, expected: list[str], **options: Any) -> Any:
    """Wait until a view lists these conversations, in this order, and return the page.

    A list may lag behind for a moment where the store says so.
    """
    for _ in range(200):
        page = await view.list(**options)
        if [each.session_id for each in page.conversations] == expected:
            break
        await asyncio.sleep(0.01)
    assert [each.session_id for each in page.conversations] == expected
    return page
