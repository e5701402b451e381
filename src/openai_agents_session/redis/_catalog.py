"""All conversations in one Redis: a user's by their index, everybody's by ``SCAN``.

Each operation on a user's conversations is one script, ``erase`` one for each batch. A script
that changes something leaves a token with its answer, as ``_conversation`` says. A token that
holds what is the user's, a popped record or a name, lies among the user's keys, where ``erase``
finds it; every other one names nobody, and outlives ``erase``: a write that arrives late, again,
does not bring back what was erased.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from openai_agents_session._arguments import checked_id, checked_session_id
from openai_agents_session._catalog import CursorError, Erased
from openai_agents_session.redis._conversation import RedisConversation
from openai_agents_session.redis._driver import Operation, answers
from openai_agents_session.redis._info import described, fields_of
from openai_agents_session.redis._keys import UserKeys, list_key
from openai_agents_session.redis._scan import keys_of_user, scan
from openai_agents_session.redis._scripts import TOKEN_SECONDS, Script
from openai_agents_session.redis._session import RedisSession
from openai_agents_session.redis._user_conversation import NEEDS, UserConversation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from openai_agents_session._catalog import ConversationInfo, Cursor, Forked, Found
    from openai_agents_session.redis._clients import Clients

_GET = Script("describe", b"return describe(KEYS[1], KEYS[2])")
_RECORDS = Script("records")
_PAGE, _FORGET = Script("describe", "page"), Script("forget")
_UPDATE = Script("clock", "describe", "index", "update")
_DELETE, _FORK = Script("index", "delete"), Script("clock", "index", "fork")
_ERASE = Script("erase")

_EXAMINED = 10_000
"""How many entries of the index one page looks at, some milliseconds for the server."""

_FORGOTTEN_AT_ONCE = 1000
"""How many entries of what has expired one page takes out of the index."""

_ERASED_AT_ONCE = 500

_MAX_TIME = 2**53
"""The largest score that an index orders exactly, in microseconds: in the year 2255."""


class RedisCatalog:
    """All conversations under one key prefix.

    Args:
        clients: give the client to send with.
        key_prefix: how all keys begin.
        ttl: seconds that a conversation lives after a write; None leaves its expiry alone.
        session_settings: of the sessions that are given none.
    """

    resends = True

    def __init__(
        self, clients: Clients, key_prefix: str, ttl: int | None, session_settings: Any
    ) -> None:
        self._clients = clients
        self._key_prefix = key_prefix
        self._ttl = ttl
        self._seconds = (TOKEN_SECONDS, ttl or 0)
        self._session_settings = session_settings

    def checked_user(self, user_id: Any) -> str:
        """Return a user's id, which may be any text that is not empty."""
        return checked_id("user_id", user_id)

    def session(
        self,
        user: Any,
        session_id: str,
        about: Mapping[str, Any],
        *,
        recreate: bool,
        session_settings: Any,
    ) -> RedisSession:
        """Return the session of a conversation, without a request."""
        checked_session_id(session_id)
        conversation: RedisConversation
        if user is None:
            key = list_key(self._key_prefix, session_id)
            conversation = RedisConversation(self._clients, key, self._ttl)
        else:
            conversation = UserConversation(
                self._clients, self._keys(user), session_id, self._ttl, about, recreate=recreate
            )
        settings = self._session_settings if session_settings is None else session_settings
        return RedisSession._of_store(session_id, user, self._clients, conversation, settings)

    async def page(
        self,
        user: Any,
        limit: int,
        cursor: Cursor | None,
        *,
        active: bool | None,
        search: str | None,
    ) -> Found:
        """Return a user's conversations, the last written to first, in one script.

        Another one takes out of the index what has expired.
        """
        if search:
            raise NotImplementedError(
                "Redis cannot search; list the user's conversations and compare their names"
            )
        keys = self._keys(user)
        place = () if cursor is None else _checked_place(cursor)
        kind = b"" if active is None else b"%d" % active
        asked = (limit, _EXAMINED, _FORGOTTEN_AT_ONCE, kind, *place)
        while True:
            found, gone, *rest = await self._run(_PAGE, (keys.index,), *asked)
            abouts = [keys.about(session_id) for session_id in gone]
            if not gone or await self._run(_FORGET, (keys.index, *abouts)) == 0:
                break  # else they were elsewhere, while a cluster moved the slot, or began anew
        page = [info for one, said in found if (info := described(user, one.decode(), said))]
        if not rest:
            return page, None
        score, session_id = rest[0]
        return page, [int(float(score)), session_id.decode()]

    async def count(self, user: Any, *, active: bool | None, search: str | None) -> None:
        """Return None: the index also counts what has expired since it was last read."""

    async def get(self, user: Any, session_id: str) -> ConversationInfo | None:
        """Return a conversation, in one script."""
        keys = self._keys(user)
        return described(user, session_id, await self._run(_GET, keys.of(session_id)))

    async def update(
        self, user: Any, session_id: str, changes: Mapping[str, Any]
    ) -> ConversationInfo | None:
        """Set some of ``ABOUT``, let the time to live begin anew, and return the conversation."""
        keys = self._keys(user)
        fields = fields_of(changes)
        removed = [name.encode() for name in changes if name.encode() not in fields[::2]]
        said = await self._run(
            _UPDATE,
            self._keys_of_write(keys, session_id, keys.new_private_token()),
            *self._seconds,
            len(fields) // 2,
            *fields,
            *removed,
        )
        return described(user, session_id, said)

    async def delete(self, user: Any, session_id: str) -> bool:
        """Delete a conversation, and return whether there was one."""
        keys = self._keys(user)
        operands = self._keys_of_write(keys, session_id, keys.new_token())
        return bool(await self._run(_DELETE, operands, *self._seconds))

    async def fork(self, user: Any, session_id: str, new_id: str, items: int | None) -> Forked:
        """Begin a conversation with what another one has: the server copies it."""
        keys = self._keys(user)
        operands = self._keys_of_write(keys, session_id, keys.new_token())
        records = -1 if items is None else items
        operands += keys.of(new_id)
        forked = await self._run(_FORK, operands, *self._seconds, records)
        return cast("Forked", forked.decode())

    async def erase(self, user: Any) -> Erased:
        """Delete what the index lists, and then what it may have lost."""
        keys = self._keys(user)
        conversations = items = 0

        async def erase_some(ids: Sequence[bytes]) -> None:
            nonlocal conversations, items
            for first in range(0, len(ids), _ERASED_AT_ONCE):
                batch = ids[first : first + _ERASED_AT_ONCE]
                own = [key for each in batch for key in (keys.list(each), keys.about(each))]
                operands = (keys.index, keys.new_token(), *own)
                counts = (await self._run(_ERASE, operands, TOKEN_SECONDS)).split()
                conversations, items = conversations + int(counts[0]), items + int(counts[1])

        while ids := await self._send("ZRANGE", keys.index, 0, _ERASED_AT_ONCE - 1):
            await erase_some(ids)
        # While it had its lease, a holder could write behind what was scanned. Now it can't any
        # more, and that is found the second time. Who takes a lease anew is not waited for.
        for _ in range(2):
            leases_found = False
            async for found in keys_of_user(self._clients, keys):
                ids = {session_id for key in found if (session_id := keys.id_of(key))}
                await erase_some([*ids])
                if rest := [key for key in found if not keys.id_of(key)]:
                    await self._send("UNLINK", *rest)
                    leases_found = leases_found or any(map(keys.is_of_lease, rest))
            if not leases_found:
                break
        return Erased(user, conversations, items)

    async def records(
        self, user: Any, session_id: str, newest: int, before: int | None
    ) -> Sequence[tuple[int, bytes | str, datetime | None]] | None:
        """Return the newest records with their places in the list, in one script."""
        keys = self._keys(user)
        asked = (newest, -1 if before is None else before)
        answer = await self._run(_RECORDS, keys.of(session_id), *asked)
        if answer is None:
            return None
        first, *records = answer
        return [(first + at, record, None) for at, record in enumerate(records)]

    async def scan(self, limit: int, cursor: Cursor | None) -> Found:
        """Return conversations of a part of the keys."""
        return await scan(self._clients, self._key_prefix, limit, cursor)

    async def ping(self) -> bool:
        """Return whether the server answers."""
        return await answers(self._clients, "EXISTS", list_key(self._key_prefix, ""))

    async def setup(self) -> None:
        """Make nothing: Redis needs nothing."""

    def _keys(self, user: str) -> UserKeys:
        return UserKeys(self._key_prefix, user)

    def _keys_of_write(self, keys: UserKeys, session_id: str, token: bytes) -> tuple[bytes, ...]:
        records, about = keys.of(session_id)
        return (records, token, about, keys.index)

    async def _send(self, *command: Any) -> Any:
        return await Operation(self._clients).send(*command)

    async def _run(self, script: Script, keys: tuple[bytes, ...], *arguments: int | bytes) -> Any:
        operation, scripts = Operation(self._clients), self._clients.scripts
        return await script.run(operation, scripts, keys, *arguments, needs=NEEDS)


def _checked_place(cursor: Cursor) -> tuple[int, bytes]:
    """Return the time and the session id in a cursor.

    Raises:
        CursorError: it has others.
    """
    if [type(value) for value in cursor] == [int, str]:
        score, session_id = cursor
        try:
            if 0 <= score <= _MAX_TIME:
                return score, session_id.encode()
        except UnicodeEncodeError:
            pass
    raise CursorError("cursor must be the cursor of a page of this list, or None")
