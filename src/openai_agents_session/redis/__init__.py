"""RedisSession and RedisStore: conversations kept in Redis, each a list that expires.

    {key_prefix}:{session_id}       list: an item's JSON text for each element, oldest first
    {<that key>}~<token>            string: what a write of the last minutes has answered

What ``RedisStore.user`` gives lies apart from that, and all keys of a user in one slot. The user
is percent-encoded; the outer braces are part of the keys:

    {key_prefix}@{<user>}:<id>      list: as above
    {key_prefix}@{<user>}~<id>      hash: name, description, agent_name, is_active ("0" where it
                                    was archived), created_at, updated_at (in microseconds)
    {key_prefix}@{<user>}           sorted set: the ids, by updated_at
    {<four letters>}~<token>        string: as above; the letters hash to the user's slot
    {key_prefix}@{<user>}^<token>   string or list: the same, where the answer is the user's own

A user's conversation is there as long as its hash is, which expires in the same millisecond as
its list; the sorted set lives as long as one of them, and an expired id leaves it when it is
listed. A session of a user's changes list, hash and sorted set in one step.

``ttl`` is in seconds and counts from the last write. Each operation is one command: a read is one
``LRANGE``, a write one script. A write is atomic, and done exactly once: ``_conversation`` says
how. Lists of release 0.1.0 are read as they are.
"""

from __future__ import annotations

from openai_agents_session._errors import explain_missing

try:
    from openai_agents_session.redis._session import DEFAULT_KEY_PREFIX, RedisSession
    from openai_agents_session.redis._store import RedisStore
except ModuleNotFoundError as exc:
    explain_missing(exc, "RedisSession", "redis", "redis")
    raise

__all__ = ["DEFAULT_KEY_PREFIX", "RedisSession", "RedisStore"]
