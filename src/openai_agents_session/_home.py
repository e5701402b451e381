"""Home: the event loop and the process that a client's connections belong to.

A connection works only in the event loop that opened it. In another one it fails, and perhaps
only after the request went out. After a fork, two processes share its socket and would read each
other's answers. So before a backend sends anything, it checks here.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary, ref

_lock = threading.Lock()
"""Held to change a home: two threads, each with an event loop, may use a client for the first
time at once."""


def _renew_lock() -> None:
    global _lock  # noqa: PLW0603 - another thread may have held it when the process was forked
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_renew_lock)


class Home:
    """The process and the event loop in which a client's connections may be used.

    At first, that is the process in which this object is made, and no event loop: the first one
    that uses the client becomes it.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._loop: ref[asyncio.AbstractEventLoop] | None = None

    @property
    def is_unknown(self) -> bool:
        """Whether no event loop has used the client yet."""
        return self._loop is None

    def set_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Set the event loop of connections that the application opened itself."""
        self._loop = ref(loop)

    def move_here(self) -> bool:
        """Make the running event loop and process the home, and return whether it was elsewhere.

        It may move from a process that was forked, and from an event loop that is closed. Then
        nothing may be sent on the connections that are open, not even to close them. Drop them
        before the next ``await``: only the first caller is told of the move.

        Raises:
            RuntimeError: the connections belong to another event loop, which is still open.
                Nothing has changed.
        """
        loop, pid = asyncio.get_running_loop(), os.getpid()
        if self._pid == pid and self._loop is not None and self._loop() is loop:
            return False
        with _lock:
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
    """Return the home of a client; all sessions on the client share it.

    Args:
        client: what holds the connections. It must be hashable and allow weak references.
    """
    return _homes.get(client) or _homes.setdefault(client, Home())


Close = Callable[[asyncio.AbstractEventLoop], Awaitable[None]]

_ends: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Close, AsyncGenerator[None]]]
_ends = WeakKeyDictionary()
"""For each event loop, what it awaits at its end. The generators are kept here because an event
loop has only weak references to them."""


def at_end_of_loop(close: Close) -> None:
    """Have the running event loop close connections at its end, while it still can.

    The only thing that ``asyncio.run`` does for others at its end is to close asynchronous
    generators (Python's documentation, ``loop.shutdown_asyncgens``), so one is left open until
    then.

    Args:
        close: called once with the event loop, and awaited. To pass it again changes nothing.
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
