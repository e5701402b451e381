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

    leases = True
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


class TestPages(DynamoDBStoreContract):
    """With the smallest pages."""

    page_bytes = 4096
