"""RedisSession: a conversation kept in Redis, as one list that expires.

    {key_prefix}:{session_id}   list: an item's JSON text for each element, oldest first
    {<that key>}~<token>        string: what a write of the last minutes has answered

``EXPIRE`` on the list counts from the last write. Each operation is one command: a read is one
``LRANGE``, a write one script. A write is atomic, and done exactly once: ``_conversation`` says
how. Lists of release 0.1.0 are read as they are.
"""

from __future__ import annotations

from openai_agents_session._errors import explain_missing

try:
    from openai_agents_session.redis._session import DEFAULT_KEY_PREFIX, RedisSession
except ModuleNotFoundError as exc:
    explain_missing(exc, "RedisSession", "redis", "redis")
    raise

__all__ = ["DEFAULT_KEY_PREFIX", "RedisSession"]
