"""The store that an application's routes are for."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from openai_agents_session._store import BaseStore
from openai_agents_session.store import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class Opening:
    """A store of the application's, or one of our own by its URL.

    Attributes:
        store: what the routes use.

    Args:
        store: the application's store, which it opens and closes itself; or a URL for
            ``open_store``.

    Raises:
        TypeError: it is neither.
        ValueError: the URL names no store.
    """

    def __init__(self, store: BaseStore | str) -> None:
        if not isinstance(store, (BaseStore, str)):
            raise TypeError(f"store must be a store or the URL of one, not {type(store).__name__}")
        self._url = store if isinstance(store, str) else None
        self.store: BaseStore = open_store(store) if isinstance(store, str) else store

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """Open the store of the URL, a new one each time, and close it at the end."""
        if self._url is None:
            yield
            return
        async with open_store(self._url) as self.store:
            yield
