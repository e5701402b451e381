"""Conversations, their messages, and a minimal table of users where the application has none.

The main option ``openai_agents_session_user_table`` of the Alembic configuration names the
application's own table of users. Its column ``id`` is referred to, and it is neither made nor
dropped here. Without the option, ``user_account`` is.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from advanced_alchemy.types import GUID, DateTimeUTC
from alembic import context, op

revision = "oas_0001"
down_revision = None
branch_labels = ("openai_agents_session",)
depends_on = None

SHIPPED = "user_account"
OPTION = "openai_agents_session_user_table"


def upgrade() -> None:
    """Make the tables."""
    users = context.config.get_main_option(OPTION)
    if users is None:
        _create_users()
    name = users or SHIPPED
    op.create_table(
        "agent_session",
        _key(),
        sa.Column("session_id", sa.String(2000), nullable=False),
        sa.Column("session_name", sa.String(255)),
        sa.Column("description", sa.Text),
        sa.Column("is_active", sa.Boolean, nullable=False),
        sa.Column("agent_name", sa.String(255)),
        sa.Column("agent_instructions", sa.Text),
        sa.Column("last_position", sa.BigInteger, nullable=False),
        sa.Column("user_id", _type_of_key(users), nullable=False),
        *_audit(),
        sa.PrimaryKeyConstraint("id", name="pk_agent_session"),
        sa.ForeignKeyConstraint(
            ["user_id"],
            [f"{name}.id"],
            name=f"fk_agent_session_user_id_{name.rpartition('.')[2]}",
            ondelete="CASCADE",
        ),
        sa.UniqueConstraint("user_id", "session_id", name="uq_agent_session_user_id_session_id"),
    )
    op.create_index("ix_agent_session_session_id", "agent_session", ["session_id"])
    op.create_index(
        "ix_agent_session_user_id_updated_at", "agent_session", ["user_id", "updated_at"]
    )
    roles = ", ".join(f"'{role}'" for role in ("user", "assistant", "system", "tool"))
    op.create_table(
        "session_message",
        _key(),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("tool_call_id", sa.Text),
        sa.Column("tool_name", sa.Text),
        sa.Column("extra_data", sa.JSON, nullable=False),
        sa.Column("agent_session_id", GUID(length=16), nullable=False),
        *_audit(),
        sa.PrimaryKeyConstraint("id", name="pk_session_message"),
        sa.ForeignKeyConstraint(
            ["agent_session_id"],
            ["agent_session.id"],
            name="fk_session_message_agent_session_id_agent_session",
            ondelete="CASCADE",
        ),
        sa.UniqueConstraint(
            "agent_session_id", "position", name="uq_session_message_agent_session_id_position"
        ),
        sa.CheckConstraint(f"role IN ({roles})", name=op.f("ck_session_message_message_role")),
    )


def downgrade() -> None:
    """Drop the tables, with all that is in them."""
    made_users = context.config.get_main_option(OPTION) is None
    if made_users:
        _check_users()
    op.drop_table("session_message")
    op.drop_table("agent_session")
    if made_users:
        op.drop_table(SHIPPED)


def _create_users() -> None:
    if not context.is_offline_mode() and sa.inspect(op.get_bind()).has_table(SHIPPED):
        raise RuntimeError(
            f"there is a table {SHIPPED} already; if it is the application's own, say so with "
            f"{OPTION} = {SHIPPED} in the Alembic configuration, or --user-table {SHIPPED}"
        )
    op.create_table(SHIPPED, _key(), *_audit(), sa.PrimaryKeyConstraint("id", name=f"pk_{SHIPPED}"))


def _check_users() -> None:
    """Refuse to drop a table of users that is not the one that was made here."""
    if context.is_offline_mode():
        return
    own = {column.name for column in (_key(), *_audit())}
    found = {column["name"] for column in sa.inspect(op.get_bind()).get_columns(SHIPPED)}
    if found != own:
        raise RuntimeError(
            f"{SHIPPED} has columns of the application's, and is not dropped; set "
            f"{OPTION} = {SHIPPED} in the Alembic configuration, or --user-table {SHIPPED}"
        )


def _key() -> sa.Column[Any]:
    return sa.Column("id", GUID(length=16), nullable=False)


def _audit() -> list[sa.Column[Any]]:
    return [
        sa.Column("sa_orm_sentinel", sa.Integer),
        sa.Column("created_at", DateTimeUTC(timezone=True), nullable=False),
        sa.Column("updated_at", DateTimeUTC(timezone=True), nullable=False),
    ]


def _type_of_key(users: str | None) -> Any:
    """The type of the users' keys: that of the application's table, or the shipped one's."""
    if users is None or context.is_offline_mode():
        return GUID(length=16)
    schema, _, table = users.rpartition(".")
    columns = sa.inspect(op.get_bind()).get_columns(table, schema or None)
    found = next((column["type"] for column in columns if column["name"] == "id"), None)
    if found is None:
        raise RuntimeError(f"{users} must have a column id, the key of a user")
    # SQLite has no such type as BINARY(16), and reflects it as a number of 16 digits.
    return GUID(length=16) if str(found) == "NUMERIC(16)" else found
