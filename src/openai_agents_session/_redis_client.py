"""The redis-py client whose connections may be used here: in this event loop and process.

A connection works in the event loop that opened it, and after a fork two processes would
read each other's answers. A client that was passed in is told to forget its connections
when it is used elsewhere. A session that makes its clients has one for each event loop. At
the end of an event loop, their connections in it are closed.

This module knows redis-py, also what it keeps to itself: it has no way to forget.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias
from weakref import WeakKeyDictionary, ref

from redis.asyncio import RedisCluster

from openai_agents_session._home import home_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

    from redis.asyncio import Redis

    Client: TypeAlias = Redis | RedisCluster


class Notes:
    """What was learnt of a client, for all sessions on it.

    Attributes:
        refused_until: when to try scripts again, which the server has refused.
        warned: whether that was said.
        sent: the scripts that it was sent, and so knows, unless it was restarted.
    """

    def __init__(self) -> None:
        self.refused_until = 0.0
        self.warned = False
        self.sent: set[Any] = set()
        self._pid = os.getpid()
        self._loop: ref[asyncio.AbstractEventLoop] | None = None
        self._guard: AsyncGenerator[None] | None = None

    def is_forked(self) -> bool:
        """Return whether this is another process than it was; only the first to ask is told."""
        known, self._pid = self._pid, os.getpid()
        return known != self._pid

    def close_with_loop(self, client: Client) -> None:
        """Let the end of this event loop close the client's connections."""
        loop = asyncio.get_running_loop()
        if self._loop is None or self._loop() is not loop:
            self._loop, self._guard = ref(loop), _guard(client)


class Clients(Protocol):
    """Where a session's client comes from."""

    notes: Notes

    def here(self) -> Client:
        """Return the client to send with at once, before anything else is awaited.

        Raises:
            RuntimeError: it belongs to another event loop, which is still open.
        """

    async def close(self) -> None:
        """Close what is the session's own."""


class Given:
    """A client that the caller has made, and closes.

    Args:
        client: any asynchronous client of redis-py.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._home = home_of(client)
        self.notes = _notes.get(client) or _notes.setdefault(client, Notes())

    def here(self) -> Client:
        """Return the client, without its connections of elsewhere."""
        if self._home.is_unknown and (loop := _loop_of(self._client)):
            self._home.is_in(loop)
        if self._home.has_moved():
            _forget_connections(self._client, forked=self.notes.is_forked())
        self.notes.close_with_loop(self._client)
        return self._client

    async def close(self) -> None:
        """Leave it open: it is the caller's."""


_notes: WeakKeyDictionary[Client, Notes] = WeakKeyDictionary()


class Made:
    """Clients that are made as they are needed, one for each event loop.

    Args:
        make: makes one; nothing connects before it is used.
    """

    def __init__(self, make: Callable[[], Redis]) -> None:
        self._make = make
        self._clients: dict[asyncio.AbstractEventLoop, tuple[Redis, AsyncGenerator[None]]] = {}
        self.notes = Notes()

    def here(self) -> Client:
        """Return the client of this event loop."""
        if self.notes.is_forked():
            _left_alone.append(self._clients)
            self._clients = {}
        loop = asyncio.get_running_loop()
        known = self._clients.get(loop)
        if known is None:
            for other in [other for other in self._clients if other.is_closed()]:
                _forget_connections(self._clients.pop(other)[0], forked=False)
            client = self._make()
            self._clients[loop] = client, _guard(client)
            return client
        return known[0]

    async def close(self) -> None:
        """Close the client of this event loop; those of others are closed when these end."""
        if not self.notes.is_forked() and (
            known := self._clients.pop(asyncio.get_running_loop(), None)
        ):
            client, guard = known
            await client.aclose(close_connection_pool=True)
            await guard.aclose()


_left_alone: list[Any] = []
"""Connections of the process that this one was forked from. To close one, or to let Python do
it, would take it from the event loop over there: the two share what watches the sockets."""


def _guard(client: Client) -> AsyncGenerator[None]:
    """Return what closes the client's connections when this event loop ends.

    An event loop's ``shutdown_asyncgens``, which ``asyncio.run`` calls, ends the generators
    that were begun in it, while they can still await something.
    """
    guard = _until_loop_ends(ref(client))
    with suppress(StopIteration):  # it has got to its yield, and waits for nothing there
        guard.__anext__().send(None)
    return guard


async def _until_loop_ends(client: ref[Client]) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        left = client()
        if isinstance(left, RedisCluster):
            await left.aclose()
            for node in _nodes_of(left):  # aclose leaves those of one that is to look around anew
                await node.disconnect()
        elif left is not None:
            for one in _clients_of(left):
                await one.aclose(close_connection_pool=False)  # gives back its one connection
                await one.connection_pool.disconnect()


def _clients_of(client: Redis) -> Iterable[Redis]:
    """The client, and those that ask the Sentinels for it."""
    watching = getattr(client.connection_pool, "sentinel_manager", None)
    return [client, *(watching.sentinels if watching else ())]


def _loop_of(client: Client) -> asyncio.AbstractEventLoop | None:
    """The event loop in which the application itself has used the client, if it has."""
    if isinstance(client, RedisCluster):
        connections = [one for node in _nodes_of(client) for one in node._connections]
    else:
        connections = [*client.connection_pool._available_connections]
    loops = (getattr(connection._writer, "_loop", None) for connection in connections)
    return next(filter(None, loops), None)


def _nodes_of(client: RedisCluster) -> list[Any]:
    """The nodes that have connections; two may have one name, and are equal then."""
    nodes = client.nodes_manager
    return [*nodes.nodes_cache.values(), *nodes.startup_nodes.values()]


def _forget_connections(client: Client, *, forked: bool) -> None:
    """Make as if the client had never connected; send nothing, await nothing."""
    let_go = _left_alone.append if forked else _close_at_once
    if isinstance(client, RedisCluster):
        for node in _nodes_of(client):
            let_go(node._connections)
            node._connections = []
            node._free.clear()
        _renew_locks(client)
        nodes = client.nodes_manager
        if hasattr(nodes, "_initialize_lock"):  # it has slots, so no __dict__
            nodes._initialize_lock = asyncio.Lock()
        return
    for one in _clients_of(client):
        pool = one.connection_pool
        let_go([*pool._available_connections, *pool._in_use_connections])
        one.connection = None  # of a single_connection_client; it is of the pool, too
        pool.reset()
        for thing in (one, pool, *pool.connection_kwargs.values()):
            _renew_locks(thing)


def _renew_locks(thing: object) -> None:
    """A lock is of the event loop in which somebody first waited for it, and may be held."""
    for name, value in list(getattr(thing, "__dict__", {}).items()):
        if isinstance(value, (asyncio.Lock, asyncio.Condition)):
            setattr(thing, name, type(value)())


def _close_at_once(connections: Iterable[Any]) -> None:
    """Close connections whose event loop was closed before them, without waiting for it."""
    for connection in connections:
        writer = connection._writer
        connection._writer = connection._reader = None
        if writer is not None:
            with suppress(RuntimeError):  # the event loop is closed
                writer.close()
            # What the event loop would have called next (asyncio's own transports have it).
            getattr(writer.transport, "_call_connection_lost", _nothing)(None)


def _nothing(_: None) -> None: ...
