"""A conversation of a user's: how it begins, what is said about it, and how it goes on."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from agents import Agent, RunConfig, Runner, SessionSettings
from agents.testing import ScriptedModel, assistant_message

from openai_agents_session.store import SessionNotFoundError
from tests.contract.store_base import AnyStore, AnyView, StoreBase, eventually_listed
from tests.contract.values import HOSTILE_IDS, LOSSLESS, assert_same, numbered, user


class BeginningContract(StoreBase):
    """A conversation begins with its first write."""

    async def test_an_agent_runs_with_a_session_of_a_user(self, ada: AnyView) -> None:
        """The SDK's Runner continues a user's conversation."""
        model = ScriptedModel(
            [[assistant_message("Hi Ada")], [assistant_message("Ada, of course")]]
        )
        agent = Agent("Assistant", model=model)
        quiet = RunConfig(tracing_disabled=True)

        await Runner.run(agent, "I am Ada", session=ada.session("chat"), run_config=quiet)
        again = ada.session("chat")
        result = await Runner.run(agent, "Who am I?", session=again, run_config=quiet)

        assert result.final_output == "Ada, of course"
        assert [each.get("role") for each in await again.get_items()] == [
            "user",
            "assistant",
            "user",
            "assistant",
        ]

    async def test_it_begins_with_the_first_write(self, ada: AnyView) -> None:
        """Before, there is nothing; then it says when it began and how much is in it."""
        session = ada.session("groceries")
        assert session.session_id == "groceries"
        assert await ada.get("groceries") is None
        before = datetime.now(timezone.utc) - timedelta(seconds=2)

        await session.add_items(numbered(0, 3))

        found = await ada.get("groceries")
        assert found is not None
        assert (found.session_id, found.user_id) == ("groceries", ada.user_id)
        assert (found.name, found.description, found.agent_name) == (None, None, None)
        assert found.is_active is True
        assert found.item_count == 3
        assert before < found.created_at <= found.updated_at
        assert found.updated_at < datetime.now(timezone.utc) + timedelta(seconds=2)
        assert found.updated_at.utcoffset() == timedelta(0)
        assert found.expires_at is None

    async def test_what_begins_nothing(self, ada: AnyView) -> None:
        """Reading, clearing and popping begin no conversation, and neither does an empty batch."""
        session = ada.session("nothing", name="Nothing")

        assert await session.get_items() == []
        assert await session.pop_item() is None
        await session.clear_session()
        await session.add_items([])
        await session.replace_items([])

        assert await ada.get("nothing") is None
        assert not (await ada.list()).conversations

    async def test_what_is_said_is_stored_with_the_first_write(self, ada: AnyView) -> None:
        """An existing conversation keeps what it says, whoever writes to it."""
        about = {
            "name": "Groceries ✓",
            "description": "What to buy\nand when",
            "agent_name": "Shopper",
            "is_active": False,
        }
        await ada.session("groceries", **about).add_items(numbered(0, 1))
        await ada.session("groceries", name="Other", is_active=True).add_items(numbered(1, 2))
        await ada.session("groceries").add_items(numbered(2, 3))

        found = await ada.get("groceries")
        assert {name: getattr(found, name) for name in about} == about
        assert found.item_count == 3

    @pytest.mark.parametrize("empty", ["clear", "pop", "replace"])
    async def test_an_emptied_conversation_stays(self, ada: AnyView, empty: str) -> None:
        """Removing the items leaves the conversation, with its name, for the next ones."""
        session = ada.session("chat", name="Chat")
        await session.add_items(numbered(0, 1))
        began = await ada.get("chat")

        if empty == "clear":
            await session.clear_session()
        elif empty == "pop":
            assert await session.pop_item() == numbered(0, 1)[0]
        else:
            await session.replace_items([])

        found = await ada.get("chat")
        assert found is not None
        assert (found.name, found.item_count) == ("Chat", 0)
        assert found.created_at == began.created_at
        assert await session.get_items() == []
        await eventually_listed(ada, ["chat"])
        assert await session.pop_item() is None
        await ada.session("chat").add_items(numbered(1, 3))
        assert await session.get_items() == numbered(1, 3)
        found = await ada.get("chat")
        assert (found.name, found.item_count) == ("Chat", 2)
        assert found.created_at == began.created_at

    async def test_replacing_begins_as_well(self, ada: AnyView) -> None:
        """A history may be the first write."""
        await ada.session("chat", name="Chat").replace_items(numbered(0, 2))

        found = await ada.get("chat")
        assert (found.name, found.item_count) == ("Chat", 2)
        await eventually_listed(ada, ["chat"])

    async def test_items_come_back_as_they_went_in(self, ada: AnyView) -> None:
        """A user's session is as exact as any other."""
        items = [item for item in LOSSLESS.values() if isinstance(item, dict)]
        session = ada.session("chat")

        await session.add_items(items)

        for stored, given in zip(await session.get_items(), items, strict=True):
            assert_same(stored, given)

    async def test_a_long_conversation(self, ada: AnyView) -> None:
        """Many and large items, written and read, are one conversation, and counted."""
        session = ada.session("long", name="Long")
        items = [user(f"{at} " + "x" * 2000) for at in range(120)]
        for start in range(0, 120, 40):
            await session.add_items(items[start : start + 40])

        assert await session.get_items() == items
        assert await session.get_items(limit=3) == items[-3:]
        assert await session.pop_item() == items[-1]
        found = await ada.get("long")
        assert (found.name, found.item_count) == ("Long", 119)
        await session.clear_session()
        assert (await ada.get("long")).item_count == 0

    async def test_any_id_is_a_conversation(self, ada: AnyView) -> None:
        """Ids of any text are listed and read as they were given."""
        for session_id in HOSTILE_IDS:
            await ada.session(session_id).add_items([user(session_id)])

        for session_id in HOSTILE_IDS:
            assert await ada.session(session_id).get_items() == [user(session_id)]
            found = await ada.get(session_id)
            assert (found.session_id, found.item_count) == (session_id, 1)
        await eventually_listed(ada, [*reversed(HOSTILE_IDS)], limit=len(HOSTILE_IDS))
        assert {each.session_id async for each in ada} == {*HOSTILE_IDS}

    async def test_a_deleted_conversation_is_not_begun_again_where_asked(
        self, ada: AnyView
    ) -> None:
        """With ``recreate=False``, a session that has seen it writes nothing any more."""
        session = ada.session("chat", recreate=False)
        await session.add_items(numbered(0, 1))
        assert await ada.delete("chat")

        with pytest.raises(SessionNotFoundError):
            await session.add_items(numbered(1, 2))
        with pytest.raises(SessionNotFoundError):
            await session.replace_items(numbered(1, 2))

        assert await ada.get("chat") is None
        await ada.session("chat", recreate=False).add_items(numbered(5, 6))  # has not seen it
        assert await session.get_items() == numbered(5, 6)
        await session.add_items(numbered(6, 7))
        assert await session.get_items() == numbered(5, 7)

    async def test_a_reader_has_seen_it_too(self, ada: AnyView) -> None:
        """What a session read is enough for it not to begin the conversation again."""
        await ada.session("chat").add_items(numbered(0, 1))
        session = ada.session("chat", recreate=False)
        assert await session.get_items() == numbered(0, 1)
        assert await ada.delete("chat")

        with pytest.raises(SessionNotFoundError):
            await session.add_items(numbered(1, 2))

        assert await ada.get("chat") is None

    async def test_settings_of_the_store_and_of_a_session(self, backend: None, name: str) -> None:
        """A session has the store's settings, or its own."""
        del backend
        async with await self.make_store(session_settings={"limit": 2}) as store:
            ada = store.user(self.user_id(f"ada-{name}"))
            await ada.session("chat").add_items(numbered(0, 5))
            assert await ada.session("chat").get_items() == numbered(3, 5)
            mine = ada.session("chat", session_settings=SessionSettings(limit=1))
            assert await mine.get_items() == numbered(4, 5)
            await ada.erase()

    async def test_a_store_answers_and_is_set_up_again(self, store: AnyStore) -> None:
        """Setting up what is there changes nothing."""
        assert await store.ping() is True
        await store.setup()
        await store.setup()

    @pytest.mark.parametrize(
        "about",
        [
            {"name": "x" * 256},
            {"description": "x" * 4001},
            {"agent_name": "a\0b"},
            {"name": "\ud800"},
            {"is_active": None},
        ],
        ids=str,
    )
    async def test_wrong_values_are_refused(self, ada: AnyView, about: dict[str, object]) -> None:
        """A text that a store could not hold is refused before anything is sent."""
        with pytest.raises(ValueError, match=next(iter(about))):
            ada.session("chat", **about)
        with pytest.raises(ValueError, match=next(iter(about))):
            await ada.update("chat", **about)

    async def test_wrong_types_are_refused(self, store: AnyStore, ada: AnyView) -> None:
        """So is what is no text, no flag and no number."""
        for about in ({"name": 1}, {"description": b"x"}, {"agent_name": []}, {"is_active": 1}):
            with pytest.raises(TypeError, match=next(iter(about))):
                ada.session("chat", **about)
        for session_id, error in ((1, TypeError), ("", ValueError), ("\ud800", ValueError)):
            with pytest.raises(error, match="session_id"):
                ada.session(session_id)
            with pytest.raises(error, match="session_id"):
                await ada.get(session_id)
            with pytest.raises(error, match="session_id"):
                await ada.delete(session_id)
        for limit, error in ((0, ValueError), (1001, ValueError), ("1", TypeError)):
            with pytest.raises(error, match="limit"):
                await ada.list(limit)
            with pytest.raises(error, match="limit"):
                await store.list(limit)
        with pytest.raises((TypeError, ValueError), match="user_id"):
            store.user("")
        with pytest.raises((TypeError, ValueError), match="user_id"):
            store.user(None)
