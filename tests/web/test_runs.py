"""Runs: what is streamed, and what an error tells."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
import pytest
from agents import (
    Agent,
    GuardrailFunctionOutput,
    InputGuardrail,
    MaxTurnsExceeded,
    OutputGuardrail,
    ToolGuardrailFunctionOutput,
    ToolOutputImage,
    ToolOutputText,
    function_tool,
    tool_input_guardrail,
    tool_output_guardrail,
)
from agents.testing import ModelStep, ScriptedModel, assistant_message, function_call
from botocore.exceptions import ClientError, EndpointConnectionError
from openai import OpenAIError
from pydantic import BaseModel
from redis.exceptions import RedisError
from sqlalchemy.exc import OperationalError

from openai_agents_session._web import runs
from openai_agents_session._web.errors import UnavailableError, WebError, quietly
from tests.memory_store import MemoryStore
from tests.web.agents import SlowAgent, answering, failing, last_input
from tests.web.conftest import ROUTES
from tests.web.places import Place
from tests.web.serving import events, serving

if TYPE_CHECKING:
    from tests.web.conftest import ClientOf

SECRETS = ["sk-very-secret", "my own words"]
REFUSED = {"status_code": 422, "detail": "The agent refused the message."}


async def refuse(*_: Any) -> GuardrailFunctionOutput:
    """Trip on every message."""
    return GuardrailFunctionOutput(output_info="my own words", tripwire_triggered=True)


async def refuse_no(_run: Any, _agent: Any, said: Any) -> GuardrailFunctionOutput:
    """Trip where the newest that was said has a No in it."""
    newest = said if isinstance(said, str) else str(said[-1])
    return GuardrailFunctionOutput(None, tripwire_triggered="No" in newest)


def of_dynamodb(words: str) -> ClientError:
    """An error that DynamoDB answered with."""
    return ClientError({"Error": {"Code": "X", "Message": words}}, "UpdateItem")


WORDS = "sk-very-secret said my own words"
ERRORS = [
    (OpenAIError("Incorrect API key: sk-very-secret, for: my own words"), 502),
    (MaxTurnsExceeded(WORDS), 502),
    (RuntimeError(WORDS), 502),
    (OperationalError("INSERT 'sk-very-secret'", {"x": "my own words"}, Exception("x")), 503),
    (RedisError(WORDS), 503),
    (of_dynamodb(WORDS), 503),
    (EndpointConnectionError(endpoint_url=WORDS), 503),
    (ConnectionRefusedError(WORDS), 502),  # the model's, here
]


@pytest.mark.parametrize(("error", "status"), ERRORS, ids=lambda value: type(value).__name__)
async def test_an_error_tells_nothing(
    *,
    client_of: ClientOf,
    memory: Place,
    user: str,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    status: int,
) -> None:
    """Status and a fixed sentence: neither answer nor log has a word of the error's."""
    client = await client_of(failing(error), memory, user)

    with caplog.at_level(logging.INFO):
        plain = await client.post("/agents/sessions/a/chat", json={"message": "my own words"})
        streamed = await client.post(
            "/agents/sessions/a/chat/stream", json={"message": "my own words"}
        )

    assert plain.status_code == status
    [(name, told)] = events(streamed.text)
    assert (name, told["status_code"]) == ("error", status)
    assert plain.json() == told
    kinds = [r.getMessage() for r in caplog.records if r.name == "openai_agents_session"]
    assert len(kinds) == 2
    assert f"session 'a' failed: {type(error).__module__}.{type(error).__name__}" in kinds[0]
    logged = [record for record in caplog.records if not record.name.startswith("openai.")]
    everything = [
        *(plain.text, streamed.text, *capfd.readouterr()),
        *(logging.Formatter("%(message)s").format(record) for record in logged),
    ]
    assert not [secret for secret in SECRETS for text in everything if secret in text]


async def test_a_refusal_is_no_failure(
    client_of: ClientOf, place: Place, user: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A guardrail's tripwire is 422, and nothing that an operator should look at."""
    agent = answering("never said")
    agent.input_guardrails = [InputGuardrail(refuse)]
    client = await client_of(agent, place, user)

    plain = await client.post("/agents/sessions/a/chat", json={"message": "Hi"})
    streamed = await client.post("/agents/sessions/a/chat/stream", json={"message": "Hi"})

    assert plain.json() == REFUSED
    assert events(streamed.text)[-1] == ("error", REFUSED)
    assert not [r for r in caplog.records if r.name == "openai_agents_session"]


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("route", ["chat", "chat/stream"])
async def test_a_refused_message_stays(
    client_of: ClientOf, place: Place, user: str, route: str, *, beside: bool
) -> None:
    """The SDK has stored it before the guardrail speaks, and the next run sees it."""
    agent = answering(*["Yes."] * 2)
    agent.input_guardrails = [InputGuardrail(refuse_no, run_in_parallel=beside)]
    client = await client_of(agent, place, user)
    refused = await client.post(f"/agents/sessions/a/{route}", json={"message": "No!"})
    told = events(refused.text)[-1][1] if route == "chat/stream" else refused.json()
    assert told == REFUSED

    said = await client.post("/agents/sessions/a/chat", json={"message": "Please."})

    assert said.status_code == 200
    assert [item["content"] for item in last_input(agent)] == ["No!", "Please."]
    stored = (await client.get("/agents/sessions/a/messages")).json()
    assert [message["content"] for message in stored] == ["No!", "Please.", "Yes."]


async def test_a_refused_answer_has_been_streamed(
    client_of: ClientOf, place: Place, user: str
) -> None:
    """Its words have gone out when the guardrail speaks; it is told as refused, and not stored."""
    agent = answering("No, never.", "No, never.")
    agent.output_guardrails = [OutputGuardrail(refuse_no)]
    client = await client_of(agent, place, user)

    streamed = await client.post("/agents/sessions/a/chat/stream", json={"message": "Hi"})
    plain = await client.post("/agents/sessions/b/chat", json={"message": "Hi"})

    *deltas, last = events(streamed.text)
    assert "".join(data["text"] for _, data in deltas) == "No, never."
    assert last == ("error", REFUSED)
    assert plain.json() == REFUSED
    for session_id in ("a", "b"):
        stored = (await client.get(f"/agents/sessions/{session_id}/messages")).json()
        assert [message["content"] for message in stored] == ["Hi"]


@pytest.mark.parametrize("at", ["input", "output"])
async def test_a_tools_guardrail_refuses_as_well(
    client_of: ClientOf, memory: Place, user: str, at: str
) -> None:
    """What it stops is a refusal, and no failure."""

    @tool_input_guardrail
    def before(_: Any) -> ToolGuardrailFunctionOutput:
        return ToolGuardrailFunctionOutput.raise_exception("my own words")

    @tool_output_guardrail
    def after(_: Any) -> ToolGuardrailFunctionOutput:
        return ToolGuardrailFunctionOutput.raise_exception("my own words")

    @function_tool(
        tool_input_guardrails=[before] if at == "input" else [],
        tool_output_guardrails=[after] if at == "output" else [],
    )
    def work() -> str:
        """Do it."""
        return "done"

    model = ScriptedModel([[function_call("work", "{}", call_id="call_1")]] * 2)
    agent = Agent(name="Guarded", model=model, tools=[work])
    client = await client_of(agent, memory, user)

    plain = await client.post("/agents/sessions/a/chat", json={"message": "Hi"})
    streamed = await client.post("/agents/sessions/b/chat/stream", json={"message": "Hi"})

    assert plain.json() == REFUSED
    assert events(streamed.text)[-1] == ("error", REFUSED)


@pytest.mark.parametrize("kind", ["chat", "chat/stream"])
async def test_a_tool_that_needs_approval(
    client_of: ClientOf, memory: Place, user: str, kind: str
) -> None:
    """There is no way to approve it here: 409, with the names of the tools that wait."""

    @function_tool(needs_approval=True)
    def send_money() -> str:
        """Send it."""
        return "sent"

    @function_tool(needs_approval=True)
    def delete_all() -> str:
        """Delete it."""
        return "deleted"

    calls = [function_call(name, "{}", call_id=name) for name in ("send_money", "delete_all")]
    agent = Agent(name="A", model=ScriptedModel([calls]), tools=[send_money, delete_all])
    client = await client_of(agent, memory, user)

    answered = await client.post(f"/agents/sessions/a/{kind}", json={"message": "Go"})

    told = answered.json() if kind == "chat" else events(answered.text)[-1][1]
    assert told == {
        "status_code": 409,
        "detail": "The agent waits for an approval of delete_all, send_money.",
    }


async def test_options_reach_the_run(client_of: ClientOf, memory: Place, user: str) -> None:
    """Such as how many turns it may take."""
    call = function_call("look", "{}", call_id="call_1")
    model = ScriptedModel([[call], [assistant_message("never asked")]])
    agent = Agent(name="A", model=model, tools=[look])
    client = await client_of(agent, memory, user, run_options={"max_turns": 1})

    answered = await client.post("/agents/sessions/a/chat", json={"message": "Go"})

    assert answered.status_code == 502
    assert model.remaining_steps == 1


@pytest.mark.parametrize("name", ["session", "input", "starting_agent"])
def test_options_leave_the_rest_to_the_route(make_app: Any, name: str) -> None:
    """What the route decides is refused at construction."""
    with pytest.raises(ValueError, match=f"run_options must not have {name}"):
        make_app(answering(), MemoryStore(), run_options={name: None})


@pytest.mark.parametrize("store", [None, 5, MemoryStore])
def test_a_store_is_a_store(make_app: Any, store: Any) -> None:
    """Anything else is refused at construction; so is a URL of no store."""
    with pytest.raises(TypeError, match="store must be"):
        make_app(answering(), store)
    with pytest.raises(ValueError, match="no store is at mongodb://"):
        make_app(answering(), "mongodb://ada:s3cret@localhost")


class Reading(BaseModel):
    """An output with numbers that JSON has not."""

    values: list[float]


@pytest.mark.parametrize(
    ("output_type", "said", "told"),
    [
        (None, "half \ud83d of it", "half \ufffd of it"),
        (None, "\ud83d\ude00", "\U0001f600"),
        (Reading, '{"values": [NaN, 1.5, -Infinity]}', {"values": [None, 1.5, None]}),
    ],
)
async def test_an_answer_is_always_json(
    *, client_of: ClientOf, memory: Place, user: str, output_type: Any, said: str, told: Any
) -> None:
    """What JSON in UTF-8 has not is replaced, and the turn is stored and answered."""
    model = ScriptedModel([[assistant_message(said)]] * 2)
    agent = Agent(name="Odd", model=model, output_type=output_type)
    client = await client_of(agent, memory, user)

    plain = await client.post("/agents/sessions/a/chat", json={"message": "Hi"})
    streamed = await client.post("/agents/sessions/b/chat/stream", json={"message": "Hi"})

    assert plain.json() == {"response": told, "session_id": "a"}
    # A parser that takes no more than JSON reads the last event.
    last = msgspec.json.decode(streamed.text.rpartition("data: ")[2])
    assert last == {"response": told, "session_id": "b"}
    for session_id in ("a", "b"):
        messages = await client.get(f"/agents/sessions/{session_id}/messages")
        assert [message["role"] for message in messages.json()] == ["user", "assistant"]


class Broken(MemoryStore):
    """A store whose every operation fails, and says what is private."""

    def __init__(self, error: Exception) -> None:
        super().__init__()

        async def fail(*_: Any, **__: Any) -> Any:
            raise error

        for name in ("page", "records", "update", "delete", "fork", "ping"):
            setattr(self.catalog, name, fail)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OperationalError("SELECT 'my own words'", {}, Exception("x")), 503),
        (RedisError("my own words"), 503),
        (of_dynamodb("my own words"), 503),
        (ConnectionRefusedError("my own words"), 503),
        (ValueError("my own words"), 500),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_broken_store_tells_nothing(
    *,
    client_of: ClientOf,
    user: str,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    status: int,
) -> None:
    """Every route answers in the same words; no log has any of the error's."""
    store = Broken(error)
    client = await client_of(answering(), Place(store, store), user)

    for method, path, body in ROUTES[2:]:
        answered = await client.request(method, path, json=body)
        assert answered.status_code == status
        assert "my own words" not in answered.text
        if status == 503:
            sentence = "The conversation is not available right now."
            assert answered.json() == {"status_code": 503, "detail": sentence}

    ours = [r.getMessage() for r in caplog.records if r.name == "openai_agents_session"]
    assert [line.split(" failed")[0] for line in ours] == [
        "Listing the conversations",
        "Reading session 'mine'",
        "Changing session 'mine'",
        "Forking session 'mine'",
        "Deleting session 'mine'",
    ]
    assert "my own words" not in caplog.text


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (FileNotFoundError("no such socket, said my own words"), UnavailableError),
        (asyncio.TimeoutError("my own words"), UnavailableError),
        (OperationalError("SELECT 'my own words'", {}, Exception("x")), UnavailableError),
        (
            type("CannotConnectNowError", (Exception,), {"sqlstate": "57P03"})("my own words"),
            UnavailableError,
        ),
        (ValueError("my own words"), WebError),
    ],
    ids=["file", "time", "statement", "driver", "mistake"],
)
def test_what_a_store_raises_is_the_cause_of_nothing(
    error: Exception, told: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    """What the event loop, the driver and SQLAlchemy raise is told alike, without a word of it."""
    with pytest.raises(told) as raised, quietly("Reading"):
        raise error

    assert type(raised.value) is told
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
    assert "my own words" not in caplog.text


@pytest.mark.parametrize("user", [5, UUID(int=5)])
async def test_a_users_key_may_be_a_number_or_a_uuid(
    client_of: ClientOf, memory: Place, user: Any
) -> None:
    """Where a store takes texts, it gets the key's text."""
    client = await client_of(answering("Hi"), memory, provide_user=lambda: user)

    said = await client.post("/agents/sessions/a/chat", json={"message": "Hi"})

    assert said.status_code == 200
    assert await memory.stored(str(user), "a") == ["user", "message"]


@pytest.mark.parametrize("user", [None, "", 5.0, True])
async def test_a_user_that_is_none_is_the_servers_mistake(
    client_of: ClientOf, memory: Place, caplog: pytest.LogCaptureFixture, user: Any
) -> None:
    """What is no user's id is a 500 on every route, and the log says what is right."""
    client = await client_of(answering(), memory, provide_user=lambda: user)

    for method, path, body in ROUTES:
        answered = await client.request(method, path, json=body)
        assert (answered.status_code, answered.json()["detail"]) == (500, "Internal Server Error")

    told = [r.getMessage() for r in caplog.records if r.name == "openai_agents_session"]
    assert len(told) == len(ROUTES)
    assert all("Error: user_id must" in line for line in told)


async def test_a_failed_run_can_be_followed_by_another(
    client_of: ClientOf, place: Place, user: str
) -> None:
    """The conversation goes on where it was."""
    model = ScriptedModel([RuntimeError("x"), [assistant_message("Here I am.")]])
    client = await client_of(Agent(name="A", model=model), place, user)

    first = await client.post("/agents/sessions/a/chat", json={"message": "One"})
    second = await client.post("/agents/sessions/a/chat", json={"message": "Two"})

    assert (first.status_code, second.status_code) == (502, 200)
    messages = (await client.get("/agents/sessions/a/messages")).json()
    assert [message["content"] for message in messages][-2:] == ["Two", "Here I am."]


# -- Streams ---------------------------------------------------------------------------------


async def test_a_stream_is_kept_alive(
    client_of: ClientOf, memory: Place, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the model thinks, comments are sent, which clients pass over."""
    monkeypatch.setattr(runs, "PING_SECONDS", 0.01)

    async def slowly(_: Any) -> Any:
        await asyncio.sleep(0.2)
        return [assistant_message("At last.")]

    model = ScriptedModel([ModelStep.respond(slowly)])
    client = await client_of(Agent(name="Slow", model=model), memory, user)

    streamed = await client.post("/agents/sessions/a/chat/stream", json={"message": "Hi"})

    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert streamed.headers["x-accel-buffering"] == "no"
    assert streamed.text.count(": still at it\r\n\r\n") >= 2
    assert events(streamed.text)[-1][1]["response"] == "At last."


async def test_a_stream_tells_of_tools(make_app: Any, memory: Place, user: str) -> None:
    """A call is told before the tool runs, then its output, as the messages have them."""
    slow = SlowAgent("It is done.")
    app = make_app(slow.agent, memory.source, all_messages=True)
    async with serving(app, user) as client:
        body = {"message": "Go"}
        async with client.stream("POST", "/agents/sessions/a/chat/stream", json=body) as streamed:
            parts, text = streamed.aiter_text(), ""
            while "\r\n\r\n" not in text:
                text += await anext(parts)
            assert not slow.go_on.is_set()
            [(name, called)] = events(text)
            slow.go_on.set()
            text += "".join([part async for part in parts])
        messages = (await client.get("/agents/sessions/a/messages")).json()

    assert name == "tool_call"
    fields = ("tool_call_id", "tool_name", "content")
    assert called == {field: messages[1][field] for field in fields}
    [_, output, *_, done] = events(text)
    fields = ("tool_call_id", "content")
    assert output == ("tool_output", {field: messages[2][field] for field in fields})
    assert output[1]["content"] == "done"
    assert done[0] == "done"


@function_tool
def look() -> list[ToolOutputText | ToolOutputImage]:
    """Give a text with a lone surrogate, a picture and another text."""
    picture = ToolOutputImage(image_url="https://example.com/a.png")
    return [ToolOutputText(text="a\ud800"), picture, ToolOutputText(text="b")]


async def test_a_stream_tells_the_words_of_a_tool(
    client_of: ClientOf, memory: Place, user: str
) -> None:
    """A picture has none, and what UTF-8 cannot hold is replaced."""
    call = function_call("look", "{}", call_id="call_1")
    model = ScriptedModel([[call], [assistant_message("Seen.")]])
    client = await client_of(Agent(name="Looking", model=model, tools=[look]), memory, user)

    streamed = await client.post("/agents/sessions/a/chat/stream", json={"message": "Look"})

    [output] = [data for name, data in events(streamed.text) if name == "tool_output"]
    assert output == {"tool_call_id": "call_1", "content": "a?\nb"}
    assert json.loads(streamed.text.rpartition("data: ")[2])["response"] == "Seen."
