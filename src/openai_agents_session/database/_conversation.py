"""Conversation: what can be done with one, each as one unit of work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from advanced_alchemy.exceptions import NotFoundError

from openai_agents_session.database._items import item_of, rows_of
from openai_agents_session.database._rows import Name, Rows
from openai_agents_session.database._statements import statements_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from agents import TResponseInputItem

    from openai_agents_session.database._driver import Transaction, Unit, Work
    from openai_agents_session.database.mixins import AgentSessionMixin

_T = TypeVar("_T")


class UnreadableError(Exception):
    """Undoes a removal: the newest message cannot be read."""


class Conversation:
    """The conversation of one user under one id.

    Args:
        work: runs the units of work.
        model: the application's model of a conversation.
        name: whose conversation it is, and which.
        recreate: whether a write makes it again that was seen here and is deleted.
    """

    def __init__(
        self, work: Work, model: type[AgentSessionMixin], name: Name, *, recreate: bool = True
    ) -> None:
        self._work = work
        self._model = model
        self._name = name
        self._recreate = recreate
        self._seen = False

    async def read(self) -> Sequence[Any]:
        """Return every stored item, oldest first."""
        found = await self._work.read(self._on(Rows.stored))
        self._seen |= bool(found)
        return found

    async def read_newest(self, wanted: int) -> list[tuple[Any, Any]]:
        """Return the keys and stored items of the newest messages, oldest first."""
        found = await self._work.read(self._on(lambda rows: rows.newest(wanted)))
        self._seen |= bool(found)
        return found

    async def exists(self) -> bool:
        """Return whether there is a row of the conversation."""
        return await self._work.read(self._on(Rows.exists))

    async def append(self, items: Sequence[TResponseInputItem], *, replace: bool = False) -> None:
        """Add items to the end, or put them in the place of all there is.

        Raises:
            advanced_alchemy.exceptions.NotFoundError: it is deleted, and not to be made again.
        """
        columns = rows_of(items)
        must_be_there = self._seen and not self._recreate

        async def unit(rows: Rows) -> None:
            found = await (rows.lock if must_be_there else rows.open)(len(columns))
            if found is None:
                raise NotFoundError("the conversation was deleted meanwhile")
            key, last = found
            if replace:
                await rows.clear(key)
            await rows.insert(key, last, columns)

        await self._work.write(self._on(unit))
        self._seen = True

    async def clear(self) -> None:
        """Delete every message; the row stays, with what it says about the conversation."""

        async def unit(rows: Rows) -> None:
            if locked := await rows.lock():
                await rows.clear(locked[0])

        await self._work.write(self._on(unit))

    async def pop(self) -> TResponseInputItem | None:
        """Remove the newest message and return its item; None where there is none.

        Raises:
            UnreadableError: it cannot be read; nothing was removed.
        """

        async def unit(rows: Rows) -> TResponseInputItem | None:
            locked = await rows.lock()
            stored = await rows.pop(locked[0]) if locked else None
            if stored is None:
                return None
            item = item_of(stored)
            if item is None:
                raise UnreadableError
            return item

        return await self._work.write(self._on(unit))

    async def pop_readable(self) -> list[TResponseInputItem | None]:
        """Remove the newest message that can be read.

        Returns:
            Its item, and None for each that was passed over; the oldest first. Where none can
            be read, there is no item.
        """

        async def unit(rows: Rows) -> list[TResponseInputItem | None]:
            passed_over: list[TResponseInputItem | None] = []
            locked = await rows.lock()
            if locked is None:
                return passed_over
            key, window = locked[0], 1
            while True:
                window *= 2
                tail = await rows.tail(key, window)
                for row in tail[len(passed_over) :]:
                    item = item_of(row.stored)
                    if item is not None:
                        await rows.remove(key, [row.id])
                        return [item, *passed_over]
                    passed_over.append(None)
                if len(tail) < window:
                    return passed_over

        return await self._work.write(self._on(unit))

    async def swap(
        self,
        expected: Sequence[tuple[Any, Any]],
        items: Sequence[TResponseInputItem],
        is_stale: Callable[[TResponseInputItem], bool] | None,
        step: int,
    ) -> bool:
        """Replace the newest messages, if they are still the expected ones.

        Args:
            expected: keys and stored items, oldest first.
            items: what comes in their place.
            is_stale: says which of the oldest messages go with it; the first that it does
                not name ends that.
            step: how many of those are read at a time.

        Returns:
            False when the newest messages are others; nothing is changed then.
        """
        columns = rows_of(items)

        async def unit(rows: Rows) -> bool:
            locked = await rows.lock(len(columns))
            if locked is None:
                return False
            key, last = locked
            tail = await rows.tail(key, len(expected))
            if [(row.id, row.stored) for row in reversed(tail)] != list(expected):
                return False
            if is_stale is not None:
                await rows.prune(key, tail[-1].position, is_stale, step)
            await rows.remove(key, [row.id for row in tail])
            await rows.insert(key, last, columns)
            return True

        return await self._work.write(self._on(unit))

    async def change(self, values: dict[str, Any]) -> None:
        """Set columns of the row, which is made where there is none."""

        async def unit(rows: Rows) -> None:
            key, _ = await rows.open(0)
            await rows.change(key, values)

        await self._work.write(self._on(unit))

    def _on(self, unit: Callable[[Rows], Awaitable[_T]]) -> Unit[_T]:
        """Return a unit of work that is told of its transaction."""

        def work(transaction: Transaction) -> Awaitable[_T]:
            statements = statements_of(self._model, transaction.dialect.name)
            return unit(Rows(transaction, statements, self._name))

        return work
