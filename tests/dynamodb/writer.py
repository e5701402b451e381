"""Batches that say who wrote them, what a table holds, and processes that write and pop."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import ClientError

from openai_agents_session import DynamoDBSession, DynamoDBStore
from openai_agents_session.store import SessionNotFoundError
from tests.dynamodb.emulators import create_client
from tests.dynamodb.store import references

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from multiprocessing.connection import Connection
    from types import TracebackType

    from agents import TResponseInputItem
    from typing_extensions import Self

SMALLEST = 4096
BATCH_SIZE = 3
PATIENCE = 240.0
"""Seconds: of what takes a few, on a machine that has other things to do."""

# Processes are forked from one that has imported what takes long.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["openai_agents_session.dynamodb", "aiobotocore.session"])


def item(name: str, *, padding: int = 0) -> TResponseInputItem:
    """An item that says what it is, and takes about so many bytes more."""
    return cast("TResponseInputItem", {"role": "user", "content": f"{name} {'x' * padding}"})


def batch_of(writer: object, number: int, *, padding: int = 0) -> list[TResponseInputItem]:
    """A batch whose items say which they are."""
    names = [f"{writer}.{number}.{part}" for part in range(BATCH_SIZE)]
    return [item(name, padding=padding) for name in names]


def batches_of(writer: object, numbers: range, *, padding: int = 0) -> list[TResponseInputItem]:
    """Several batches in a row."""
    return [each for number in numbers for each in batch_of(writer, number, padding=padding)]


def names_of(items: Iterable[Any]) -> list[str]:
    """What the items say they are."""
    return [each["content"].split(" ", 1)[0] for each in items]


def numbers_by_writer(items: list[Any]) -> dict[str, list[int]]:
    """The numbers of each writer's batches in the order they are in; none of them torn."""
    assert len(items) % BATCH_SIZE == 0
    numbers: dict[str, list[int]] = {}
    for start in range(0, len(items), BATCH_SIZE):
        names = names_of(items[start : start + BATCH_SIZE])
        writer, number, _ = names[0].split(".")
        assert names == names_of(batch_of(writer, int(number)))
        numbers.setdefault(writer, []).append(int(number))
    return numbers


async def pages_of(client: Any, table: str) -> dict[str, dict[str, Any]]:
    """All pages in a table by their keys, whether a session names them or not."""
    found: dict[str, dict[str, Any]] = {}
    paginator = client.get_paginator("scan")
    async for answer in paginator.paginate(TableName=table, ConsistentRead=True):
        for each in answer["Items"]:
            if "page_of" in each:
                found[each["session_id"]["S"]] = each
    return found


async def named_pages(client: Any, table: str, session_id: str) -> set[str]:
    """The keys of the pages that a session's item names, or a page of references does."""
    named: set[str] = set()
    keys = [session_id]
    for key in keys:
        answer = await client.get_item(
            TableName=table, Key={"session_id": {"S": key}}, ConsistentRead=True
        )
        refs = references(answer.get("Item", {}))
        named.update(ref.key for ref in refs)
        keys += [ref.key for ref in refs if ref.level]
    return named


async def add(
    session: DynamoDBSession, writer: int, batches: int, padding: int = 0, *, first: int = 0
) -> None:
    """Append numbered batches, one after the other."""
    for number in range(first, batches):
        await session.add_items(batch_of(writer, number, padding=padding))


async def pop_all(session: DynamoDBSession) -> list[Any]:
    """Pop until nothing is left."""
    popped = []
    while (popped_item := await session.pop_item()) is not None:
        popped.append(popped_item)
    return popped


async def churn(store: DynamoDBStore, writer: int, turns: int) -> dict[str, Any]:
    """Write to conversations that others write to as well, at random but always the same way.

    Returns:
        What it did to the conversation ``kept``, which nobody deletes or clears, and the forks.
    """
    draw = random.Random(writer)
    ada = store.user("ada")
    did: dict[str, Any] = {"names": [], "said": None, "forks": []}
    for turn in range(turns):
        name = f"{writer}.{turn}.0"
        contested = f"contested {draw.randrange(3)}"
        action = draw.choice(["keep", "keep", "say", "fork", *_CONTESTED])
        with suppress(SessionNotFoundError):
            if action == "keep":
                await ada.session("kept", name="Kept").add_items([item(name, padding=400)])
                did["names"].append(name)
            elif action == "say":
                await ada.update("kept", description=name)
                did["said"] = name
            elif action == "fork":
                await ada.fork("kept", f"fork {name}")
                did["forks"].append(f"fork {name}")
            else:
                try:
                    await _CONTESTED[action](ada, contested, name)
                except ClientError as error:  # its token was in a page that somebody has cleared
                    if "too much has happened since to tell" not in str(error):
                        raise
    return did


_CONTESTED: dict[str, Callable[[Any, str, str], Awaitable[Any]]] = {
    "add": lambda ada, at, name: ada.session(at, name=name).add_items([item(name, padding=900)]),
    "add more": lambda ada, at, name: ada.session(at).add_items(batch_of(name, 0, padding=500)),
    "update": lambda ada, at, name: ada.update(at, name=name),
    "clear": lambda ada, at, _: ada.session(at).clear_session(),
    "pop": lambda ada, at, _: ada.session(at).pop_item(),
    "delete": lambda ada, at, _: ada.delete(at),
}


async def assert_churned(store: DynamoDBStore, everybody: list[dict[str, Any]]) -> None:
    """Assert that what several writers say they did was done, and once."""
    ada = store.user("ada")
    kept = names_of(await ada.session("kept").get_items())
    for number, did in enumerate(everybody):
        mine = [name for name in kept if name.startswith(f"{number}.")]
        assert mine == did["names"]
    assert len(kept) == sum(len(did["names"]) for did in everybody) > 0
    found = await ada.get("kept")
    assert found is not None
    assert (found.name, found.item_count) == ("Kept", len(kept))
    assert found.description in {did["said"] for did in everybody}
    listed = [each.session_id async for each in ada]
    for fork in [fork for did in everybody for fork in did["forks"]]:
        copied = names_of(await ada.session(fork).get_items())
        assert copied == kept[: len(copied)]
        assert fork in listed
    for session_id in set(listed) - {"kept"}:
        names = names_of(await ada.session(session_id).get_items())
        assert len(names) == len(set(names))


class Child:
    """A process that does what it is told, killed at the end of a ``with`` block."""

    def __init__(self) -> None:
        self._pipe, theirs = _context.Pipe()
        self._process = _context.Process(target=_serve, args=(theirs,))
        self._process.start()
        theirs.close()

    def order(self, **order: Any) -> None:
        """Tell the child what to do."""
        self._pipe.send(order)

    def answer(self) -> Any:
        """Wait for what the child answers to an order."""
        if not self._pipe.poll(PATIENCE):
            raise TimeoutError(f"no answer within {PATIENCE} s")
        return self._pipe.recv()

    def kill(self) -> None:
        """Kill the child with SIGKILL, and wait until it is gone."""
        self._process.kill()
        self._process.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        self._process.close()
        self._pipe.close()


def _serve(pipe: Connection) -> None:
    """In a child: do what is ordered, one after the other, until it is killed."""
    while True:
        pipe.send(asyncio.run(_obey(pipe.recv(), pipe)))


async def _obey(order: dict[str, Any], pipe: Connection) -> Any:
    async with create_client(order["url"]) as client:
        if order["do"] == "churn":
            store = DynamoDBStore(client, order["table"], page_bytes=order["page_bytes"])
            pipe.send(await store.ping())
            pipe.recv()
            return await churn(store, order["writer"], order["turns"])
        session = DynamoDBSession(
            order["session_id"],
            client,
            order["table"],
            order.get("ttl"),
            page_bytes=order["page_bytes"],
        )
        if order["do"] == "replace":
            return await session.replace_items(order["items"])

        async def meet() -> None:
            if order.get("together"):  # with other children, and a client takes long to make
                pipe.send(await session.ping())
                pipe.recv()

        await meet()
        if order["do"] == "add":
            half, batches = order["batches"] // 2, order["batches"]
            await add(session, order["writer"], half, order["padding"])
            await meet()  # so that they take turns, however fast one of them is
            return await add(session, order["writer"], batches, order["padding"], first=half)
        popped = [await session.pop_item()]
        await meet()  # so that nobody finds nothing, however fast another is
        return popped + await pop_all(session)
