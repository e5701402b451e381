"""What a guardrail leaves in a conversation and in a stream, as the guide says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from agents import GuardrailFunctionOutput, InputGuardrail, OutputGuardrail

from tests.litestar.conftest import answering, last_input, make_app
from tests.litestar.example import events

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

REFUSED = {"status_code": 422, "detail": "The agent refused the message."}


async def refuse_no(_run: Any, _agent: Any, said: Any) -> GuardrailFunctionOutput:
    """Trip where the newest that was said has a No in it."""
    newest = said if isinstance(said, str) else str(said[-1])
    return GuardrailFunctionOutput(None, tripwire_triggered="No" in newest)


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("route", ["chat", "chat/stream"])
async def test_a_refused_message_stays(
    client_of: Callable[..., Any], database: str, user_id: UUID, route: str, *, beside: bool
) -> None:
    """The SDK has stored it before the guardrail speaks, and the next run sees it."""
    agent = answering(*["Yes."] * 2)
    agent.input_guardrails = [InputGuardrail(refuse_no, run_in_parallel=beside)]
    client = await client_of(make_app(agent, database), user_id)
    refused = await client.post(f"/agents/sessions/a/{route}", json={"message": "No!"})
    told = events(refused.text)[-1][1] if route == "chat/stream" else refused.json()
    assert told == REFUSED

    said = await client.post("/agents/sessions/a/chat", json={"message": "Please."})

    assert said.status_code == 200
    assert [item["content"] for item in last_input(agent)] == ["No!", "Please."]
    stored = (await client.get("/agents/sessions/a/messages")).json()
    assert [message["content"] for message in stored] == ["No!", "Please.", "Yes."]


async def test_a_refused_answer_has_been_streamed(
    client_of: Callable[..., Any], database: str, user_id: UUID
) -> None:
    """Its words have gone out when the guardrail speaks; it is told as refused, and not stored."""
    agent = answering("No, never.", "No, never.")
    agent.output_guardrails = [OutputGuardrail(refuse_no)]
    client = await client_of(make_app(agent, database), user_id)

    streamed = await client.post("/agents/sessions/a/chat/stream", json={"message": "Hi"})
    plain = await client.post("/agents/sessions/b/chat", json={"message": "Hi"})

    *deltas, last = events(streamed.text)
    assert "".join(data["text"] for _, data in deltas) == "No, never."
    assert last == ("error", REFUSED)
    assert plain.json() == REFUSED
    for session_id in ("a", "b"):
        stored = (await client.get(f"/agents/sessions/{session_id}/messages")).json()
        assert [message["content"] for message in stored] == ["Hi"]
