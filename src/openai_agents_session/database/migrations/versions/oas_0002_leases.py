"""Leases on conversations.

The users' keys have the type that they have in ``agent_session``. Without a database to ask, as
with Alembic's ``--sql``, it is the shipped one.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from advanced_alchemy.types import GUID
from alembic import context, op

revision = "oas_0002"
down_revision = "oas_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "agent_session_lease",
        sa.Column("user_id", _type_of_key(), nullable=False),
        sa.Column("session_id", sa.String(2000), nullable=False),
        sa.Column("holder", sa.String(64), nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("waiting", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("user_id", "session_id", name="pk_agent_session_lease"),
    )


def downgrade() -> None:
    """Drop the table: nobody holds a lease any more."""
    op.drop_table("agent_session_lease")


def _type_of_key() -> Any:
    if context.is_offline_mode():
        return GUID(length=16)
    columns = sa.inspect(op.get_bind()).get_columns("agent_session")
    found = next(column["type"] for column in columns if column["name"] == "user_id")
    # SQLite has no such type as BINARY(16), and reflects it as a number of 16 digits.
    return GUID(length=16) if str(found) == "NUMERIC(16)" else found
