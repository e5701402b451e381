"""Connections: each is used only in the process and the event loop that opened it.

A driver's connection fails in another event loop, and perhaps only after its request went out.
After a fork, two processes would read each other's answers. So each connection of a pool carries
its origin, and the pool is made to open a new one instead of handing out one from elsewhere
(SQLAlchemy's documentation, "Using Connection Pools with Multiprocessing or os.fork()").

A connection of aiosqlite is a thread: it works in any event loop of its process.
"""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary, WeakSet, ref

from sqlalchemy import event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import Pool
from sqlalchemy.util import greenlet_spawn

from openai_agents_session._home import at_end_of_loop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from sqlalchemy import Engine
    from sqlalchemy.engine import Dialect
    from sqlalchemy.ext.asyncio import AsyncConnection

_KEY = "openai_agents_session.origin"
"""Where the origin stands in a connection's ``info``."""

_inherited: list[Any] = []
"""Connections of the parent process, kept from being collected: the driver would close them, and
take their sockets from what the parent's event loop watches."""

_records: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakKeyDictionary[Any, Dialect]]
_records = WeakKeyDictionary()
"""The pools' records of the connections that were opened in each event loop."""

_strays: WeakKeyDictionary[asyncio.AbstractEventLoop, set[tuple[Dialect, Any]]]
_strays = WeakKeyDictionary()
"""Connections that no pool hands out any more, to be closed in the event loop that opened them."""

_closing: set[asyncio.Task[None]] = set()
"""The tasks that do so: an event loop has only weak references to them."""

_set_up: WeakSet[Dialect] = WeakSet()
"""The dialects of engines that have connected at least once."""

_connecting: WeakKeyDictionary[Dialect, list[int]] = WeakKeyDictionary()
"""For each other dialect, the threads that want to connect, one entry for each attempt."""

_lock = threading.Lock()
"""Held to write whose a record's connection is: two event loops may do so at once."""


def _forget_threads() -> None:
    global _lock  # noqa: PLW0603 - another thread may have held it when the process was forked
    _lock = threading.Lock()
    _connecting.clear()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_forget_threads)


class _Origin(NamedTuple):
    """Where a connection was opened. A synchronous engine opens some outside of event loops."""

    pid: int
    loop: ref[asyncio.AbstractEventLoop] | None


def _here() -> _Origin:
    try:
        return _Origin(os.getpid(), ref(asyncio.get_running_loop()))
    except RuntimeError:
        return _Origin(os.getpid(), None)


@event.listens_for(Pool, "connect")
def _note_origin(_: Any, record: Any) -> None:
    """Note it for every pool: an application's engine is often older than its first session."""
    with _lock:
        record.info[_KEY] = _here()


def _is_usable(origin: _Origin, dialect: Dialect) -> bool:
    return origin == _here() or (dialect.name == "sqlite" and origin.pid == os.getpid())


def guard_pool(engine: Engine) -> None:
    """Keep an engine's pool from handing out connections of other event loops or processes."""
    dispatch: Any = engine.pool.dispatch  # stays when dispose() makes a new pool
    if not any(isinstance(listener, _CheckOut) for listener in dispatch.checkout):
        event.listen(engine, "checkout", _CheckOut(engine.dialect))


@dataclass(frozen=True)
class _CheckOut:
    """Listener that refuses a connection from elsewhere; SQLAlchemy then opens another."""

    dialect: Dialect

    def __call__(self, connection: Any, record: Any, proxy: Any) -> None:
        origin: _Origin = record.info.setdefault(_KEY, _here())
        if _is_usable(origin, self.dialect):
            if origin.loop and self.dialect.name != "sqlite":
                here = asyncio.get_running_loop()
                _records.setdefault(here, WeakKeyDictionary())[record] = self.dialect
                at_end_of_loop(_close_all)
            return
        loop = None if origin.loop is None else origin.loop()
        if origin.pid != os.getpid():
            _inherited.append(connection)
        elif loop and not loop.is_closed():
            _strays.setdefault(loop, set()).add((self.dialect, connection))
            with suppress(RuntimeError):  # it was closed just now
                loop.call_soon_threadsafe(_close_soon, loop)
        record.dbapi_connection = proxy.dbapi_connection = None
        raise DisconnectionError("it was opened in another event loop or process")


def _close_soon(loop: asyncio.AbstractEventLoop) -> None:
    task = loop.create_task(_close_strays(loop))
    _closing.add(task)
    task.add_done_callback(_closing.discard)


async def _close_strays(loop: asyncio.AbstractEventLoop) -> None:
    strays = _strays.get(loop, set())
    while strays:
        dialect, connection = strays.pop()
        with suppress(Exception):  # a broken one is as good as closed
            await greenlet_spawn(dialect.do_terminate, connection)


async def _close_all(loop: asyncio.AbstractEventLoop) -> None:
    """Close the connections of an event loop that ends, also those that have just been refused.

    The records stay as they are, since another event loop may be getting one from the pool. It
    finds a connection that belongs to no event loop, and opens another.
    """
    for record, dialect in list(_records.pop(loop, {}).items()):
        with _lock:
            connection = record.dbapi_connection
            if connection is None or record.info.get(_KEY) != _here():
                continue
            record.info[_KEY] = _Origin(os.getpid(), None)
        _strays.setdefault(loop, set()).add((dialect, connection))
    await _close_strays(loop)
    tasks = [task for task in _closing if task.get_loop() is loop]
    await asyncio.gather(*tasks, return_exceptions=True)


def check_usable(connection: AsyncConnection) -> None:
    """Check a connection that was in use already, which no pool has checked.

    Raises:
        RuntimeError: it is of another event loop or process; nothing was sent.
    """
    origin: _Origin = connection.info.setdefault(_KEY, _here())
    if not _is_usable(origin, connection.dialect):
        raise RuntimeError(
            "db_session is in a transaction on a connection that belongs to another event loop or "
            "process, and works only there. Make an AsyncSession where you use it, or pass an "
            "async_sessionmaker."
        )


@asynccontextmanager
async def first_use(dialect: Dialect) -> AsyncGenerator[None]:
    """Let only one thread at a time make an engine's first connection.

    SQLAlchemy sets the engine up with it, under an asyncio lock. Event loops in two threads could
    wait for that one for ever.
    """
    if dialect in _set_up:
        yield
        return
    threads, this = _connecting.setdefault(dialect, []), threading.get_ident()
    threads.append(this)
    try:
        while threads[0] != this:  # noqa: ASYNC110 - threads have no event together
            await asyncio.sleep(0.001)
        yield
        _set_up.add(dialect)
    finally:
        threads.remove(this)
