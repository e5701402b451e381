"""Scripts: texts of ``lua/``, and how a server runs one."""

from __future__ import annotations

from hashlib import sha1
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError, ResponseError

from openai_agents_session._errors import add_note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openai_agents_session.redis._clients import ScriptSupport
    from openai_agents_session.redis._driver import Operation

TOKEN_SECONDS = 180
"""How long the server remembers a write: longer than a command can be on its way. One is
sent for at most 50 seconds (``PATIENCE_SECONDS``), after which its connection is closed, and
Linux gives up what a closed connection could not deliver after 102 seconds more
(``tcp_orphan_retries`` in the kernel's ip-sysctl)."""


class Script:
    """A text for the server, and the digest by which a server that has run it knows it.

    Args:
        texts: files of ``lua/`` without their ending, or Lua itself.
    """

    def __init__(self, *texts: str | bytes) -> None:
        self.text = b"\n".join(
            text if isinstance(text, bytes) else _without_comments(text) for text in texts
        )
        self.digest = sha1(self.text).hexdigest()  # noqa: S324 - the digest that EVALSHA takes

    async def run(
        self,
        operation: Operation,
        support: ScriptSupport,
        keys: Sequence[bytes],
        *arguments: int | bytes,
        needs: str = "",
    ) -> Any:
        """Run the script, and return what it returns.

        Args:
            operation: sends it.
            support: knows which scripts the server has.
            keys: its keys.
            arguments: its arguments.
            needs: how the note begins that says what a server without scripts can't do; empty
                where there is another way.

        Raises:
            redis.exceptions.ResponseError: the server refuses it.
        """
        operands = (len(keys), *keys, *arguments)
        try:
            if self in support.loaded:
                try:
                    return await operation.send("EVALSHA", self.digest, *operands)
                except NoScriptError:
                    pass  # it was restarted, or this is another node of the cluster
            answer = await operation.send("EVAL", self.text, *operands)
        except ResponseError as exc:
            if needs and are_refused(exc):
                add_note(exc, f"{needs} a server that runs scripts (EVAL, EVALSHA).")
            raise
        support.loaded.add(self)
        return answer


def _without_comments(name: str) -> bytes:
    """Return a file's text; comments need not travel."""
    text = (files(__package__ or "") / "lua" / f"{name}.lua").read_text()
    lines = (line.partition("--")[0].strip() for line in text.splitlines())
    return "\n".join(filter(None, lines)).encode()


def are_refused(error: ResponseError) -> bool:
    """Whether the server has no EVAL, or an ACL forbids it; the keys are another matter."""
    text = str(error).lower()
    unknown = "unknown command" in text and "eval" in text
    return unknown or ("no permissions to run" in text and "'eval" in text)
