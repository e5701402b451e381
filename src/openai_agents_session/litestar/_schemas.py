"""What Litestar is told of the requests: the path's parameter, and which fields a body has."""

# Litestar reads these annotations at run time, so they are not postponed.
from typing import Annotated, TypeAlias

from litestar.enums import RequestEncodingType
from litestar.openapi.spec import Example
from litestar.params import Body, PathParameter

from openai_agents_session._web.schemas import (
    MAX_SESSION_ID,
    SESSION_ID,
    ChatRequest,
    ConversationPatch,
)

SessionId: TypeAlias = Annotated[
    str,
    PathParameter(
        description=SESSION_ID,
        max_length=MAX_SESSION_ID,
        examples=[Example(value="groceries")],
    ),
]

_strict = Body(media_type=RequestEncodingType.JSON, schema_extra={"additional_properties": False})
"""Tells OpenAPI that unknown fields are refused."""

ChatBody: TypeAlias = Annotated[ChatRequest, _strict]
PatchBody: TypeAlias = Annotated[ConversationPatch, _strict]
