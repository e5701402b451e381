"""Mixins that make two classes of an application the tables of its conversations.

They work on any declarative base and with any user model::

    class AgentSession(AgentSessionMixin, Base):
        __user_model__ = "Account"
        __user_key__ = "account.id"

    class SessionMessage(SessionMessageMixin, Base): ...

The user model needs no change: it gets the relationship ``agent_sessions``. If it declares that
relationship itself, set ``__user_back_populates__ = "agent_sessions"``.
"""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID, uuid4

from advanced_alchemy.mixins import AuditColumns, UUIDPrimaryKey
from advanced_alchemy.types import GUID
from sqlalchemy import (
    JSON,
    BigInteger,
    Enum,
    ForeignKey,
    Index,
    String,
    Text,
    UniqueConstraint,
    event,
)
from sqlalchemy.orm import Mapped, backref, declared_attr, mapped_column, relationship

from openai_agents_session.database._lease_table import add_lease_table
from openai_agents_session.database.types import MAX_NAME, MessageRole, SessionKey


class _Row(UUIDPrimaryKey, AuditColumns):
    """The columns of both: a key, and when the row was made and changed."""

    # With its type, which is the migration's: a base without advanced-alchemy's map of types
    # would choose another.
    id: Mapped[UUID] = mapped_column(
        GUID(length=16), default=uuid4, primary_key=True, sort_order=-100
    )


class AgentSessionMixin(_Row):
    """A conversation of a user.

    ``__user_model__`` is the name of the user's class, ``__user_key__`` the table and column
    of its key, ``__message_model__`` the name of the class with ``SessionMessageMixin``. A class
    with ``__table_args__`` of its own keeps these: ``(*super().__table_args__, …)`` in a
    ``declared_attr.directive``.

    Beside the class's table, its metadata gets one more, which is named after it, such as
    ``agent_session_lease``. It is needed where leases are taken, and nowhere else.
    """

    __tablename__ = "agent_session"
    __user_model__: ClassVar[str] = "User"
    __user_key__: ClassVar[str] = "user_account.id"
    __message_model__: ClassVar[str] = "SessionMessage"
    __user_back_populates__: ClassVar[str | None] = None

    session_id: Mapped[str] = mapped_column(SessionKey(), index=True)
    """Names the conversation; unique for each user."""
    session_name: Mapped[str | None] = mapped_column(String(MAX_NAME))
    description: Mapped[str | None] = mapped_column(Text)
    is_active: Mapped[bool] = mapped_column(default=True)
    agent_name: Mapped[str | None] = mapped_column(String(MAX_NAME))
    agent_instructions: Mapped[str | None] = mapped_column(Text)
    last_position: Mapped[int] = mapped_column(BigInteger, default=0)
    """The position of the newest message that was ever written. It only grows."""

    @declared_attr
    def user_id(cls) -> Mapped[UUID]:
        """The user's key, of the type that it has in the user's table."""
        return mapped_column(ForeignKey(cls.__user_key__, ondelete="CASCADE"))

    @declared_attr
    def user(cls) -> Mapped[Any]:
        """The user; the other way it is ``agent_sessions``."""
        if cls.__user_back_populates__:
            return relationship(cls.__user_model__, back_populates=cls.__user_back_populates__)
        return relationship(
            cls.__user_model__,
            backref=backref("agent_sessions", cascade="all, delete-orphan", passive_deletes=True),
        )

    @declared_attr
    def messages(cls) -> Mapped[list[Any]]:
        """The messages, oldest first; loaded only when asked for."""
        return relationship(
            cls.__message_model__,
            back_populates="session",
            cascade="all, delete-orphan",
            passive_deletes=True,
            order_by=f"{cls.__message_model__}.position",
        )

    @declared_attr.directive
    def __table_args__(cls) -> Any:
        """One conversation of an id for each user; an index for listing the newest."""
        table = cls.__tablename__
        return (
            UniqueConstraint("user_id", "session_id", name=f"uq_{table}_user_id_session_id"),
            Index(f"ix_{table}_user_id_updated_at", "user_id", "updated_at"),
        )


event.listen(AgentSessionMixin, "after_mapper_constructed", add_lease_table, propagate=True)


class SessionMessageMixin(_Row):
    """An item of a conversation.

    ``extra_data`` is the item, whole and exact; ``role``, ``content``, ``tool_call_id`` and
    ``tool_name`` are derived from it for people and queries, and never read back.
    ``__session_model__`` is the name of the class with ``AgentSessionMixin``,
    ``__session_key__`` the table and column of its key.
    """

    __tablename__ = "session_message"
    __session_model__: ClassVar[str] = "AgentSession"
    __session_key__: ClassVar[str] = "agent_session.id"

    position: Mapped[int] = mapped_column(BigInteger)
    """Orders the messages of a conversation; gaps mean nothing."""
    role: Mapped[MessageRole] = mapped_column(
        Enum(
            MessageRole,
            name="message_role",
            native_enum=False,
            create_constraint=True,
            length=16,
            values_callable=lambda roles: [role.value for role in roles],
        )
    )
    content: Mapped[str] = mapped_column(Text, default="")
    tool_call_id: Mapped[str | None] = mapped_column(Text)
    tool_name: Mapped[str | None] = mapped_column(Text)
    extra_data: Mapped[Any] = mapped_column(JSON)
    """The item. One that strict JSON cannot hold (NaN, infinities) is a string of its text."""

    @declared_attr
    def agent_session_id(cls) -> Mapped[UUID]:
        """The conversation's key."""
        return mapped_column(ForeignKey(cls.__session_key__, ondelete="CASCADE"))

    @declared_attr
    def session(cls) -> Mapped[Any]:
        """The conversation."""
        return relationship(cls.__session_model__, back_populates="messages")

    @declared_attr.directive
    def __table_args__(cls) -> Any:
        """A position is taken once in a conversation."""
        return (
            UniqueConstraint(
                "agent_session_id",
                "position",
                name=f"uq_{cls.__tablename__}_agent_session_id_position",
            ),
        )
