"""The contract on three emulators of DynamoDB, over HTTP."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar

import pytest_asyncio

from openai_agents_session import DynamoDBSession, DynamoDBStore
from openai_agents_session.dynamodb import _lease
from tests.contract import SHARE, AnySession, SessionContract
from tests.dynamodb import emulators
from tests.dynamodb.store import Clock, key_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

SMALLEST = 4096
ADA = "Ada Löwe"


class DynamoDBContract(SessionContract):
    """The hooks: one item for each session, pages where the test asks for them."""

    session_class = DynamoDBSession
    vanishes = False  # an item stays, for the tokens of the last writes
    tells_time = False
    page_bytes: ClassVar[int] = 64 * 1024
    theirs: ClassVar[dict[str, Any]] = {}  # attributes of every item
    client: Any
    table: str
    clock: Clock

    @pytest_asyncio.fixture
    async def store(
        self, dynamodb_client: Any, table: str, monkeypatch: pytest.MonkeyPatch
    ) -> AsyncIterator[None]:
        """Use a table of the test's own, and a clock that waiters use."""
        self.client, self.table, self.clock = dynamodb_client, table, Clock()
        monkeypatch.setattr(_lease, "monotonic", self.clock)
        yield

    async def make_session(
        self,
        session_id: Any,
        *,
        cls: type[Any] | None = None,
        ttl: int | None = None,
        **options: Any,
    ) -> AnySession:
        """Make a session on the test's table."""
        return (cls or self.session_class)(
            session_id, self.client, self.table, ttl, page_bytes=self.page_bytes, **options
        )

    def key(self, session: AnySession) -> Any:
        """Return the key of the session's item."""
        return {"session_id": {"S": session.session_id}}

    async def item(self, session: AnySession) -> dict[str, Any]:
        """Return the session's item; ``{}`` where there is none."""
        answer = await self.client.get_item(
            TableName=self.table, Key=self.key(session), ConsistentRead=True
        )
        item: dict[str, Any] = answer.get("Item", {})
        return item

    async def raw(self, session: AnySession) -> list[bytes]:
        """Return all records, those in pages first."""
        item = await self.item(session)
        records: list[bytes] = []
        for ref in item.get("pages", {}).get("L", []):
            count, _, name = ref["S"].partition(".")
            key = {"session_id": {"S": f"{self.key(session)['session_id']['S']}~{name}"}}
            answer = await self.client.get_item(TableName=self.table, Key=key, ConsistentRead=True)
            found = [encoded(record) for record in answer["Item"]["items"]["L"]]
            if count == "0":
                records[-1] += b"".join(found)
            else:
                records += found
        return records + [encoded(record) for record in item.get("items", {}).get("L", [])]

    async def corrupt(self, session: AnySession, raw: bytes) -> None:
        """Append an element as another program might have done."""
        try:
            record: dict[str, Any] = {"S": raw.decode()}
        except UnicodeDecodeError:
            record = {"B": raw}
        await self.client.update_item(
            TableName=self.table,
            Key=self.key(session),
            UpdateExpression="SET #items = list_append(if_not_exists(#items, :none), :record)"
            + "".join(f", #{name} = :{name}" for name in self.theirs),
            ExpressionAttributeNames={"#items": "items"}
            | {f"#{name}": name for name in self.theirs},
            ExpressionAttributeValues={":none": {"L": []}, ":record": {"L": [record]}}
            | {f":{name}": value for name, value in self.theirs.items()},
        )

    async def expire(self, session: AnySession) -> None:
        """Move the item's time to where it is over."""
        await self.set_ttl_left(session, -1)

    async def ttl_left(self, session: AnySession) -> float | None:
        """Return what is left of the item's time."""
        ttl = (await self.item(session)).get("ttl")
        return float(ttl["N"]) - time.time() if ttl else None

    async def set_ttl_left(self, session: AnySession, seconds: int) -> None:
        """Change the item's time."""
        await self.client.update_item(
            TableName=self.table,
            Key=self.key(session),
            UpdateExpression="SET #ttl = :ttl",
            ConditionExpression="attribute_exists(session_id)",
            ExpressionAttributeNames={"#ttl": "ttl"},
            ExpressionAttributeValues={":ttl": {"N": str(int(time.time()) + seconds)}},
        )

    async def lapse(self, session: AnySession) -> None:
        """Let so much time go by for those who wait."""
        lease = await session._conversation._lease.read()
        self.clock.ahead += lease.seconds + 0.001


def encoded(record: dict[str, Any]) -> bytes:
    """Return the bytes of a text or of binary data."""
    return record["S"].encode() if "S" in record else record["B"]


class TestOneItem(DynamoDBContract):
    """Conversations that fit one item, and large items that do not."""


class TestPages(DynamoDBContract):
    """Pages as small as can be, so that most conversations have some."""

    EMULATORS = emulators.best()  # what differs between them is above, and in test_pages.py

    page_bytes = SMALLEST
    share = (*SHARE, "test_item_comes_back_as_it_went_in", "test_snapshot_prunes_the_head")


class TestOfAUser(DynamoDBContract):
    """Sessions of a store's user: what is otherwise there is in ``test_store_contract.py``."""

    EMULATORS = emulators.best()

    page_bytes = SMALLEST
    theirs: ClassVar[dict[str, Any]] = {"user": {"S": ADA}}
    validates = False  # these are not made by the class
    share = (*SHARE, "test_snapshot_prunes_the_head")

    async def make_session(
        self,
        session_id: Any,
        *,
        cls: type[Any] | None = None,
        ttl: int | None = None,
        **options: Any,
    ) -> AnySession:
        """Make a session of a user's on the test's table."""
        store = DynamoDBStore(self.client, self.table, ttl=ttl, page_bytes=self.page_bytes)
        session = store.user(ADA).session(session_id, name="Conversation", **options)
        if cls is None:
            return session
        settings = options.get("session_settings")
        return cls._of_store(session_id, ADA, session._conversation, settings)

    def key(self, session: AnySession) -> Any:
        """Return the key of the session's item."""
        return {"session_id": {"S": key_of(ADA, session.session_id)}}


class TestOfAHolder(DynamoDBContract):
    """Sessions whose writes ask for the fence of a lease that is held, and do the same."""

    EMULATORS = emulators.best()

    page_bytes = SMALLEST
    leases = False  # these have one
    share = SHARE  # the requests are the same, but for what each asks for

    @pytest_asyncio.fixture
    async def store(
        self,
        dynamodb_client: Any,
        table: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> AsyncIterator[None]:
        """Use a table of the test's own, and note who holds the leases."""
        self.client, self.table, self.clock = dynamodb_client, table, Clock()
        self.holders: dict[str, Any] = {}
        monkeypatch.setattr(_lease, "monotonic", self.clock)
        yield
        assert self.holders

    async def make_session(self, session_id: Any, **options: Any) -> AnySession:
        """Make a session of the one holder of the conversation's lease."""
        session = await super().make_session(session_id, **options)
        claim = session._conversation.claim("holder", 600)
        if session_id not in self.holders:
            assert await claim.acquire(0) == 0
            self.holders[session_id] = claim
        session._conversation = session._conversation._fenced(self.holders[session_id])
        return session

    async def corrupt(self, session: AnySession, raw: bytes) -> None:
        """Append an element; where the lease alone has made the item, that begins it."""
        if "cleared_at" in await self.item(session):
            await self.client.update_item(
                TableName=self.table,
                Key=self.key(session),
                UpdateExpression="REMOVE cleared_at, #ttl ADD version :one",
                ExpressionAttributeNames={"#ttl": "ttl"},
                ExpressionAttributeValues={":one": {"N": "1"}},
            )
        await super().corrupt(session, raw)

    async def ttl_left(self, session: AnySession) -> float | None:
        """Return what is left of the conversation's time, where there is one."""
        if "cleared_at" in await self.item(session):
            return None
        return await super().ttl_left(session)
