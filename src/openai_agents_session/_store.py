"""BaseStore: what a store means, whatever the backend.

A backend derives its store from it, and brings a ``Catalog``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openai_agents_session._arguments import checked_number
from openai_agents_session._pages import MAX_PAGE, page_of, values_of
from openai_agents_session._user import UserConversations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

    from agents import SessionSettings
    from typing_extensions import Self

    from openai_agents_session._catalog import Catalog, ConversationInfo
    from openai_agents_session._pages import Page
    from openai_agents_session._session import BaseSession


class BaseStore:
    """All conversations in one store.

    Use it in ``async with``, or call ``close`` at the end.
    """

    _catalog: Catalog
    _setup = False
    """Whether to set the store up when it is opened."""

    def session(
        self, session_id: str, *, session_settings: SessionSettings | dict[str, Any] | None = None
    ) -> BaseSession:
        """Return the session of a conversation that has no user; nothing is sent to the store.

        Args:
            session_id: names the conversation.
            session_settings: the SDK's ``SessionSettings``, or a dict of its fields; None takes
                those of the store.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: the id is empty or too long.
        """
        return self._catalog.session(
            None, session_id, {}, recreate=True, session_settings=session_settings
        )

    def user(self, user_id: Any) -> UserConversations:
        """Return a view of one user's conversations; nothing is sent to the store.

        Args:
            user_id: names the user. Take it from your authentication, and never from a request.

        Raises:
            TypeError: it has the wrong type.
            ValueError: it has a wrong value.
        """
        return UserConversations(self._catalog, self._catalog.checked_user(user_id))

    async def list(self, limit: int = 100, cursor: str | None = None) -> Page:
        """Return some conversations of all users, and of none, in any order.

        It is for operators: the whole store is read, without the items. What is written
        meanwhile may be missed, or come twice.

        Args:
            limit: about how many, from 1 to 1,000. A page may have fewer, even none, and yet
                others follow.
            cursor: the cursor of the page before; None for the first.

        Raises:
            CursorError: ``cursor`` is not one of this list.
            ValueError: the limit is out of its range.
            Exception: the store's error, as its client library raises it.
        """
        limit = checked_number("limit", limit, 1, MAX_PAGE)
        return page_of(*await self._catalog.scan(limit, values_of(cursor)))

    async def __aiter__(self) -> AsyncIterator[ConversationInfo]:
        """Go through all conversations, as ``list`` returns them."""
        cursor = None
        while True:
            page = await self.list(MAX_PAGE, cursor)
            for conversation in page.conversations:
                yield conversation
            if (cursor := page.cursor) is None:
                return

    async def ping(self) -> bool:
        """Return whether the store answers.

        Raises:
            Exception: it answers with an error, such as a refused login.
        """
        return await self._catalog.ping()

    async def setup(self) -> None:
        """Make what the store needs, such as tables; where it is there, nothing happens.

        Raises:
            Exception: the store's error, as its client library raises it.
        """
        await self._catalog.setup()

    async def close(self) -> None:
        """Close what this store opened itself; a client that was passed in stays open."""

    async def _open(self) -> None:
        """Open what this store makes itself."""

    async def __aenter__(self) -> Self:
        await self._open()
        if self._setup:
            try:
                await self.setup()
            except BaseException:
                await self.close()
                raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
