"""P17: a conversation's lease has one holder, and fences the writes of those that had it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from agents import Agent, OpenAIResponsesCompactionSession, Runner
from agents.extensions.memory import EncryptedSession
from agents.run import RunConfig
from agents.testing import ScriptedModel, assistant_message

from openai_agents_session import LeaseLostError, SessionBusyError, _lease
from openai_agents_session._conversation import LostError
from tests.contract.base import AnySession, Contract, requires
from tests.contract.values import numbered

if TYPE_CHECKING:
    from openai_agents_session._conversation import Claim

LIFE = 600
"""Seconds that leases live in these tests: none runs out by itself."""

WRITES = ["append", "pop", "remove", "replace", "empty", "swap", "clear"]


async def write(conversation: Any, name: str, found: Any) -> None:
    """Do a write, on what was found before."""
    new = [b'{"role":"user","content":"new"}']
    if name == "append":
        await conversation.append(new)
    elif name == "pop":
        await conversation.pop(str)
    elif name == "remove":
        await conversation.remove(found, len(found.records) - 1)
    elif name == "swap":
        await conversation.swap(found, len(found.records) - 1, new)
    elif name == "clear":
        await conversation.clear()
    else:
        await conversation.replace(new if name == "replace" else [])


class LeasingContract(Contract):
    """One holder at a time, in the order they came; and no write of one that lost it."""

    def claim(self, session: AnySession, holder: str) -> Claim:
        """Return what one holder asks of the lease on a session; nothing renews it."""
        return session._conversation.claim(holder, LIFE)

    # --- one holder at a time ------------------------------------------------------------------

    @requires("leases")
    async def test_a_lease_has_one_holder_at_a_time(self, session: AnySession) -> None:
        """Whoever else wants it is told so; a session without a lease is not held back."""
        assert await session.busy() is None
        async with session.lease(0, LIFE) as held:
            assert type(held) is type(session)
            assert held.session_id == session.session_id
            assert 0 < await session.busy() <= LIFE
            await held.add_items(numbered(0, 2))
            with pytest.raises(SessionBusyError, match="after 0 s"):
                await session.lease(0).__aenter__()
            with pytest.raises(SessionBusyError, match=r"after 0\.1 s"):
                await session.lease(0.1).__aenter__()
            await session.add_items(numbered(2, 3))
            assert await held.get_items() == numbered(0, 3)
        assert await session.busy() is None
        async with session.lease(0, LIFE) as held:
            assert await held.pop_item() == numbered(2, 3)[0]
        assert await session.get_items() == numbered(0, 2)

    @requires("leases")
    async def test_a_lease_on_a_conversation_is_not_one_on_another(
        self, session: AnySession, neighbour: AnySession
    ) -> None:
        """Each conversation has its own."""
        async with session.lease(0, LIFE), neighbour.lease(0, LIFE):
            assert await session.busy()
            assert await neighbour.busy()
        assert await neighbour.busy() is None

    @requires("leases")
    async def test_whoever_asks_again_has_what_it_had(self, session: AnySession) -> None:
        """A holder keeps the lease and a waiter its place, as with an answer that was lost."""
        first, second = self.claim(session, "a1"), self.claim(session, "b2")
        for _ in range(2):
            assert await first.acquire(60) == 0
            assert await second.acquire(60) == 1
        await first.release()
        await first.release()
        assert await first.acquire(60) != 0  # a copy that was late
        assert await second.acquire(60) == 0
        await second.release()

    @requires("leases")
    async def test_a_lease_leaves_no_conversation_behind(self, session: AnySession) -> None:
        """Who has written nothing finds nothing, and nothing is stored but the lease."""
        async with session.lease(0, LIFE) as held:
            assert await held.get_items() == []
            assert await held.pop_item() is None
            await held.clear_session()
        assert await session.get_items() == []
        assert await self.raw(session) == []

    # --- waiting -------------------------------------------------------------------------------

    @requires("leases")
    async def test_waiters_are_served_in_the_order_they_came(self, session: AnySession) -> None:
        """Nobody overtakes, not even one that comes when the lease is free."""
        holder, *waiters = [self.claim(session, f"claim{number}") for number in range(4)]
        late = self.claim(session, "late")
        assert await holder.acquire(60) == 0
        for place, waiter in enumerate(waiters, 1):
            assert await waiter.acquire(60) == place
        for place, waiter in reversed([*enumerate(waiters, 1)]):
            assert await waiter.acquire(60) == place
        await holder.release()
        assert await late.acquire(0) == 4
        assert await waiters[1].acquire(60) == 2
        assert await waiters[0].acquire(60) == 0
        await waiters[1].release()  # it gives up
        assert await waiters[2].acquire(60) == 1
        await waiters[0].release()
        assert await waiters[2].acquire(60) == 0
        await waiters[2].release()
        assert await late.acquire(0) == 0
        await late.release()

    @requires("leases")
    async def test_a_waiter_that_does_not_come_back_loses_its_place(
        self, session: AnySession
    ) -> None:
        """Whose process died while it waited holds nobody back for long."""
        holder, dead, alive = (self.claim(session, name) for name in ("a1", "b2", "c3"))
        assert await holder.acquire(60) == 0
        assert await dead.acquire(0.001) == 1
        assert await alive.acquire(60) in {1, 2}
        await holder.release()
        await self.until(lambda: self.is_held(alive))
        await alive.release()

    @requires("leases")
    async def test_many_wait_and_all_get_it(
        self, session: AnySession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Ten runs at once are done one after the other, each whole."""
        monkeypatch.setattr(_lease, "NEXT_SECONDS", 0.01)
        monkeypatch.setattr(_lease, "FIRST_SECONDS", 0.01)

        async def run(number: int) -> None:
            async with session.lease(60, LIFE) as held:
                for part in range(4):
                    await held.add_items(numbered(4 * number + part, 4 * number + part + 1))

        await asyncio.gather(*(run(number) for number in range(10)))

        items = await session.get_items()
        runs = [items[at : at + 4] for at in range(0, 40, 4)]
        assert sorted(map(str, runs)) == sorted(
            str(numbered(4 * number, 4 * number + 4)) for number in range(10)
        )
        assert await session.busy() is None

    @requires("leases")
    async def test_cancelled_waiters_leave_the_queue(self, session: AnySession) -> None:
        """Who was cancelled waits no longer, and holds nothing."""
        async with session.lease(0, LIFE):
            waiting = [asyncio.create_task(session.lease(60).__aenter__()) for _ in range(3)]
            last = self.claim(session, "last")
            await self.until(lambda: self.is_at(last, 4))
            for task in waiting:
                task.cancel()
            results = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(result) for result in results] == [asyncio.CancelledError] * 3
            assert await last.acquire(60) == 1
        assert await last.acquire(60) == 0
        await last.release()

    # --- the fence -----------------------------------------------------------------------------

    @requires("leases")
    @pytest.mark.parametrize("name", WRITES)
    async def test_no_write_of_a_lost_lease_arrives(self, session: AnySession, name: str) -> None:
        """Another has taken over: the one before changes nothing, and reads on."""
        await session.add_items(numbered(0, 3))
        slow, other = self.claim(session, "slow"), self.claim(session, "other")
        assert await slow.acquire(60) == 0
        fenced = slow.fenced()
        found = await fenced.read(None)
        assert await other.acquire(60) == 1
        await self.lapse(session)
        if self.tells_time:
            assert await session.busy() is None
        assert await other.acquire(60) == 0
        assert not await slow.renew()

        before = await self.raw(session)
        with pytest.raises(LostError):
            await write(fenced, name, found)
        assert await self.raw(session) == before
        assert (await fenced.read(None)).records == found.records
        await slow.release()
        assert await other.renew()
        await write(other.fenced(), "append", found)
        assert len(await session.get_items()) == 4
        await other.release()

    @requires("leases")
    @pytest.mark.parametrize("name", WRITES)
    async def test_every_write_is_done_while_the_lease_is_held(
        self, session: AnySession, name: str
    ) -> None:
        """The same writes with a lease and without do the same."""
        expected = []
        for leased in (False, True):
            await session.clear_session()
            await session.add_items(numbered(0, 3))
            if leased:
                claim = self.claim(session, "held")
                assert await claim.acquire(60) == 0
                conversation = claim.fenced()
            else:
                conversation = session._conversation
            await write(conversation, name, await conversation.read(None))
            expected.append(await session.get_items())
        assert expected[0] == expected[1] != numbered(0, 3)
        await claim.release()

    @requires("leases")
    @pytest.mark.parametrize("name", WRITES)
    async def test_no_write_arrives_after_the_lease_was_given_back(
        self, session: AnySession, name: str
    ) -> None:
        """A write that was long on its way is none of the next holder's business."""
        await session.add_items(numbered(0, 3))
        first, second = self.claim(session, "first"), self.claim(session, "second")
        assert await first.acquire(60) == 0
        fenced = first.fenced()
        found = await fenced.read(None)
        await first.release()
        assert await second.acquire(60) == 0

        with pytest.raises(LostError):
            await write(fenced, name, found)
        assert await session.get_items() == numbered(0, 3)
        await second.release()

    @requires("leases")
    async def test_a_session_that_lost_its_lease_says_so(
        self, session: AnySession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each write raises, nothing is changed; the block ends as if nothing had been."""
        await session.add_items(numbered(0, 3))
        other = self.claim(session, "other")
        async with session.lease(0, LIFE) as held:
            assert await other.acquire(60) == 1
            await self.lapse(session)
            assert await other.acquire(60) == 0
            # Not even a client that takes its time for good gets through.
            monkeypatch.setattr(_lease.Lease, "is_lost", False)
            for attempt in (
                held.add_items(numbered(9, 10)),
                held.pop_item(),
                held.clear_session(),
                held.replace_items([]),
                held.replace_items(numbered(9, 10)),
            ):
                with pytest.raises(LeaseLostError, match=repr(session.session_id)):
                    await attempt
            assert await held.get_items() == numbered(0, 3)
        assert await session.get_items() == numbered(0, 3)
        assert await session.busy()
        await other.release()

    @requires("leases")
    async def test_the_session_of_a_block_that_has_ended_writes_nothing(
        self, session: AnySession
    ) -> None:
        """It can be read, and refuses writes without asking the store."""
        async with session.lease(0, LIFE) as held:
            await held.add_items(numbered(0, 1))
        with pytest.raises(LeaseLostError):
            await held.add_items(numbered(1, 2))
        assert await held.get_items() == numbered(0, 1)
        assert await session.get_items() == numbered(0, 1)

    @requires("leases")
    async def test_whoever_holds_a_lease_renews_it(
        self, session: AnySession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A block that lasts longer than the lease keeps it."""
        claims = type(self.claim(session, "any"))
        renew, answers = claims.renew, []

        async def counted(claim: Claim) -> bool:
            answers.append(await renew(claim))
            return answers[-1]

        async def is_renewed() -> bool:
            return len(answers) == 4  # more thirds than there are in its life

        monkeypatch.setattr(claims, "renew", counted)
        async with session.lease(0, 1) as held:
            await self.until(is_renewed)
            assert not await self.is_at(self.claim(session, "other"), 0)
            await held.add_items(numbered(0, 1))
        assert all(answers)
        assert await session.get_items() == numbered(0, 1)

    @requires("leases")
    async def test_the_lease_ends_with_an_error_and_a_cancellation(
        self, session: AnySession
    ) -> None:
        """However the block ends, the next one may begin."""
        with pytest.raises(ZeroDivisionError):
            async with session.lease(0, LIFE):
                raise ZeroDivisionError
        assert await session.busy() is None

        entered = asyncio.Event()

        async def hold() -> None:
            async with session.lease(0, LIFE):
                entered.set()
                await asyncio.Event().wait()

        holding = asyncio.create_task(hold())
        await entered.wait()
        holding.cancel()
        await asyncio.wait({holding})
        assert holding.cancelled()
        assert await session.busy() is None

    @requires("leases")
    async def test_arguments_of_leases(self, session: AnySession) -> None:
        """Wrong ones are refused before anything is sent."""
        for wait in (-1, float("nan")):
            with pytest.raises(ValueError, match="wait must be 0 seconds or more"):
                session.lease(wait)
        with pytest.raises(TypeError, match="wait must be a number"):
            session.lease("30")
        for seconds in (0, -1, 86_401):
            with pytest.raises(ValueError, match="seconds must be from 1 to 86400"):
                session.lease(0, seconds)
        with pytest.raises(TypeError, match="seconds must be an int"):
            session.lease(0, 1.5)
        async with session.lease(0, LIFE) as held:
            with pytest.raises(RuntimeError, match="holds the lease already"):
                held.lease()

    # --- the SDK -------------------------------------------------------------------------------

    @requires("leases")
    async def test_the_sdk_takes_a_held_session(self, session: AnySession) -> None:
        """The Runner does, and what the SDK puts around sessions."""
        model = ScriptedModel([[assistant_message("Hello")], [assistant_message("Bye")]])
        agent, config = Agent("assistant", model=model), RunConfig(tracing_disabled=True)
        async with session.lease(0, LIFE) as held:
            compacting = OpenAIResponsesCompactionSession(
                session.session_id, held, should_trigger_compaction=lambda _: False
            )
            await Runner.run(agent, "Hi", session=compacting, run_config=config)
            await Runner.run(agent, "Ciao", session=held, run_config=config)
        texts = [str(item) for item in await session.get_items()]
        assert len(texts) == 4
        assert all(map(str.__contains__, texts, ("Hi", "Hello", "Ciao", "Bye")))

        await session.clear_session()
        async with session.lease(0, LIFE) as held:
            encrypted = EncryptedSession(session.session_id, held, "key")
            await encrypted.add_items(numbered(0, 2))
            assert await encrypted.get_items() == numbered(0, 2)
        assert await session.get_items() != numbered(0, 2)

    # --- helpers -------------------------------------------------------------------------------

    async def is_held(self, claim: Claim) -> bool:
        """Ask once more; whether the lease was had."""
        return await claim.acquire(60) == 0

    async def is_at(self, claim: Claim, place: int) -> bool:
        """Ask once without waiting; whether as many are before."""
        return await claim.acquire(0) == place

    async def until(self, condition: Any) -> None:
        """Wait until a condition holds."""

        async def wait() -> None:
            while not await condition():  # noqa: ASYNC110 - only the store knows
                await asyncio.sleep(0.01)

        await asyncio.wait_for(wait(), 30)
