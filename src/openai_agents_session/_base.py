"""The session that a backend derives from until it brings a ``Conversation``."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from openai_agents_session import _session

if TYPE_CHECKING:
    from collections.abc import Callable

    from agents import TResponseInputItem

    from openai_agents_session._session import CompactionSnapshot


class BaseSession(_session.BaseSession):
    """A session that defines its item methods itself."""

    async def _get_compaction_snapshot(
        self,
        limit: int,
        *,
        prune_prefix: Callable[[TResponseInputItem], bool] | None = None,
    ) -> CompactionSnapshot | None:
        if self._has_own_item_methods():
            return None
        return await self._snapshot(limit, prune_prefix)

    @abstractmethod
    async def _snapshot(
        self, limit: int, prune_prefix: Callable[[TResponseInputItem], bool] | None
    ) -> CompactionSnapshot | None: ...

    def _newest_readable(
        self, items: list[TResponseInputItem | None], wanted: int
    ) -> tuple[int, list[TResponseInputItem]]:
        """Return where the newest readable items begin, and those; warn of what is passed over."""
        indexes = [index for index, item in enumerate(items) if item is not None][-wanted:]
        first = indexes[0] if len(indexes) == wanted else 0
        readable = [item for item in items[first:] if item is not None]
        self._warn(len(items) - first - len(readable))
        return first, readable
