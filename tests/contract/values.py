"""What the contract is tried with: items, ids and arguments, good and bad."""

from __future__ import annotations

import asyncio
import math
from datetime import datetime, timezone
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from openai.types.responses import (
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
    ResponseReasoningItem,
)
from openai.types.responses.response_reasoning_item import Summary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openai import AsyncOpenAI
    from pydantic import BaseModel

Item: TypeAlias = Any

# The text that must never turn up in a log, a repr or an error message.
SECRET = "the-user-said-this-in-confidence"


def user(text: str) -> dict[str, Any]:
    """Return a message of the user, the smallest item that a Runner would store."""
    return {"role": "user", "content": text}


def numbered(start: int, stop: int) -> list[Item]:
    """Return messages that carry their own number."""
    return [user(f"item {number}") for number in range(start, stop)]


def nested(depth: int) -> Item:
    """Return an item that holds containers in containers, ``depth`` of them."""
    value: Any = "the bottom"
    for level in range(depth - 1):
        value = [value] if level % 2 else {"in": value}
    return {"role": "user", "content": value}


def assert_same(stored: Any, given: Any) -> None:
    """Assert that both are the same JSON: 1 is not 1.0, NaN is NaN, any depth."""
    # Not recursive: the items of interest are nested deeper than the interpreter
    # likes to compare, and pytest would print them whole.
    pairs = [(stored, given, "$")]
    while pairs:
        left, right, path = pairs.pop()
        assert type(left) is type(right), f"{path}: {type(left)} instead of {type(right)}"
        if isinstance(right, dict):
            assert set(left) == set(right), f"{path}: other keys"
            pairs += [(left[key], right[key], f"{path}.{key:.20}") for key in right]
        elif isinstance(right, list):
            assert len(left) == len(right), f"{path}: {len(left)} instead of {len(right)}"
            pairs += [
                (one, other, f"{path}[{at}]")
                for at, (one, other) in enumerate(zip(left, right, strict=True))
            ]
        elif isinstance(right, float):
            assert repr(left) == repr(right), path
        else:
            # No comparison in the message: values may be megabytes long.
            same = left == right
            assert same, f"{path}: another value"


LOSSLESS: dict[str, Item] = {
    "a message": user("Hello"),
    "an empty dict": {},
    "empty values": {"role": "", "content": [], "extra": {}, "nothing": None},
    "booleans": {"yes": True, "no": False},
    "unicode": user("Grüße, 你好, 👩‍👩‍👧‍👦, \u202eright to left\u202c, e\u0301 is not é"),
    "control characters": user('a\x00b\x1b[0m\r\n\t"\\/\u2028\u2029\x7f'),
    "lone surrogates": {"role": "user", "content": "\ud83d and \ude00", "\udfff": 1},
    "not a number": {"values": [math.nan, math.inf, -math.inf]},
    "floats": {"values": [0.1, 1.0, -0.0, 1e308, 5e-324, 1e22, 123456789.123456789]},
    "integers": {"values": [0, -1, 2**53 + 1, -(2**64), 10**4000]},
    "strange keys": {"": 1, " ": 2, "a.b": 3, "$ref": 4, "__proto__": 5, "NULL": 6},
    "text that looks like JSON": user('{"role": "user"}'),
    "300 levels": nested(300),
    "800 levels": nested(800),
    "3 MB": user("0123456789abcdef" * 196_608),
    "a function call": {
        "type": "function_call",
        "call_id": "call_1",
        "name": "weather",
        "arguments": '{"city": "Zürich"}',
    },
    "a call's output": {
        "type": "function_call_output",
        "call_id": "call_1",
        "output": [{"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="}],
    },
    "compacted history": {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAA"},
}


def models() -> dict[str, BaseModel]:
    """Return answers of a model as the OpenAI client delivers them."""
    return {
        "message": ResponseOutputMessage(
            id="msg_1",
            type="message",
            role="assistant",
            status="completed",
            content=[ResponseOutputText(type="output_text", text="Grüezi", annotations=[])],
        ),
        "call": ResponseFunctionToolCall(
            type="function_call", call_id="call_1", name="weather", arguments="{}"
        ),
        "reasoning": ResponseReasoningItem(
            id="rs_1", type="reasoning", summary=[Summary(type="summary_text", text="Hm.")]
        ),
    }


def _circular() -> Item:
    item: dict[str, Any] = {"role": "user"}
    item["content"] = [item]
    return item


# What JSON cannot hold, and the type that the error has to name.
REFUSED: dict[str, tuple[Any, str]] = {
    "a datetime": ({"at": datetime(2026, 1, 1, tzinfo=timezone.utc)}, "datetime"),
    "bytes": ({"content": [b"raw"]}, "bytes"),
    "a set": ({"content": {"in": {1, 2}}}, "set"),
    "a decimal": ({"price": Decimal("1.10")}, "Decimal"),
    "a complex number": ({"z": 1j}, "complex"),
    "an object": ({"content": object()}, "object"),
    "an integer for a key": ({"content": {1: "one"}}, "int"),
    "a text for an item": ("Hello", "str"),
    "a list for an item": ([{"role": "user"}], "list"),
    "nothing for an item": (None, "NoneType"),
    "a circle": (_circular(), ""),
    "5,000 levels": (nested(5000), ""),
}

# Bad ids and what is raised for them.
BAD_IDS: dict[str, tuple[Any, type[Exception]]] = {
    "empty": ("", ValueError),
    "None": (None, TypeError),
    "a number": (7, TypeError),
    "bytes": (b"user", TypeError),
    "half a character": ("a\ud800", ValueError),
}

BAD_TTLS: tuple[Any, ...] = (0, -1, True, False, 1.5, 60.0, "60", b"60", math.inf, 10**11)

HOSTILE_IDS: tuple[str, ...] = (
    "a",
    "A",
    "a ",
    "a:b",
    "a:b:c",
    ":",
    "{x}",
    "x",
    "{x}y",
    "{y}x",
    "a}b",
    "a}b{c}",
    "{",
    "}",
    "{}",
    "{}{x}",
    "{a",
    "*",
    "?",
    "[a-z]",
    "~",
    "a~b",
    "%s",
    "a\nb",
    "a\r\nb",
    "a\x00b",
    "a\x00",
    "é",
    "e\u0301",
    "👩‍👩‍👧",
    "../x",
    "..",
    "/",
    "\\",
    "'; DROP TABLE x; --",
    '"',
    "None",
    "0",
    " ",
    "x" * 1000,
    "x" * 999,
)

# Attributes that the SDK looks for to find out what a session can do.
PROBED = (
    "run_compaction",
    "_defer_compaction",
    "_get_items_with_generation",
    "_add_items_with_generation",
    "_read_compaction_items",
    "_ignore_ids_for_matching",
    "anything_at_all",
)


class FakeCompactor:
    """Stand in for the OpenAI client: answers every compaction with the same items."""

    def __init__(self, output: Sequence[Item]) -> None:
        self.responses = self
        self.output = list(output)
        self.requests: list[dict[str, Any]] = []

    async def compact(self, **request: Any) -> SimpleNamespace:
        """Note the request, give the event loop to others, and answer."""
        self.requests.append(request)
        await asyncio.sleep(0)
        return SimpleNamespace(output=self.output, usage=None)

    def as_client(self) -> AsyncOpenAI:
        """Return itself under the type that the SDK asks for."""
        return cast("AsyncOpenAI", self)
