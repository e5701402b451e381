"""Home: the event loop and the process that a client's connections belong to.

asyncio ties a connection to the event loop in which it was opened: in another one it
fails, after the request may have gone out. After a fork two processes share a socket, and
read each other's answers. So before anything is sent, a backend asks here.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary, ref

_claim = threading.Lock()
"""Two threads, each with an event loop, may be the first to use a client."""


def _renew_lock() -> None:
    global _claim  # noqa: PLW0603 - another thread may have held it when the process was forked
    _claim = threading.Lock()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_renew_lock)


class Home:
    """Where the connections of one client belong.

    The process is the one in which this was made; the event loop is the first one that
    asks.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._loop: ref[asyncio.AbstractEventLoop] | None = None

    @property
    def is_unknown(self) -> bool:
        """Whether nobody has asked yet."""
        return self._loop is None

    def is_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """Note the event loop of connections that were open before anybody asked."""
        self._loop = ref(loop)

    def has_moved(self) -> bool:
        """Return whether the open connections were left behind; from now on home is here.

        They are of a process that this one was forked from, or of an event loop that is
        closed. Nothing may be sent on them any more, not even a farewell. Let go of them
        before the next ``await``: only the first to ask is told.

        Raises:
            RuntimeError: they belong to another event loop, which is still open. Nothing
                has changed.
        """
        loop, pid = asyncio.get_running_loop(), os.getpid()
        if self._pid == pid and self._loop is not None and self._loop() is loop:
            return False
        with _claim:
            known = None if self._loop is None else self._loop()
            if self._pid == pid and known is loop:
                return False
            if self._pid == pid and known is not None and not known.is_closed():
                raise RuntimeError(
                    "The session's client belongs to another event loop, which is still open: "
                    "its connections work in that one alone. Make a client in each event loop."
                )
            moved = self._pid != pid or self._loop is not None
            self._pid, self._loop = pid, ref(loop)
            return moved


_homes: WeakKeyDictionary[Any, Home] = WeakKeyDictionary()


def home_of(client: Any) -> Home:
    """Return the home of a client, the same for all sessions on it.

    Args:
        client: what holds the connections; it can be hashed and referred to weakly.
    """
    return _homes.get(client) or _homes.setdefault(client, Home())


Close = Callable[[asyncio.AbstractEventLoop], Awaitable[None]]

_ends: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Close, AsyncGenerator[None]]]
_ends = WeakKeyDictionary()
"""Held here, since an event loop holds its asynchronous generators only weakly."""


def at_end_of_loop(close: Close) -> None:
    """Have the running event loop await something before it is closed.

    ``asyncio.run`` shuts down asynchronous generators at its end, and has no other hook
    (Python's documentation, ``loop.shutdown_asyncgens``). Connections that nobody can use any
    more are closed there; else they would stay open until they are collected.

    Args:
        close: what to await, once, with the event loop. Asking again changes nothing.
    """
    loop = asyncio.get_running_loop()
    ends = _ends.get(loop)
    if ends is None:
        for closed in [other for other in _ends if other.is_closed()]:
            del _ends[closed]  # it was closed without a shutdown
        ends = _ends.setdefault(loop, {})
    if close not in ends:
        ends[close] = end = _end(close, loop)
        with suppress(StopIteration):
            end.__anext__().send(None)  # up to its yield, before which it awaits nothing


async def _end(close: Close, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        _ends.get(loop, {}).pop(close, None)
        await close(loop)
