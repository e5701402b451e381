"""From a URL to a table whose client the library makes itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from inspect import signature
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from aiobotocore.session import get_session
from botocore.session import Session

from openai_agents_session._options import FLAG, TEXT, WHOLE_NUMBER, read_options
from openai_agents_session.dynamodb._driver import Table

IN_URL = {
    "ttl": WHOLE_NUMBER,
    "page_bytes": WHOLE_NUMBER,
    "region": TEXT,
    "endpoint_url": TEXT,
    "setup": FLAG,
}
"""Options of a store that a URL may have."""

OPTIONS = (*IN_URL, "session_settings")
"""Options of a store that is made from a URL."""


@dataclass(frozen=True)
class Place:
    """What a URL and its options say.

    Attributes:
        table: the table's name or ARN.
        store: the store's own options.
        client: the options of the client.
    """

    table: str
    store: dict[str, Any]
    client: dict[str, Any] = field(repr=False)


def parsed(url: str, options: dict[str, Any]) -> Place:
    """Return what a URL says; options that are passed as well go before those in the URL.

    Raises:
        TypeError: the URL is no text, or there is no such option.
        ValueError: the URL names no table or has something else in it, or an option that it has
            is unknown or has a wrong value.
    """
    if not isinstance(url, str):
        raise TypeError(f"url must be a str, not {type(url).__name__}")
    parts = urlsplit(url)
    if parts.scheme != "dynamodb":
        raise ValueError("the url of a table begins with dynamodb://")
    if "@" in parts.netloc:  # what is before it may be a secret, so the URL is not repeated
        raise ValueError(
            "a dynamodb:// url has no credentials: botocore finds them in the environment, or "
            "pass aws_access_key_id and aws_secret_access_key"
        )
    table = unquote(parts.netloc)
    if not table or parts.path not in ("", "/") or parts.fragment:
        raise ValueError(
            "a dynamodb:// url names a table and nothing else, as in dynamodb://TABLE?region=…; "
            "percent-encode an ARN"
        )
    client_options = sorted({*signature(Session.create_client).parameters} - _NO_OPTIONS)
    said = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    if unknown := {name for name, _ in said} - {*IN_URL}:
        raise ValueError(
            f"a dynamodb:// url has no option {_listed(unknown)}; it may have {_listed(IN_URL)}"
        )
    if unknown := options.keys() - {*OPTIONS, *client_options}:
        raise TypeError(
            f"DynamoDBStore.from_url has no option {_listed(unknown)}; it has "
            f"{_listed(OPTIONS)}, and aiobotocore's client has {_listed(client_options)}"
        )
    read = read_options(said, IN_URL) | options
    client = {name: read[name] for name in read if name in client_options}
    if "region" in read:
        client["region_name"] = read["region"]
    store = {name: read[name] for name in ("ttl", "page_bytes", "session_settings") if name in read}
    return Place(table, {**store, "setup": read.get("setup", False)}, client)


_NO_OPTIONS = {"self", "service_name"}


def _listed(names: Any) -> str:
    return ", ".join(sorted(names))


class OwnTable(Table):
    """A table whose client is made when it is opened.

    Args:
        name: the table's name or ARN.
        options: of aiobotocore's client.
    """

    def __init__(self, name: str, options: dict[str, Any]) -> None:
        self.name = name
        self._options = options
        self._opening: Any = None
        self._client: Any = None
        self._was_open = False

    async def open(self) -> None:
        """Make the client.

        Raises:
            RuntimeError: it is open already.
            botocore.exceptions.BotoCoreError: the region is missing, or an option is wrong.
        """
        if self._client is not None:
            raise RuntimeError("the store is open already: enter it once at a time")
        opening = get_session().create_client("dynamodb", **self._options)
        self._use(await opening.__aenter__())
        self._opening, self._was_open = opening, True

    async def close(self) -> None:
        """Close the client, if it is open."""
        opening, self._opening, self._client = self._opening, None, None
        if opening is not None:
            await opening.__aexit__(None, None, None)

    def _check_usable(self) -> None:
        if self._client is None:
            state = "is closed" if self._was_open else "is not open yet"
            raise RuntimeError(
                f"the store {state}: use it, and its sessions, inside 'async with store:'"
            )
        try:
            super()._check_usable()
        except RuntimeError as exc:
            raise RuntimeError(
                "the store was opened in another event loop or process, and its connections work "
                "there alone; nothing was sent. Enter a store in each of them"
            ) from exc
