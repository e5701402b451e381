"""The contract of stores on three emulators of DynamoDB, over HTTP."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

import pytest_asyncio

from openai_agents_session.dynamodb import DynamoDBStore
from tests.contract.stores import StoreContract
from tests.dynamodb.store import Store, assert_agrees, bytes_of, key_of, temporary_table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class DynamoDBStoreContract(StoreContract):
    """The hooks: a table with its index."""

    page_bytes: ClassVar[int | None] = None
    table: Store

    @pytest_asyncio.fixture
    async def backend(self, dynamodb_client: Any) -> AsyncIterator[None]:
        """Make a table of the test's own."""
        async with temporary_table(dynamodb_client, users=True) as self.table:
            yield

    async def make_store(self, **options: Any) -> DynamoDBStore:
        """Return a store on the test's table."""
        return DynamoDBStore(
            self.table.client, self.table.table, page_bytes=self.page_bytes, **options
        )

    async def expire(self, user_id: Any, session_id: str) -> None:
        """Let it have expired a second ago."""
        await self.table.set_ttl(-1, key_of(user_id, session_id))

    async def corrupt(self, user_id: Any, session_id: str, raw: bytes) -> None:
        """Append an element as another program might have done, and count it."""
        try:
            record: dict[str, Any] = {"S": raw.decode()}
        except UnicodeDecodeError:
            record = {"B": raw}
        key = key_of(user_id, session_id)
        item = await self.table.item(key)
        records = [*item["items"]["L"], record]
        await self.table.change(
            key,
            items={"L": records},
            count={"N": str(int(item["count"]["N"]) + 1)},
            bytes={"N": str(bytes_of(records))},
            version={"N": str(int(item["version"]["N"]) + 1)},
        )

    async def dump(self) -> bytes:
        """Return all items of the table and of the index."""
        everything = [*(await self.table.everything()).values(), *await self.table.indexed()]
        return json.dumps(everything, default=str, ensure_ascii=False).encode(errors="replace")

    async def agree(self, store: Any) -> None:
        """See that each item and the index say the same, and that each page is named."""
        await super().agree(store)
        assert_agrees(await self.table.everything(), await self.table.indexed())


class TestOneItem(DynamoDBStoreContract):
    """With pages as they are by default."""


SHARE = (
    "test_an_emptied_conversation_stays",
    "test_replacing_begins_as_well",
    "test_items_come_back_as_they_went_in",
    "test_a_long_conversation",
    "test_what_a_list_says",
    "test_concurrent_changes_of_different_things",
    "test_delete_removes_everything",
    "test_a_cancelled_change_is_whole_or_nothing",
    "test_a_whole_conversation",
    "test_the_oldest_items",
    "test_a_long_one",
    "test_an_emptied_one_is_taken_and_can_be_copied",
    "test_to_the_id_of_a_deleted_one",
    "test_beside_appends",
    "test_expired_is_gone",
    "test_a_write_begins_another",
    "test_without_a_time_to_live_none_is_removed",
    "test_erase_leaves_no_byte",
    "test_the_user_may_come_back",
    "test_many_conversations",
    "test_what_was_said",
    "test_pages_go_back_to_the_beginning",
    "test_messages_that_are_written_meanwhile",
    "test_what_nobody_can_read_is_left_out",
    "test_many_tasks",
    "test_a_list_beside_writers",
    "test_erase_takes_leases_and_waiters_with_it",
    "test_a_session_of_an_erased_user_lost_its_lease",
)
"""What may still differ where a conversation has pages."""


class TestPages(DynamoDBStoreContract):
    """With the smallest pages."""

    page_bytes = 4096
    share = SHARE
