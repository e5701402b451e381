"""What a backend brings for a store: all conversations in it, and what is said about each.

``_conversation`` is about the records of one conversation; here nothing reads or writes records but
``fork``, ``erase`` and ``records``. ``_store`` makes the public classes of a ``Catalog``.

A conversation begins with its first write and ends when it is deleted or expires. In between it
may be empty: ``clear_session`` and ``pop_item`` remove items only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from openai_agents_session._session import BaseSession

ABOUT = ("name", "description", "is_active", "agent_name")
"""What a user's conversation says of itself, and ``update`` changes."""

Cursor: TypeAlias = "list[Any]"
"""Where a page ended: values that JSON can hold."""

Forked: TypeAlias = Literal["done", "missing", "taken"]


class CursorError(ValueError):
    """The text is not the cursor of a page of this list."""


class SessionNotFoundError(LookupError):
    """There is no such conversation: it never was, was deleted, or has expired."""


class SessionExistsError(ValueError):
    """There is such a conversation already."""


@dataclass(frozen=True)
class ConversationInfo:
    """A conversation, without its items. None stands for what its store does not know.

    Attributes:
        session_id: names the conversation.
        user_id: whose it is; None for one without a user.
        name: its name for people.
        description: more about it.
        is_active: False for one that was archived.
        agent_name: the agent's name.
        item_count: how many items it has.
        created_at: when it began, in UTC.
        updated_at: when it was last written to, changed or touched, in UTC.
        expires_at: when it ends if nobody does so again, in UTC.
    """

    session_id: str
    user_id: Any = None
    name: str | None = None
    description: str | None = None
    is_active: bool = True
    agent_name: str | None = None
    item_count: int | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True)
class Erased:
    """A receipt: what an ``erase`` has deleted.

    Attributes:
        user_id: whose data it was.
        conversations: how many conversations.
        items: how many items there were in them.
    """

    user_id: Any
    conversations: int
    items: int


Found: TypeAlias = "tuple[list[ConversationInfo], Cursor | None]"
"""Some conversations, and where to go on; None where these are the last."""


class Catalog(Protocol):
    """All conversations in one store.

    ``user`` is what ``checked_user`` returned. An operation sees the conversations of that user
    alone, whatever the ids are. An expired conversation is not there.

    Each write is atomic and done exactly once, also where its answer is lost and the request is
    sent again; then it returns what it returned first. Errors of the store are raised as its
    client library raises them. Before a request is sent, the connection's event loop and process
    are checked (``_home``).
    """

    resends: bool
    """Whether a write that is cancelled sends its request again while ``settle`` carries it."""

    def checked_user(self, user_id: Any) -> Any:
        """Return a user's id as the store has it, or say what is wrong with it.

        Raises:
            TypeError: it has the wrong type.
            ValueError: it has a wrong value.
        """

    def session(
        self,
        user: Any,
        session_id: str,
        about: Mapping[str, Any],
        *,
        recreate: bool,
        session_settings: Any,
    ) -> BaseSession:
        """Return the session of a conversation, without a request.

        Args:
            user: whose it is; None for one without a user.
            session_id: names it.
            about: values of ``ABOUT`` for the write that begins the conversation.
            recreate: whether a write begins it anew after it was deleted, which this session has
                seen. If not, ``add_items`` and ``replace_items`` raise ``SessionNotFoundError``.
            session_settings: as for the session's class.
        """

    async def page(
        self,
        user: Any,
        limit: int,
        cursor: Cursor | None,
        *,
        active: bool | None,
        search: str | None,
    ) -> Found:
        """Return a user's conversations, the last written to first.

        Args:
            user: whose.
            limit: how many at most.
            cursor: where the page before ended.
            active: only those that are active, or only the others.
            search: only those whose name has this text in it.

        Raises:
            CursorError: the cursor has other values than this returns.
            NotImplementedError: the store cannot search.
        """

    async def count(self, user: Any, *, active: bool | None, search: str | None) -> int | None:
        """Return how many conversations all pages have; None where the store cannot know."""

    async def get(self, user: Any, session_id: str) -> ConversationInfo | None:
        """Return a conversation as of now; None where there is none."""

    async def update(
        self, user: Any, session_id: str, changes: Mapping[str, Any]
    ) -> ConversationInfo | None:
        """Set some of ``ABOUT``, let the time to live begin anew, and return the conversation.

        Nothing to change is fine, too. None where there is no such conversation: none begins.
        """

    async def delete(self, user: Any, session_id: str) -> bool:
        """Delete a conversation, and return whether there was one."""

    async def fork(self, user: Any, session_id: str, new_id: str, items: int | None) -> Forked:
        """Begin a conversation with what another one has, in one step.

        Args:
            user: whose both are.
            session_id: names the one to copy.
            new_id: names the new one, which must not be there. An expired one is not.
            items: how many of the oldest records are copied; None for all.
        """

    async def erase(self, user: Any) -> Erased:
        """Delete everything of a user's; what is done is done when this ends in the middle."""

    async def records(
        self, user: Any, session_id: str, newest: int, before: int | None
    ) -> Sequence[tuple[int, bytes | str, datetime | None]] | None:
        """Return the newest records, with their positions and when they were stored.

        Args:
            user: whose they are.
            session_id: names the conversation.
            newest: how many at most, at least 1.
            before: only records at lower positions; positions grow with every record.

        Returns:
            The records, oldest first; fewer than asked for only where there are no more. None
            where there is no such conversation.
        """

    async def scan(self, limit: int, cursor: Cursor | None) -> Found:
        """Return some conversations of the whole store, in any order, without their items.

        Args:
            limit: about how many. There may be none on a page, and yet more to come.
            cursor: where the page before ended.

        Raises:
            CursorError: the cursor has other values than this returns.
        """

    async def ping(self) -> bool:
        """Return whether the store answers.

        Raises:
            Exception: it answers with an error, such as a refused login.
        """

    async def setup(self) -> None:
        """Make what the store needs; where it is there, nothing happens."""
