"""One session's item: read, and updated exactly once.

Each update carries a token, which the item remembers. botocore sends again by itself when an
answer is lost, and so do we: an update whose token is there already was done, and its
condition refuses it. A page takes the tokens of its time with it; a writer that was away
for so long looks there. Where that leaves a doubt, it is an error and never a guess.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openai_agents_session._base import Pauses, add_note
from openai_agents_session.dynamodb._calls import PATIENCE_SECONDS, ConditionFailedError
from openai_agents_session.dynamodb._head import Attribute, Head, PageRef, Token
from openai_agents_session.dynamodb._pages import Pages

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from openai_agents_session.dynamodb._calls import Table


class SupersededError(Exception):
    """The conversation is not any more what was read; nothing was changed.

    Attributes:
        head: what the item says now.
    """

    def __init__(self, head: Head, error: Exception) -> None:
        super().__init__(str(error))
        self.head = head
        self.error = error


class Item:
    """One session's item.

    Args:
        table: where it is.
        session_id: its key.

    Attributes:
        pages: the pages beside it.
        seen: what it said when this object read it last, and what this object has written to
            it since; None before. Others write too: it only spares requests, every condition
            is checked by DynamoDB.
    """

    def __init__(self, table: Table, session_id: str) -> None:
        self.pages = Pages(table, session_id)
        self.seen: Head | None = None
        self._table = table
        self._session_id = session_id
        self._key = {"session_id": {"S": session_id}}

    async def read(self) -> Head:
        """Return what the item says now."""
        answer = await self._table.call("get_item", Key=self._key, ConsistentRead=True)
        return self._parsed(answer.get("Item", {}))

    async def ping(self) -> None:
        """Ask for a sign of life; the least that a session may do in any case."""
        await self._table.call("get_item", Key=self._key, ProjectionExpression="session_id")

    async def write(
        self, attempt: Callable[[Head | None, Token], Awaitable[None]], head: Head | None = None
    ) -> None:
        """Attempt a write until no other writer comes before it."""
        token = Token.after(head.since if head else 0)
        pauses = Pauses(0.01, 0.25)
        while True:
            try:
                await attempt(head, token)
            except SupersededError as exc:  # noqa: PERF203 - it is what the loop is for
                if pauses.elapsed > PATIENCE_SECONDS:
                    raise exc.error from None
                # What the refusal told is good for an attempt at once, and old after a pause:
                # beside a writer that never rests, it would be refused again and again.
                head = await self.read() if await pauses.wait() else exc.head
                if token.stamp <= head.since:
                    token = Token.after(head.since)
            else:
                return

    async def update(
        self, token: Token, request: dict[str, Any], stored: Sequence[PageRef] = ()
    ) -> bool:
        """Send an update of the item.

        Args:
            token: what the request leaves in the item.
            request: the update and its condition.
            stored: new pages that the item names with it.

        Returns:
            Whether it is this attempt that did it, and not an earlier one.

        Raises:
            SupersededError: it was not done, and will not be.
        """
        try:
            await self._table.call("update_item", Key=self._key, **request)
        except ConditionFailedError as refusal:
            head = await self.refused(refusal)
            if await self._was_done(head, token, refusal):
                return False
            await self.pages.discard(stored)
            raise SupersededError(head, refusal.error) from None
        return True

    async def refused(self, refusal: ConditionFailedError) -> Head:
        """Return the item that refused a write."""
        return self._parsed(refusal.item) if refusal.item else await self.read()

    async def _was_done(self, head: Head, token: Token, refusal: ConditionFailedError) -> bool:
        """Whether an earlier attempt at the write was the one that counted."""
        if token in head.writes:
            return True
        if token.stamp > head.since or not refusal.resent:
            return False
        refs = [*head.pages, *head.left]
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
            if page.until < token.stamp:
                break  # a later token, dropped since the page was stored
            if page.since < token.stamp:
                return False
        add_note(
            refusal.error,
            "The answer to a write was lost, and too much has happened since to tell whether the "
            "write was done: read the conversation before you write again.",
        )
        raise refusal.error

    def _parsed(self, attributes: dict[str, Attribute]) -> Head:
        if "page_of" in attributes:
            raise ValueError(
                f"session_id {self._session_id!r} is the key of another session's page"
            )
        self.seen = Head.parse(attributes)
        return self.seen
