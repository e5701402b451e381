"""A todo assistant on the web: users log in, and each has conversations of their own.

    uv run --all-extras docs/examples/litestar_app.py [PORT]

Then open http://127.0.0.1:8000. Data is kept in ``litestar_app.db`` in this directory, or
where ``DATABASE_URL`` says: ``postgresql+asyncpg://user:password@host/name``. Without an
``OPENAI_API_KEY``, a small local model answers. ``JWT_SECRET`` signs the logins; without
it they end with the process. Behind HTTPS, set ``HTTPS=1``.
"""

# Litestar and SQLAlchemy read annotations at run time, so they are not postponed.
import asyncio
import hashlib
import hmac
import os
import secrets
import sys
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from advanced_alchemy.extensions.litestar import EngineConfig, SQLAlchemyAsyncConfig
from advanced_alchemy.mixins import AuditColumns, UUIDPrimaryKey
from agents import Agent, RunContextWrapper, function_tool, set_tracing_disabled
from litestar import Litestar, Response, get, post
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency, Provide
from litestar.exceptions import HTTPException, NotAuthorizedException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.params import JSONBody
from litestar.security.jwt import JWTCookieAuth, Token
from local_model import choose_model
from msgspec import Meta, Struct
from sqlalchemy import ForeignKey, String, event, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from openai_agents_session.database import AgentSessionMixin, SessionMessageMixin
from openai_agents_session.litestar import (
    AgentSessionsPlugin,
    NotJSONException,
    require_json,
)

HERE = Path(__file__).parent
SECURE = os.environ.get("HTTPS") == "1"

# -- The database: the application's own users, todos and conversations ---------------------


class Base(DeclarativeBase):
    """The application's own."""


class User(UUIDPrimaryKey, AuditColumns, Base):
    __tablename__ = "user_account"

    name: Mapped[str] = mapped_column(String(64), unique=True)
    password: Mapped[str]


class Todo(UUIDPrimaryKey, AuditColumns, Base):
    __tablename__ = "todo"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("user_account.id", ondelete="CASCADE"))
    what: Mapped[str]


class AgentSession(AgentSessionMixin, Base):
    """A conversation."""


class SessionMessage(SessionMessageMixin, Base):
    """A message of a conversation."""


database = SQLAlchemyAsyncConfig(
    connection_string=os.environ.get("DATABASE_URL", "sqlite+aiosqlite:///litestar_app.db"),
    engine_config=EngineConfig(hide_parameters=True),  # no conversation in a log of an error
    metadata=Base.metadata,
    create_all=True,  # good for a beginning; later, migrations
)
engine = database.get_engine()

if engine.dialect.name == "sqlite":

    @event.listens_for(engine.sync_engine, "connect")
    def enforce_foreign_keys(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA foreign_keys = ON")


# -- The agent: its tools know the user from the run's context, not from the model ----------


@function_tool
async def add_todo(run: RunContextWrapper[UUID], what: str) -> str:
    """Put something on the user's list."""
    async with database.get_session() as session, session.begin():
        session.add(Todo(user_id=run.context, what=what))
    return f"{what} is on your list"


@function_tool
async def list_todos(run: RunContextWrapper[UUID]) -> str:
    """Read the user's list."""
    query = select(Todo.what).where(Todo.user_id == run.context).order_by(Todo.created_at)
    async with database.get_session() as session:
        return f"your list: {', '.join(await session.scalars(query)) or 'nothing'}"


agent = Agent(
    name="Todo Assistant",
    instructions="You help users with their list of things to do. Be brief.",
    model=choose_model(),
    tools=[add_todo, list_todos],
)


def provide_run_options(user_id: NamedDependency[Any]) -> dict[str, Any]:
    return {"context": user_id, "max_turns": 5}


# -- Logging in ------------------------------------------------------------------------------


NAME = r"^[A-Za-z0-9_.@-]+(?!\n)$"  # to Python, $ alone is before a last newline as well


class Credentials(Struct):
    name: Annotated[str, Meta(min_length=1, max_length=64, pattern=NAME, examples=["ada"])]
    password: Annotated[
        str, Meta(min_length=8, max_length=200, examples=["correct horse battery staple"])
    ]


async def find_user(token: Token, _: ASGIConnection[Any, Any, Any, Any]) -> User | None:
    try:
        user_id = UUID(token.sub)
    except ValueError:  # no login of ours
        return None
    async with database.get_session() as session:
        return await session.get(User, user_id)


login_auth = JWTCookieAuth[User](
    retrieve_user_handler=find_user,
    token_secret=os.environ.get("JWT_SECRET") or secrets.token_hex(32),
    exclude=["^/schema"],
    samesite="strict",  # another site's page cannot act for the user
    secure=SECURE,
)


async def scrypt(password: str, salt: bytes) -> str:
    """Hash a password, beside the event loop: it is slow on purpose."""
    digest = await asyncio.to_thread(
        hashlib.scrypt, password.encode(), salt=salt, n=2**14, r=8, p=1
    )
    return f"{salt.hex()}${digest.hex()}"


NOTHING = {204: ResponseSpec(None, description="Done.")}  # of a Response[None], for OpenAPI


class NameTakenException(HTTPException):
    status_code = 409
    detail = "This name is taken."


@post(
    "/register",
    status_code=204,
    exclude_from_auth=True,
    guards=[require_json],
    raises=[NameTakenException, NotJSONException, RequestEntityTooLarge],
)
async def register(data: JSONBody[Credentials], db_session: NamedDependency[AsyncSession]) -> None:
    """Make a user."""
    hashed = await scrypt(data.password, secrets.token_bytes(16))
    db_session.add(User(name=data.name, password=hashed))
    try:
        await db_session.commit()
    except IntegrityError:
        raise NameTakenException from None


@post(
    "/login",
    status_code=204,
    exclude_from_auth=True,
    guards=[require_json],  # or another site's form could log its visitor in, as somebody else
    raises=[NotAuthorizedException, NotJSONException, RequestEntityTooLarge],
    responses=NOTHING,
)
async def login(
    data: JSONBody[Credentials], db_session: NamedDependency[AsyncSession]
) -> Response[None]:
    """Log in: the answer sets a cookie, which scripts cannot read."""
    user = await db_session.scalar(select(User).where(User.name == data.name))
    # A name that does not exist takes as long, so that nobody can find out which do.
    stored = user.password if user else f"{bytes(16).hex()}$"
    hashed = await scrypt(data.password, bytes.fromhex(stored.partition("$")[0]))
    if user is None or not hmac.compare_digest(hashed, stored):
        raise NotAuthorizedException("The name or the password is wrong.")
    response = login_auth.login(str(user.id), response_status_code=204)
    del response.headers[login_auth.auth_header]  # which a script could read
    return response


@post("/logout", status_code=204, responses=NOTHING)
async def logout() -> Response[None]:
    """Forget the cookie."""
    response = Response(None, status_code=204)
    response.delete_cookie(login_auth.key)
    return response


# -- The page, which may run its own script and nothing else ---------------------------------

PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; connect-src 'self'; "
    "style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@get("/", media_type="text/html", exclude_from_auth=True, include_in_schema=False)
async def page() -> Response[str]:
    return Response((HERE / "litestar_chat.html").read_text("utf-8"), headers=PAGE_HEADERS)


@get("/chat.js", media_type="text/javascript", exclude_from_auth=True, include_in_schema=False)
async def script() -> str:
    return (HERE / "litestar_chat.js").read_text("utf-8")


app = Litestar(
    route_handlers=[register, login, logout, page, script],
    plugins=[
        AgentSessionsPlugin(
            agent,
            database,
            session_model=AgentSession,
            run_options=Provide(provide_run_options, sync_to_thread=False),
        )
    ],
    on_app_init=[login_auth.on_app_init],
    request_max_body_size=4_000,  # of the routes above; the controller has its own
    openapi_config=OpenAPIConfig("Todo assistant", "1.0.0", use_handler_docstrings=True),
)

if __name__ == "__main__":
    import uvicorn

    if "OPENAI_API_KEY" not in os.environ:
        set_tracing_disabled(True)  # there is nowhere to send traces to
    uvicorn.run(app, port=int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
