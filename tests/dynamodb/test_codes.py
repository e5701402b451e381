"""What is sent again and what is raised at once, for each code that the documentation lists."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from openai_agents_session import DynamoDBSession
from openai_agents_session.dynamodb._driver import REFUSED_FOR_NOW, UNKNOWN
from tests.dynamodb import emulators
from tests.dynamodb.proxy import (
    LOSE_ANSWER,
    behind,
    delay_until,
    each_of,
    on,
    refuse,
    refuse_done,
)
from tests.dynamodb.store import ID, SMALLEST, numbered, sized

if TYPE_CHECKING:
    from tests.dynamodb.emulators import Emulator
    from tests.dynamodb.store import Store

EMULATORS = emulators.best()

ONCE: dict[str, Any] = {"retries": {"total_max_attempts": 1}}
PAGE = Path(__file__).parents[2] / "docs" / "errors.md"


def codes(outcome: str) -> list[str]:
    """Return the codes of which the table says that they have this outcome."""
    section = PAGE.read_text("utf-8").split("### DynamoDB\n")[1].split("\n### ")[0]
    rows = re.findall(r"^\| (`.*?) \|[^|]*\| ([^|]*) \|$", section, re.MULTILINE)
    return [
        code
        for names, said in rows
        if said.startswith(outcome)
        for code in re.findall(r"`(\w+)`", names)
    ]


def status_of(code: str) -> int:
    return {"InternalServerError": 500, "ServiceUnavailable": 503}.get(code, 400)


def test_the_table_names_all_that_is_tried_again() -> None:
    """What the code knows, and a server error beside it."""
    server_errors = {"InternalServerError", "ServiceUnavailable"}
    assert set(codes("tried again")) == REFUSED_FOR_NOW | UNKNOWN | server_errors
    assert len(codes("raised at once")) > 8


@pytest.mark.parametrize("code", codes("tried again"))
async def test_what_passes_is_tried_again(emulator: Emulator, store: Store, code: str) -> None:
    """A code that says "come back later" is no error: not for a write, and not for a read."""
    fault = refuse(status_of(code), code)
    plan = each_of(on(fault, "UpdateItem", 1, 2, 4), on(fault, "GetItem", 1))
    async with behind(emulator.url, plan, **ONCE) as (proxy, client):
        session = DynamoDBSession(ID, client, store.table)
        await session.add_items(numbered(0, 2))
        assert await session.get_items() == numbered(0, 2)
        assert await session.pop_item() == numbered(1, 2)[0]
        assert proxy.faults == {"refuse": 4}

    assert await store.session().get_items() == numbered(0, 1)


@pytest.mark.parametrize("code", codes("raised at once"))
async def test_what_stays_is_raised_at_once(emulator: Emulator, store: Store, code: str) -> None:
    """After one request, with nothing written."""
    async with behind(emulator.url, on(refuse(400, code), "UpdateItem"), **ONCE) as (proxy, client):
        with pytest.raises(ClientError) as caught:
            await DynamoDBSession(ID, client, store.table).add_items(numbered(0, 1))
        assert caught.value.response["Error"]["Code"] == code
        assert proxy.requests.total() == 1

    assert await store.everything() == {}


async def test_a_clock_that_is_refused_is_named(emulator: Emulator, store: Store) -> None:
    """What is most likely wrong is said in a note."""
    plan = on(refuse(400, "InvalidSignatureException", "Signature expired"), "GetItem")
    async with behind(emulator.url, plan, **ONCE) as (_, client):
        with pytest.raises(ClientError) as caught:
            await DynamoDBSession(ID, client, store.table).get_items()
    # Before Python 3.11 there are no notes, and it is said in the message.
    said = [str(caught.value), *getattr(caught.value, "__notes__", [])]
    assert "the clock of this machine" in " ".join(said)


async def test_what_was_refused_for_now_leaves_no_doubt(emulator: Emulator, store: Store) -> None:
    """It was certainly not done, so nobody has to know what became of it."""
    other = store.session(page_bytes=SMALLEST)
    go = asyncio.Event()
    fault = refuse(400, "TransactionConflictException")
    plan = each_of(on(fault, "UpdateItem", 1), on(delay_until(go), "UpdateItem", 2))
    async with behind(emulator.url, plan, **ONCE) as (proxy, client):
        session = DynamoDBSession(ID, client, store.table, page_bytes=SMALLEST)
        adding = asyncio.create_task(session.add_items(numbered(0, 1)))
        await proxy.waiting()
        # Its time goes into a page with all that was written then, and the page goes.
        await other.add_items(numbered(1, 2))
        await other.add_items([sized(3000)] * 30)
        assert await store.page_keys()
        await other.replace_items(numbered(2, 3))
        go.set()
        await adding

    assert await other.get_items() == [*numbered(2, 3), *numbered(0, 1)]


@pytest.mark.parametrize("done", [False, True])
async def test_a_server_error_may_hide_a_write(
    emulator: Emulator, store: Store, done: bool
) -> None:
    """Whether it was done or not, it is done once."""
    fault = (refuse_done if done else refuse)(500, "InternalServerError")
    plan = each_of(on(fault, "UpdateItem", 1), on(LOSE_ANSWER, "UpdateItem", 3))
    async with behind(emulator.url, plan, **ONCE) as (_, client):
        session = DynamoDBSession(ID, client, store.table)
        await session.add_items(numbered(0, 1))
        await session.add_items(numbered(1, 2))
    assert await store.session().get_items() == numbered(0, 2)
