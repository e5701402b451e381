"""P11 to P13: arguments, ids, the client, and what the SDK looks at."""

from __future__ import annotations

from typing import Any

import pytest
from agents.memory import (
    Session,
    SessionABC,
    SessionSettings,
    is_openai_responses_compaction_aware_session,
)

from tests.contract.base import AnySession, Contract, requires
from tests.contract.values import BAD_IDS, BAD_TTLS, HOSTILE_IDS, PROBED, SECRET, numbered, user


class ArgumentsContract(Contract):
    """Bad arguments are refused, ids stay apart, and a session is one of the SDK's."""

    @requires("validates")
    @pytest.mark.parametrize("name", BAD_IDS)
    async def test_bad_id_is_refused(self, name: str) -> None:
        """A bad id is refused at construction, in words that name the argument."""
        bad_id, error = BAD_IDS[name]

        with pytest.raises(error, match="session_id"):
            await self.make_session(bad_id)

    @requires("validates")
    @pytest.mark.parametrize("settings", [{"limit": "many"}, {"limits": 3}, {"limit": [1]}, "5", 5])
    async def test_bad_settings_are_refused(self, session_id: str, settings: Any) -> None:
        """Settings that the SDK does not know are refused at construction."""
        with pytest.raises((TypeError, ValueError)):
            await self.make_session(session_id, session_settings=settings)

    @requires("validates", "expires")
    @pytest.mark.parametrize("ttl", BAD_TTLS)
    async def test_bad_ttl_is_refused(self, session_id: str, ttl: Any) -> None:
        """A TTL is a positive whole number of seconds, and nothing else will do."""
        with pytest.raises((TypeError, ValueError), match="ttl"):
            await self.make_session(session_id, ttl=ttl)

    async def test_hostile_ids_are_conversations_of_their_own(self) -> None:
        """Whatever is in an id, it reaches its own conversation and no other."""
        sessions = {one: await self.make_session(one) for one in HOSTILE_IDS}
        for one, session in sessions.items():
            assert await session.get_items() == [], one
            await session.add_items([user(one), user("to pop")])
            assert await session.pop_item() == user("to pop"), one
        for one, session in sessions.items():
            assert session.session_id == one
            assert await session.get_items() == [user(one)], one

        for one in HOSTILE_IDS[::2]:
            await sessions[one].clear_session()

        for at, (one, session) in enumerate(sessions.items()):
            assert await session.get_items() == ([user(one)] if at % 2 else []), one
            await session.clear_session()
            await self.close_session(session)

    @requires("expires", "replaces")
    async def test_hostile_ids_expire_and_are_replaced(self) -> None:
        """Replacing and expiring work for any id, too."""
        for one in HOSTILE_IDS:
            session = await self.make_session(one, ttl=1000)
            await session.replace_items([user(one)])
            assert await session.get_items() == [user(one)], one
            assert (await self.ttl_left(session) or 0) > 990, one
            await self.expire(session)
            assert await session.get_items() == [], one
            await self.close_session(session)

    async def test_session_is_one_of_the_sdk(self, session: AnySession, session_id: str) -> None:
        """A session is what the SDK calls a session, by inheritance and by shape."""
        assert isinstance(session, SessionABC)
        assert isinstance(session, Session)
        assert session.session_id == session_id
        assert session.session_settings == SessionSettings()

    @pytest.mark.parametrize("name", PROBED)
    async def test_session_claims_no_more_than_it_can(self, session: AnySession, name: str) -> None:
        """The SDK asks a session by attribute what it can do; the answers are true."""
        assert not hasattr(session, name)
        assert not is_openai_responses_compaction_aware_session(session)

    async def test_repr_keeps_the_conversation_to_itself(self, session: AnySession) -> None:
        """Neither repr nor str shows what was said."""
        await session.add_items([user(SECRET)])
        assert await session.get_items() == [user(SECRET)]

        assert SECRET not in repr(session) + str(session) + f"{session}"

    @requires("manages_client")
    async def test_ping_finds_the_store(self, session: AnySession) -> None:
        """A ping says True where the store answers, also before there is anything in it."""
        assert await session.ping() is True

    @requires("manages_client")
    async def test_session_can_be_closed_twice(self, session_id: str) -> None:
        """Closing again is no error, and what was stored stays."""
        session = await self.make_session(session_id)
        await session.add_items(numbered(0, 1))

        await session.close()
        await session.close()

        again = await self.make_session(session_id)
        assert await again.get_items() == numbered(0, 1)
        await self.close_session(again)

    @requires("manages_client")
    async def test_session_is_a_context_manager(self, session_id: str) -> None:
        """``async with`` gives the session itself and lets errors through."""
        session = await self.make_session(session_id)

        async with session as same:
            assert same is session
            await session.add_items(numbered(0, 1))
            assert await session.get_items() == numbered(0, 1)

        with pytest.raises(KeyError, match="of the caller"):
            async with await self.make_session(session_id):
                raise KeyError("of the caller")
