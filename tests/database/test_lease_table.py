"""The table of leases: it comes with an application's models, however these are mapped."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from openai_agents_session.database import AgentSessionMixin, SessionMessageMixin
from openai_agents_session.database._lease_table import lease_table_of
from openai_agents_session.database._statements import tables_of
from tests.database.test_models import EXTENDED


@pytest.mark.parametrize("users", ["first", "last"])
@pytest.mark.parametrize("base", ["DeclarativeBase", "declarative_base", "registry"])
@pytest.mark.filterwarnings("ignore:.*declarative_base:DeprecationWarning")  # many use it still
def test_the_table_of_leases_comes_with_the_models(users: str, base: str) -> None:
    """However they are mapped, and whether the users' table is there by then or not."""
    registry = orm.registry()

    class Root(DeclarativeBase):
        pass

    roots: dict[str, Any] = {
        "DeclarativeBase": Root,
        "declarative_base": orm.declarative_base(),
        "registry": registry.generate_base(),
    }
    root = roots[base]

    made: list[Any] = []  # SQLAlchemy alone would forget them

    def make_users() -> None:
        columns = {"__tablename__": "person", "id": sa.Column(sa.String(7), primary_key=True)}
        made.append(type("Person", (root,), columns))

    if users == "first":
        make_users()
    names = {"__tablename__": "thread", "__table_args__": EXTENDED, "__message_model__": "Post"}
    names |= {"__user_model__": "Person", "__user_key__": "person.id"}
    made.append(type("Thread", (AgentSessionMixin, root), names))
    names = {"__tablename__": "post", "__session_model__": "Thread"}
    names["__session_key__"] = "thread.id"
    made.append(type("Post", (SessionMessageMixin, root), names))
    if users == "last":
        make_users()

    leases = root.metadata.tables["thread_lease"]
    assert [column.name for column in leases.primary_key] == ["user_id", "session_id"]
    assert leases.c.user_id.type.length == 7
    assert not leases.foreign_keys
    made[0].registry.configure()


def test_a_table_of_leases_is_in_the_schema_of_its_conversations() -> None:
    """And has its name from theirs; a model that derives from another has the same."""

    class Root(DeclarativeBase):
        metadata = sa.MetaData(schema="app")

    class Person(Root):
        __tablename__ = "person"
        id: Mapped[int] = mapped_column(primary_key=True)

    class Thread(AgentSessionMixin, Root):
        __tablename__ = "thread"
        __user_model__ = "Person"
        __user_key__ = "app.person.id"
        __message_model__ = "Post"

    class Special(Thread):
        __tablename__: Any = None  # it is in the table of the other

    class Post(SessionMessageMixin, Root):
        __tablename__ = "post"
        __session_model__ = "Thread"
        __session_key__ = "app.thread.id"

    assert {"app.thread_lease", "app.post"} <= set(Root.metadata.tables)
    assert "app.post_lease" not in Root.metadata.tables
    assert lease_table_of(tables_of(Special)[0]) is Root.metadata.tables["app.thread_lease"]
