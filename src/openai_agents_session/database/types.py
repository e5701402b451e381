"""The column types of the models, for migrations that spell them out as well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import String
from sqlalchemy import types as sql

from openai_agents_session._arguments import MAX_NAME
from openai_agents_session._messages import MessageRole

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

MAX_SESSION_ID_BYTES = 2000
"""In UTF-8. An index entry of PostgreSQL holds about 2,700 bytes, the user's id included."""

__all__ = ["MAX_NAME", "MAX_SESSION_ID_BYTES", "MessageRole", "SessionKey", "stored"]

_ESCAPE, _NUL = "\x1a", "\x00"


class SessionKey(sql.TypeDecorator[str]):
    r"""The id of a conversation, which may be any text.

    PostgreSQL's texts hold no NUL. It is stored as ``\x1a0``, and ``\x1a`` itself as
    ``\x1a1``, so two ids never become one; all other ids are stored as they are.
    """

    impl = String(MAX_SESSION_ID_BYTES)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Return the id as it is stored."""
        return None if value is None else stored(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Return the id as it was given."""
        if value is None or _ESCAPE not in value:
            return value
        return value.replace(_ESCAPE + "0", _NUL).replace(_ESCAPE + "1", _ESCAPE)


def stored(session_id: str) -> str:
    """Return an id as it is stored."""
    return session_id.replace(_ESCAPE, _ESCAPE + "1").replace(_NUL, _ESCAPE + "0")
