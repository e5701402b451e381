"""Users: what one has, no other reaches, whatever the ids hold."""

from __future__ import annotations

from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.contract.base import requires
from tests.contract.store_base import AnyStore, StoreBase, eventually_listed
from tests.contract.values import HOSTILE_IDS, numbered, user

PAIRS = [
    ("a", "b:c"),
    ("a:b", "c"),
    ("a", "b#c"),
    ("a#b", "c"),
    ("a", "b~c"),
    ("a~b", "c"),
    ("a", "b}:c"),
    ("a}:b", "c"),
    ("a}", ":b:c"),
    ("{a}", "b"),
    ("a", "{a}:b"),
    ("%61", "b"),
    ("a%3Ab", "c"),
    ("a", "%62"),
    ("@a", "b"),
    ("a@b", "c"),
    ("a/b", "c"),
    ("a", "b/c"),
    ("*", "b"),
    ("a*", "[b]?"),
    ("a\n", "b"),
    ("a\0", "b"),
    ("a ", " b"),
    ("Ä", "b"),
    ("ä", "b"),
    ("a\u0308", "b"),
    ("🙂" * 20, "b"),
    ("a", "b~AAAAAAAAAAAA"),
]


def examples(strategy: Any, count: int) -> list[Any]:
    """Return what a strategy makes, for tests that are asynchronous."""
    found: list[Any] = []

    @settings(max_examples=count, database=None, phases=[Phase.generate], deadline=None)
    @given(strategy)
    def collect(value: Any) -> None:
        found.append(value)

    collect()
    return found


class UsersContract(StoreBase):
    """Each user has conversations of their own."""

    async def test_the_same_id_of_two_users(self, store: AnyStore, name: str) -> None:
        """These are two conversations, in all that is done to them."""
        one = store.user(self.user_id(f"one-{name}"))
        two = store.user(self.user_id(f"two-{name}"))
        await one.session("a", name="One").add_items(numbered(0, 2))
        assert await two.get("a") is None
        assert await two.delete("a") is False
        assert await two.touch("a") is False
        assert await two.session("a").get_items() == []
        await two.session("a", name="Two").add_items(numbered(5, 6))

        await one.update("a", description="One's")
        await two.session("a").pop_item()
        assert (await one.get("a")).description == "One's"
        assert (await two.get("a")).description is None
        assert await one.session("a").get_items() == numbered(0, 2)
        await one.fork("a", "b")
        await two.fork("a", "b")
        assert await one.session("b").get_items() == numbered(0, 2)
        assert await two.session("b").get_items() == []
        await eventually_listed(two, ["b", "a"])
        assert (await two.erase()).conversations == 2
        await eventually_listed(one, ["b", "a"])
        assert await one.session("a").get_items() == numbered(0, 2)
        await one.erase()

    async def test_a_cursor_of_one_user_shows_nothing_of_another(
        self, store: AnyStore, name: str
    ) -> None:
        """It is a place in a list, and the list is one's own."""
        one = store.user(self.user_id(f"one-{name}"))
        two = store.user(self.user_id(f"two-{name}"))
        for view in (one, two):
            for at in range(4):
                await view.session(f"{view is one} {at}").add_items(numbered(0, 1))
            await eventually_listed(view, [f"{view is one} {at}" for at in (3, 2, 1, 0)])
        cursor = (await one.list(limit=2)).cursor

        found = await two.list(cursor=cursor)

        assert {each.user_id for each in found.conversations} <= {two.user_id}
        await one.erase()
        await two.erase()

    @requires("texts")
    async def test_hostile_pairs(self, store: AnyStore, name: str) -> None:
        """No pair of a user and an id is another pair, nor a conversation without a user."""
        await self.keep_apart(store, PAIRS, name)

    @requires("texts")
    async def test_any_pairs(self, store: AnyStore, name: str) -> None:
        """That holds for any texts."""
        texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
        hostile = st.sampled_from(["a", "b", ":", "#", "~", "{", "}", "%", "@", "\0", "a:b", "%3A"])
        text = texts | st.lists(hostile, min_size=1, max_size=6).map("".join)
        pairs = examples(st.tuples(text, text), 60)
        await self.keep_apart(store, [*dict.fromkeys(pairs)], name)

    async def keep_apart(self, store: AnyStore, pairs: list[tuple[str, str]], name: str) -> None:
        """Write to each pair, and see that each has its own and is listed for its user."""
        views = {user_id: store.user(user_id) for user_id, _ in pairs}
        for user_id, session_id in pairs:
            about = f"{name} {user_id!r} {session_id!r}"
            await views[user_id].session(session_id, name=about[:255]).add_items([user(about)])
        for user_id, session_id in pairs:
            about = f"{name} {user_id!r} {session_id!r}"
            found = await views[user_id].get(session_id)
            assert (found.user_id, found.session_id) == (user_id, session_id)
            assert (found.name, found.item_count) == (about[:255], 1)
            assert await views[user_id].session(session_id).get_items() == [user(about)]
        for user_id, view in views.items():
            theirs = {session_id for other, session_id in pairs if other == user_id}
            assert {each.session_id async for each in view} == theirs
        last = pairs[-1][0]
        assert (await views[last].erase()).conversations == len(
            {session_id for user_id, session_id in pairs if user_id == last}
        )
        for user_id, session_id in pairs:
            items = await views[user_id].session(session_id).get_items()
            assert len(items) == (user_id != last)
        for view in views.values():
            await view.erase()

    @requires("plain")
    async def test_ids_of_sessions_without_a_user(self, store: AnyStore, name: str) -> None:
        """Whatever its id, such a session reaches no user's conversation."""
        view = store.user(f"ada-{name}")
        await view.session("a").add_items([user("Ada's")])
        hostile = [f"@{{ada-{name}}}:a", f"ada-{name}#a", f"ada-{name}:a", f"ada-{name}", "a"]
        for session_id in [*hostile, f"ada-{name}~a", *HOSTILE_IDS]:
            session = store.session(session_id)
            try:
                assert await session.get_items() == []
                await session.add_items([user("nobody's")])
                assert await session.get_items() == [user("nobody's")]
                await session.clear_session()
            except ValueError as error:  # some ids may be refused, as long as nothing is written
                assert "session_id" in str(error)  # noqa: PT017 - both ways are right
        assert await view.session("a").get_items() == [user("Ada's")]
        assert [each.session_id async for each in view] == ["a"]
        await view.erase()
