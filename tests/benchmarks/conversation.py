"""Items as a conversation has them, to measure with."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agents import TResponseInputItem

QUESTION = "What will the weather be like in Zürich tomorrow, and should I take an umbrella along?"
ANSWER = (
    "Tomorrow Zürich expects scattered showers from noon on, with 14 to 19 °C and a light wind "
    "from the west. An umbrella is a good idea if you are out in the afternoon; the morning "
    "stays dry. In the evening it clears up again, so a walk along the lake is possible."
)


def turn(number: int) -> list[TResponseInputItem]:
    """One turn with a tool call: four items of 150 to 550 bytes of JSON."""
    call_id = f"call_{number:024d}"
    return [
        {"role": "user", "content": QUESTION},
        {
            "type": "function_call",
            "id": f"fc_{number:048d}",
            "call_id": call_id,
            "name": "get_weather",
            "arguments": '{"city":"Zürich","day":"tomorrow","unit":"celsius"}',
            "status": "completed",
        },
        {
            "type": "function_call_output",
            "call_id": call_id,
            "output": '{"high":19,"low":14,"rain":0.7,"wind":"W","text":"scattered showers"}',
        },
        {
            "type": "message",
            "id": f"msg_{number:048d}",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": ANSWER, "annotations": [], "logprobs": []}],
        },
    ]


def conversation(items: int) -> list[TResponseInputItem]:
    """A conversation of so many items."""
    turns = (turn(number) for number in range(-(-items // 4)))
    return [item for items_of_turn in turns for item in items_of_turn][:items]
