"""UserConversations: the view of one user's conversations, whatever the store."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from openai_agents_session._arguments import (
    UNSET,
    checked_about,
    checked_number,
    checked_session_id,
    checked_text,
)
from openai_agents_session._catalog import SessionExistsError, SessionNotFoundError
from openai_agents_session._messages import message_of
from openai_agents_session._pages import MAX_PAGE, page_of, values_of
from openai_agents_session._settle import settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from agents import SessionSettings

    from openai_agents_session._catalog import Catalog, ConversationInfo, Erased
    from openai_agents_session._messages import Message
    from openai_agents_session._pages import Page
    from openai_agents_session._session import BaseSession


class UserConversations:
    """The conversations of one user. No method reaches another user's data.

    ``Store.user`` returns it. It costs next to nothing: make one for each request.

    Attributes:
        user_id: names the user.
    """

    def __init__(self, catalog: Catalog, user_id: Any) -> None:
        self._catalog = catalog
        self.user_id = user_id

    def session(
        self,
        session_id: str,
        *,
        name: str | None = None,
        description: str | None = None,
        is_active: bool = True,
        agent_name: str | None = None,
        recreate: bool = True,
        session_settings: SessionSettings | dict[str, Any] | None = None,
    ) -> BaseSession:
        """Return the session of a conversation, new or not; nothing is sent to the store.

        What is said about the conversation is stored by the write that begins it. One that is
        there already stays as it is: ``update`` changes it.

        Args:
            session_id: names the conversation among those of the user.
            name: its name for people, of up to 255 characters.
            description: more about it, of up to 4,000 characters.
            is_active: False for one that is archived.
            agent_name: the agent's name, of up to 255 characters.
            recreate: whether a write begins the conversation again if somebody has deleted it
                since this session saw it. With False, ``add_items`` and ``replace_items`` raise
                ``SessionNotFoundError`` then, which ends the agent's run.
            session_settings: the SDK's ``SessionSettings``, or a dict of its fields; None takes
                those of the store.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: the id is empty or too long, or a text is too long or has a NUL or a lone
                surrogate.
        """
        about = checked_about(
            name=name, description=description, is_active=is_active, agent_name=agent_name
        )
        return self._catalog.session(
            self.user_id, session_id, about, recreate=recreate, session_settings=session_settings
        )

    async def list(
        self,
        limit: int = 50,
        cursor: str | None = None,
        active: bool | None = None,
        search: str | None = None,
    ) -> Page:
        """Return a page of the user's conversations, the last written to first.

        A page begins where the one before ended, so no conversation is missed or shown twice
        unless somebody writes to it meanwhile: it then moves to the front. On DynamoDB, what was
        written in the last moments may be missing or not be up to date.

        Args:
            limit: how many at most, from 1 to 1,000.
            cursor: the cursor of the page before; None for the first.
            active: only active ones, or only others; None for both.
            search: only those whose name contains this text, in upper or lower case. Only SQL
                databases can search.

        Returns:
            The page. It has fewer conversations than asked for only where its cursor is None, or
            where many others were passed over.

        Raises:
            CursorError: ``cursor`` is not one of this list.
            NotImplementedError: the store cannot search.
            TypeError: an argument has the wrong type.
            ValueError: the limit is out of its range, or the text to search is too long.
            Exception: the store's error, as its client library raises it.
        """
        found = await self._catalog.page(
            self.user_id,
            checked_number("limit", limit, 1, MAX_PAGE),
            values_of(cursor),
            active=active,
            search=checked_text("search", search) or None,
        )
        return page_of(*found)

    async def __aiter__(self) -> AsyncIterator[ConversationInfo]:
        """Go through all of the user's conversations, the last written to first."""
        cursor = None
        while True:
            page = await self.list(MAX_PAGE, cursor)
            for conversation in page.conversations:
                yield conversation
            if (cursor := page.cursor) is None:
                return

    async def count(self, active: bool | None = None, search: str | None = None) -> int | None:
        """Return how many conversations ``list`` has in all; None where the store cannot know.

        Only SQL databases know.

        Raises:
            Exception: the store's error, as its client library raises it.
        """
        search = checked_text("search", search) or None
        return await self._catalog.count(self.user_id, active=active, search=search)

    async def get(self, session_id: str) -> ConversationInfo | None:
        """Return what is known of a conversation; None if the user has none of this id.

        Raises:
            Exception: the store's error, as its client library raises it.
        """
        return await self._catalog.get(self.user_id, checked_session_id(session_id))

    async def update(
        self,
        session_id: str,
        *,
        name: str | None = UNSET,
        description: str | None = UNSET,
        is_active: bool = UNSET,
        agent_name: str | None = UNSET,
    ) -> ConversationInfo:
        """Change what is said about a conversation, and return it.

        What isn't passed stays as it is. None clears. The time to live begins anew, and the
        conversation becomes the first in the list.

        Args:
            session_id: names the conversation.
            name: its name for people, of up to 255 characters.
            description: more about it, of up to 4,000 characters.
            is_active: whether the conversation goes on; False archives it.
            agent_name: the agent's name, of up to 255 characters.

        Raises:
            SessionNotFoundError: the user has none of this id, or it has expired.
            TypeError: an argument has the wrong type.
            ValueError: ``is_active`` is None, or a text is too long or has a NUL or a lone
                surrogate.
            Exception: the store's error, as its client library raises it.
        """
        changes = checked_about(
            name=name, description=description, is_active=is_active, agent_name=agent_name
        )
        found = await self._update(session_id, changes)
        if found is None:
            raise _not_found(session_id)
        return found

    async def touch(self, session_id: str) -> bool:
        """Let the time to live of a conversation begin anew, as if it were written to now.

        Returns:
            Whether there is one. One that has expired does not come back.

        Raises:
            Exception: the store's error, as its client library raises it.
        """
        return await self._update(session_id, {}) is not None

    async def delete(self, session_id: str) -> bool:
        """Delete a conversation with its items.

        Returns:
            Whether there was one.

        Raises:
            Exception: the store's error, as its client library raises it.
        """
        delete = self._catalog.delete(self.user_id, checked_session_id(session_id))
        return await settle(delete, resends=self._catalog.resends)

    async def fork(self, session_id: str, new_id: str, items: int | None = None) -> None:
        """Begin a new conversation with what another has, in one atomic step.

        Its name, description and agent are copied as well; its time to live begins now.

        Args:
            session_id: names the conversation to copy, which stays as it is.
            new_id: names the new one.
            items: how many of the oldest items to copy, unreadable ones included; None for all.

        Raises:
            SessionNotFoundError: there is nothing to copy.
            SessionExistsError: the user has a conversation of the new id.
            TypeError: an argument has the wrong type.
            ValueError: ``items`` is negative, or an id is empty or too long.
            Exception: the store's error, as its client library raises it.
        """
        if items is not None:
            items = checked_number("items", items)
        checked = checked_session_id(session_id), checked_session_id(new_id)
        forked = await settle(
            self._catalog.fork(self.user_id, *checked, items), resends=self._catalog.resends
        )
        if forked == "missing":
            raise _not_found(session_id)
        if forked == "taken":
            raise SessionExistsError(
                f"there is a conversation {new_id!r} already; fork to an id that is free"
            )

    async def erase(self) -> Erased:
        """Delete everything of the user's, for good.

        First end the user's runs: what is written meanwhile stays. If it ends in the middle, run
        it again.

        Returns:
            A receipt: what this call has deleted.

        Raises:
            Exception: the store's error, as its client library raises it.
        """
        return await settle(self._catalog.erase(self.user_id), resends=self._catalog.resends)

    async def messages(
        self, session_id: str, limit: int = 50, before: int | None = None, *, tools: bool = False
    ) -> Sequence[Message]:
        """Return the newest messages of a conversation, as people read them.

        The session's ``get_items`` returns the items themselves, as an agent needs them.

        Args:
            session_id: names the conversation.
            limit: how many at most, from 1 to 1,000.
            before: only messages before this position; None for those up to the end.
            tools: whether to return everything, with tool calls, their outputs, reasoning and
                system messages; by default only what the user and the agent said.

        Returns:
            The messages, oldest first; none of an empty conversation.

        Raises:
            SessionNotFoundError: the user has none of this id.
            TypeError: an argument has the wrong type.
            ValueError: the limit or the position is out of its range.
            Exception: the store's error, as its client library raises it.
        """
        limit = checked_number("limit", limit, 1, MAX_PAGE)
        before = None if before is None else checked_number("before", before)
        session_id = checked_session_id(session_id)
        messages: deque[Message] = deque()
        while True:
            found = await self._catalog.records(self.user_id, session_id, limit, before)
            if found is None:
                raise _not_found(session_id)
            for record in reversed(found):
                message = message_of(*record)
                if message and (tools or message.is_spoken):
                    messages.appendleft(message)
                if len(messages) == limit:
                    return tuple(messages)
            if len(found) < limit:
                return tuple(messages)
            before = found[0][0]

    async def _update(self, session_id: str, changes: dict[str, Any]) -> ConversationInfo | None:
        update = self._catalog.update(self.user_id, checked_session_id(session_id), changes)
        return await settle(update, resends=self._catalog.resends)

    def __repr__(self) -> str:
        return f"UserConversations(user_id={self.user_id!r})"


def _not_found(session_id: str) -> SessionNotFoundError:
    return SessionNotFoundError(f"there is no conversation {session_id!r} of this user")
