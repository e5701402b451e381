"""Users: the rows of ``user_account``, which a store makes and deletes for its users.

Only in the table as it is shipped. One with other columns is the application's, as is a table of
another name that the conversations refer to: its rows are not touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError, NoSuchTableError

from openai_agents_session.database.models import Base, User

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection

_TABLE = Base.metadata.tables[User.__tablename__]


class Users:
    """The shipped table of users, in one database."""

    def __init__(self) -> None:
        self._is_shipped: bool | None = None

    async def add(self, connection: AsyncConnection, user: Any) -> None:
        """Make a user's row if there is none, also where somebody else makes it now."""
        if await self._check(connection):
            kind = sqlite if connection.dialect.name == "sqlite" else postgresql
            row = kind.insert(_TABLE).values(id=user).on_conflict_do_nothing()
            await connection.execute(row)

    async def remove(self, connection: AsyncConnection, user: Any) -> None:
        """Delete a user's row, unless something else refers to it."""
        if await self._check(connection):
            try:
                async with connection.begin_nested():
                    await connection.execute(delete(_TABLE).where(_TABLE.c.id == user))
            except IntegrityError:
                pass

    async def _check(self, connection: AsyncConnection) -> bool:
        """Whether the table is as it is shipped; asked until there is one."""
        if self._is_shipped is None:
            found = await connection.run_sync(_columns)
            if found is None:
                return False
            self._is_shipped = found == set(_TABLE.c.keys())
        return self._is_shipped


def _columns(connection: Connection) -> set[str] | None:
    """Return the names of the columns that the table has; None if there is no such table."""
    options = connection.get_execution_options()
    schema = (options.get("schema_translate_map") or {}).get(None)
    try:
        columns = inspect(connection).get_columns(_TABLE.name, schema)
    except NoSuchTableError:
        return None
    return {column["name"] for column in columns}
