"""From a store's URL to an engine: whose each option is, and what is said of a wrong one.

An error quotes no part of the URL but the names in it, since there may be a password.
"""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import create_async_engine

from openai_agents_session._options import FLAG, TEXT, read_options
from openai_agents_session.database._driver import DIALECTS

if TYPE_CHECKING:
    from sqlalchemy import URL
    from sqlalchemy.ext.asyncio import AsyncEngine

EXAMPLES = "sqlite+aiosqlite:///app.db or postgresql+asyncpg://user@host:5432/app"

OPTIONS = ("user_id", "session_model", "session_settings", "setup")
"""The options of a store; all others are SQLAlchemy's, or the driver's."""

_IN_URL = {"user_id": TEXT, "setup": FLAG}
"""Those that a text can say."""

_OF_SQLITE = {
    *("timeout", "detect_types", "isolation_level", "check_same_thread", "cached_statements"),
    *("uri", "mode", "cache", "immutable", "nolock", "psow", "vfs"),  # the last of a file's URI
}


def engine_of(url: str, options: dict[str, Any]) -> tuple[AsyncEngine, dict[str, Any]]:
    """Make the engine that a URL names, without a connection.

    Args:
        url: as SQLAlchemy reads it, with options of the store in its query.
        options: of the store, and of SQLAlchemy's ``create_async_engine``. They go before what
            the URL says.

    Returns:
        The engine, and the options of the store.

    Raises:
        TypeError: the URL is no text, or there is no such option.
        ValueError: the URL cannot be read or names another database or a synchronous driver, or
            there is no such option in it, or it has a wrong value.
        ModuleNotFoundError: the driver is not installed.
    """
    parsed = parsed_url(url)
    if parsed.get_backend_name() not in DIALECTS:
        raise ValueError(
            f"{parsed.drivername}:// is no database that is supported; the url must be like "
            f"{EXAMPLES}"
        )
    store = {name: options.pop(name) for name in OPTIONS if name in options}
    said = [(name, text) for name, texts in parsed.normalized_query.items() for text in texts]
    store = {**read_options(said, _IN_URL), **store}
    parsed = parsed.difference_update_query(_IN_URL)
    known = _driver_options(parsed)
    unknown = set(parsed.query) - known
    if unknown:
        raise ValueError(
            f"there is no option {', '.join(map(repr, sorted(unknown)))} in a url of a SQL store; "
            f"the options are {', '.join(_IN_URL)}, and the driver's: {', '.join(sorted(known))}"
        )
    try:
        engine = create_async_engine(parsed, **{"hide_parameters": True, **options})
    except TypeError as error:
        if "Invalid argument" not in str(error):
            raise
        raise TypeError(
            f"there is no such option among {', '.join(map(repr, sorted(options)))}; the options "
            f"are {', '.join(OPTIONS)}, and those of sqlalchemy.ext.asyncio.create_async_engine"
        ) from None
    return engine, store


def parsed_url(url: str) -> URL:
    """Return a database's URL, of an asynchronous driver.

    Raises:
        TypeError: it is no text.
        ValueError: it cannot be read, or the driver is a synchronous one.
    """
    if not isinstance(url, str):
        raise TypeError(f"url must be a str, not {type(url).__name__}")
    try:
        parsed = make_url(url)
    except ValueError:
        raise ValueError(
            f"the port in the database's url is not a number; a url is like {EXAMPLES}"
        ) from None
    except ArgumentError:
        raise ValueError(f"SQLAlchemy cannot parse the url; it must be like {EXAMPLES}") from None
    try:
        dialect = parsed.get_dialect().get_async_dialect_cls(parsed)
    except ArgumentError:
        raise ValueError(
            f"SQLAlchemy knows no {parsed.drivername}://; a url is like {EXAMPLES}"
        ) from None
    if not dialect.is_async:
        raise ValueError(
            f"{parsed.drivername} is no asynchronous driver; name one, as {EXAMPLES} do"
        )
    return parsed


def _driver_options(url: URL) -> set[str]:
    """Return the options that the driver takes from a URL's query."""
    if url.get_backend_name() == "sqlite":
        return _OF_SQLITE
    driver: Any = url.get_dialect().get_async_dialect_cls(url).import_dbapi()
    if hasattr(driver, "asyncpg"):
        return {*signature(driver.asyncpg.connect).parameters, "prepared_statement_cache_size"}
    names = {option.keyword.decode() for option in driver.psycopg.pq.Conninfo.get_defaults()}
    return names | {"prepare_threshold", "autocommit"}
