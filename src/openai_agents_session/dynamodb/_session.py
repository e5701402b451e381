"""DynamoDBSession: its arguments. ``_conversation`` says how a conversation is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openai_agents_session._arguments import checked_ttl
from openai_agents_session._session import BaseSession
from openai_agents_session.dynamodb._conversation import DynamoDBConversation
from openai_agents_session.dynamodb._driver import Table
from openai_agents_session.dynamodb._owner import key_of
from openai_agents_session.dynamodb._packing import Room

if TYPE_CHECKING:
    from agents import SessionSettings
    from aiobotocore.client import AioBaseClient
    from typing_extensions import Self

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

    Attributes:
        user_id: whose conversation it is; None for one without a user.
    """

    user_id: str | None = None

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
        key = key_of(None, session_id)
        self._conversation = DynamoDBConversation(
            Table(dynamodb_client, table_name),
            key,
            checked_ttl("ttl_seconds", ttl_seconds),
            checked_room(page_bytes),
        )

    @classmethod
    def _of_store(
        cls,
        session_id: str,
        user_id: str | None,
        conversation: DynamoDBConversation,
        session_settings: SessionSettings | dict[str, Any] | None,
    ) -> Self:
        """Return the session of a store's conversation."""
        session = cls.__new__(cls)
        BaseSession.__init__(session, session_id, session_settings)
        session.user_id = user_id
        session._conversation = conversation
        return session


def checked_room(page_bytes: int | None) -> Room:
    """Return what pages of a size mean, or say what is wrong with it.

    Raises:
        TypeError: it is no integer.
        ValueError: it is out of its range.
    """
    if page_bytes is None:
        return Room.of(None)
    if not isinstance(page_bytes, int) or isinstance(page_bytes, bool):
        raise TypeError(f"page_bytes must be an int, not {type(page_bytes).__name__}")
    if not MIN_PAGE_BYTES <= page_bytes <= MAX_PAGE_BYTES:
        raise ValueError(
            f"page_bytes must be from {MIN_PAGE_BYTES} (4 KiB) to {MAX_PAGE_BYTES} (350 KiB); "
            f"got {page_bytes}"
        )
    return Room.of(page_bytes)
