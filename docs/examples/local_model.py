"""A small model that needs no network, so that the examples run without an API key.

It is no language model, but it is no script either: it decides what to do from the
instructions that every model gets, which are the conversation so far and the tools at
hand. What a session forgets, it cannot know.
"""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from agents import Model, ModelResponse, Usage
from agents.testing import assistant_message, function_call
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseOutputMessage,
    ResponseTextDeltaEvent,
)
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from agents.items import TResponseInputItem, TResponseOutputItem, TResponseStreamEvent


def choose_model() -> Model | None:
    """OpenAI's default model (None) where there is a key for it, else the local one."""
    return None if os.environ.get("OPENAI_API_KEY") else LocalModel()


def text_of(item: Any) -> str:
    """Return the words of a message, whose content is a string or a list of parts."""
    content = item.get("content") or ""
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content)


class LocalModel(Model):
    """Calls the tool that a question names, and answers from the history it is given."""

    @override
    async def get_response(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],
        model_settings: Any,
        tools: Sequence[Any],
        output_schema: Any,
        handoffs: Sequence[Any],
        tracing: Any,
        **_: Any,
    ) -> ModelResponse:
        history: list[Any] = (
            [{"role": "user", "content": input}] if isinstance(input, str) else input
        )
        return ModelResponse(
            output=[decide(history, tools, handoffs)],
            usage=Usage(requests=1),
            response_id=f"resp_{uuid4().hex}",
        )

    @override
    async def stream_response(
        self, *args: Any, **kwargs: Any
    ) -> AsyncIterator[TResponseStreamEvent]:
        """Give the same answer word by word, as an API would."""
        answer = await self.get_response(*args, **kwargs)
        number = 0
        for item in answer.output:
            if isinstance(item, ResponseOutputMessage):
                for word in re.findall(r"\S+\s*", text_of(item.model_dump())):
                    yield ResponseTextDeltaEvent(
                        type="response.output_text.delta",
                        item_id=item.id,
                        output_index=0,
                        content_index=0,
                        delta=word,
                        logprobs=[],
                        sequence_number=number,
                    )
                    number += 1
        yield ResponseCompletedEvent(
            type="response.completed",
            sequence_number=number,
            response=Response(
                id=answer.response_id or "",
                object="response",
                created_at=0,
                model="local",
                output=answer.output,
                tools=[],
                tool_choice="auto",
                parallel_tool_calls=False,
            ),
        )


def decide(
    history: Sequence[Any], tools: Sequence[Any], handoffs: Sequence[Any]
) -> TResponseOutputItem:
    """Take the next step: a tool call, a handoff, or an answer in words."""
    said = [text_of(item) for item in history if item.get("role") == "user"]
    asked = said[-1] if said else ""
    newest = max((i for i, item in enumerate(history) if item.get("role") == "user"), default=0)
    since = history[newest + 1 :]  # what has been done about the newest question
    done = {item["name"] for item in since if item.get("type") == "function_call"}

    # A tool is meant when a word of its name occurs in the question.
    for name, schema in [
        *((tool.name, tool.params_json_schema) for tool in tools),
        *((handoff.tool_name, handoff.input_json_schema) for handoff in handoffs),
    ]:
        words = [w for w in name.split("_") if len(w) > 3 and w != "agent" and w in asked.lower()]
        if words and name not in done:
            # What follows the word, as in "todo: Buy bread", stands for every argument, or else the
            # last proper noun or number of the question.
            told = re.findall(rf"\b(?:{'|'.join(words)}): (.+)", asked, re.IGNORECASE)
            subject = (told or re.findall(r"\b[A-Z0-9][\w-]*", asked) or [asked])[-1]
            arguments = dict.fromkeys(schema.get("properties", {}), subject)
            return function_call(name, json.dumps(arguments), call_id=f"call_{uuid4().hex}")

    words = introduction(tools) if "can you do" in asked.lower() else answer(said, asked, since)
    return assistant_message(words, item_id=f"msg_{uuid4().hex}")


def introduction(tools: Sequence[Any]) -> str:
    """Say in Markdown what this model can do, and with which tools."""
    known = "".join(f"- use **{tool.name}**: {tool.description}\n" for tool in tools)
    return f"""\
I'm a small model on your own machine, without a network. I read this conversation, so I can:

{known}- remember your name: say *My name is Ada*, and ask me for it another day
- find the beginning: *What did I say first?*

With a key, OpenAI's model answers in my place:

```bash
export OPENAI_API_KEY=sk-...
```"""


def answer(said: Sequence[str], asked: str, since: Sequence[Any]) -> str:
    """Put into words what the tools found, or what the history holds."""
    handed = {i["call_id"] for i in since if str(i.get("name", "")).startswith("transfer_to_")}
    found = [
        str(item["output"])
        for item in since
        if item.get("type") == "function_call_output" and item["call_id"] not in handed
    ]
    if found:
        if any("\n" in each or each.startswith("- ") for each in found):  # it ends no sentence
            return "\n\n".join(["I looked it up:", *found])
        return f"I looked it up: {'; '.join(found)}."
    if re.search(r"\bwhat did i say first\b", asked, re.IGNORECASE):
        return f'The first thing you said was: "{said[0]}"'
    if re.search(r"\bmy name\?", asked, re.IGNORECASE):
        names = re.findall(r"\bmy name is (\w+)", " ".join(said), re.IGNORECASE)
        return f"Your name is {names[-1]}." if names else "You have not told me your name."
    return f"Noted. That makes {len(said)} thing{'s'[: len(said) > 1]} you have told me."
