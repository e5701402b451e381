"""A todo assistant on the web: users log in, and each has conversations of their own.

    uv run --all-extras docs/examples/litestar_app.py [PORT]

Then open http://127.0.0.1:8000. Data is kept in ``openai-agents-session/chat.db`` in your
cache directory, or where ``DATABASE_URL`` says:
``postgresql+asyncpg://user:password@host/name``. ``STORE_URL`` keeps the conversations in another
store, such as ``redis://localhost:6379``. Without an ``OPENAI_API_KEY``, a small local
model answers. ``JWT_SECRET`` signs the logins; without it they end with the process. Behind
HTTPS, set ``HTTPS=1``. From one address come at most ``LOGINS_A_MINUTE`` logins and
registrations, 20 unless you say otherwise.
"""

# Litestar and SQLAlchemy read annotations at run time, so they are not postponed.
import asyncio
import hashlib
import hmac
import os
import secrets
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from advanced_alchemy.extensions.litestar import (
    EngineConfig,
    SQLAlchemyAsyncConfig,
    SQLAlchemyPlugin,
)
from advanced_alchemy.mixins import AuditColumns, UUIDPrimaryKey
from advanced_alchemy.types import DateTimeUTC
from agents import Agent, RunContextWrapper, function_tool, set_tracing_disabled
from data_directory import data_directory
from litestar import Litestar, Request, Response, Router, get, post
from litestar.connection import ASGIConnection
from litestar.datastructures import MutableScopeHeaders, ResponseHeader
from litestar.di import NamedDependency, Provide
from litestar.exceptions import (
    HTTPException,
    NotAuthorizedException,
    TooManyRequestsException,
)
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.middleware.rate_limit import RateLimitConfig
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.plugins import RedocRenderPlugin
from litestar.params import JSONBody
from litestar.security.jwt import JWTCookieAuth, Token
from litestar.stores.memory import MemoryStore
from litestar.types import Message, Scope
from local_model import choose_model
from msgspec import Meta, Struct
from sqlalchemy import ForeignKey, String, delete, event, select
from sqlalchemy.exc import IntegrityError
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


class EndedLogin(Base):
    """A login that somebody logged out of, kept for as long as it would have lasted."""

    __tablename__ = "ended_login"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    expires_at: Mapped[datetime] = mapped_column(DateTimeUTC(timezone=True), index=True)


class Todo(UUIDPrimaryKey, AuditColumns, Base):
    __tablename__ = "todo"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("user_account.id", ondelete="CASCADE"))
    what: Mapped[str]


class AgentSession(AgentSessionMixin, Base):
    """A conversation."""


class SessionMessage(SessionMessageMixin, Base):
    """A message of a conversation."""


database = SQLAlchemyAsyncConfig(
    connection_string=os.environ.get("DATABASE_URL")
    or f"sqlite+aiosqlite:///{data_directory() / 'chat.db'}",
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
        todos = [f"- {what}" for what in await session.scalars(query)]
    return "\n".join(todos) or "Nothing is on the list"


agent = Agent(
    name="Todo Assistant",
    instructions="You help users with their list of things to do. Be brief.",
    model=choose_model(),
    tools=[add_todo, list_todos],
)


def provide_run_options(user_id: NamedDependency[str]) -> dict[str, Any]:
    return {"context": UUID(user_id), "max_turns": 5}


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


async def has_ended(token: Token, _: ASGIConnection[Any, Any, Any, Any]) -> bool:
    async with database.get_session() as session:
        return await session.get(EndedLogin, token.jti) is not None


login_auth = JWTCookieAuth[User](
    retrieve_user_handler=find_user,
    revoked_token_handler=has_ended,
    require_claims=["jti"],  # names the login, so that it can be ended
    token_secret=os.environ.get("JWT_SECRET") or secrets.token_hex(32),
    exclude=["^/schema"],
    samesite="strict",  # another site's page cannot act for the user
    secure=SECURE,
)

# Each process counts for itself; several can count together in a store of Redis. Behind a
# proxy, uvicorn has to be told whom to believe what the client's address is.
attempts = MemoryStore()
few_logins = RateLimitConfig(("minute", int(os.environ.get("LOGINS_A_MINUTE", "20"))))


async def forget_attempts(_: Request[Any, Any, Any]) -> None:
    await attempts.delete_expired()  # a store in memory forgets none by itself


hashing = ThreadPoolExecutor(max(1, (os.cpu_count() or 2) // 2), "scrypt")
"""Half of the processors, and no thread that others wait for."""


async def scrypt(password: str, salt: bytes) -> str:
    """Hash a password, beside the event loop: it is slow on purpose.

    The parameters are a minimum of OWASP's Password Storage Cheat Sheet, the one that takes 16
    MiB of memory. Have no connection of the database at hand meanwhile: others need it.
    """
    work = partial(hashlib.scrypt, password.encode(), salt=salt, n=2**14, r=8, p=5)
    digest = await asyncio.get_running_loop().run_in_executor(hashing, work)
    return f"{salt.hex()}${digest.hex()}"


NOTHING = {204: ResponseSpec(None, description="Done.")}  # of a Response[None], for OpenAPI


class NameTakenException(HTTPException):
    status_code = 409
    detail = "This name is taken."


@post(
    "/register",
    status_code=204,
    exclude_from_auth=True,
    middleware=[few_logins.middleware],
    guards=[require_json],
    raises=[NameTakenException, NotJSONException, RequestEntityTooLarge, TooManyRequestsException],
    after_response=forget_attempts,
)
async def register(data: JSONBody[Credentials]) -> None:
    """Make a user."""
    hashed = await scrypt(data.password, secrets.token_bytes(16))
    try:
        async with database.get_session() as session, session.begin():
            session.add(User(name=data.name, password=hashed))
    except IntegrityError:
        raise NameTakenException from None


@post(
    "/login",
    status_code=204,
    exclude_from_auth=True,
    middleware=[few_logins.middleware],
    guards=[require_json],  # or another site's form could log its visitor in, as somebody else
    raises=[
        NotAuthorizedException,
        NotJSONException,
        RequestEntityTooLarge,
        TooManyRequestsException,
    ],
    responses=NOTHING,
    after_response=forget_attempts,
)
async def login(data: JSONBody[Credentials]) -> Response[None]:
    """Log in: the answer sets a cookie, which scripts cannot read."""
    async with database.get_session() as session:
        user = await session.scalar(select(User).where(User.name == data.name))
    # A name that does not exist takes as long, so that nobody can find out which do.
    stored = user.password if user else f"{bytes(16).hex()}$"
    hashed = await scrypt(data.password, bytes.fromhex(stored.partition("$")[0]))
    if user is None or not hmac.compare_digest(hashed, stored):
        raise NotAuthorizedException("The name or the password is wrong.")
    response = login_auth.login(
        str(user.id), response_status_code=204, token_unique_jwt_id=secrets.token_hex(16)
    )
    del response.headers[login_auth.auth_header]  # which a script could read
    return response


@post("/logout", status_code=204, responses=NOTHING)
async def logout(request: Request[User, Token, Any]) -> Response[None]:
    """End the login, for whoever else has its token as well, and forget the cookie."""
    token = request.auth
    try:
        async with database.get_session() as session, session.begin():
            now = datetime.now(timezone.utc)
            await session.execute(delete(EndedLogin).where(EndedLogin.expires_at < now))
            session.add(EndedLogin(id=token.jti, expires_at=token.exp))
    except IntegrityError:
        pass  # it was ended at the same time
    response = Response(None, status_code=204)
    response.delete_cookie(login_auth.key)
    return response


class Me(Struct):
    name: Annotated[str, Meta(examples=["ada"])]


@get("/me", raises=[NotAuthorizedException])
async def me(request: Request[User, Token, Any]) -> Me:
    """Say who is logged in."""
    return Me(request.user.name)


# -- The page, which may use its own scripts and style sheet, and nothing else ----------------

NO_MORE = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; {NO_MORE}",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
CHAT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    f"require-trusted-types-for 'script'; trusted-types 'none'; {NO_MORE}"
)
REDOC = "https://cdn.jsdelivr.net/npm/redoc@2.5.4/bundles/redoc.standalone.js"
# What the script of others can do: show the document. In a sandbox it is of another site.
DOCS_POLICY = (
    f"sandbox allow-scripts; default-src 'none'; script-src {REDOC} 'unsafe-inline'; "
    f"style-src 'unsafe-inline'; img-src data:; worker-src blob:; {NO_MORE}"
)


async def secure(message: Message, _: Scope) -> None:
    """Give every answer its headers, errors included: who is logged in sees what is private."""
    if message["type"] == "http.response.start":
        headers = MutableScopeHeaders.from_message(message)
        for name, value in HEADERS.items():
            headers.setdefault(name, value)
        headers["Cache-Control"] = "no-store"


def serve(path: str, media_type: str, name: str) -> Any:
    """Make the route of a file that lies beside this one."""

    @get(path, media_type=media_type, exclude_from_auth=True, include_in_schema=False)
    async def file() -> Response[str]:
        headers = {"Content-Security-Policy": CHAT_POLICY} if media_type == "text/html" else {}
        return Response((HERE / name).read_text("utf-8"), headers=headers)

    return file


page = [
    serve("/", "text/html", "litestar_chat.html"),
    serve("/chat.css", "text/css", "litestar_chat.css"),
    serve("/chat.js", "text/javascript", "litestar_chat.js"),
    serve("/markdown.js", "text/javascript", "litestar_markdown.js"),
]

# -- Putting it together ----------------------------------------------------------------------


def provide_user_id(request: Request[User, Token, Any]) -> str:
    return str(request.user.id)  # a text, as every store takes it


STORE_URL = os.environ.get("STORE_URL")

conversations = AgentSessionsPlugin(
    agent,
    STORE_URL or database,
    session_model=None if STORE_URL else AgentSession,
    user_id=Provide(provide_user_id, sync_to_thread=False),
    run_options=Provide(provide_run_options, sync_to_thread=False),
    all_messages=True,  # the page shows the calls of tools
)

app = Litestar(
    route_handlers=[register, login, logout, me, *page],
    # The plugin registers the database of the conversations; that of the users may be another.
    plugins=[SQLAlchemyPlugin(database), conversations] if STORE_URL else [conversations],
    on_app_init=[login_auth.on_app_init],
    request_max_body_size=4_000,  # of the routes above; the controller has its own
    before_send=[secure],
    stores={"rate_limit": attempts},
    openapi_config=OpenAPIConfig(
        "Todo assistant",
        "1.0.0",
        use_handler_docstrings=True,
        render_plugins=[RedocRenderPlugin(js_url=REDOC, google_fonts=False, favicon="")],
        openapi_router=Router(
            "/schema",
            route_handlers=[],
            include_in_schema=False,
            response_headers=[ResponseHeader(name="Content-Security-Policy", value=DOCS_POLICY)],
        ),
    ),
)

if __name__ == "__main__":
    import uvicorn

    if "OPENAI_API_KEY" not in os.environ:
        set_tracing_disabled(True)  # there is nowhere to send traces to
    uvicorn.run(app, port=int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
