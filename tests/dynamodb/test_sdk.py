"""Conversations through the SDK's Runner, kept in DynamoDB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from openai_agents_session import DynamoDBSession
from tests.dynamodb import emulators
from tests.dynamodb.store import SMALLEST
from tests.sdk import SESSION_ID, SDKRuns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.dynamodb.emulators import Emulator


class DynamoDBRuns(SDKRuns):
    """The hooks."""

    page_bytes: ClassVar[int] = 64 * 1024

    @pytest.fixture(autouse=True)
    def store(self, emulator: Emulator, dynamodb_client: Any, table: str) -> None:
        self.url, self.client, self.table = emulator.url, dynamodb_client, table

    def make_session(self, session_id: str = SESSION_ID, **options: Any) -> DynamoDBSession:
        """Make a session on the test's client."""
        return self.session_on(self.client, session_id, **options)

    async def connect(self) -> tuple[DynamoDBSession, Callable[[], Awaitable[None]]]:
        """Make a session on a client of its own."""
        context = emulators.create_client(self.url)
        client = await context.__aenter__()

        async def close() -> None:
            await context.__aexit__(None, None, None)

        return self.session_on(client, SESSION_ID), close

    def session_on(self, client: Any, session_id: str, **options: Any) -> DynamoDBSession:
        """Make a session on a client."""
        return DynamoDBSession(
            session_id, client, self.table, 600, page_bytes=self.page_bytes, **options
        )


class TestOneItem(DynamoDBRuns):
    """Conversations that fit one item."""

    EMULATORS = emulators.servers()


@pytest.mark.slow  # the contract has as many pages, and these runs are as long
class TestPages(DynamoDBRuns):
    """Pages as small as can be: a turn or two of a conversation."""

    EMULATORS = emulators.best()

    page_bytes = SMALLEST
