"""The contract of stores on the smallest store there is: it asks for nothing that takes more."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest_asyncio

from tests.contract.stores import StoreContract
from tests.memory_store import MemoryCatalog, MemoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class TestMemoryStore(StoreContract):
    """The store of ``tests/memory_store.py``."""

    @pytest_asyncio.fixture
    async def backend(self) -> AsyncIterator[None]:
        """Begin with an empty dictionary."""
        self.catalog = MemoryCatalog(None, None)
        yield

    async def make_store(self, **options: Any) -> MemoryStore:
        """Return a store on the test's dictionary."""
        store = MemoryStore(**options)
        store.catalog.entries, store.catalog.leases = self.catalog.entries, self.catalog.leases
        return store

    async def expire(self, user_id: Any, session_id: str) -> None:
        """Let it have expired a second ago."""
        self.catalog.entries[user_id, session_id].until = time.time() - 1

    async def corrupt(self, user_id: Any, session_id: str, raw: bytes) -> None:
        """Append whatever it is."""
        self.catalog.entries[user_id, session_id].records.append(raw)

    async def dump(self) -> bytes:
        """Return the dictionary as Python writes it."""
        return repr((self.catalog.entries, self.catalog.leases)).encode()
