"""Requests and responses: pydantic models, validated strictly, shown by OpenAPI."""

# The frameworks read these annotations at run time, so they are not postponed.
from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from openai_agents_session._arguments import MAX_DESCRIPTION, MAX_NAME
from openai_agents_session._messages import MessageRole

MAX_MESSAGE = 32_000
"""Characters that a message to the agent may have."""

MAX_BODY = 12 * MAX_MESSAGE + 1_000
"""Bytes that a body may have: JSON takes 12 at most for a character, and a little around them."""

MAX_SESSION_ID = 2000
"""Bytes that the id of a conversation may have, in UTF-8."""

MAX_ITEMS = 2**31 - 1
"""No conversation has so many."""

WITHOUT_NUL = "^[^\\x00]*$"
"""PostgreSQL's texts can't hold a NUL."""

WITHOUT_SLASH = "^[^/]*$"
"""A slash would end a path's parameter."""

SESSION_ID = "Names the conversation; each user has their own. No slashes."


def _shown(example: str) -> dict[str, Any]:
    """Return what Litestar does not find for itself, for the OpenAPI document."""
    return {"pattern": WITHOUT_NUL, "examples": [example]}


Name: TypeAlias = Annotated[
    str | None,
    Field(max_length=MAX_NAME, pattern=WITHOUT_NUL, json_schema_extra=_shown("Groceries")),
]
Description: TypeAlias = Annotated[
    str | None,
    Field(
        max_length=MAX_DESCRIPTION,
        pattern=WITHOUT_NUL,
        json_schema_extra=_shown("What to buy, and when"),
    ),
]


def _exactly(*kinds: type) -> BeforeValidator:
    """Make a check of a value's type: Litestar has pydantic be lax, which would take "yes"."""

    def check(value: Any) -> Any:
        if type(value) not in kinds:
            raise ValueError(f"must be of type {kinds[0].__name__}")
        return value

    return BeforeValidator(check)


class _Request(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _knows_its_fields(cls, value: Any) -> Any:
        """Refuse other fields, and don't say which.

        Litestar takes an error at ``user_id`` for one of the dependency of that name, and would
        answer 500.

        Raises:
            ValueError: there is another field.
        """
        if isinstance(value, dict) and not cls.model_fields.keys() >= value.keys():
            raise ValueError("there are unknown fields")
        return value


class ChatRequest(_Request):
    """The user's message."""

    message: Annotated[
        str,
        Field(min_length=1, max_length=MAX_MESSAGE, examples=["Remind me to buy bread tomorrow."]),
    ]


class ChatResponse(BaseModel):
    """The agent's answer."""

    response: Annotated[
        Any,
        Field(
            description="The agent's final output: a text, or a value of its output type.",
            examples=["I will remind you tomorrow."],
        ),
    ]
    session_id: Annotated[str, Field(examples=["groceries"])]


class ChatEvent(BaseModel):
    """A server-sent event of an answer."""

    event: Literal["delta", "tool_call", "tool_output", "done", "error"]
    data: Annotated[
        str,
        Field(
            description='JSON: `{"text"}`, a piece of the answer; `{"tool_call_id", "tool_name", '
            '"content"}`, a call with its arguments; `{"tool_call_id", "content"}`, its output; '
            '`{"response", "session_id"}`, the whole answer; or `{"status_code", "detail"}`: 404 '
            "if the conversation was deleted meanwhile, 409 if a tool call waits for approval, 422 "
            "if a guardrail refused the message, 502 if the run failed, 503 if the conversation "
            "is not available, or the run was interrupted.",
            examples=['{"text": "I will remind "}'],
        ),
    ]


class ConversationRead(BaseModel):
    """A conversation, without its messages."""

    session_id: Annotated[str, Field(examples=["groceries"])]
    session_name: Annotated[str | None, Field(examples=["Groceries"])]
    description: Annotated[str | None, Field(examples=["What to buy, and when"])]
    is_active: bool
    agent_name: Annotated[str | None, Field(examples=["Assistant"])]
    created_at: datetime
    updated_at: datetime


class ConversationPage(BaseModel):
    """A page of the user's conversations, the last written to first."""

    items: list[ConversationRead]
    cursor: Annotated[
        str | None,
        Field(description="Pass it as `after` for the next page; null on the last page."),
    ]
    limit: Annotated[int, Field(description="The most that a page has.")]
    total: Annotated[
        int | None,
        Field(description="How many conversations there are on all pages; null if unknown."),
    ]


class ConversationPatch(_Request):
    """The fields to change; null clears."""

    session_name: Name = Field(default_factory=lambda: None)
    description: Description = Field(default_factory=lambda: None)
    is_active: Annotated[bool, _exactly(bool)] = Field(default_factory=lambda: True)


class ConversationFork(_Request):
    """The new conversation, and how much of the other one it has."""

    session_id: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_SESSION_ID,
            description="Names the new conversation. No slashes.",
            json_schema_extra={"pattern": WITHOUT_SLASH, "examples": ["groceries-2"]},
            pattern=WITHOUT_SLASH,
        ),
    ]
    items: Annotated[
        int | None,
        Field(
            ge=0,
            le=MAX_ITEMS,
            description="How many of the oldest items to copy, tools' included; null for all.",
        ),
        _exactly(int, type(None)),
    ] = None


class MessageRead(BaseModel):
    """A message as text: a tool call's text is its arguments, a tool's its output."""

    position: Annotated[int, Field(description="Orders the messages; gaps mean nothing.")]
    role: MessageRole
    content: Annotated[str, Field(examples=["Remind me to buy bread tomorrow."])]
    tool_call_id: Annotated[str | None, Field(examples=["call_123"])]
    tool_name: Annotated[str | None, Field(examples=["add_todo"])]
    created_at: Annotated[datetime | None, Field(description="Null if unknown.")]


class HealthRead(BaseModel):
    """The conversations can be reached."""

    status: Annotated[Literal["ok"], Field(examples=["ok"])]


class ErrorRead(BaseModel):
    """What went wrong."""

    status_code: int
    detail: Annotated[str, Field(examples=["There is no such conversation."])]
    extra: Annotated[
        list[dict[str, str]] | None, Field(description="What is wrong with the request.")
    ] = None


STREAM = "Server-sent events: any number of `delta`, `tool_call` and `tool_output`, then `done` or "
STREAM += "`error`."

STREAM_EXAMPLES = {
    "A piece of the answer": ("delta", '{"text": "I will "}'),
    "A tool call, before it runs": (
        "tool_call",
        '{"tool_call_id": "call_123", "tool_name": "add_todo", "content": "{}"}',
    ),
    "Its output": (
        "tool_output",
        '{"tool_call_id": "call_123", "content": "It is on your list."}',
    ),
    "The whole answer, at the end": (
        "done",
        '{"response": "I will.", "session_id": "groceries"}',
    ),
    "An error, instead of the answer": (
        "error",
        '{"status_code": 502, "detail": "The agent could not answer."}',
    ),
}
