"""Clients of redis-py: which one may be used here.

A connection works only in the event loop that opened it, and after a fork two processes would
read each other's answers. A client that was passed in is made to forget such connections; what
was made from a URL has a client for each event loop. When an event loop ends, the connections in
it are closed.

redis-py has no way to forget a connection, so this module knows its private attributes.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary, WeakSet

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.client import Pipeline

from openai_agents_session._home import at_end_of_loop, home_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Client: TypeAlias = Redis | RedisCluster
    Clients: TypeAlias = "SharedClient | OwnClients"


@dataclass
class ScriptSupport:
    """What is known of scripts on a server, for all sessions on one client.

    Attributes:
        refused_until: when to try scripts again; 0 unless the server has refused them.
        loaded: the scripts that the server was sent; it has them unless it was restarted.
    """

    refused_until: float = 0.0
    loaded: set[Any] = field(default_factory=set)


def checked_client(name: str, client: Client) -> Client:
    """Return an asynchronous client of redis-py, or say what is wrong with it.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(client, (Redis, RedisCluster)) or isinstance(client, Pipeline):
        kind = type(client)
        raise TypeError(
            f"{name} must be an asynchronous client, redis.asyncio.Redis or "
            f"redis.asyncio.RedisCluster, not {kind.__module__}.{kind.__qualname__}"
        )
    return client


class SharedClient:
    """A client that the application has made, and closes.

    Args:
        client: any asynchronous client of redis-py.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._home = home_of(client)
        self.scripts = _scripts.get(client) or _scripts.setdefault(client, ScriptSupport())

    def current(self) -> Client:
        """Return the client for the running event loop. Use it before awaiting anything else.

        Raises:
            RuntimeError: it belongs to another event loop, which is still open.
        """
        is_new = self._home.is_unknown
        if is_new and (loop := _loop_of(self._client)):
            self._home.set_loop(loop)
        if self._home.move_here():
            _forget_connections(self._client, _close_at_once)
            is_new = True
        if is_new:
            _disconnect_at_end_of_loop(self._client)
        return self._client

    def check_open(self) -> None:
        """Do nothing: the session goes on after ``close``, which is for what is its own."""

    async def close(self) -> None:
        """Leave the client open."""


_scripts: WeakKeyDictionary[Client, ScriptSupport] = WeakKeyDictionary()


class OwnClients:
    """Clients that are made when they are needed, one for each event loop.

    Args:
        make: makes one; nothing connects before it is used.
        owner: whose they are, for an error's text.
    """

    def __init__(self, make: Callable[[], Client], owner: str) -> None:
        self._make = make
        self._owner = owner
        self._clients: dict[asyncio.AbstractEventLoop, Client] = {}
        self._is_closed = False
        self.scripts = ScriptSupport()

    def current(self) -> Client:
        """Return the client for the running event loop. Use it before awaiting anything else."""
        self.check_open()
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            for other in [other for other in self._clients if other.is_closed()]:
                _forget_connections(self._clients.pop(other), _close_at_once)
            client = self._clients[loop] = self._make()
            _disconnect_at_end_of_loop(client)
        return client

    def check_open(self) -> None:
        """Raise RuntimeError after ``close``."""
        if self._is_closed:
            raise RuntimeError(f"{self._owner} was closed and its client with it; make a new one")

    async def close(self) -> None:
        """Close the client of this event loop; those of others are closed when these end."""
        self._is_closed = True
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await _disconnect(client)


# ------------------------------------------------- connections, as redis-py keeps them

_in_use: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakSet[Client]] = WeakKeyDictionary()
"""The clients that sessions have used in each event loop."""

_inherited: list[Any] = []
"""Connections of the process that this one was forked from. To close one, or to have Python
collect it, would take it from the parent's event loop: both share what watches the sockets."""


def _disconnect_at_end_of_loop(client: Client) -> None:
    _in_use.setdefault(asyncio.get_running_loop(), WeakSet()).add(client)
    at_end_of_loop(_disconnect_all)


async def _disconnect_all(loop: asyncio.AbstractEventLoop) -> None:
    await asyncio.gather(*map(_disconnect, _in_use.pop(loop, ())), return_exceptions=True)


async def _disconnect(client: Client) -> None:
    if isinstance(client, RedisCluster):
        await client.aclose()
        for node in _nodes_of(client):  # aclose leaves those of one that is to look around anew
            await node.disconnect()
        return
    for one in _clients_of(client):
        await one.aclose(close_connection_pool=False)  # gives back its one connection
        await one.connection_pool.disconnect()


def _leave_to_parent() -> None:
    """Forget the connections that this process was forked with."""
    for clients in _in_use.values():
        for client in clients:
            _forget_connections(client, _inherited.append)
    _in_use.clear()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_leave_to_parent)


def _clients_of(client: Redis) -> Iterable[Redis]:
    """Return the client, and those that ask the Sentinels for it."""
    watching = getattr(client.connection_pool, "sentinel_manager", None)
    return [client, *(watching.sentinels if watching else ())]


def _nodes_of(client: RedisCluster) -> list[Any]:
    """Return the nodes that have connections; two may have one name, and are equal then."""
    nodes = client.nodes_manager
    return [*nodes.nodes_cache.values(), *nodes.startup_nodes.values()]


def _loop_of(client: Client) -> asyncio.AbstractEventLoop | None:
    """Return the event loop in which the application itself has used the client, if it has."""
    if isinstance(client, RedisCluster):
        connections = [one for node in _nodes_of(client) for one in node._connections]
    else:
        connections = [*client.connection_pool._available_connections]
    loops = (getattr(connection._writer, "_loop", None) for connection in connections)
    return next(filter(None, loops), None)


def _forget_connections(client: Client, let_go: Callable[[list[Any]], None]) -> None:
    """Make as if the client had never connected; send nothing, await nothing."""
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
            getattr(writer.transport, "_call_connection_lost", lambda _: None)(None)
