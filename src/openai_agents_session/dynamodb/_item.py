"""One session's item: read, and updated exactly once.

Each update carries a token, which the item remembers. When an answer is lost, botocore sends the
request again, and so does this library. If the token is there already, the update was done, and its
condition refuses it. Older tokens move to pages, where a writer that was away for long looks for
its own. If that leaves a doubt, it raises an error; it never guesses.
"""

from __future__ import annotations

from contextlib import suppress
from copy import copy
from typing import TYPE_CHECKING, Any, Literal, Protocol

from openai_agents_session._conversation import LostError
from openai_agents_session._pauses import Pauses
from openai_agents_session.dynamodb._driver import ConditionFailedError
from openai_agents_session.dynamodb._fence import begun_with, fence_update, fenced
from openai_agents_session.dynamodb._owner import id_of
from openai_agents_session.dynamodb._pages import Pages
from openai_agents_session.dynamodb._state import (
    Attribute,
    ItemState,
    PageRef,
    Token,
    getrandbits,
)
from openai_agents_session.dynamodb._updates import clear_update, cleared

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from typing_extensions import Self

    from openai_agents_session.dynamodb._driver import Table
    from openai_agents_session.dynamodb._owner import Owner


ANYBODY: Literal[False] = False

PATIENCE_SECONDS = 600.0
"""How long one operation goes on against other writers at most."""


class SupersededError(Exception):
    """The conversation is not any more what was read; nothing was changed.

    Attributes:
        state: what the item says now.
        pending: whether the request may still be done: it was sent several times, and
            another copy of it, which is on its way, may be taken later.
    """

    def __init__(self, state: ItemState, *, pending: bool = False) -> None:
        super().__init__("another writer was faster")
        self.state = state
        self.pending = pending


class Fence(Protocol):
    """Who alone may write to an item: the holder of its lease.

    Attributes:
        fence: what the item says in ``lease`` while the lease is held.
        unsettled: how many updates may still be done, as nobody knows what came of them.
        is_over: whether the lease was given back.
    """

    fence: str
    unsettled: int
    is_over: bool

    async def restore(self, found: str) -> None:
        """Put the fence into the item again, where another one is found, or none.

        Raises:
            LostError: the lease is not held.
        """


class Item:
    """One session's item.

    Args:
        table: where it is.
        key: its key.
        user: whose it is; None for one without a user, ANYBODY where that does not matter.

    Attributes:
        pages: the pages beside it.
        last_seen: what it said when this object read it last, and what this object has written to
            it since; None before. Others write too: it only spares requests, every condition
            is checked by DynamoDB.
    """

    def __init__(self, table: Table, key: str, user: str | Literal[False] | None = None) -> None:
        self.pages = Pages(table, key, user or None)
        self.last_seen: ItemState | None = None
        self._table = table
        self._user = user
        self._fence: Fence | None = None
        self._session_id = id_of(user or None, key)
        self._key = {"session_id": {"S": key}}

    def fenced(self, fence: Fence) -> Self:
        """Return the same item, for writes of the holder of its lease alone."""
        item = copy(self)
        item._fence = fence
        return item

    async def read(self) -> ItemState:
        """Return what the item says now."""
        answer = await self._table.call("get_item", Key=self._key, ConsistentRead=True)
        return self._parsed(answer.get("Item", {}))

    async def read_to_write(self) -> ItemState:
        """Return what the item says now, if it may be written to.

        Raises:
            LostError: the lease that the writes ask for is not held.
        """
        return await self._still_fenced(await self.read())

    async def ping(self) -> bool:
        """Return whether the store answers a read, which every session may do."""
        return await self._table.answers(
            "get_item", Key=self._key, ProjectionExpression="session_id"
        )

    async def write(
        self, attempt: Callable[[ItemState | None, Token], Awaitable[None]]
    ) -> tuple[Token, float]:
        """Attempt a write, and again for as long as other writers are faster.

        Args:
            attempt: gets the item as it was after another writer was faster, None the first
                time; and the write's token.

        Returns:
            The token that the item has of the write, and how many seconds the request that did
            it took at most.
        """
        token = Token.after(self.last_seen.since if self.last_seen else 0)
        pauses = Pauses(0.01, 0.25)
        state: ItemState | None = None
        pending = False
        while True:
            began = pauses.elapsed
            try:
                await attempt(state, token)
            except SupersededError as exc:
                if pauses.elapsed > PATIENCE_SECONDS:
                    raise self._refusal("Other writers were faster, again and again.") from exc
                pending = pending or exc.pending
                state = exc.state
                # What the refusal says of the item is good for an attempt at once. After a pause
                # it is old: beside a busy writer, the attempt would be refused again and again.
                if await pauses.wait():
                    state = await self.read()
                    if pending and await self._was_done(state, token):
                        return token, pauses.elapsed
                    state = await self._still_fenced(state)
                if token.stamp <= state.since and not pending:
                    token = Token.after(state.since)
            else:
                return token, pauses.elapsed - (0 if pending else began)

    async def update(
        self,
        token: Token,
        request: dict[str, Any],
        *,
        ttl: int | None = None,
        known: ItemState | None = None,
        stored: Sequence[PageRef] = (),
    ) -> dict[str, Any] | None:
        """Send an update of the item.

        Args:
            token: what the request leaves in the item.
            request: the update and its condition.
            ttl: how many seconds from now its ``:ttl`` is.
            known: what the item said, where the condition is that this is still so.
            stored: new pages that the item names with it.

        Returns:
            The answer to this attempt; None where an earlier one had done it.

        Raises:
            SupersededError: it was not done, and will not be.
            LostError: the lease is not held, so it was not done, and will not be.
        """
        seconds = {":now": 0} if ttl is None else {":now": 0, ":ttl": ttl}
        if self._fence:
            if self._fence.is_over:
                await self.pages.discard(stored)
                raise LostError
            request = fenced(request, self._fence.fence)
            self._fence.unsettled += 1
        try:
            answer = await self._table.call(
                "update_item", seconds=seconds, Key=self._key, **request
            )
        except ConditionFailedError as refusal:
            state = await self._refused(refusal)
            done = token in state.writes or (refusal.resent and await self._was_done(state, token))
            if self._fence and (done or not refusal.resent):
                self._fence.unsettled -= 1
            if done:
                return None
            await self.pages.discard(stored)
            state = await self._still_fenced(state)
            pending = refusal.resent and (known is None or state.version == known.version)
            raise SupersededError(state, pending=pending) from refusal.error
        if self._fence:
            self._fence.unsettled -= 1
        return answer

    async def _still_fenced(self, state: ItemState) -> ItemState:
        """Return the item, with the fence that its writes ask for.

        Raises:
            LostError: the lease is not held.
        """
        while self._fence and state.lease != self._fence.fence:
            await self._fence.restore(state.lease)
            state = await self.read()
        return state

    async def put_fence(self, fence: str, owner: Owner) -> tuple[str, ItemState | None]:
        """Put a fence into the item, unless there is a greater one.

        Where there is no item, one is made that has no conversation.

        Returns:
            The fence that the item then has; and the item, if it was made.
        """
        while True:
            try:
                await self._table.call("update_item", Key=self._key, **fence_update(fence, owner))
            except ConditionFailedError as refusal:
                if refusal.item and (state := self._parsed(refusal.item)).lease >= fence:
                    return state.lease, None
            else:
                return fence, None
            token = Token.after(0)
            request = clear_update(token, {token}, getrandbits(48), exists=False, owner=owner)
            try:
                await self._table.call("update_item", Key=self._key, **begun_with(request, fence))
            except ConditionFailedError as refusal:  # there is one, or an earlier attempt made it
                state = await self._refused(refusal)
                if state.lease >= fence:
                    return state.lease, None
            else:
                return fence, cleared(ItemState(), request)

    async def put_released(self, fence: str, owner: Owner) -> None:
        """Put what is greater than a holder's fence into the item, if that is there."""
        with suppress(ConditionFailedError):
            await self._table.call("update_item", Key=self._key, **fence_update(fence, owner))

    async def _refused(self, refusal: ConditionFailedError) -> ItemState:
        """Return the item that refused a write."""
        return self._parsed(refusal.item) if refusal.item else await self.read()

    async def _was_done(self, state: ItemState, token: Token) -> bool:
        """Return whether an earlier attempt at the write was the one that counted.

        Raises:
            botocore.exceptions.ClientError: it cannot be told any more.
        """
        if token in state.writes:
            return True
        if token.stamp > state.since:
            return False
        since, refs = state.since, [*state.pages]
        while refs:
            newest = refs.pop()
            (page,) = await self.pages.read([newest])
            if page is None:
                break
            if newest.level:
                refs += page.refs
                continue
            if token in page.writes:
                return True
            if page.until < since:
                break  # tokens were dropped since the page was stored
            since = page.since
            if since < token.stamp:
                return False
        raise self._refusal(
            "The answer to a write was lost, and too much has happened since to tell whether the "
            "write was done: read the conversation before you write again."
        )

    def _refusal(self, message: str) -> Exception:
        return self._table.error("ConditionalCheckFailedException", "UpdateItem", message)

    def _parsed(self, attributes: dict[str, Attribute]) -> ItemState:
        if "page_of" in attributes:
            raise ValueError(
                f"session_id {self._session_id!r} is the key of another session's page"
            )
        state = ItemState.parse(attributes)
        if state.exists and self._user is not ANYBODY and state.user != self._user:
            raise ValueError(
                f"session_id {self._session_id!r} leads to another user's conversation, or to one "
                "without a user; open it with the store's user() or session(), as it began"
            )
        self.last_seen = state
        return state
