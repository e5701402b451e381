"""The clients that ``from_url`` makes, and who closes which client."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from redis.exceptions import (
    ConnectionError,
)

from openai_agents_session import RedisSession
from tests.contract import numbered
from tests.servers import Endpoint, RedisServer, eventually, sweep

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from pathlib import Path

    from redis.asyncio import Redis

pytestmark = pytest.mark.redis

PASSWORD = "correct-horse-battery-staple"


async def client_names(client: Redis) -> set[str]:
    """Return the names that the server's clients have given themselves."""
    return {connected["name"] for connected in await client.client_list()}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"decode_responses": True},
        {"protocol": 2},
        {"max_connections": 1, "timeout": 5},
        {"single_connection_client": True},
        {"socket_timeout": 5, "health_check_interval": 1},
    ],
)
async def test_from_url_passes_options_to_the_client(
    redis_server: Endpoint, redis_client: Redis, key_prefix: str, options: dict[str, Any]
) -> None:
    """``from_url`` takes the options of redis-py's pools and connections."""
    name = f"client-of-{key_prefix}"
    async with RedisSession.from_url(
        "user-1", redis_server.url, key_prefix=key_prefix, ttl=1000, client_name=name, **options
    ) as session:
        await asyncio.gather(*(session.add_items(numbered(0, 2)) for _ in range(5)))

        assert await session.get_items() == numbered(0, 2) * 5
        assert name in await client_names(redis_client)


async def test_from_url_makes_a_session_of_the_subclass(redis_server: Endpoint) -> None:
    """``from_url`` makes what it is called on, with settings of any kind."""

    class Mine(RedisSession):
        pass

    async with Mine.from_url("user-1", redis_server.url, session_settings={"limit": 3}) as session:
        assert type(session) is Mine
        assert session.session_settings is not None
        assert session.session_settings.limit == 3


async def test_from_url_over_a_unix_socket(redis_binary: str) -> None:
    """``unix://`` is a path to the server like any other."""
    with RedisServer(redis_binary) as server:
        async with RedisSession.from_url("user-1", server.unix_url) as session:
            await session.add_items(numbered(0, 2))

            assert await session.get_items() == numbered(0, 2)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate for the loopback address, key and all in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@asynccontextmanager
async def tls_in_front_of(server: Endpoint, certificate: Path) -> AsyncGenerator[int, None]:
    """Offer the server with TLS, whether or not it was built with it; gives the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    ends: set[asyncio.Task[None]] = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:  # the other end went away, which ends this one as well
            pass
        finally:
            writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(server.host, server.port)
        for task in (
            asyncio.ensure_future(copy(reader, back)),
            asyncio.ensure_future(copy(there, writer)),
        ):
            ends.add(task)

    listener = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        await asyncio.wait_for(asyncio.gather(*ends), 10)
        await listener.wait_closed()


async def test_from_url_over_tls(
    redis_server: Endpoint, key_prefix: str, certificate: Path
) -> None:
    """``rediss://`` is TLS, and the server's certificate is checked."""
    async with tls_in_front_of(redis_server, certificate) as port:
        url = f"rediss://127.0.0.1:{port}/0"
        async with RedisSession.from_url(
            "user-1", url, key_prefix=key_prefix, ssl_ca_certs=str(certificate)
        ) as session:
            await session.add_items(numbered(0, 2))
            assert await session.get_items() == numbered(0, 2)

        async with RedisSession.from_url("user-1", url, key_prefix=key_prefix) as session:
            with pytest.raises(ConnectionError, match=r"(?i)certificate"):
                await session.get_items()
    sweep(redis_server, key_prefix)


@pytest.mark.parametrize("max_connections", [None, 3])
async def test_many_operations_wait_for_a_connection(
    redis_server: Endpoint, key_prefix: str, max_connections: int | None
) -> None:
    """500 operations at once on one session all succeed, however few connections there are."""
    options: dict[str, Any] = {"max_connections": max_connections} if max_connections else {}
    async with RedisSession.from_url(
        "user-1", redis_server.url, key_prefix=key_prefix, **options
    ) as session:
        await session.add_items(numbered(0, 100))

        results: list[Any] = await asyncio.gather(
            *(session.add_items(numbered(at, at + 1)) for at in range(100, 300)),
            *(session.get_items(limit=5) for _ in range(200)),
            *(session.pop_item() for _ in range(100)),
        )

        assert all(len(read) == 5 for read in results[200:400])
        popped = results[400:]
        left = await session.get_items()
        assert sorted(popped + left, key=str) == sorted(numbered(0, 300), key=str)
    sweep(redis_server, key_prefix)


async def test_session_closes_the_client_that_it_made(
    redis_server: Endpoint, redis_client: Redis, key_prefix: str
) -> None:
    """``close`` ends the connections of ``from_url``, and the session says so from then on."""
    name = f"client-of-{key_prefix}"
    session = RedisSession.from_url(
        "user-1", redis_server.url, key_prefix=key_prefix, client_name=name
    )
    await session.add_items(numbered(0, 1))
    assert name in await client_names(redis_client)

    await session.close()
    await session.close()

    async def is_disconnected() -> bool:
        return name not in await client_names(redis_client)

    await eventually(is_disconnected)
    uses: list[Callable[[], Awaitable[Any]]] = [
        session.get_items,
        lambda: session.add_items(numbered(1, 2)),
        session.pop_item,
        session.clear_session,
        lambda: session.replace_items([]),
        lambda: session._get_compaction_snapshot(2),
        session.ping,
    ]
    for use in uses:
        with pytest.raises(RuntimeError, match="closed"):
            await use()
    assert await redis_client.llen(f"{key_prefix}:user-1") == 1


async def test_session_leaves_the_client_that_it_was_given(
    redis_client: Redis, key_prefix: str
) -> None:
    """An injected client outlives the session, and other sessions go on with it."""
    one = RedisSession("one", redis_client, key_prefix)
    other = RedisSession("other", redis_client, key_prefix)
    async with one:
        await one.add_items(numbered(0, 1))

    assert await redis_client.ping()
    await other.add_items(numbered(0, 1))
    assert await other.get_items() == numbered(0, 1)
    assert await one.get_items() == numbered(0, 1)
