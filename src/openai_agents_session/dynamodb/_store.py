"""DynamoDBStore: its arguments, and whose client it uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agents.memory.session_settings import coerce_session_settings

from openai_agents_session._arguments import checked_flag, checked_ttl
from openai_agents_session._store import BaseStore
from openai_agents_session.dynamodb._catalog import DynamoDBCatalog
from openai_agents_session.dynamodb._driver import Table
from openai_agents_session.dynamodb._session import checked_room
from openai_agents_session.dynamodb._urls import OwnTable, parsed

if TYPE_CHECKING:
    from agents import SessionSettings
    from aiobotocore.client import AioBaseClient
    from typing_extensions import Self


class DynamoDBStore(BaseStore):
    """All conversations in a DynamoDB table.

    A user's conversations are listed by the index ``by_user``: ``setup`` makes it, and so does
    ``create_table_if_not_exists(…, users=True)``. It is a moment behind; ``get`` is not.

    Args:
        client: an aiobotocore client for DynamoDB that was entered. You close it yourself.
        table: the table's name or ARN.
        ttl: seconds that a conversation lives after it was last written to, changed or touched.
            None keeps it, and doesn't touch an expiry that something else has set.
        page_bytes: as for ``DynamoDBSession``, in bytes.
        session_settings: of the store's sessions: the SDK's ``SessionSettings``, or a dict of
            its fields.

    Raises:
        TypeError: the client is not an entered aiobotocore client for DynamoDB, or another
            argument has the wrong type.
        ValueError: the table's name is empty, ``ttl`` is not positive, or ``page_bytes`` is out
            of its range.
    """

    def __init__(
        self,
        client: AioBaseClient,
        table: str,
        *,
        ttl: int | None = None,
        page_bytes: int | None = None,
        session_settings: SessionSettings | dict[str, Any] | None = None,
    ) -> None:
        self._own: OwnTable | None = None
        self._use(Table(client, table), ttl, page_bytes, session_settings)

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """Make a store with a client of its own, which is opened and closed by ``async with``.

        Args:
            url: ``dynamodb://TABLE``, with options after a ``?``. Percent-encode an ARN.
            options: ``ttl``, ``page_bytes`` and ``session_settings`` as for the class; ``region``
                and ``endpoint_url``, by default those of the environment; ``setup=True`` calls
                ``setup`` when the store is opened; and the options of aiobotocore's
                ``create_client``, such as ``config``. All but ``session_settings`` and those of
                ``create_client`` may stand in the URL; what is passed goes before that.

        Raises:
            TypeError: the URL is no text, there is no such option, or one has the wrong type.
            ValueError: the URL names no table, has credentials or an unknown option, or an
                option has a wrong value.
        """
        place = parsed(url, options)
        store = cls.__new__(cls)
        store._own = OwnTable(place.table, place.client)
        store._setup = checked_flag("setup", place.store.pop("setup"))
        values = (place.store.get(name) for name in ("ttl", "page_bytes", "session_settings"))
        store._use(store._own, *values)
        return store

    def _use(
        self,
        table: Table,
        ttl: int | None,
        page_bytes: int | None,
        session_settings: SessionSettings | dict[str, Any] | None,
    ) -> None:
        if session_settings is not None:
            session_settings = coerce_session_settings(session_settings)
        self._table = table.name
        self._catalog = DynamoDBCatalog(
            table, checked_ttl("ttl", ttl), checked_room(page_bytes), session_settings
        )

    async def close(self) -> None:
        """Close the client that the store has made itself; a client that was passed stays open."""
        if self._own:
            await self._own.close()

    async def _open(self) -> None:
        if self._own:
            await self._own.open()

    def __repr__(self) -> str:
        return f"DynamoDBStore(table={self._table!r})"
