"""A conversation's lease: who holds it and who waits, in an item beside the session's item.

``_lease_item`` says what that item holds.

DynamoDB has no clock, so a lease is over for a waiter that has seen the same beat for as long as
the lease lives, on its own clock; and so is a place in the queue. The clocks of different machines
are never compared. Who begins to wait goes on from what others have ``watched``.

The fence is in the session's item, as the attribute ``lease``: ``{number}:{holder}``. A fenced
write asks for it in its condition. Each fence has a greater number than the ones before, and never
takes the place of one with a greater number. It stays when the lease is given back, so that a
request that is late puts none back. If an update may still be on its way then, ``{number}:~`` takes
its place, which is greater than all fences of that number: that update will be refused.
"""

from __future__ import annotations

from dataclasses import replace
from time import monotonic, time_ns
from typing import TYPE_CHECKING, Any

from openai_agents_session._conversation import LostError
from openai_agents_session._pauses import Pauses
from openai_agents_session.dynamodb._lease_item import LeaseItem, LeaseState, Waiter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from openai_agents_session.dynamodb._item import Item
    from openai_agents_session.dynamodb._owner import Owner
    from openai_agents_session.dynamodb._state import ItemState

MAX_LEFT = 8
"""How many that have left there may be in the queue before who comes removes them."""

MAX_SIGHTINGS = 4096
"""How many beats a process remembers to have seen."""


class _Sightings(dict[str, float]):
    """Beats that this process has seen, and at the latest since when they are what they are.

    It is one for all claims: who asks again and again without ever waiting long gets the lease of a
    dead holder in the end, too.
    """

    def age(self, beat: str, watched: float = 0.0) -> float:
        """Note that a beat has just been read; return for how many seconds it is known to stand."""
        now = monotonic()
        since = min(self.pop(beat, now), now - watched)
        self[beat] = since  # at the end: the last seen is forgotten last
        if len(self) > MAX_SIGHTINGS:
            del self[next(iter(self))]
        return now - since


_sightings = _Sightings()


class DynamoDBClaim:
    """What one holder asks of a conversation's lease.

    Args:
        lease: the lease's item.
        item: the session's item.
        owner: whose the conversation is.
        fenced: returns the conversation that asks for a claim's fence.
        holder: a text that nobody else has.
        seconds: how long the lease lives without being renewed.

    Attributes:
        fence: what the session's item says in ``lease`` while this holds it; "" before.
        unsettled: how many updates that ask for it may still be done.
        is_over: whether this has released.
        begun: what is known of the session's item if this had to make it.
    """

    def __init__(
        self,
        lease: LeaseItem,
        *,
        item: Item,
        owner: Owner,
        fenced: Callable[[DynamoDBClaim], Any],
        holder: str,
        seconds: int,
    ) -> None:
        self.fence = ""
        self.unsettled = 0
        self.is_over = False
        self.begun: ItemState | None = None
        self._lease, self._item, self._owner, self._fenced = lease, item, owner, fenced
        self._holder, self._seconds = holder, seconds
        self._number = 0  # of the fence
        self._sent = 0  # the one that was sent last
        self._entry: Waiter | None = None  # what this has said last in the queue
        self._asked = 0.0  # when it has, or has asked for the lease
        self._is_unknown = False  # whether it may still get what it has asked for

    def fenced(self) -> Any:
        """Return the conversation whose writes ask for the fence."""
        return self._fenced(self)

    async def acquire(self, comes_back_in: float) -> int:
        """Take the lease, or a place in the queue."""
        if self.is_over:
            return 1
        pauses = Pauses(0.01, 0.25)
        state = await self._lease.read()
        while True:
            place, request = self._wanted(state, comes_back_in)
            now = await request if request else None
            if now is not None:  # another was faster, or this was, and its answer was lost
                # What the refusal says is good for an attempt at once; after a pause it is old.
                state = await self._lease.read() if await pauses.wait() else now
            elif place or await self._is_fenced():
                return place
            else:
                state = await self._lease.read()

    async def renew(self) -> bool:
        """Let the lease's time begin anew."""
        return await self._lease.renew(self._holder, self._seconds)

    async def release(self) -> None:
        """Give the lease back, or leave the queue."""
        self.is_over = True
        if not self._asked:
            return
        if self._is_unknown:
            await self._lease.supersede()
        if self._is_unknown or self._sent or self.fence:
            state = await self._lease.release(self._holder)
        else:
            state = await self._lease.read()
        pauses = Pauses(0.01, 0.25)
        while state is not None and (mine := self._place_in(state.queue)):
            now = await self._say(state, replace(mine, beat=mine.beat + 1, seconds=0))
            state = await self._lease.read() if now and await pauses.wait() else now
        # Where all that this has written is settled, the fence may stay: it lets nothing in.
        if self.unsettled or self._fence_of(self._sent) != self.fence:
            await self._item.put_released(f"{self._sent:016d}:~", self._owner)

    async def restore(self, found: str) -> None:
        """Put a fence into the session's item again, where another one is found.

        DynamoDB may have deleted the item as its time was over, and the fence with it.

        Raises:
            LostError: the lease is not held.
        """
        is_another = found > self.fence and not found.endswith(f":{self._holder}")
        if self.is_over or is_another or not await self._put_fence():
            raise LostError

    # ------------------------------------------------------------- what is asked for

    def _wanted(
        self, state: LeaseState, comes_back_in: float
    ) -> tuple[int, Awaitable[LeaseState | None] | None]:
        """Return the place that is had in a state, and the request for it, if there is to be one.

        The request returns None if it was done, else what the lease's item says now.
        """
        age = _age(state)
        if state.holder == self._holder:
            self._number = state.number
            return 0, None
        queue = [each for each in state.queue if self._waits(each)]
        mine = self._place_in(queue)
        place = queue.index(mine) + 1 if mine else len(queue) + 1
        is_free = not state.holder or age > state.seconds
        if is_free and place == 1:
            after = replace(
                state,
                holder=self._holder,
                seconds=self._seconds,
                beat=state.beat + 1,
                # From the clock where nothing is known: then it is most likely greater than all
                # before. If not, the session's item says so.
                number=state.number + 1 if state.number else time_ns() // 10**6,
                watched=0.0,
                queue=tuple(each for each in queue if each is not mine),
            )
            return 0, self._change(state, after)
        if not (self._has_to_say(mine, comes_back_in) if comes_back_in else mine):
            return place, None
        beat = self._entry.beat + 1 if self._entry else 0
        self._entry = Waiter(self._holder, beat, 2 * comes_back_in)
        if mine:
            return place, self._say(state, self._entry)
        if len(state.queue) - len(queue) < MAX_LEFT:
            self._asked = monotonic()
            return place, self._lease.enqueue(self._entry)
        after = replace(state, watched=age, queue=(*queue, self._entry))
        return place, self._change(state, after)

    def _place_in(self, queue: Sequence[Waiter]) -> Waiter | None:
        return next((each for each in queue if each.holder == self._holder and each.seconds), None)

    def _waits(self, waiter: Waiter) -> bool:
        """Whether a waiter still does, for all that is known."""
        age = _sightings.age(str(waiter))
        return age < waiter.seconds or (waiter.holder == self._holder and waiter.seconds > 0)

    def _has_to_say(self, mine: Waiter | None, comes_back_in: float) -> bool:
        """Whether to say that this waits: its place may be lost before it comes back.

        What it says lasts for twice as long as it needs, so that most of its polls only read. And
        it says so earlier if it would hold up others for too long by now, if it died.
        """
        if mine is None or self._entry is None or mine.beat != self._entry.beat:
            return True
        left = self._asked + mine.seconds - monotonic()
        return left < comes_back_in or mine.seconds > 4 * comes_back_in

    async def _say(self, state: LeaseState, waiter: Waiter) -> LeaseState | None:
        self._asked = monotonic()
        return await self._lease.say(state, waiter, _age(state))

    async def _change(self, state: LeaseState, after: LeaseState) -> LeaseState | None:
        self._asked = monotonic()
        self._is_unknown = True
        now = await self._lease.change(state, after)
        self._is_unknown = False
        if now is None and after.holder == self._holder:
            self._number = after.number
        return now

    # ------------------------------------------------------------- the fence

    async def _is_fenced(self) -> bool:
        """Put the fence into the session's item, now that the lease is taken.

        Returns:
            Whether that was done in time: before anybody can have taken over.
        """
        if self.fence:
            return True
        return await self._write_fence(self._asked) or await self._put_fence()

    async def _put_fence(self) -> bool:
        """Put a new fence into the session's item, if the lease is still held.

        It is another than before: a late request that asks for that one is refused.
        """
        while True:
            began = monotonic()
            self._number += 1
            if not await self._lease.renew(self._holder, self._seconds, self._number):
                return False
            if await self._write_fence(began):
                return True

    async def _write_fence(self, began: float) -> bool:
        """Write the fence; return False if there is a greater one, or it took too long.

        Args:
            began: when the last renewal was sent. Until the lease's life after that, nobody takes
                over, so there can be no later fence.
        """
        fence = self._fence_of(self._number)
        self._sent = self._number
        now, begun = await self._item.put_fence(fence, self._owner)
        if now != fence:
            self._number = max(self._number, int(now.partition(":")[0]))
            return False
        if monotonic() - began >= self._seconds:
            return False
        self.fence, self.begun = fence, begun
        return True

    def _fence_of(self, number: int) -> str:
        return f"{number:016d}:{self._holder}" if number else ""


def _age(state: LeaseState) -> float:
    """Return for how many seconds the holder is known not to have renewed the lease."""
    if not state.holder:
        return 0.0
    return _sightings.age(f"{state.holder}:{state.beat}", state.watched)
