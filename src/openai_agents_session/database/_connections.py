"""Connections: each is used in the event loop and the process that opened it.

A driver's connection fails in another event loop, after its request may have gone out, and
after a fork two processes would read each other's answers. So a pool's connection says where
it was opened, and one of elsewhere is left alone: the pool opens another (SQLAlchemy's
documentation, "Using Connection Pools with Multiprocessing or os.fork()").

A connection of aiosqlite is a thread and belongs to no event loop, only to its process.
"""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import asynccontextmanager, suppress
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

_KEY = "openai_agents_session.opened"

_inherited: list[Any] = []
"""Connections of the process that this one was forked from. Were they collected, their
drivers would close them, and the parent's event loop would not hear of its own any more."""

_records: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakSet[Any]] = WeakKeyDictionary()
"""What pools know of the connections that were opened in an event loop."""

_closing: set[asyncio.Future[None]] = set()
"""Connections that an event loop closes for another one."""

_used: WeakSet[Dialect] = WeakSet()
"""The dialects of the engines that have had their first connection."""

_connecting: WeakKeyDictionary[Dialect, list[int]] = WeakKeyDictionary()
"""For each of the others: the threads that open one, one item for each attempt."""

_lock = threading.Lock()
"""Guards ``_connecting``."""


def _begin_anew() -> None:
    """Forget, in a forked process, the threads that are not there: one may have held the lock."""
    global _lock  # noqa: PLW0603 - a lock cannot be taken from the thread that holds it
    _lock = threading.Lock()
    _connecting.clear()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_begin_anew)


class _Place(NamedTuple):
    """Where a connection was opened; no event loop where there was none."""

    pid: int
    loop: ref[asyncio.AbstractEventLoop] | None


def _here() -> _Place:
    try:
        return _Place(os.getpid(), ref(asyncio.get_running_loop()))
    except RuntimeError:
        return _Place(os.getpid(), None)


@event.listens_for(Pool, "connect")
def _note(_: Any, record: Any) -> None:
    """Note where a connection is opened: of every pool, since engines are made before sessions."""
    record.info[_KEY] = _here()


def _is_here(place: _Place, dialect: Dialect) -> bool:
    return place == _here() or (dialect.name == "sqlite" and place.pid == os.getpid())


def keep_at_home(engine: Engine) -> None:
    """Let an engine's pool hand out no connection of another event loop or process."""
    dispatch: Any = engine.pool.dispatch
    if any(isinstance(listener, _CheckOut) for listener in dispatch.checkout):
        return
    event.listen(engine, "checkout", _CheckOut(engine.dialect))


class _CheckOut:
    """Refuses a connection of elsewhere, and forgets it; then SQLAlchemy opens another."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect

    def __call__(self, connection: Any, record: Any, proxy: Any) -> None:
        place: _Place = record.info.setdefault(_KEY, _here())
        if _is_here(place, self._dialect):
            if place.loop and self._dialect.name != "sqlite":
                _records.setdefault(asyncio.get_running_loop(), WeakSet()).add(record)
                at_end_of_loop(_close_all)
            return
        loop = None if place.loop is None else place.loop()
        if place.pid != os.getpid():
            _inherited.append(connection)
        elif loop:
            with suppress(RuntimeError):  # it is closed, and the connection goes with it
                loop.call_soon_threadsafe(self._close, connection)
        record.dbapi_connection = proxy.dbapi_connection = None
        raise DisconnectionError("it was opened in another event loop or process")

    def _close(self, connection: Any) -> None:
        closing = asyncio.ensure_future(greenlet_spawn(self._dialect.do_close, connection))
        _closing.add(closing)
        closing.add_done_callback(_closing.discard)


async def _close_all(loop: asyncio.AbstractEventLoop) -> None:
    """Close the connections that were opened in an event loop which ends."""
    for record in _records.pop(loop, ()):
        place = record.info.get(_KEY)
        if record.dbapi_connection is not None and place == _here():
            with suppress(Exception):  # it is broken, and so closed
                await greenlet_spawn(record.invalidate)


def check_at_home(connection: AsyncConnection) -> None:
    """See that a connection which is in use already was opened here.

    Raises:
        RuntimeError: it was not; nothing was sent.
    """
    place: _Place = connection.info.setdefault(_KEY, _here())
    if not _is_here(place, connection.dialect):
        raise RuntimeError(
            "db_session is in a transaction on a connection that belongs to another event loop or "
            "process, and works only there. Make an AsyncSession where you use it, or pass an "
            "async_sessionmaker."
        )


@asynccontextmanager
async def first_use(dialect: Dialect) -> AsyncGenerator[None]:
    """Let one thread alone connect for the first time, and see that the server will do.

    SQLAlchemy sets an engine up with its first connection, and its lock there is one of
    asyncio: two event loops in two threads may wait for each other for ever.

    Raises:
        NotImplementedError: it is a PostgreSQL before 13.
    """
    if dialect in _used:
        yield
        return
    thread = threading.get_ident()
    while not _may_connect(dialect, thread):  # noqa: ASYNC110 - threads have no event together
        await asyncio.sleep(0.001)
    try:
        yield
        check_version(dialect)
        _used.add(dialect)
    finally:
        with _lock:
            _connecting[dialect].remove(thread)


def _may_connect(dialect: Dialect, thread: int) -> bool:
    with _lock:
        threads = _connecting.setdefault(dialect, [])
        if any(other != thread for other in threads):
            return False
        threads.append(thread)
        return True


def check_version(dialect: Dialect) -> None:
    """See that a server can say what became of a transaction.

    Raises:
        NotImplementedError: it is a PostgreSQL before 13, which has no ``pg_current_xact_id``
            (PostgreSQL's documentation, "Release 13").
    """
    version = getattr(dialect, "server_version_info", None)
    if dialect.name == "postgresql" and version and version < (13,):
        numbers = ".".join(map(str, version))
        raise NotImplementedError(f"PostgreSQL 13 or newer is required; this one is {numbers}")
