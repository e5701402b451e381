"""What is refused, and how: bodies, queries and ids; and what of an answer is kept."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from openai_agents_session._web.schemas import MAX_MESSAGE
from tests.web.agents import answering
from tests.web.conftest import BODIES, ROUTES
from tests.web.serving import serving

if TYPE_CHECKING:
    from tests.web.conftest import ClientOf
    from tests.web.places import Place

JSON = {"Content-Type": "application/json"}
MANY = b"[" + b"{}," * 3_300_000 + b"{}]"
"""A body of 9.9 MB, of which Python makes objects of 250 MB."""


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"message": "x" * 32_000}, 200),
        ({"message": "x" * 32_001}, 400),
        ({"message": ""}, 400),
        ({"message": None}, 400),
        ({"message": ["x"]}, 400),
        ({"message": 5}, 400),
        ({"message": "x", "user_id": "y"}, 400),
        ({"message": "x", "more": "y"}, 400),
        ({}, 400),
        ([], 400),
        ("x", 400),
    ],
)
async def test_messages_have_bounds(
    client_of: ClientOf, memory: Place, user: str, body: Any, status: int
) -> None:
    """One to 32,000 characters, and nothing beside them."""
    client = await client_of(answering("Yes.", "Yes."), memory, user)

    for route in ("chat", "chat/stream"):
        answered = await client.post(f"/agents/sessions/a/{route}", json=body)
        assert answered.status_code == status
        items = (await client.get("/agents/sessions")).json()["items"]
        assert len(items) == (status == 200)


async def test_a_refusal_names_the_field_and_not_what_was_sent(
    client_of: ClientOf, memory: Place, user: str
) -> None:
    """Every framework says so in the same form."""
    client = await client_of(answering(), memory, user)

    wrong = {"session_name": "x" * 256, "is_active": "a secret"}
    refused = (await client.patch("/agents/sessions/a", json=wrong)).json()

    assert refused["status_code"] == 400
    assert refused["detail"] == "Validation failed for PATCH /agents/sessions/a"
    assert {each["key"] for each in refused["extra"]} == {"session_name", "is_active"}
    assert "secret" not in str(refused)
    assert "xxx" not in str(refused)


@pytest.mark.parametrize("text", ["null \x00 byte", "lone \ud800 surrogate", "\ud83d\ude00"])
async def test_a_message_may_be_any_text(
    client_of: ClientOf, place: Place, user: str, text: str
) -> None:
    """What JSON can say is stored and answered; what is no text is refused."""
    client = await client_of(answering("Yes."), place, user)
    escaped = "".join(f"\\u{ord(char):04x}" for char in text)

    answered = await client.post(
        "/agents/sessions/a/chat", content=f'{{"message": "{escaped}"}}'.encode(), headers=JSON
    )

    assert answered.status_code == (400 if "lone" in text else 200)


@pytest.mark.parametrize(("method", "path", "body"), BODIES)
@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/json", None],
)
async def test_a_body_is_said_to_be_json(
    *,
    client_of: ClientOf,
    memory: Place,
    user: str,
    method: str,
    path: str,
    body: Any,
    content_type: str | None,
) -> None:
    """What a page of another site can send without being asked first is refused."""
    client = await client_of(answering(), memory, user)
    headers = {"Content-Type": content_type} if content_type else {}

    refused = await client.request(method, path, content=json.dumps(body).encode(), headers=headers)

    assert refused.status_code == 415
    assert refused.json()["detail"] == "The content type must be application/json."


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "application/x+json"])
async def test_there_is_more_than_one_kind_of_json(
    client_of: ClientOf, memory: Place, user: str, content_type: str
) -> None:
    """Parameters and suffixes are let pass."""
    client = await client_of(answering("Yes."), memory, user)

    answered = await client.post(
        "/agents/sessions/a/chat",
        content=b'{"message": "Hi"}',
        headers={"Content-Type": content_type},
    )

    assert answered.status_code == 200


@pytest.mark.parametrize(("method", "path", "body"), BODIES)
@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"message": "h\xffi"}', b'{"message": ' + b"[" * 100_000]
)
async def test_what_is_no_json_is_refused(
    *,
    client_of: ClientOf,
    memory: Place,
    user: str,
    method: str,
    path: str,
    body: Any,  # noqa: ARG001 - of the route
    content: bytes,
) -> None:
    """Nothing, half of it, bytes that are no text, and too much of it are the client's faults."""
    client = await client_of(answering(), memory, user)

    refused = await client.request(method, path, content=content, headers=JSON)

    assert refused.status_code == 400
    assert refused.json()["status_code"] == 400


@pytest.mark.parametrize(("method", "path", "body"), BODIES)
async def test_a_body_is_bounded(
    client_of: ClientOf, memory: Place, method: str, path: str, body: Any
) -> None:
    """More than any message needs is 413, before it is read, and before anybody logged in."""
    client = await client_of(answering(), memory)

    refused = await client.request(method, path, content=MANY, headers=JSON)

    assert refused.status_code == 413
    small = await client.request(method, path, json=body)
    assert small.status_code == 401


async def test_a_body_without_a_length_is_bounded(make_app: Any, memory: Place, user: str) -> None:
    """One that does not say how much is to come is refused as soon as it is too much."""
    head = (
        "POST /agents/sessions/a/chat HTTP/1.1\r\nHost: here\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    sent = MANY[:385_001]
    async with serving(make_app(answering(), memory.source), user) as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
        writer.write(head.encode() + f"{len(sent):x}\r\n".encode() + sent + b"\r\n")
        answered = await asyncio.wait_for(reader.readline(), 30)
        writer.close()

    assert answered.split()[1] == b"413"


async def test_the_largest_message_fits(client_of: ClientOf, memory: Place, user: str) -> None:
    """It is one of signs that JSON may write as two escapes of six bytes each."""
    largest = json.dumps({"message": "\U0001f642" * MAX_MESSAGE}).encode()
    assert len(largest) == 384_015
    client = await client_of(answering("Long."), memory, user)

    said = await client.post("/agents/sessions/a/chat", content=largest, headers=JSON)
    spaced = largest + b" " * (385_000 - len(largest))
    refused = await client.post("/agents/sessions/a/chat", content=spaced + b" ", headers=JSON)

    assert said.json()["response"] == "Long."
    assert refused.status_code == 413


async def test_no_answer_is_kept(client_of: ClientOf, memory: Place, user: str) -> None:
    """No cache on the way, and no browser, keeps what is private."""
    client = await client_of(answering("Yes.", "Yes."), memory, user)

    for method, path, body in ROUTES:
        answered = await client.request(method, path, json=body)
        assert answered.status_code < 300
        assert "no-store" in answered.headers["cache-control"].split(", ")


@pytest.mark.parametrize(
    "session_id",
    ["a b", "ü🙂", "..", "100%", "'; --", "null\x00", "\x1a0", "a?b#c&d=e", "x" * 1000],
)
async def test_an_id_may_be_any_text(
    client_of: ClientOf, place: Place, user: str, session_id: str
) -> None:
    """It reaches the conversation as it is, through every route."""
    client = await client_of(answering("Yes."), place, user)
    # A client takes "." and ".." out of a path, unless they are escaped.
    path = f"/agents/sessions/{quote(session_id, safe='').replace('.', '%2E')}"

    said = await client.post(f"{path}/chat", json={"message": "Hi"})

    assert said.json() == {"response": "Yes.", "session_id": session_id}
    assert await place.stored(user, session_id) == ["user", "message"]
    assert len((await client.get(f"{path}/messages")).json()) == 2
    assert (await client.patch(path, json={})).json()["session_id"] == session_id
    assert (await client.post(f"{path}/fork", json={"session_id": "new"})).status_code == 201
    assert (await client.delete(path)).status_code == 204
    back = await client.post("/agents/sessions/new/fork", json={"session_id": session_id})
    assert back.json()["session_id"] == session_id


@pytest.mark.parametrize(
    ("session_id", "status"), [("x" * 2001, 400), ("ü" * 1001, 400), ("a/b", 404), ("a%2Fb", 404)]
)
async def test_an_id_has_bounds(
    client_of: ClientOf, place: Place, user: str, session_id: str, status: int
) -> None:
    """2,000 bytes are the limit, and a slash is not for a path."""
    await place.said(user)
    client = await client_of(answering(), place, user)

    for method, path, body in ROUTES:
        if "mine" in path:
            asked = path.replace("mine", session_id)
            assert (await client.request(method, asked, json=body)).status_code == status
    if status == 400:
        forked = await client.post("/agents/sessions/mine/fork", json={"session_id": session_id})
        assert forked.status_code == 400
    [row] = (await client.get("/agents/sessions")).json()["items"]
    assert row["session_id"] == "mine"


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=101", "limit=x", "limit=1.5", "after=x", f"after={'x' * 1001}"),
        *("after=eyJhIjogMX0=", "after=WzEsMiwzLDQsNV0=", "after=W10=", "after=%00"),
        *("is_active=maybe", f"search={'x' * 256}", "search=%00"),
    ],
)
async def test_the_query_of_a_list_has_bounds(
    client_of: ClientOf, place: Place, user: str, query: str
) -> None:
    """A value out of bounds is a 400, and not left to the store."""
    client = await client_of(answering(), place, user)

    refused = await client.get(f"/agents/sessions?{query}")

    assert refused.status_code == 400
    assert refused.json()["status_code"] == 400


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "before=-1", f"before={2**63}", "before=x"]
)
async def test_the_query_of_messages_has_bounds(
    client_of: ClientOf, memory: Place, user: str, query: str
) -> None:
    """A value out of bounds is a 400, and not left to the store."""
    await memory.said(user)
    client = await client_of(answering(), memory, user)

    assert (await client.get(f"/agents/sessions/mine/messages?{query}")).status_code == 400


@pytest.mark.parametrize(
    "changes",
    [
        {"session_name": "x" * 256},
        {"session_name": "null \x00"},
        {"session_name": 5},
        {"description": "x" * 4001},
        {"is_active": None},
        {"is_active": "yes"},
        {"is_active": 1},
        {"agent_instructions": "Tell all."},
        {"user_id": "somebody"},
    ],
)
async def test_a_patch_has_bounds(
    client_of: ClientOf, memory: Place, user: str, changes: dict[str, Any]
) -> None:
    """What cannot be stored, or is not the user's to change, is a 400 and changes nothing."""
    await memory.said(user)
    client = await client_of(answering(), memory, user)

    refused = await client.patch("/agents/sessions/mine", json={"session_name": "Other", **changes})

    assert refused.status_code == 400
    [row] = (await client.get("/agents/sessions")).json()["items"]
    assert row["session_name"] == "My own"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"session_id": ""},
        {"session_id": None},
        {"session_id": "a/b"},
        {"session_id": "new", "items": -1},
        {"session_id": "new", "items": 2**63},
        {"session_id": "new", "items": "1"},
        {"session_id": "new", "items": True},
        {"session_id": "new", "items": 1.0},
        {"session_id": "new", "user_id": "somebody"},
    ],
)
async def test_a_fork_has_bounds(client_of: ClientOf, memory: Place, user: str, body: Any) -> None:
    """An id that no path can have, and a number that is none, are a 400, and nothing begins."""
    await memory.said(user)
    client = await client_of(answering(), memory, user)

    assert (await client.post("/agents/sessions/mine/fork", json=body)).status_code == 400

    [row] = (await client.get("/agents/sessions")).json()["items"]
    assert row["session_id"] == "mine"
