"""DynamoDBSession: its arguments. ``_conversation`` says how a conversation is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openai_agents_session._arguments import checked_ttl
from openai_agents_session._session import BaseSession
from openai_agents_session.dynamodb._conversation import DynamoDBConversation
from openai_agents_session.dynamodb._driver import Table
from openai_agents_session.dynamodb._packing import Room
from openai_agents_session.dynamodb._pages import MAX_ID_BYTES

if TYPE_CHECKING:
    from agents import SessionSettings
    from aiobotocore.client import AioBaseClient

MIN_PAGE_BYTES = 4 * 1024

MAX_PAGE_BYTES = 350 * 1024
"""What an item of at most 400 KB (AWS documentation, "Quotas in Amazon DynamoDB") leaves
for records: the rest is for the bookkeeping, and for the references to pages."""


class DynamoDBSession(BaseSession):
    """A conversation in DynamoDB, for ``Runner.run(agent, "Hi", session=session)``.

    Every method raises botocore's errors unchanged, and ``RuntimeError`` if the client is closed,
    or belongs to another event loop or process. ``add_items`` and ``replace_items`` raise
    ``asyncio.TimeoutError`` if a write takes longer than ``ttl_seconds`` three times.

    A cleared conversation leaves a small item without any of its content. It stays for a quarter
    of an hour or until the next write, so that a late request can't bring the conversation back.

    Args:
        session_id: names the conversation; any non-empty text of at most 2,035 bytes.
        dynamodb_client: an aiobotocore client that was entered. You close it yourself.
        table_name: the table's name or ARN. Its partition key is ``session_id``, a string;
            ``create_table_if_not_exists`` makes such a table.
        ttl_seconds: seconds that the conversation lives after its last write. None keeps it,
            and doesn't touch an expiry that something else has set.
        page_bytes: how large a page may be in the table, from 4 KiB to 350 KiB. The session's
            own item holds as much before its items move to a page, so this is also what an
            append costs at most in write capacity. None is cheapest for most conversations:
            44 KiB for the first page, so that a short one is a single item, and 8 KiB for the
            pages that follow.
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
        self._conversation = DynamoDBConversation(
            Table(dynamodb_client, table_name),
            session_id,
            checked_ttl("ttl_seconds", ttl_seconds),
            Room.of(None if page_bytes is None else _checked_page_bytes(page_bytes)),
        )


def _checked_page_bytes(page_bytes: int) -> int:
    if not isinstance(page_bytes, int) or isinstance(page_bytes, bool):
        raise TypeError(f"page_bytes must be an int, not {type(page_bytes).__name__}")
    if not MIN_PAGE_BYTES <= page_bytes <= MAX_PAGE_BYTES:
        raise ValueError(
            f"page_bytes must be from {MIN_PAGE_BYTES} (4 KiB) to {MAX_PAGE_BYTES} (350 KiB); "
            f"got {page_bytes}"
        )
    return page_bytes
