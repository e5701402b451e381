"""Queries: what is done with conversations, many or one, in one unit of work each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, select, update

from openai_agents_session.database._driver import NUMBER, Transaction
from openai_agents_session.database._statements import KEYS_AT_ONCE, tables_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Row, Select

    from openai_agents_session.database._driver import Work
    from openai_agents_session.database.mixins import AgentSessionMixin


class Queries:
    """Conversations that conditions choose.

    Args:
        work: runs the units of work.
        model: the application's model of a conversation.
    """

    def __init__(self, work: Work, model: type[AgentSessionMixin]) -> None:
        self._work = work
        self._model = model

    async def rows(self, query: Select[Any]) -> Sequence[Row[Any]]:
        """Return the rows that a query finds."""

        async def unit(transaction: Transaction) -> Sequence[Row[Any]]:
            return (await transaction.connection.execute(query)).all()

        return await self._work.read(unit)

    async def select(self, query: Select[Any]) -> Sequence[Any]:
        """Return the conversations that a query finds."""
        # As it is stored, whatever an object that the AsyncSession still has says.
        fresh = query.execution_options(populate_existing=True)

        async def unit(transaction: Transaction) -> Sequence[Any]:
            return (await transaction.session.scalars(fresh)).all()

        return await self._work.read(unit)

    async def change(self, conditions: list[ColumnElement[bool]], values: dict[str, Any]) -> Any:
        """Set columns of one conversation and return it; None where there is none."""
        statement = (
            update(self._model)
            .where(*conditions)
            .values(values)
            .returning(self._model)
            .execution_options(populate_existing=True)
        )

        async def unit(transaction: Transaction) -> Any:
            # Without its number: what is done twice here is as if it was done once.
            return (await transaction.session.scalars(statement)).one_or_none()

        return await self._work.write(unit)

    async def count(self, conditions: list[ColumnElement[bool]]) -> int:
        """Return how many conversations there are."""
        query = select(func.count()).select_from(self._model).where(*conditions)

        async def unit(transaction: Transaction) -> int:
            return await transaction.connection.scalar(query) or 0

        return await self._work.read(unit)

    async def delete(self, conditions: list[ColumnElement[bool]]) -> int:
        """Delete conversations with their messages, and return how many."""
        sessions, messages = tables_of(self._model)
        # Locked, so that one that is written to meanwhile is looked at again and may stay; and
        # in one order, so that two of these do not wait for each other.
        chosen = select(sessions.c.id).where(*conditions).order_by(sessions.c.id).with_for_update()

        async def unit(transaction: Transaction) -> int:
            connection = transaction.connection
            keys = (await connection.scalars(chosen)).all()
            if keys and transaction.dialect.name == "postgresql":
                transaction.number = await connection.scalar(select(NUMBER))
            for start in range(0, len(keys), KEYS_AT_ONCE):
                chunk = keys[start : start + KEYS_AT_ONCE]
                # Messages first: SQLite cascades only where foreign keys are switched on.
                await connection.execute(
                    delete(messages).where(messages.c.agent_session_id.in_(chunk))
                )
                await connection.execute(delete(sessions).where(sessions.c.id.in_(chunk)))
            return len(keys)

        return await self._work.write(unit)
