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

WITHOUT_NUL = "^[^\\x00]*$"
"""PostgreSQL's texts can't hold a NUL."""

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


def _bool(value: Any) -> Any:
    """Return a bool as it is: Litestar has pydantic be lax, which would take "yes".

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(value, bool):
        raise ValueError("must be true or false")  # noqa: TRY004 - pydantic wants a ValueError
    return value


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
            "is not available.",
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
    total: Annotated[int, Field(description="How many conversations there are on all pages.")]


class ConversationPatch(_Request):
    """The fields to change; null clears."""

    session_name: Name = Field(default_factory=lambda: None)
    description: Description = Field(default_factory=lambda: None)
    is_active: Annotated[bool, BeforeValidator(_bool)] = Field(default_factory=lambda: True)


class MessageRead(BaseModel):
    """A message as text: a tool call's text is its arguments, a tool's its output."""

    position: Annotated[int, Field(description="Orders the messages; gaps mean nothing.")]
    role: MessageRole
    content: Annotated[str, Field(examples=["Remind me to buy bread tomorrow."])]
    tool_call_id: Annotated[str | None, Field(examples=["call_123"])]
    tool_name: Annotated[str | None, Field(examples=["add_todo"])]
    created_at: datetime
