"""Bodies, as large as the largest message can be written; and answers, which nobody keeps."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from openai_agents_session._web.schemas import MAX_MESSAGE
from openai_agents_session.litestar import AgentController
from tests.litestar.conftest import ROUTES, answering, make_app
from tests.litestar.test_runs import serving

if TYPE_CHECKING:
    from collections.abc import Callable

JSON = {"Content-Type": "application/json"}
MANY = b"[" + b"{}," * 3_300_000 + b"{}]"
"""A body of 9.9 MB, of which Python makes objects of 250 MB."""


@pytest.mark.parametrize(("method", "path", "body"), [r for r in ROUTES if r[2]])
async def test_a_body_is_bounded(
    client_of: Callable[..., Any], sqlite_database: str, method: str, path: str, body: Any
) -> None:
    """More than any message needs is 413, before it is read, and before anybody logged in."""
    client = await client_of(make_app(answering(), sqlite_database))

    refused = await client.request(method, path, content=MANY, headers=JSON)

    assert refused.status_code == 413
    small = await client.request(method, path, json=body)
    assert small.status_code == 401


async def test_a_body_without_a_length_is_bounded(sqlite_database: str) -> None:
    """One that does not say how much is to come is refused as soon as it is too much."""
    head = (
        "POST /agents/sessions/a/chat HTTP/1.1\r\nHost: here\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    sent = MANY[:385_001]
    async with serving(make_app(answering(), sqlite_database), uuid4()) as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
        writer.write(head.encode() + f"{len(sent):x}\r\n".encode() + sent + b"\r\n")
        answered = await asyncio.wait_for(reader.readline(), 30)
        writer.close()

    assert answered.split()[1] == b"413"


async def test_the_largest_message_fits(
    client_of: Callable[..., Any], sqlite_database: str
) -> None:
    """It is one of signs that JSON may write as two escapes of six bytes each."""
    largest = json.dumps({"message": "\U0001f642" * MAX_MESSAGE}).encode()
    assert len(largest) == 384_015
    client = await client_of(make_app(answering("Long."), sqlite_database), uuid4())

    said = await client.post("/agents/sessions/a/chat", content=largest, headers=JSON)
    spaced = largest + b" " * (385_000 - len(largest))
    refused = await client.post("/agents/sessions/a/chat", content=spaced + b" ", headers=JSON)
    longer = await client.post("/agents/sessions/a/chat", json={"message": "x" * (MAX_MESSAGE + 1)})

    assert said.json()["response"] == "Long."
    assert refused.status_code == 413
    assert longer.status_code == 400


async def test_a_subclass_has_a_bound_of_its_own(
    client_of: Callable[..., Any], sqlite_database: str
) -> None:
    """The application that wants shorter messages says so in one line."""

    class Short(AgentController):
        request_max_body_size = 100

    client = await client_of(make_app(answering(), sqlite_database, controller=Short))

    refused = await client.post("/agents/sessions/a/chat", json={"message": "x" * 100})

    assert refused.status_code == 413


async def test_no_answer_is_kept(client_of: Callable[..., Any], sqlite_database: str) -> None:
    """No cache on the way, and no browser, keeps what is private."""
    client = await client_of(make_app(answering("Yes.", "Yes."), sqlite_database), uuid4())

    for method, path, body in ROUTES:
        answered = await client.request(method, path, json=body)
        assert answered.status_code < 300
        assert "no-store" in answered.headers["cache-control"].split(", ")
