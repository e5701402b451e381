"""Messages: a conversation as people read it."""

from __future__ import annotations

from typing import Any

import pytest

from openai_agents_session.store import SessionNotFoundError
from tests.contract.base import requires
from tests.contract.store_base import AnyView, StoreBase
from tests.contract.values import user

TURN: list[Any] = [
    {"role": "system", "content": "Be kind."},
    user("What's the weather?"),
    {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "Hm."}]},
    {"type": "function_call", "call_id": "c", "name": "weather", "arguments": '{"city": "Rome"}'},
    {"type": "function_call_output", "call_id": "c", "output": "sunny"},
    {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "It is sunny."}],
    },
]


class MessagesContract(StoreBase):
    """By default, what the user and the agent said."""

    async def test_what_was_said(self, ada: AnyView) -> None:
        """Tools, reasoning and the system's words are only shown when asked for."""
        await ada.session("a").add_items(TURN)

        said = await ada.messages("a")
        assert [(each.role, each.content) for each in said] == [
            ("user", "What's the weather?"),
            ("assistant", "It is sunny."),
        ]
        everything = await ada.messages("a", tools=True)
        assert [(each.role, each.content, each.tool_name) for each in everything] == [
            ("system", "Be kind.", None),
            ("user", "What's the weather?", None),
            ("assistant", "Hm.", None),
            ("assistant", '{"city": "Rome"}', "weather"),
            ("tool", "sunny", None),
            ("assistant", "It is sunny.", None),
        ]
        assert [each.tool_call_id for each in everything] == [None, None, None, "c", "c", None]

    @pytest.mark.parametrize("tools", [False, True])
    async def test_pages_go_back_to_the_beginning(self, ada: AnyView, *, tools: bool) -> None:
        """Pages of any length have each message once."""
        session = ada.session("a")
        for _ in range(9):
            await session.add_items(TURN)
        everything = await ada.messages("a", limit=100, tools=tools)
        assert len(everything) == (54 if tools else 18)
        positions = [each.position for each in everything]
        assert positions == sorted(set(positions))

        for limit in (1, 2, 5, 17, 18, 54):
            found: list[Any] = []
            before = None
            while page := await ada.messages("a", limit=limit, before=before, tools=tools):
                assert len(page) <= limit
                found = [*page, *found]
                before = page[0].position
            assert found == [*everything], limit

    async def test_messages_that_are_written_meanwhile(self, ada: AnyView) -> None:
        """They do not move what is on the pages before."""
        session = ada.session("a")
        await session.add_items([user(f"{at}") for at in range(10)])
        newest = await ada.messages("a", limit=4)
        await session.add_items([user("new")])

        older = await ada.messages("a", limit=4, before=newest[0].position)

        assert [each.content for each in (*older, *newest)] == list("23456789")

    async def test_of_no_conversation(self, ada: AnyView) -> None:
        """An emptied conversation has none, and one that never was is an error."""
        with pytest.raises(SessionNotFoundError, match="'a'"):
            await ada.messages("a")
        await ada.session("a").add_items(TURN)
        await ada.session("a").clear_session()
        assert not await ada.messages("a")
        for wrong in ({"limit": 0}, {"limit": 1001}, {"before": -1}):
            with pytest.raises(ValueError, match=next(iter(wrong))):
                await ada.messages("a", **wrong)
        await ada.delete("a")
        with pytest.raises(SessionNotFoundError):
            await ada.messages("a", tools=True)

    @requires("keeps_unreadable")
    async def test_what_nobody_can_read_is_left_out(self, ada: AnyView) -> None:
        """The others are all there."""
        await ada.session("a").add_items([user("1")])
        await self.corrupt(ada.user_id, "a", b"not JSON")
        await self.corrupt(ada.user_id, "a", b"[]")
        await ada.session("a").add_items([user("2")])

        assert [each.content for each in await ada.messages("a")] == ["1", "2"]
        assert [each.content for each in await ada.messages("a", limit=2)] == ["1", "2"]
        assert await ada.session("a").get_items() == [user("1"), user("2")]
