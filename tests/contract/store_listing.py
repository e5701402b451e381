"""Lists: a user's, newest first, and all that there is."""

from __future__ import annotations

import base64
import json
from dataclasses import FrozenInstanceError

import pytest

from openai_agents_session.store import CursorError
from tests.contract.base import requires
from tests.contract.store_base import AnyStore, AnyView, StoreBase, eventually_listed
from tests.contract.values import numbered


class ListingContract(StoreBase):
    """What is listed is what is there, each once."""

    async def test_the_last_written_to_is_the_first(self, ada: AnyView) -> None:
        """Each kind of write moves a conversation to the front."""
        sessions = {each: ada.session(each) for each in "abcdef"}
        for each in sessions.values():
            await each.add_items(numbered(0, 2))
        await eventually_listed(ada, list("fedcba"))

        await sessions["a"].add_items(numbered(2, 3))
        await eventually_listed(ada, list("afedcb"))
        await sessions["b"].pop_item()
        await eventually_listed(ada, list("bafedc"))
        await sessions["c"].clear_session()
        await eventually_listed(ada, list("cbafed"))
        await sessions["d"].replace_items(numbered(7, 9))
        await eventually_listed(ada, list("dcbafe"))
        await ada.update("e", name="E")
        await eventually_listed(ada, list("edcbaf"))
        assert await ada.touch("f")
        await eventually_listed(ada, list("fedcba"))
        await sessions["a"].get_items()
        await sessions["a"].add_items([])
        await ada.get("a")
        await eventually_listed(ada, list("fedcba"))

    async def test_what_a_list_says(self, ada: AnyView) -> None:
        """A list says what ``get`` says, in values that nobody can change."""
        await ada.session("a", name="A", agent_name="Agent", description="First").add_items(
            numbered(0, 3)
        )
        page = await eventually_listed(ada, ["a"])
        (listed,) = page.conversations
        got = await ada.get("a")

        assert listed.item_count == (3 if self.counts else None)
        for name in ("session_id", "user_id", "name", "description", "is_active", "agent_name"):
            assert getattr(listed, name) == getattr(got, name)
        for name in ("created_at", "updated_at", "expires_at"):
            assert getattr(listed, name) == getattr(got, name)
        assert page.cursor is None
        with pytest.raises(FrozenInstanceError):
            listed.name = "B"

    async def test_pages_follow_each_other(self, ada: AnyView) -> None:
        """Pages of any length have each conversation once, in order."""
        ids = [f"{at:02}" for at in range(25)]
        for each in ids:
            await ada.session(each).add_items(numbered(0, 1))
        await eventually_listed(ada, ids[::-1])

        for limit in (1, 4, 5, 24, 25, 26):
            found: list[str] = []
            cursor = None
            for _ in range(30):
                page = await ada.list(limit=limit, cursor=cursor)
                assert len(page.conversations) <= limit
                found += [each.session_id for each in page.conversations]
                if (cursor := page.cursor) is None:
                    break
            assert found == ids[::-1], limit
        assert [each.session_id async for each in ada] == ids[::-1]
        await ada.erase()

    async def test_a_write_between_two_pages(self, ada: AnyView) -> None:
        """It moves one conversation to the front, and the next page has the others."""
        for each in "abcdef":
            await ada.session(each).add_items(numbered(0, 1))
        await eventually_listed(ada, list("fedcba"))
        page = await ada.list(limit=2)
        assert [each.session_id for each in page.conversations] == ["f", "e"]

        await ada.session("b").add_items(numbered(1, 2))
        assert await ada.delete("e")  # where the page ended
        await eventually_listed(ada, list("bfdca"))

        page = await ada.list(limit=10, cursor=page.cursor)
        assert [each.session_id for each in page.conversations] == ["d", "c", "a"]

    async def test_only_the_active_ones_or_the_others(self, ada: AnyView) -> None:
        """Archived conversations can be listed apart, page by page."""
        for at in range(12):
            await ada.session(f"{at:02}", is_active=at % 3 != 0).add_items(numbered(0, 1))
        archived = [f"{at:02}" for at in reversed(range(12)) if at % 3 == 0]
        active = [f"{at:02}" for at in reversed(range(12)) if at % 3]
        await eventually_listed(ada, archived, active=False)
        await eventually_listed(ada, active, active=True)

        found, cursor = [], None
        while True:
            page = await ada.list(limit=3, cursor=cursor, active=True)
            found += [each.session_id for each in page.conversations]
            if (cursor := page.cursor) is None:
                break
        assert found == active

    async def test_a_cursor_of_something_else_is_refused(
        self, store: AnyStore, ada: AnyView
    ) -> None:
        """A text that no page has returned is an error, and never a query."""
        for each in "abc":
            await ada.session(each).add_items(numbered(0, 1))
        await eventually_listed(ada, list("cba"))
        values = [[], {}, [None, None], [{}, []], [[], "a"], "x", [1, 2, 3, 4, 5]]
        texts = [base64.urlsafe_b64encode(json.dumps(each).encode()).decode() for each in values]

        for text in ["", "x", "é", "AAAA", *texts]:
            with pytest.raises(CursorError, match="cursor"):
                await ada.list(cursor=text)
            with pytest.raises(CursorError, match="cursor"):
                await store.list(cursor=text)
        for view in (ada, store):
            with pytest.raises(TypeError, match="cursor"):
                await view.list(cursor=1)

    async def test_everything_there_is(self, store: AnyStore, ada: AnyView, bob: AnyView) -> None:
        """Operators see the conversations of all users, however many on a page."""
        for at in range(30):
            await ada.session(f"{at}", name=f"N{at}").add_items(numbered(0, 2))
        theirs = {(ada.user_id, f"{at}") for at in range(30)} | {(bob.user_id, "chat")}

        found = [each async for each in store]
        mine = [each for each in found if each.user_id in {ada.user_id, bob.user_id}]
        assert {(each.user_id, each.session_id) for each in mine} == theirs
        for each in mine:
            if each.user_id == ada.user_id:
                assert each.name == f"N{each.session_id}"
                assert each.item_count == (2 if self.counts else None)
                assert each == await ada.get(each.session_id) or not self.counts

        pages, cursor = set(), None
        for _ in range(10_000):
            page = await store.list(limit=7, cursor=cursor)
            pages |= {(each.user_id, each.session_id) for each in page.conversations}
            if (cursor := page.cursor) is None:
                break
        assert cursor is None
        assert theirs <= pages

    @requires("plain")
    async def test_sessions_without_a_user(self, store: AnyStore, ada: AnyView, name: str) -> None:
        """They are listed among all, and are nobody's."""
        session = store.session(f"plain-{name}")
        await session.add_items(numbered(0, 4))
        await ada.session(f"plain-{name}").add_items(numbered(5, 6))

        (found,) = [
            each
            async for each in store
            if each.session_id == f"plain-{name}" and each.user_id is None
        ]
        assert found.item_count == 4
        assert await session.get_items() == numbered(0, 4)
        assert await ada.session(f"plain-{name}").get_items() == numbered(5, 6)
        await session.clear_session()
        assert not [each async for each in store if each.user_id is None]
