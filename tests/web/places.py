"""Stores of each backend, for the application and for the test that looks into them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from openai_agents_session import open_store
from tests.memory_store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from openai_agents_session.store import BaseStore


@dataclass
class Place:
    """Where an application keeps conversations.

    Attributes:
        source: what the application is given: a URL, or a store.
        store: a store of the same conversations, for the test.
        is_sql: whether it can search and count.
    """

    source: Any
    store: BaseStore
    is_sql: bool = False

    async def said(self, user: str, session_id: str = "mine", *texts: str) -> None:
        """Let a user have a conversation."""
        session = self.store.user(user).session(session_id, name="My own")
        contents = texts or ("a secret of mine",)
        await session.add_items([{"role": "user", "content": text} for text in contents])

    async def stored(self, user: str, session_id: str) -> list[str]:
        """What a conversation holds, in short."""
        items = await self.store.user(user).session(session_id).get_items()
        return [str(item.get("type", item.get("role"))) for item in items]


def in_memory() -> Place:
    """A place of its own in this process."""
    store = MemoryStore()
    return Place(store, store)


@asynccontextmanager
async def at(url: str, *, is_sql: bool = False) -> AsyncGenerator[Place]:
    """What a URL names, with all that it needs; the application opens it for itself."""
    async with open_store(url, setup=True) as store:
        yield Place(url, store, is_sql)
