"""What the handlers ask Litestar for: the agent, the path's parameter, and bodies."""

# Litestar reads these annotations at run time, so they are not postponed.
from typing import Annotated, Any, TypeAlias

from agents import Agent
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.openapi.spec import Example
from litestar.params import Body, PathParameter, SkipValidation

from openai_agents_session._web.schemas import (
    MAX_SESSION_ID,
    SESSION_ID,
    ChatRequest,
    ConversationFork,
    ConversationPatch,
)

TheAgent: TypeAlias = NamedDependency[SkipValidation[Agent[Any]]]
"""Litestar would look into the dataclass that an agent is."""

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
ForkBody: TypeAlias = Annotated[ConversationFork, _strict]
