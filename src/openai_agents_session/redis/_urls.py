"""From a URL to clients: one server, a cluster, or the master behind Sentinels."""

from __future__ import annotations

import inspect
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from redis.asyncio import BlockingConnectionPool, Connection, Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import AbstractConnection, SSLConnection, parse_url
from redis.exceptions import RedisClusterException

from openai_agents_session._options import FLAG, TEXT, WHOLE_NUMBER, read_options

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable

    from openai_agents_session.redis._clients import Client

_VALKEY = re.compile(r"^valkey(s?)://", re.IGNORECASE)
_MANY = re.compile(r"^(rediss?)\+(cluster|sentinel)://", re.IGNORECASE)
_UNEXPECTED = re.compile(r"unexpected keyword argument '(\w+)'")


def client_maker(
    url: str, options: dict[str, Any], own: Collection[str] = ()
) -> Callable[[], Client]:
    """Return a function that makes a client with a pool of its own; nothing connects yet.

    Args:
        url: as redis-py reads it, Valkey's schemes, and those of ``RedisStore.from_url``.
        options: of the client, its pool and its connections.
        own: names of other options that there are, for an error's text.

    Raises:
        TypeError: the URL is no str, or redis-py has no such option.
        ValueError: redis-py cannot read the URL, or knows no such option in it.
    """
    if not isinstance(url, str):
        raise TypeError(f"url must be a str, not {type(url).__name__}")
    url = _VALKEY.sub(r"redis\1://", url)
    many = _MANY.match(url)
    with _explained(options, own):
        if many is None:
            return _single(url, options)
        url = f"{many[1].lower()}://{url[many.end() :]}"
        return (_cluster if many[2].lower() == "cluster" else _sentinel)(url, options)


def _single(url: str, options: dict[str, Any]) -> Callable[[], Redis]:
    options = {**options}
    single = options.pop("single_connection_client", False)

    def make() -> Redis:
        pool = BlockingConnectionPool.from_url(url, **options)
        return Redis(connection_pool=pool, single_connection_client=single)

    make().connection_pool.make_connection()
    return make


def _cluster(url: str, options: dict[str, Any]) -> Callable[[], RedisCluster]:
    url, nodes = _hosts(url, 6379)

    def make() -> RedisCluster:
        startup = [ClusterNode(host, port) for host, port in nodes]
        return RedisCluster.from_url(url, **{**options, "startup_nodes": startup})

    make()
    return make


def _sentinel(url: str, options: dict[str, Any]) -> Callable[[], Redis]:
    url, sentinels = _hosts(url, 26379)
    parts = urlsplit(url)
    service, _, database = parts.path.strip("/").partition("/")
    if not service:
        raise ValueError
    found: Any = parse_url(parts._replace(path=f"/{database}").geturl())
    of_master: dict[str, Any] = {**options, **found}
    del of_master["host"], of_master["port"]
    if of_master.pop("connection_class", None) is SSLConnection:
        of_master["ssl"] = True
    of_all = {k: v for k, v in of_master.items() if k.startswith(("socket_", "ssl"))}
    of_sentinels = {**of_all, **of_master.pop("sentinel_kwargs", {})}

    def make() -> Redis:
        return Sentinel(sentinels, sentinel_kwargs=of_sentinels).master_for(service, **of_master)

    make().connection_pool.make_connection()
    return make


def _hosts(url: str, default_port: int) -> tuple[str, list[tuple[str, int]]]:
    """Return a URL with the first of its hosts alone, and all of them with their ports."""
    parts = urlsplit(url)
    login, at, hosts = parts.netloc.rpartition("@")
    split = [urlsplit(f"//{host}") for host in hosts.split(",")]
    found = [(each.hostname or "", each.port or default_port) for each in split]
    if not all(host for host, _ in found):
        raise ValueError
    first = split[0].netloc if split[0].port else f"{split[0].netloc}:{default_port}"
    return parts._replace(netloc=f"{login}{at}{first}").geturl(), found


@contextmanager
def _explained(options: Iterable[str], own: Iterable[str]) -> Generator[None]:
    """Say what is wrong with a URL or an option; what redis-py says may quote the password."""
    try:
        yield
    except (ValueError, RedisClusterException):
        raise ValueError(
            "redis-py cannot read the url or an option in it; it must look like "
            "redis://[user:password@]host:port/db, rediss://…, unix:///path, "
            "redis+cluster://[user:password@]host:port[,host:port] or "
            "redis+sentinel://[user:password@]host:port[,host:port]/service[/db], with other "
            "characters than letters and digits percent-encoded in the password"
        ) from None
    except TypeError as error:
        found = _UNEXPECTED.search(str(error))
        if found is None:
            raise
        of_url = found[1] not in options
        raise (ValueError if of_url else TypeError)(
            f"there is no option {found[1]!r}, which was given {'in the url' * of_url}"
            f"{'by keyword' * (not of_url)}; there are {', '.join([*own, *_options()])}"
        ) from None


def _options() -> list[str]:
    """Return the names of redis-py's options for a single server."""
    classes = (BlockingConnectionPool, AbstractConnection, Connection, SSLConnection)
    names = {name for each in classes for name in inspect.signature(each.__init__).parameters}
    not_for_urls = {"self", "args", "kwargs", "connection_kwargs", "connection_class"}
    return sorted(
        name
        for name in names - not_for_urls
        if not name.startswith(("himport", "maint", "orig", "oss"))  # between redis-py's classes
    )


def split_url(url: str) -> tuple[str, dict[str, Any]]:
    """Take the store's own options out of a URL's query.

    Returns:
        The URL without them, and those that were in it: ``key_prefix``, ``setup``, ``ttl``.

    Raises:
        TypeError: the URL is no str.
        ValueError: one has a wrong value.
    """
    if not isinstance(url, str):
        raise TypeError(f"url must be a str, not {type(url).__name__}")
    base, _, query = url.partition("?")
    options = parse_qsl(query, keep_blank_values=True)
    own = read_options(options, _IN_URL)
    if own:
        rest = urlencode([(name, value) for name, value in options if name not in _IN_URL])
        url = f"{base}?{rest}" if rest else base
    return url, own


_IN_URL = {"key_prefix": TEXT, "setup": FLAG, "ttl": WHOLE_NUMBER}
OPTIONS = (*_IN_URL, "session_settings")
"""The store's own options."""
