"""What the SDK's EncryptedSession does where it cannot read, as the documentation warns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from agents.extensions.memory import EncryptedSession

from openai_agents_session import DatabaseSession

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import async_sessionmaker

KEY = "the key"
ITEMS: list[Any] = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]


@pytest.mark.parametrize(("key", "ttl"), [("another key", 600), (KEY, -1)])
async def test_reading_leaves_all_and_popping_deletes(
    maker: async_sessionmaker, user_id: UUID, key: str, ttl: int
) -> None:
    """A wrong key, or the end of the items' time: reading leaves all, and a pop deletes all."""
    store = DatabaseSession("s", user_id, maker)
    await EncryptedSession("s", store, encryption_key=KEY).add_items(ITEMS)
    wrong = EncryptedSession("s", store, encryption_key=key, ttl=ttl)

    assert await wrong.get_items() == []
    assert await EncryptedSession("s", store, encryption_key=KEY).get_items() == ITEMS

    assert await wrong.pop_item() is None
    assert await store.get_items() == []
