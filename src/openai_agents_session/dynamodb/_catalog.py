"""DynamoDBCatalog: all conversations in a table."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from openai_agents_session._arguments import checked_id, checked_session_id
from openai_agents_session._catalog import Erased
from openai_agents_session.dynamodb._conversation import DynamoDBConversation
from openai_agents_session.dynamodb._erasing import erase
from openai_agents_session.dynamodb._listing import (
    conversation,
    one_request,
    page_cursor,
    page_request,
    page_start,
    scan_request,
    scan_start,
    shown,
)
from openai_agents_session.dynamodb._owner import MAX_ID_BYTES, Owner, key_of, prefix_of
from openai_agents_session.dynamodb._session import DynamoDBSession
from openai_agents_session.dynamodb._setup import set_up
from openai_agents_session.dynamodb._state import texts_of
from openai_agents_session.dynamodb._user_conversation import UserConversation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from agents import SessionSettings

    from openai_agents_session._catalog import ConversationInfo, Cursor, Forked, Found
    from openai_agents_session.dynamodb._driver import Table
    from openai_agents_session.dynamodb._packing import Room

READ_AT_ONCE = 1000
"""Entries of the index in one request, where the first had many that are not to be listed."""


class DynamoDBCatalog:
    """All conversations in a table.

    Args:
        table: the table.
        ttl: seconds that a conversation lives after a write; None leaves its time alone.
        room: what the records may take of an item before they go into a page.
        session_settings: for sessions without settings of their own.
    """

    resends = True

    def __init__(
        self,
        table: Table,
        ttl: int | None,
        room: Room,
        session_settings: SessionSettings | dict[str, Any] | None,
    ) -> None:
        self._table = table
        self._ttl = ttl
        self._room = room
        self._session_settings = session_settings

    def checked_user(self, user_id: Any) -> str:
        """Return any text that is not empty and not too long."""
        user: str = checked_id("user_id", user_id)
        size = len(prefix_of(user))
        if size >= MAX_ID_BYTES:
            raise ValueError(
                f"user_id must have less than {MAX_ID_BYTES - 1} bytes percent-encoded, as it is "
                f"in the keys of its conversations; it has {size - 1}"
            )
        return user

    def session(
        self,
        user: str | None,
        session_id: str,
        about: Mapping[str, Any],
        *,
        recreate: bool,
        session_settings: SessionSettings | dict[str, Any] | None,
    ) -> DynamoDBSession:
        """Return the session of a conversation, without a request."""
        checked_session_id(session_id)
        conversation = (
            DynamoDBConversation(self._table, key_of(None, session_id), self._ttl, self._room)
            if user is None
            else self._conversation(user, session_id, about, recreate=recreate)
        )
        if session_settings is None:
            session_settings = self._session_settings
        return DynamoDBSession._of_store(session_id, user, conversation, session_settings)

    async def page(
        self,
        user: str,
        limit: int,
        cursor: Cursor | None,
        *,
        active: bool | None,
        search: str | None,
    ) -> Found:
        """Return a user's conversations, from the index, which is a moment behind.

        With one request, or two where it has many that are not to be listed, as they have
        expired. Where these are more than a thousand, there are fewer than asked for.
        """
        if search is not None:
            raise NotImplementedError("DynamoDB cannot search; list without search")
        request = page_request(user, int(time.time()), active=active)
        if cursor is not None:
            request["ExclusiveStartKey"] = page_start(user, cursor)
        found: list[dict[str, Any]] = []
        wanted, passed_over = limit + 1, 0  # with one more, to see whether these are all
        while True:
            answer = await self._table.call("query", Limit=wanted, **request)
            found += answer["Items"]
            passed_over += answer["ScannedCount"] - answer["Count"]
            last = answer.get("LastEvaluatedKey")
            if len(found) > limit:
                found, last = found[:limit], found[limit - 1]
                break
            if not last or passed_over >= READ_AT_ONCE:
                break
            request["ExclusiveStartKey"], wanted = last, READ_AT_ONCE
        conversations = [each for item in found if (each := shown(item))]
        return conversations, page_cursor(user, last) if last else None

    async def count(self, user: str, *, active: bool | None, search: str | None) -> int | None:
        """Return None: DynamoDB would have to read them all."""
        del user, active, search

    async def get(self, user: str, session_id: str) -> ConversationInfo | None:
        """Return a conversation as of now, with one request."""
        answer = await self._table.call(
            "get_item",
            Key={"session_id": {"S": key_of(user, session_id)}},
            ConsistentRead=True,
            **one_request(),
        )
        found = shown(answer.get("Item", {}))
        return found if found and found.user_id == user else None

    async def update(
        self, user: str, session_id: str, changes: Mapping[str, Any]
    ) -> ConversationInfo | None:
        """Change what is said about a conversation, with one request."""
        left = await self._conversation(user, session_id).update(changes)
        if left is None:
            return None
        return conversation(left, key_of(user, session_id), left.count)

    async def delete(self, user: str, session_id: str) -> bool:
        """Delete a conversation, then its pages."""
        return await self._conversation(user, session_id).delete()

    async def fork(self, user: str, session_id: str, new_id: str, items: int | None) -> Forked:
        """Copy a conversation: its pages first, then the item that names them."""
        source = await self._conversation(user, session_id).records(items)
        if source is None:
            return "missing"
        item, records, _ = source
        new = self._conversation(user, new_id, item.about)
        return "done" if await new.begin(records) else "taken"

    async def erase(self, user: str) -> Erased:
        """Delete everything of a user's that the index knows of."""
        return Erased(user, *await erase(self._table, user))

    async def records(
        self, user: str, session_id: str, newest: int, before: int | None
    ) -> Sequence[tuple[int, str, datetime | None]] | None:
        """Return the newest records before a position, which is the number of those before it."""
        found = await self._conversation(user, session_id).records(before, newest)
        if found is None:
            return None
        _, records, start = found
        return [(at, text, None) for at, text in enumerate(texts_of(records), start)]

    async def scan(self, limit: int, cursor: Cursor | None) -> Found:
        """Return some of all conversations, with one request.

        DynamoDB bills it for all that it reads on the way, items and pages as well.
        """
        request = scan_request(int(time.time()))
        if cursor is not None:
            request["ExclusiveStartKey"] = scan_start(cursor)
        answer = await self._table.call("scan", Limit=limit, **request)
        last = answer.get("LastEvaluatedKey")
        conversations = [each for item in answer["Items"] if (each := shown(item))]
        return conversations, [last["session_id"]["S"]] if last else None

    async def ping(self) -> bool:
        """Return whether DynamoDB answers and the table is there."""
        return await DynamoDBConversation(self._table, "ping", None, self._room).ping()

    async def setup(self) -> None:
        """Make the table and the index, and turn the table's time to live on."""
        await set_up(self._table, enable_ttl=True, users=True)

    def _conversation(
        self,
        user: str,
        session_id: str,
        about: Mapping[str, Any] | None = None,
        *,
        recreate: bool = True,
    ) -> UserConversation:
        return UserConversation(
            self._table,
            key_of(user, session_id),
            self._ttl,
            self._room,
            Owner(user, about or {}),
            recreate=recreate,
        )
