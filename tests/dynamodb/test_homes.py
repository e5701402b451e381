"""One client in several event loops and processes: nothing is sent on another one's connection."""

from __future__ import annotations

import asyncio
import gc
import time
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from openai_agents_session import DynamoDBSession
from openai_agents_session.dynamodb import create_table_if_not_exists, remove_orphaned_pages
from tests.dynamodb import emulators
from tests.dynamodb.emulators import create_client
from tests.dynamodb.proxy import behind
from tests.dynamodb.store import numbered
from tests.processes import in_child

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.dynamodb.emulators import Emulator
    from tests.dynamodb.store import Store

EMULATORS = emulators.best()
# The tests have threads, and Python warns of that.
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")

RUNS = 100
MAKE_ONE = "Make a client in each event loop and each process"
WHAT_IS_RIGHT = 'async with aiobotocore.session.get_session().create_client("dynamodb") as client:'

OPERATIONS: dict[str, Callable[[DynamoDBSession], Awaitable[Any]]] = {
    "add": lambda session: session.add_items(numbered(1, 2)),
    "get": lambda session: session.get_items(),
    "pop": lambda session: session.pop_item(),
    "clear": lambda session: session.clear_session(),
    "replace": lambda session: session.replace_items(numbered(1, 2)),
    "ping": lambda session: session.ping(),
    "busy": lambda session: session.busy(),
    "lease": lambda session: session.lease(0).__aenter__(),
}


def test_a_client_of_a_module_in_a_hundred_event_loops(emulator: Emulator) -> None:
    """The first loop that uses it has it; in each of the others the error says what is right."""
    clients: list[Any] = [asyncio.run(create_client(emulator.url).__aenter__())]
    said: list[str] = []
    table = "test-loops"

    async def first() -> None:
        await create_table_if_not_exists(clients[0], table, enable_ttl=False)
        await DynamoDBSession("s", clients[0], table).add_items(numbered(0, 1))

    async def again(number: int) -> None:
        for attempt in range(2):  # the loop that was refused once has it no more the next time
            use = OPERATIONS[list(OPERATIONS)[(number + attempt) % len(OPERATIONS)]]
            with pytest.raises(RuntimeError, match=MAKE_ONE) as caught:
                await use(DynamoDBSession("s", clients[0], table))
            said.append(str(caught.value))

    async def look() -> list[Any]:
        async with create_client(emulator.url) as fresh:
            items = await DynamoDBSession("s", fresh, table).get_items()
            await fresh.delete_table(TableName=table)
            return items

    asyncio.run(first())
    for number in range(RUNS):
        asyncio.run(again(number))
    assert all(WHAT_IS_RIGHT in each for each in said)
    assert asyncio.run(look()) == numbered(0, 1)
    abandon(clients)


def test_a_client_that_the_application_used_before(emulator: Emulator) -> None:
    """Its event loop is known, although no session was used in it."""
    clients: list[Any] = []

    async def application() -> None:
        clients.append(await create_client(emulator.url).__aenter__())
        await clients[0].list_tables()

    async def session() -> str:
        with pytest.raises(RuntimeError, match=MAKE_ONE) as caught:
            await DynamoDBSession("s", clients[0], "table").get_items()
        return str(caught.value)

    asyncio.run(application())
    said = asyncio.run(session())
    abandon(clients)
    assert "another event loop" in said


def abandon(clients: list[Any]) -> None:
    """Let go of clients whose event loop is closed: nobody can close what they have open."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        clients.clear()
        gc.collect()


def test_a_client_for_each_event_loop_just_works(emulator: Emulator) -> None:
    """What the error recommends, with the table and the session's id of the others."""

    async def turn(number: int) -> list[Any]:
        async with create_client(emulator.url) as client:
            await create_table_if_not_exists(client, "test-each", enable_ttl=False)
            session = DynamoDBSession("s", client, "test-each")
            await session.add_items(numbered(number, number + 1))
            items = await session.get_items()
            if number == 2:
                await client.delete_table(TableName="test-each")
            return items

    assert [asyncio.run(turn(number)) for number in range(3)] == [
        numbered(0, number + 1) for number in range(3)
    ]


async def test_another_event_loop_that_is_open(store: Store) -> None:
    """A thread with a loop of its own is refused, and the loop of the client goes on."""
    session = store.session()
    await session.add_items(numbered(0, 1))

    def elsewhere() -> None:
        with pytest.raises(RuntimeError, match=MAKE_ONE) as caught:
            asyncio.run(store.session().add_items(numbered(1, 2)))
        assert "another event loop" in str(caught.value)

    await asyncio.to_thread(elsewhere)
    assert await session.get_items() == numbered(0, 1)


async def test_a_forked_process_sends_nothing(emulator: Emulator, store: Store) -> None:
    """The child is told what is right, whatever it tries, and the parent does not notice."""

    def child() -> None:
        for use in OPERATIONS.values():
            with pytest.raises(RuntimeError, match=MAKE_ONE):
                asyncio.run(_awaited(use(DynamoDBSession("s", client, store.table))))
        with pytest.raises(RuntimeError, match=MAKE_ONE):
            asyncio.run(remove_orphaned_pages(client, store.table))

    async with behind(emulator.url) as (proxy, client):
        session = DynamoDBSession("s", client, store.table)
        await session.add_items(numbered(0, 1))
        before = proxy.requests.total()
        await asyncio.to_thread(in_child, child)
        assert proxy.requests.total() == before

        await session.add_items(numbered(1, 2))
        assert await session.get_items() == numbered(0, 2)
        assert proxy.connections == 1  # the one that the child has left alone


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


# --- a client that is closed -----------------------------------------------------------------


def is_closed(client: Any) -> bool:
    """Whether a client is closed; one of the lowest aiobotocore goes on when it was exited."""
    return client._endpoint.http_session._sessions is None


@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_client_that_was_exited(emulator: Emulator, name: str) -> None:
    """The error says so, and what is right, at once."""
    async with create_client(emulator.url) as client:
        session = DynamoDBSession("s", client, "table")
    if not is_closed(client):
        return
    began = time.monotonic()
    with pytest.raises(RuntimeError, match="is closed: its 'async with' block is over") as caught:
        await OPERATIONS[name](session)
    assert time.monotonic() - began < 0.5
    assert WHAT_IS_RIGHT in str(caught.value)


async def test_a_closed_client_makes_no_table(emulator: Emulator) -> None:
    """What takes a client alone says the same."""
    async with create_client(emulator.url) as client:
        pass
    if not is_closed(client):
        return
    for use in (create_table_if_not_exists, remove_orphaned_pages):
        with pytest.raises(RuntimeError, match="is closed"):
            await use(client, "table")
