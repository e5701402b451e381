"""Whose an item is, and at which key it lies. Pure.

A session without a user is at its id. A user's are at ``{user}#{session id}``, with the user
percent-encoded: so the first ``#`` ends the user, whatever the two texts are. An item says in
``user`` whose it is, and every condition asks for that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from openai_agents_session.dynamodb._state import NAME_LENGTH

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openai_agents_session.dynamodb._state import Attribute

MAX_KEY_BYTES = 2048
"""Of a partition key (AWS documentation, "Quotas in Amazon DynamoDB")."""

MAX_ID_BYTES = MAX_KEY_BYTES - 1 - NAME_LENGTH
"""Of a session's key, so that the keys of its pages fit as well."""


@dataclass(frozen=True)
class Owner:
    """Whose a conversation is.

    Attributes:
        user: the user; None for a conversation without one.
        about: what the write that begins a conversation says about it.
    """

    user: str | None = None
    about: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def condition(self) -> str:
        """What an item that is there must meet."""
        return "attribute_not_exists(#user)" if self.user is None else "#user = :user"

    @property
    def values(self) -> dict[str, Attribute]:
        """The values in the condition."""
        return {} if self.user is None else {":user": {"S": self.user}}


NOBODY = Owner()


def key_of(user: str | None, session_id: str) -> str:
    """Return the key of a session's item.

    Raises:
        ValueError: it is too long.
    """
    key = session_id if user is None else prefix_of(user) + session_id
    size = len(key.encode())
    if size > MAX_ID_BYTES:
        of_user = "" if user is None else ", together with the percent-encoded user_id and a '#',"
        raise ValueError(
            f"session_id{of_user} must have at most {MAX_ID_BYTES} bytes in UTF-8, so that the "
            f"keys of its pages fit into DynamoDB's {MAX_KEY_BYTES}; it has {size}"
        )
    return key


def prefix_of(user: str) -> str:
    """Return what the keys of a user's conversations begin with."""
    return f"{quote(user, safe='')}#"


def id_of(user: str | None, key: str) -> str:
    """Return the session's id, of which ``key_of`` has made the key."""
    return key if user is None else key.removeprefix(prefix_of(user))
