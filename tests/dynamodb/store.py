"""A table as tests look at it from outside: what lies there, and what others may do to it."""

from __future__ import annotations

import logging
import time
import uuid
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from string import ascii_letters
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from urllib.parse import quote

from openai_agents_session import DynamoDBSession
from openai_agents_session.dynamodb import create_table_if_not_exists
from tests.dynamodb import emulators

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterable

    import pytest

Attributes: TypeAlias = "dict[str, Any]"
"""An item as DynamoDB returns it."""

ID = "conversation"
SMALLEST = 4096


def user(text: str) -> Any:
    """Return a message of the user."""
    return {"role": "user", "content": text}


def numbered(start: int, stop: int) -> list[Any]:
    """Return messages that carry their own number."""
    return [user(f"item {number}") for number in range(start, stop)]


def sized(size: int, fill: str = "x") -> Any:
    """Return an item that takes so many bytes of the table; ``fill`` has one byte."""
    return user(fill * (size - len('{"role":"user","content":""}') - 1))


def letters(start: int, stop: int, size: int = 1500) -> list[Any]:
    """Return items of a size, each of another text."""
    return [sized(size, ascii_letters[number % 52]) for number in range(start, stop)]


def epoch(seconds: float = 0) -> int:
    """Return the epoch second so many seconds from now."""
    return int(time.time() + seconds)


class Clock:
    """The clock that waiters for a lease use, and so much ahead."""

    ahead = 0.0

    def __call__(self) -> float:
        """Return what it says now."""
        return time.monotonic() + self.ahead


@dataclass(frozen=True)
class Store:
    """A table on an emulator."""

    client: Any
    table: str

    def session(
        self, session_id: str = ID, ttl_seconds: int | None = None, **options: Any
    ) -> DynamoDBSession:
        """Return a new session object on the table."""
        return DynamoDBSession(session_id, self.client, self.table, ttl_seconds, **options)

    async def item(self, key: str = ID) -> Attributes:
        """Return an item; ``{}`` where there is none."""
        answer = await self.client.get_item(
            TableName=self.table, Key={"session_id": {"S": key}}, ConsistentRead=True
        )
        found: Attributes = answer.get("Item", {})
        return found

    async def put(self, key: str = ID, /, **attributes: Any) -> None:
        """Overwrite an item."""
        await self.client.put_item(
            TableName=self.table, Item={"session_id": {"S": key}, **attributes}
        )

    async def delete(self, key: str) -> None:
        """Delete an item."""
        await self.client.delete_item(TableName=self.table, Key={"session_id": {"S": key}})

    async def change(self, key: str = ID, /, **attributes: Attributes | None) -> None:
        """Set attributes of an item that is there, and remove those that are None."""
        given = {name: value for name, value in attributes.items() if value is not None}
        parts = [
            ("SET", [f"#{name} = :{name}" for name in given]),
            ("REMOVE", [f"#{name}" for name in attributes if name not in given]),
        ]
        values = {f":{name}": value for name, value in given.items()}
        await self.client.update_item(
            TableName=self.table,
            Key={"session_id": {"S": key}},
            UpdateExpression=" ".join(f"{verb} {', '.join(each)}" for verb, each in parts if each),
            ConditionExpression="attribute_exists(session_id)",
            ExpressionAttributeNames={f"#{name}": name for name in attributes},
            **({"ExpressionAttributeValues": values} if values else {}),
        )

    async def set_ttl(self, seconds: float, key: str = ID) -> None:
        """Let an item expire so many seconds from now."""
        await self.change(key, ttl={"N": str(epoch(seconds))})

    async def everything(self) -> dict[str, Attributes]:
        """Return all items of the table by their key."""
        found: dict[str, Attributes] = {}
        more: dict[str, Any] = {}
        while True:
            answer = await self.client.scan(TableName=self.table, ConsistentRead=True, **more)
            found.update((item["session_id"]["S"], item) for item in answer["Items"])
            if "LastEvaluatedKey" not in answer:
                return found
            more = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    async def indexed(self) -> list[Attributes]:
        """Return all that is in the index of users' items."""
        found: list[Attributes] = []
        more: dict[str, Any] = {}
        while True:
            answer = await self.client.scan(TableName=self.table, IndexName="by_user", **more)
            found += answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return found
            more = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    async def page_keys(self, session_id: str = ID) -> list[str]:
        """Return the keys of a session's pages of records, oldest first."""
        refs = references(await self.item(session_id))
        while any(ref.level for ref in refs):
            refs = [
                each
                for ref in refs
                for each in (references(await self.item(ref.key)) if ref.level else [ref])
            ]
        return [ref.key for ref in refs]

    async def assert_whole(self, session_id: str = ID, *, unused: bool = False) -> None:
        """Assert that the item says the truth, and that its pages alone are beside it.

        Args:
            session_id: of the one session that the table has.
            unused: whether there may be pages that nobody names, as a crash leaves them.
        """
        everything = await self.everything()
        if unused:
            named = {session_id, *named_pages(everything, session_id)}
            everything = {key: item for key, item in everything.items() if key in named}
        assert_whole(everything, session_id)


@asynccontextmanager
async def temporary_table(client: Any, *, users: bool = False) -> AsyncGenerator[Store]:
    """Make a table of a name of its own, and delete it afterwards; with the index for users.

    Nothing in it expires by itself: DynamoDB Local looks every ten seconds, and would come
    between the steps of a test.
    """
    name = f"test-{uuid.uuid4().hex}"
    if users:
        await create_table_if_not_exists(client, name, enable_ttl=False, users=True)
    else:
        await emulators.create_table(client, name)
    yield Store(client, name)
    await client.delete_table(TableName=name)


class Reference(NamedTuple):
    """How an item or a page of references names a page."""

    key: str
    count: int
    level: int


def references(item: Attributes) -> list[Reference]:
    """Return what an item or a page of references names, oldest first."""
    session_id = item.get("page_of", item.get("session_id", {"S": ""}))["S"]
    found = []
    for ref in item.get("pages", {}).get("L", []):
        count, name, *level = ref["S"].split(".")
        found.append(Reference(f"{session_id}~{name}", int(count), int("".join(level) or 0)))
    return found


def named_pages(everything: dict[str, Attributes], key: str) -> list[str]:
    """Return the keys of all pages that an item names, those in pages of references included."""
    found: list[str] = []
    for ref in references(everything.get(key, {})):
        found += [ref.key, *(named_pages(everything, ref.key) if ref.level else ())]
    return found


def assert_whole(everything: dict[str, Attributes], session_id: str = ID) -> None:
    """Assert that a table has one session, its pages and nothing else, and that all agrees.

    Args:
        everything: all items of the table by their key.
        session_id: of the one session.
    """
    item = everything.get(session_id, {})
    pages = named_pages(everything, session_id)
    assert len(set(pages)) == len(pages)
    assert set(everything) == {session_id, *pages} or not everything
    if not item or "cleared_at" in item:
        assert not pages
        return
    assert "conversation_data" not in item
    in_pages = sum(ref.count for ref in references(item))
    for each in (everything[key] for key in (session_id, *pages)):
        for ref in references(each):
            page = everything[ref.key]
            assert page["page_of"]["S"] == session_id
            if ref.level:
                assert sum(below.count for below in references(page)) == ref.count
                assert all(below.level < ref.level for below in references(page))
            else:
                assert len(page["items"]["L"]) == (ref.count or 1)
            assert until_of(page) >= until_of(item)
            assert until_of(page) >= until_of(item, "pages_until")
    own = item["items"]["L"]
    assert int(item["count"]["N"]) == in_pages + len(own)
    assert int(item["bytes"]["N"]) == bytes_of(own)
    assert ("pages" in item) == bool(pages)
    assert not pages or until_of(item, "pages_until") >= until_of(item)


def key_of(user_id: str, session_id: str) -> str:
    """Return the key of a user's conversation."""
    return f"{quote(user_id, safe='')}#{session_id}"


def assert_agrees(
    everything: dict[str, Attributes], indexed: list[Attributes], *, unused: bool = False
) -> None:
    """Assert that a table and its index say the same, and that each conversation is whole.

    Args:
        everything: all items of the table by their key.
        indexed: all items of the index.
        unused: whether there may be pages that nobody names, as a crash leaves them.
    """
    shown = ("session_id", "user", "updated_at", "about", "count", "created_at", "ttl")
    theirs = {key: item for key, item in everything.items() if "user" in item}
    leases = {key for key, item in theirs.items() if "beat" in item}
    assert {item["session_id"]["S"]: item for item in indexed} == {
        key: {name: item[name] for name in shown if name in item} for key, item in theirs.items()
    }
    assert len(indexed) == len(theirs)
    named: set[str] = set()
    for key, item in theirs.items():
        assert key.startswith(key_of(item["user"]["S"], ""))
        ended = "page_of" in item or "cleared_at" in item
        assert (item["updated_at"]["S"] == "~") is ended
        assert ("about" in item) is not ended
        if not ended:
            pages = named_pages(everything, key)
            assert_whole({each: everything[each] for each in (key, *pages)}, key)
            named.update(pages)
    pages = {key for key, item in theirs.items() if "page_of" in item} - leases
    assert unused or pages == named


def until_of(item: Attributes, name: str = "ttl") -> float:
    """Return when something expires; infinity where that is never."""
    return float(item[name]["N"]) if name in item else float("inf")


def bytes_of(records: Iterable[Attributes]) -> int:
    """Return what texts take as elements of a list."""
    return sum(len(next(iter(record.values())).encode()) + 1 for record in records)


@contextmanager
def requests_of(client: Any) -> Generator[list[tuple[str, Attributes]]]:
    """Note what a client is asked to send: operations and their parameters."""
    sent: list[tuple[str, Attributes]] = []

    def note(model: Any, params: dict[str, Any], **_: Any) -> None:
        sent.append((model.name, params))

    event = "provide-client-params.dynamodb"
    client.meta.events.register(event, note)
    try:
        yield sent
    finally:
        client.meta.events.unregister(event, note)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the library warned of."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "openai_agents_session" and record.levelno >= logging.WARNING
    ]
