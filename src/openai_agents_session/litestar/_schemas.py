"""The requests and responses of the controller: msgspec structs, validated, shown by OpenAPI."""

# Litestar reads these annotations at run time, so they are not postponed.
from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

from litestar.enums import RequestEncodingType
from litestar.openapi.spec import Example
from litestar.params import Body, PathParameter
from msgspec import UNSET, Meta, Struct, UnsetType

from openai_agents_session.database import MessageRole
from openai_agents_session.database.types import MAX_NAME, MAX_SESSION_ID_BYTES

MAX_MESSAGE = 32_000
"""Characters that a message to the agent may have."""

MAX_BODY = 12 * MAX_MESSAGE + 1_000
"""Bytes that a body may have: JSON takes 12 at most for a character, and a little around them."""

MAX_DESCRIPTION = 4_000
"""Characters that the description of a conversation may have."""

WITHOUT_NUL = "^[^\\x00]*$"
"""PostgreSQL's texts can't hold a NUL."""

SessionId: TypeAlias = Annotated[
    str,
    PathParameter(
        description="Names the conversation; each user has their own. No slashes.",
        max_length=MAX_SESSION_ID_BYTES,
        examples=[Example(value="groceries")],
    ),
]
Name: TypeAlias = Annotated[
    str, Meta(max_length=MAX_NAME, pattern=WITHOUT_NUL, examples=["Groceries"])
]
Description: TypeAlias = Annotated[
    str, Meta(max_length=MAX_DESCRIPTION, pattern=WITHOUT_NUL, examples=["What to buy, and when"])
]


_strict = Body(media_type=RequestEncodingType.JSON, schema_extra={"additional_properties": False})
"""Tells OpenAPI that unknown fields are refused."""


class ChatRequest(Struct, forbid_unknown_fields=True):
    """The user's message."""

    message: Annotated[
        str,
        Meta(min_length=1, max_length=MAX_MESSAGE, examples=["Remind me to buy bread tomorrow."]),
    ]


ChatBody: TypeAlias = Annotated[ChatRequest, _strict]


class ChatResponse(Struct):
    """The agent's answer."""

    response: Annotated[
        Any,
        Meta(
            description="The agent's final output: a text, or a value of its output type.",
            examples=["I will remind you tomorrow."],
        ),
    ]
    session_id: Annotated[str, Meta(examples=["groceries"])]


class ChatEvent(Struct):
    """A server-sent event of an answer."""

    event: Literal["delta", "tool_call", "tool_output", "done", "error"]
    data: Annotated[
        str,
        Meta(
            description='JSON: `{"text"}`, a piece of the answer; `{"tool_call_id", "tool_name", '
            '"content"}`, a call with its arguments; `{"tool_call_id", "content"}`, its output; '
            '`{"response", "session_id"}`, the whole answer; or `{"status_code", "detail"}`: 404 '
            "if the conversation was deleted meanwhile, 409 if a tool call waits for approval, 422 "
            "if a guardrail refused the message, 502 if the run failed, 503 if the conversation "
            "is not available.",
            examples=['{"text": "I will remind "}'],
        ),
    ]


class ConversationRead(Struct):
    """A conversation, without its messages."""

    session_id: Annotated[str, Meta(examples=["groceries"])]
    session_name: Annotated[str | None, Meta(examples=["Groceries"])]
    description: Annotated[str | None, Meta(examples=["What to buy, and when"])]
    is_active: bool
    agent_name: Annotated[str | None, Meta(examples=["Assistant"])]
    created_at: datetime
    updated_at: datetime


class ConversationPage(Struct):
    """A page of the user's conversations, the last written to first."""

    items: list[ConversationRead]
    cursor: Annotated[
        str | None,
        Meta(description="Pass it as `after` for the next page; null on the last page."),
    ]
    limit: Annotated[int, Meta(description="The most that a page has.")]
    total: Annotated[int, Meta(description="How many conversations there are on all pages.")]


class ConversationPatch(Struct, forbid_unknown_fields=True):
    """The fields to change; null clears."""

    session_name: Name | UnsetType | None = UNSET
    description: Description | UnsetType | None = UNSET
    is_active: bool | UnsetType = UNSET


PatchBody: TypeAlias = Annotated[ConversationPatch, _strict]


class MessageRead(Struct):
    """A message as text: a tool call's text is its arguments, a tool's its output."""

    position: Annotated[int, Meta(description="Orders the messages; gaps mean nothing.")]
    role: MessageRole
    content: Annotated[str, Meta(examples=["Remind me to buy bread tomorrow."])]
    tool_call_id: Annotated[str | None, Meta(examples=["call_123"])]
    tool_name: Annotated[str | None, Meta(examples=["add_todo"])]
    created_at: datetime
