"""DynamoDBSession: what a session means, in items; ``_conversation`` says how it is kept."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, cast

from agents.memory.session_settings import resolve_session_limit
from botocore.exceptions import ConnectionError, HTTPClientError

from openai_agents_session._arguments import checked_ttl
from openai_agents_session._base import BaseSession
from openai_agents_session._serializer import deserialize, deserialize_all, serialize
from openai_agents_session._session import CompactionSnapshot
from openai_agents_session._settle import settle
from openai_agents_session.dynamodb._calls import Table
from openai_agents_session.dynamodb._conversation import Conversation
from openai_agents_session.dynamodb._head import Change, Window, texts_of
from openai_agents_session.dynamodb._item import SupersededError
from openai_agents_session.dynamodb._packing import Room
from openai_agents_session.dynamodb._pages import MAX_ID_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from agents import SessionSettings, TResponseInputItem
    from aiobotocore.client import AioBaseClient

    from openai_agents_session.dynamodb._head import Attribute, Head

MIN_PAGE_BYTES = 4 * 1024

MAX_PAGE_BYTES = 350 * 1024
"""What an item of at most 400 KB (AWS documentation, "Quotas in Amazon DynamoDB") leaves
for records: the rest is for the bookkeeping, and for the references to pages."""


class DynamoDBSession(BaseSession):
    """A conversation in DynamoDB, for ``Runner.run(agent, "Hi", session=session)``.

    Args:
        session_id: names the conversation; any non-empty text of at most 2,035 bytes.
        dynamodb_client: an aiobotocore client that was entered. It stays the caller's.
        table_name: the table's name or ARN. Its partition key is ``session_id``, a string;
            ``create_table_if_not_exists`` makes such a table.
        ttl_seconds: seconds that the conversation lives after its last write; None keeps it,
            and leaves an expiry that something else has set alone.
        page_bytes: how large a page may be in the table, from 4 KiB to 350 KiB; the session's
            own item holds as much before it moves to a page, and an append costs up to this
            in write capacity. None is cheapest for most: 44 KiB for the first page, so that
            a short conversation is one item, and 8 KiB for those that follow.
        session_settings: the SDK's ``SessionSettings``, or a dict of its fields;
            ``limit`` is the default for ``get_items``.

    Raises:
        TypeError: the client is not an entered aiobotocore client for DynamoDB, or another
            argument has the wrong type.
        ValueError: the id or the table's name is empty, the id is too long, ``ttl_seconds``
            is not positive, or ``page_bytes`` is out of its range.
    """

    def __init__(
        self,
        session_id: str,
        dynamodb_client: AioBaseClient,
        table_name: str,
        ttl_seconds: int | None = None,
        *,
        page_bytes: int | None = None,
        session_settings: SessionSettings | dict[str, Any] | None = None,
    ) -> None:
        super().__init__(session_id, session_settings)
        if len(session_id.encode()) > MAX_ID_BYTES:
            raise ValueError(
                f"session_id must have at most {MAX_ID_BYTES} bytes in UTF-8, so that the keys of "
                f"its pages fit into DynamoDB's 2048; it has {len(session_id.encode())}"
            )
        self._stored = Conversation(
            Table(dynamodb_client, table_name),
            session_id,
            checked_ttl("ttl_seconds", ttl_seconds),
            Room.of(None if page_bytes is None else _checked_page_bytes(page_bytes)),
        )

    async def get_items(self, limit: int | None = None) -> list[TResponseInputItem]:
        """Return the conversation's newest items, oldest first.

        A record that cannot be read is skipped with a logged warning, and does not count.

        Args:
            limit: how many items at most; None takes the session's setting, then all.

        Returns:
            The items; ``[]`` where there are none, and for a limit of 0 or less.

        Raises:
            RuntimeError: the client is closed, or of another event loop or process.
            botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError: as botocore
                raises it.
        """
        wanted = resolve_session_limit(limit, self.session_settings)
        if wanted is not None and wanted <= 0:
            return []
        while True:
            head = await self._stored.read()
            try:
                _, items = await self._newest_of(head, wanted)
            except SupersededError:
                continue  # another writer was faster; now read what that one made of it
            return items

    async def add_items(self, items: list[TResponseInputItem]) -> None:
        """Append a batch, whole and contiguous, exactly once.

        Args:
            items: dicts or Pydantic models; none of them changes nothing at all.

        Raises:
            TypeError: an item holds what JSON cannot; nothing was written.
            asyncio.TimeoutError: three times, a write took longer than ``ttl_seconds``.
            RuntimeError: the client is closed, or of another event loop or process.
            botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError: as botocore
                raises it.
        """
        records = _records_of(items)
        if records:
            await settle(self._stored.append(records), resends=True)

    async def pop_item(self) -> TResponseInputItem | None:
        """Remove and return the newest item; it goes to exactly one caller.

        Records that cannot be read are passed over and stay where they are.

        Returns:
            The item, or None where there is none.

        Raises:
            RuntimeError: the client is closed, or of another event loop or process.
            botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError: as botocore
                raises it.
        """
        popped: TResponseInputItem | None = None

        async def without_newest(head: Head) -> Change | None:
            nonlocal popped
            window, items = await self._newest_of(head, 1)
            popped = items[0] if items else None
            if popped is None:
                return None
            records, texts = window.records, texts_of(window.records)
            index = max(at for at, text in enumerate(texts) if deserialize(text) is not None)
            rest = records[:index] + records[index + 1 :]
            if window.kept == head.pages:
                return Change(window, rest, removed=index)
            return self._stored.packed(window, rest)

        await settle(self._stored.change(without_newest, adds=False), resends=True)
        return popped

    async def clear_session(self) -> None:
        """Delete the conversation; where there is none, nothing happens.

        A small item without any of it stays for a quarter of an hour, or until the next write:
        so a request that comes late does not bring the conversation back.

        Raises:
            RuntimeError: the client is closed, or of another event loop or process.
            botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError: as botocore
                raises it.
        """
        await settle(self._stored.clear(), resends=True)

    async def replace_items(self, items: list[TResponseInputItem]) -> None:
        """Put a batch in the place of the whole conversation, in one atomic step.

        Args:
            items: dicts or Pydantic models; none of them empties the conversation.

        Raises:
            TypeError: an item holds what JSON cannot; nothing was written.
            asyncio.TimeoutError: three times, a write took longer than ``ttl_seconds``.
            RuntimeError: the client is closed, or of another event loop or process.
            botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError: as botocore
                raises it.
        """
        records = _records_of(items)

        async def replaced(head: Head) -> Change | None:
            if not records and (head.cleared or not head.exists):
                return None
            return self._stored.packed(Window((), head.records), records)

        await settle(self._stored.change(replaced, adds=True), resends=True)

    async def ping(self) -> bool:
        """Return whether DynamoDB answers and the table is there.

        Raises:
            RuntimeError: the client is closed, or of another event loop or process.
            botocore.exceptions.ClientError: it answers with an error, such as a denied access
                or a missing table.
        """
        try:
            await self._stored.ping()
        except (ConnectionError, HTTPClientError):
            return False
        return True

    async def close(self) -> None:
        """Do nothing: the client was passed in, and stays open."""

    async def _snapshot(
        self, limit: int, prune_prefix: Callable[[TResponseInputItem], bool] | None
    ) -> CompactionSnapshot | None:
        conversation = self._stored
        head = await conversation.read()
        try:
            window = await conversation.reach(head, limit - len(head.records))
        except SupersededError:
            return None  # the SDK asks again when it next has a reason to
        offset = max(0, len(window.records) - limit)
        items, unreadable = deserialize_all(texts_of(window.records[offset:]))
        if unreadable:
            return None

        async def replace_suffix(start: int, output: list[TResponseInputItem]) -> bool:
            cut = offset + start
            if cut >= len(window.records):
                return False
            new = _records_of(output)
            change = conversation.packed(window, window.records[:cut] + new)
            if prune_prefix:
                try:
                    whole = await conversation.reach(head, inf, window)
                except SupersededError:
                    return False
                end = len(whole.records) - len(window.records) + cut
                pruned = _prunable(whole.records[:end], prune_prefix)
                if pruned:
                    change = conversation.packed(whole, whole.records[pruned:end] + new)
            return await settle(conversation.swap(head, change), resends=True)

        complete = head.count <= limit
        return CompactionSnapshot(cast("list[TResponseInputItem]", items), complete, replace_suffix)

    async def _newest_of(
        self, head: Head, wanted: int | None
    ) -> tuple[Window, list[TResponseInputItem]]:
        """Return the newest readable items, and the records among which they are.

        Args:
            head: the session's item.
            wanted: how many items at most; None for all.
        """
        window = head.window
        while True:
            items, unreadable = deserialize_all(texts_of(window.records))
            missing = inf if wanted is None else wanted - len(items) + unreadable
            if missing <= 0 or not window.kept:
                break
            window = await self._stored.reach(head, missing, window)
        if not unreadable:
            readable = cast("list[TResponseInputItem]", items)
            return window, readable if wanted is None else readable[-wanted:]
        _, readable = self._newest_readable(items, wanted or len(items))
        return window, readable


def _prunable(records: list[Attribute], prune: Callable[[TResponseInputItem], bool]) -> int:
    """Return how many of the oldest records may go."""
    for index, text in enumerate(texts_of(records)):
        item = deserialize(text)
        if item is None or not prune(item):
            return index
    return len(records)


def _records_of(items: list[TResponseInputItem]) -> list[Attribute]:
    return [{"S": text.decode()} for text in serialize(items)]


def _checked_page_bytes(page_bytes: int) -> int:
    if not isinstance(page_bytes, int) or isinstance(page_bytes, bool):
        raise TypeError(f"page_bytes must be an int, not {type(page_bytes).__name__}")
    if not MIN_PAGE_BYTES <= page_bytes <= MAX_PAGE_BYTES:
        raise ValueError(
            f"page_bytes must be from {MIN_PAGE_BYTES} (4 KiB) to {MAX_PAGE_BYTES} (350 KiB); "
            f"got {page_bytes}"
        )
    return page_bytes
