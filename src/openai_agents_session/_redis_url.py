"""From a URL and options to a way to make clients; what redis-py cannot use is told at once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from redis.asyncio import BlockingConnectionPool, Redis

if TYPE_CHECKING:
    from collections.abc import Callable

_VALKEY = re.compile(r"^valkey(s?)://", re.IGNORECASE)
_UNEXPECTED = re.compile(r"unexpected keyword argument '(\w+)'")


def client_maker(url: str, options: dict[str, Any]) -> Callable[[], Redis]:
    """Return a function that makes a client with a pool of its own.

    Args:
        url: as redis-py reads it; Valkey's schemes as well.
        options: of the pool and its connections, and ``single_connection_client``.

    Raises:
        TypeError: the URL is no str, or redis-py has no such option.
        ValueError: redis-py cannot read the URL, or knows no such option in it.
    """
    if not isinstance(url, str):
        raise TypeError(f"url must be a str, not {type(url).__name__}")
    url = _VALKEY.sub(r"redis\1://", url)
    options = {**options}
    single = options.pop("single_connection_client", False)

    def make() -> Redis:
        pool = BlockingConnectionPool.from_url(url, **options)
        return Redis(connection_pool=pool, single_connection_client=single)

    try:
        make().connection_pool.make_connection()  # nothing connects yet
    except ValueError:
        raise ValueError(
            "redis-py cannot read the url or an option in it; it must look like "
            "redis://[user:password@]host:port/db, rediss://… or unix:///path, with other "
            "characters than letters and digits percent-encoded in the password"
        ) from None  # redis-py's error may quote the password
    except TypeError as error:
        found = _UNEXPECTED.search(str(error))
        if found is None:
            raise
        of_url = found[1] not in options
        raise (ValueError if of_url else TypeError)(
            f"redis-py has no option {found[1]!r}, which was given {'in the url' * of_url}"
            f"{'by keyword' * (not of_url)}; there are those of its BlockingConnectionPool and "
            "of its connections"
        ) from None
    return make
