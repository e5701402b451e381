"""DynamoDBSession: a conversation kept in DynamoDB, as one item and pages beside it.

    session_id          S     partition key; a page's is {session_id}~{12 random characters}
    items               L     of S: an item's JSON text for each element, oldest first
    ttl                 N     epoch seconds; counts from the last write; only with a time to live

Bookkeeping beside them:

    version             N     one more with every write; begins anywhere
    count               N     how many records the conversation has, those of its pages included
    bytes               N     what ``items`` takes of the item
    writes              BS    tokens of the last writes: milliseconds and 35 random bits
    writes_since        N     milliseconds: a write that began later and is not in ``writes`` was
                              not done; one that began earlier may be noted in a page
    pages               L     of S: ``{count}.{last 12 characters of the key}``, oldest first; with
                              ``.{level}`` at the end for a page of references
    pages_until         N     epoch seconds: when the first of the pages expires
    created_at          S     when this conversation began, in UTC
    updated_at          S     when it was last written to
    cleared_at          S     in an item that has no conversation any more, or none yet: since when
    lease               S     the fence of the lease's holder; only if there ever was a lease

Past ``page_bytes`` the oldest elements of ``items`` move to a page, an item that is stored once
and only ever gets a later ``ttl``:

    session_id          S     {session_id}~{12 random characters}
    page_of             S     the session's id; this tells a page from a session
    items               L     of S: JSON texts, or a part of one that is too large for one page
    created_at          S     when the page was stored
    writes              BS    tokens of the writes before it, since ``writes_since``
    ttl                 N     epoch seconds, later than the session's own

When ``pages`` gets long, its oldest references move to a page of references. That has ``pages`` in
the place of ``items`` and the tokens. Its level is 1, that of a page of references to such pages is
2, and so on. A page is stored before anything refers to it, and deleted after nothing does any
more. So a reader that finds all pages of an item has read one state of the conversation; one that
misses a page reads again.

A conversation of a user's, in a ``DynamoDBStore``, is at ``{user, percent-encoded}#{session id}``,
and its pages begin with that. Beside the above:

    user                S     whose it is; also in its pages. No condition holds without it
    about               M     what is said about it: ``name``, ``description``, ``agent_name``, each
                              S and only if there is one, and ``is_active``, BOOL, only if False
    updated_at          S     ``~`` in a page, and where there is no conversation any more

The map is always there, so the write that begins a conversation is the same request as every
other: it sets what is not there yet. The index ``by_user`` has ``user`` and ``updated_at`` as its
keys, and ``about``, ``count``, ``created_at`` and ``ttl`` beside them. Items without a user are not
in it. What a delete leaves of a user's keeps ``pages`` until the next write.

A conversation's lease is an item beside it, which ``_lease`` describes. Its key is made like that
of a page, and it has ``page_of`` as well, so it is no session.

Each write is one conditional ``UpdateItem``, atomic, and done exactly once: ``_conversation``
says how. Items of release 0.1.0 (``conversation_data``, a list in one JSON text) are read as
they are, and take this form with the first write.
"""

from __future__ import annotations

from openai_agents_session._errors import explain_missing

try:
    from openai_agents_session.dynamodb._orphans import remove_orphaned_pages
    from openai_agents_session.dynamodb._session import DynamoDBSession
    from openai_agents_session.dynamodb._setup import create_table_if_not_exists
    from openai_agents_session.dynamodb._store import DynamoDBStore
except ModuleNotFoundError as exc:
    explain_missing(exc, "DynamoDBSession", "dynamodb", "aiobotocore", "botocore")
    raise

__all__ = [
    "DynamoDBSession",
    "DynamoDBStore",
    "create_table_if_not_exists",
    "remove_orphaned_pages",
]
