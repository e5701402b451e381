"""One conversation of a user's in Redis: the writes of ``_conversation``, and the index.

Each script of ``_conversation`` becomes a function in ``lua/user.lua``, which changes what the
conversation is listed by in the same step. Without scripts that could not be done exactly once,
so there is no other way: the server's error is raised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from openai_agents_session._catalog import SessionNotFoundError
from openai_agents_session.redis._conversation import (
    APPEND,
    POP,
    REPLACE,
    RESTORE,
    SWAP,
    RedisConversation,
)
from openai_agents_session.redis._driver import Operation
from openai_agents_session.redis._info import fields_of
from openai_agents_session.redis._scripts import Script

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openai_agents_session._conversation import Found
    from openai_agents_session.redis._clients import Clients
    from openai_agents_session.redis._keys import LeaseKeys, UserKeys

NEEDS = "A user's conversations need"
"""How the note begins that a server without scripts gets: see ``Script.run``."""

_GONE = -1


def _for_user(script: Script) -> Script:
    as_function = b"local function write()\n%b\nend" % script.text
    return Script("clock", "index", as_function, "user")


_FOR_USERS = {script: _for_user(script) for script in (APPEND, POP, REPLACE, RESTORE, SWAP)}


@dataclass
class _Seen:
    """What is known of a conversation, also by the ones that are fenced."""

    items: bool = False


class UserConversation(RedisConversation):
    """One conversation of a user's.

    Args:
        clients: give the client to send with.
        keys: the user's keys.
        session_id: names the conversation.
        ttl: seconds that the conversation lives after a write; None leaves its expiry alone.
        about: what is said about it if it begins.
        recreate: whether a write begins it again after it has ended.
    """

    def __init__(
        self,
        clients: Clients,
        keys: UserKeys,
        session_id: str,
        ttl: int | None,
        about: Mapping[str, Any],
        *,
        recreate: bool,
    ) -> None:
        super().__init__(clients, keys.list(session_id.encode()), ttl)
        self._keys = keys
        self._session_id = session_id
        self._said = fields_of(about)
        self._recreate = recreate
        self._seen = _Seen()

    async def read(self, newest: int | None) -> Found:
        """Return the newest records, in one ``LRANGE``."""
        found = await super().read(newest)
        self._seen.items = self._seen.items or bool(found.records)
        return found

    async def _write(
        self,
        script: Script,
        *arguments: int | bytes,
        unscripted: Any,  # noqa: ARG002 - it would leave the index behind
        token: bytes = b"",
    ) -> Any:
        """Run a script together with what it changes in the index.

        Raises:
            SessionNotFoundError: the conversation has ended, and must not begin again.
            LostError: the lease is not held that lets this be done.
        """
        kind, said = b"change", self._said[:0]
        if script is APPEND or (script is REPLACE and arguments):
            must_be_there = self._seen.items and not self._recreate
            kind, said = b"continue" if must_be_there else b"begin", self._said
        keys = (
            self.key,
            token or self._new_token(),
            self._keys.about(self._session_id.encode()),
            self._keys.index,
        )
        operands = (*self._seconds, *arguments, *said, b"%d" % len(said), kind)
        operation = Operation(self._clients)
        script = _FOR_USERS[script]
        if self._fence is None:
            scripts = self._clients.scripts
            answer = await script.run(operation, scripts, keys, *operands, needs=NEEDS)
        else:
            answer = await self._fence.run(script, operation, self._clients, keys, *operands)
        if kind == b"continue" and answer == _GONE:
            raise SessionNotFoundError(
                f"the conversation {self._session_id!r} has ended since this session saw it"
            )
        if kind != b"change" or isinstance(answer, bytes):  # a record that was popped
            self._seen.items = True
        return answer

    def _lease_keys(self) -> LeaseKeys:
        return self._keys.lease(self._session_id.encode())

    def _new_token(self) -> bytes:
        return self._keys.new_token()

    def _token_of(self, name: bytes) -> bytes:
        return self._keys.token_of(name)

    def _new_pop_token(self) -> bytes:
        return self._keys.new_private_token()
