"""DynamoDBStore: from a URL, opened and closed, what it sends, and what is wrong with arguments."""

from __future__ import annotations

import asyncio
import json
import time
from base64 import urlsafe_b64encode
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import pytest_asyncio
from botocore.exceptions import ClientError, NoRegionError

from openai_agents_session import DynamoDBStore, open_store
from openai_agents_session.store import CursorError
from tests.contract.values import SECRET
from tests.dynamodb import emulators
from tests.dynamodb.store import (
    SMALLEST,
    Store,
    epoch,
    key_of,
    letters,
    numbered,
    requests_of,
    temporary_table,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.dynamodb.emulators import Emulator

EMULATORS = emulators.servers()

KEYS = {"aws_access_key_id": "test", "aws_secret_access_key": SECRET}


@pytest_asyncio.fixture
async def table(dynamodb_client: Any) -> AsyncIterator[str]:
    """The name of a fresh table with the index."""
    async with temporary_table(dynamodb_client, users=True) as store:
        yield store.table


def url_of(emulator: Emulator, table: str, more: str = "") -> str:
    """Return the URL of a table on an emulator."""
    return f"dynamodb://{table}?region={emulators.REGION}&endpoint_url={emulator.url}{more}"


# --- from a URL ------------------------------------------------------------------------------


async def test_store_is_opened_by_its_url(emulator: Emulator, store: Store) -> None:
    """Region, endpoint, time to live and page size may stand in the URL."""
    url = url_of(emulator, store.table, f"&ttl=1000&page_bytes={SMALLEST}")
    async with open_store(url, **KEYS) as opened:
        assert isinstance(opened, DynamoDBStore)
        assert await opened.ping() is True
        await opened.session("a").add_items(letters(0, 9))

    assert epoch(990) <= int((await store.item("a"))["ttl"]["N"]) <= epoch(1000)
    assert len(await store.page_keys("a")) > 1


async def test_what_is_passed_goes_before_the_url(emulator: Emulator, store: Store) -> None:
    """An option in both places is the one that was passed."""
    url = f"dynamodb://{store.table}?region=nowhere&endpoint_url=http://127.0.0.1:1&ttl=5"
    options: dict[str, Any] = {"region": emulators.REGION, "endpoint_url": emulator.url}
    async with open_store(url, **options, ttl=1000, **KEYS) as opened:
        await opened.session("a").add_items(numbered(0, 2))
    assert int((await store.item("a"))["ttl"]["N"]) > epoch(900)


@emulators.run_on([name for name in emulators.names() if name != "dynalite"])  # it takes none
async def test_table_may_be_an_arn(emulator: Emulator, store: Store) -> None:
    """Percent-encoded, as it has colons and a slash."""
    arn = f"arn:aws:dynamodb:{emulators.REGION}:000000000000:table/{store.table}"
    async with open_store(url_of(emulator, quote(arn, safe="")), **KEYS) as opened:
        await opened.session("a").add_items(numbered(0, 2))
    assert await store.session("a").get_items() == numbered(0, 2)


async def test_setup_makes_table_and_index(emulator: Emulator, dynamodb_client: Any) -> None:
    """``setup=True`` does it on entering, again and again without harm."""
    async with temporary_table(dynamodb_client) as store:
        name = f"{store.table}-new"
        for more in ("&setup=true", "&setup=1", ""):
            async with open_store(url_of(emulator, name, more), **KEYS) as opened:
                await opened.user("ada").session("a").add_items(numbered(0, 1))
                page = await opened.user("ada").list()
                assert [each.session_id for each in page.conversations] == ["a"]
        await dynamodb_client.delete_table(TableName=name)


async def test_failed_setup_closes_the_client(emulator: Emulator, store: Store) -> None:
    """A store that can't be set up is not open."""
    other = f"{store.table}-other"
    await store.client.create_table(
        TableName=other,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    opened = open_store(url_of(emulator, other), setup=True, **KEYS)

    with pytest.raises(ValueError, match="partition key session_id"):
        await opened.__aenter__()

    with pytest.raises(RuntimeError, match="the store is closed"):
        await opened.ping()
    await store.client.delete_table(TableName=other)


CALLS: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "ping": lambda store: store.ping(),
    "setup": lambda store: store.setup(),
    "list": lambda store: store.list(),
    "a user's list": lambda store: store.user("ada").list(),
    "get": lambda store: store.user("ada").get("a"),
    "delete": lambda store: store.user("ada").delete("a"),
    "add": lambda store: store.session("a").add_items(numbered(0, 1)),
    "get items": lambda store: store.session("a").get_items(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=[*CALLS])
async def test_store_works_while_it_is_open(
    emulator: Emulator, store: Store, call: Callable[[Any], Awaitable[Any]]
) -> None:
    """Before and after, there is an error that says so, and it can be opened again."""
    opened = open_store(url_of(emulator, store.table), **KEYS)
    with pytest.raises(RuntimeError, match=r"the store is not open yet.*async with store"):
        await call(opened)
    for _ in range(2):
        async with opened:
            await call(opened)
            with pytest.raises(RuntimeError, match="open already"):
                await opened.__aenter__()
            await call(opened)
        with pytest.raises(RuntimeError, match=r"the store is closed.*async with store"):
            await call(opened)
    await opened.close()


def test_store_is_opened_in_each_event_loop(emulator: Emulator) -> None:
    """One store may serve an ``asyncio.run`` after the other, each with a client of its own."""
    opened = open_store(url_of(emulator, f"loops-{time.time_ns()}"), setup=True, **KEYS)

    async def use(at: int) -> list[str]:
        async with opened:
            await opened.user("ada").session(f"{at}").add_items(numbered(0, 1))
            return [each.session_id async for each in opened.user("ada")]

    assert asyncio.run(use(0)) == ["0"]
    assert asyncio.run(use(1)) == ["1", "0"]


def test_store_belongs_to_the_event_loop_that_opened_it(emulator: Emulator) -> None:
    """In another one there is an error that says so, and nothing is sent."""
    opened = open_store(url_of(emulator, f"loops-{time.time_ns()}"), setup=True, **KEYS)
    with closing(asyncio.new_event_loop()) as home, closing(asyncio.new_event_loop()) as other:
        home.run_until_complete(opened.__aenter__())
        with pytest.raises(RuntimeError, match="the store was opened in another event loop"):
            other.run_until_complete(opened.ping())
        assert home.run_until_complete(opened.ping()) is True
        home.run_until_complete(opened.close())


async def test_a_client_that_was_passed_stays_open(store: Store) -> None:
    """The store closes only what it has opened itself."""
    async with DynamoDBStore(store.client, store.table, ttl=1000) as opened:
        await opened.session("a").add_items(numbered(0, 1))
    await opened.close()
    assert await opened.ping() is True
    assert await opened.session("a").get_items() == numbered(0, 1)


async def test_region_may_come_from_the_environment(store: Store) -> None:
    """Without one anywhere, botocore's error says so, on entering."""
    opened = open_store(f"dynamodb://{store.table}", **KEYS)
    with pytest.raises(NoRegionError):
        await opened.__aenter__()


# --- arguments -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("dynamodb://", "names a table"),
        ("dynamodb://?region=x", "names a table"),
        ("dynamodb://table/more", "percent-encode an ARN"),
        ("dynamodb://table#more", "names a table"),
        (f"dynamodb://key:{SECRET}@table", "has no credentials: botocore finds them"),
        (f"dynamodb://table?secret={SECRET}", "no option secret; it may have endpoint_url, .*ttl"),
        (f"dynamodb://table?aws_secret_access_key={SECRET}", "no option aws_secret_access_key"),
        ("dynamodb://table?ttl=1h", "ttl in the url must be a whole number"),
        ("dynamodb://table?ttl=0", "ttl must be from 1"),
        ("dynamodb://table?page_bytes=x", "page_bytes in the url must be"),
        ("dynamodb://table?page_bytes=5", "page_bytes must be from 4096"),
        ("dynamodb://table?setup=maybe", "setup in the url must be true or false"),
    ],
)
def test_wrong_urls(url: str, found: str) -> None:
    """The error says what is wrong, and repeats nothing that may be a secret."""
    with pytest.raises(ValueError, match=found) as caught:
        open_store(url)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "error", "found"),
    [
        ({"colour": SECRET}, TypeError, r"no option colour; it has endpoint_url, .* config, "),
        ({"key_prefix": "x"}, TypeError, "no option key_prefix"),
        ({"service_name": "s3"}, TypeError, "no option service_name"),
        ({"ttl": "5"}, TypeError, "ttl must be an int"),
        ({"ttl": -5}, ValueError, "ttl must be from 1"),
        ({"page_bytes": 4.5}, TypeError, "page_bytes must be an int"),
        ({"setup": 1}, TypeError, "setup must be a bool"),
    ],
)
def test_wrong_options(options: Any, error: type[Exception], found: str) -> None:
    """An option that there is not, or with a wrong value, is an error before anything is sent."""
    with pytest.raises(error, match=found) as caught:
        open_store("dynamodb://table", **options)
    assert SECRET not in str(caught.value)
    wrong: Any = DynamoDBStore
    with pytest.raises(TypeError):
        wrong.from_url(b"dynamodb://table")


async def test_wrong_arguments(store: Store) -> None:
    """What is no entered client, and what is no table, is refused as by a session."""
    wrong: Any = DynamoDBStore
    with pytest.raises(TypeError, match="dynamodb_client must be an aiobotocore client"):
        wrong("redis://localhost", "table")
    with pytest.raises(ValueError, match="table_name must not be empty"):
        DynamoDBStore(store.client, "")
    with pytest.raises(ValueError, match="ttl must be from 1"):
        DynamoDBStore(store.client, "table", ttl=0)
    with pytest.raises(ValueError, match="page_bytes must be from"):
        DynamoDBStore(store.client, "table", page_bytes=1)


async def test_credentials_are_in_no_repr(emulator: Emulator, store: Store) -> None:
    """Neither of a store nor of what it makes."""
    opened: Any = open_store(url_of(emulator, store.table), **KEYS)
    assert repr(opened) == f"DynamoDBStore(table={store.table!r})"
    view = opened.user("ada")
    assert SECRET not in repr(view) + repr(view.session("a"))


def test_ids_are_made_fast(emulator: Emulator) -> None:
    """A session is made without I/O, in less time than a request takes to be written."""
    opened = open_store(url_of(emulator, "table"), **KEYS)
    view = opened.user("ada@example.com")
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        for number in range(200):
            view.session(f"conversation {number}", name="Groceries")
        best = min(best, (time.perf_counter() - began) / 200)
    assert best < 500e-6


# --- what is sent ----------------------------------------------------------------------------


async def test_requests_of_each_operation(store: Store) -> None:
    """One, wherever there is no page."""
    opened = DynamoDBStore(store.client, store.table, ttl=1000)
    ada = opened.user("ada")
    session = ada.session("a", name="A")
    expected: list[tuple[Callable[[], Awaitable[Any]], list[str]]] = [
        (lambda: session.add_items(numbered(0, 2)), ["UpdateItem"]),
        (lambda: ada.session("a").add_items(numbered(2, 4)), ["UpdateItem"]),
        (session.get_items, ["GetItem"]),
        (lambda: ada.get("a"), ["GetItem"]),
        (lambda: ada.update("a", name="B"), ["UpdateItem"]),
        (lambda: ada.touch("a"), ["UpdateItem"]),
        (ada.list, ["Query"]),
        (opened.list, ["Scan"]),
        (lambda: ada.messages("a"), ["GetItem"]),
        (lambda: ada.fork("a", "b"), ["GetItem", "GetItem", "UpdateItem"]),
        (lambda: ada.session("a").clear_session(), ["UpdateItem"]),
        (lambda: ada.delete("a"), ["UpdateItem"]),
        (opened.ping, ["GetItem"]),
        (ada.erase, ["Query", "BatchGetItem", "BatchWriteItem", "Query"]),
    ]
    for call, operations in expected:
        with requests_of(store.client) as sent:
            await call()
        assert [operation for operation, _ in sent] == operations


async def test_page_needs_one_request(store: Store) -> None:
    """Whatever else is in the table, and however long the conversations are."""
    opened = DynamoDBStore(store.client, store.table, page_bytes=SMALLEST)
    for name in ("ada", "bob"):
        for at in range(12):
            await opened.user(name).session(f"{at}").add_items(letters(0, 9))
    cursor = None
    found: list[str] = []
    for more in (True, True, False):
        with requests_of(store.client) as sent:
            page = await opened.user("ada").list(limit=4, cursor=cursor)
        ((operation, request),) = sent
        assert (operation, request["Limit"]) == ("Query", 5)
        found += [each.session_id for each in page.conversations]
        cursor = page.cursor
        assert bool(cursor) is more
    assert found == [str(at) for at in reversed(range(12))]


async def test_expired_ones_are_passed_over_with_one_request_more(store: Store) -> None:
    """A page is full although DynamoDB has not deleted yet what has expired."""
    opened = DynamoDBStore(store.client, store.table)
    ada = opened.user("ada")
    for at in range(30):
        await ada.session(f"{at}").add_items(numbered(0, 1))
    for at in range(10, 30):
        await store.set_ttl(-1, key_of("ada", f"{at}"))

    with requests_of(store.client) as sent:
        page = await ada.list(limit=5)

    assert [each.session_id for each in page.conversations] == ["9", "8", "7", "6", "5"]
    assert [request["Limit"] for _, request in sent] == [6, 1000]
    rest = await ada.list(limit=5, cursor=page.cursor)
    assert [each.session_id for each in rest.conversations] == ["4", "3", "2", "1", "0"]
    assert rest.cursor is None


async def test_many_that_are_passed_over_end_a_page(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page may then have fewer than asked for, and its cursor goes on."""
    monkeypatch.setattr("openai_agents_session.dynamodb._catalog.READ_AT_ONCE", 5)
    ada = DynamoDBStore(store.client, store.table).user("ada")
    for at in range(20):
        await ada.session(f"{at}", is_active=at in {1, 3}).add_items(numbered(0, 1))

    found, sizes, cursor = [], [], None
    while True:
        with requests_of(store.client) as sent:
            page = await ada.list(limit=2, cursor=cursor, active=True)
        assert len(sent) <= 2
        found += [each.session_id for each in page.conversations]
        sizes.append(len(page.conversations))
        cursor = page.cursor
        if cursor is None:
            break

    assert found == ["3", "1"]
    assert sizes[0] == 0
    assert [each.session_id async for each in ada] == [str(at) for at in reversed(range(20))]


async def test_scan_reads_no_items(store: Store) -> None:
    """What comes over the wire has neither items nor pages; old items are listed, too."""
    opened = DynamoDBStore(store.client, store.table, page_bytes=SMALLEST)
    await opened.user("ada").session("a", name="A").add_items(letters(0, 9))
    await opened.session("b").add_items(letters(0, 9))
    await store.put("old", conversation_data={"S": "[{}]"})
    await store.put("expired", conversation_data={"S": "[{}]"}, ttl={"N": "1"})
    await opened.session("cleared").add_items(numbered(0, 1))
    await opened.session("cleared").clear_session()

    found = {}
    cursor = None
    while True:
        page = await opened.list(limit=2, cursor=cursor)
        found.update({(each.user_id, each.session_id): each for each in page.conversations})
        if (cursor := page.cursor) is None:
            break

    assert found.keys() == {("ada", "a"), (None, "b"), (None, "old")}
    assert found["ada", "a"].name == "A"
    assert [each.item_count for each in found.values() if each.session_id != "old"] == [9, 9]
    assert found[None, "old"].item_count is None
    assert found[None, "old"].created_at is None
    with requests_of(store.client) as sent:
        _ = [each async for each in opened]
    assert all("items" not in request["ProjectionExpression"] for _, request in sent)


# --- errors ----------------------------------------------------------------------------------


async def test_missing_index_is_explained(dynamodb_client: Any) -> None:
    """Sessions work without it; a listing says what makes it."""
    async with temporary_table(dynamodb_client) as store:
        ada = DynamoDBStore(store.client, store.table).user("ada")
        await ada.session("a").add_items(numbered(0, 2))
        assert await ada.session("a").get_items() == numbered(0, 2)
        found = await ada.get("a")
        assert found is not None
        assert await ada.delete("a")
        for call in (ada.list, ada.erase):
            with pytest.raises(ClientError, match="index") as caught:
                await call()
            told = [*getattr(caught.value, "__notes__", ()), *map(str, caught.value.args)]
            assert any("setup() makes it" in each for each in told)


async def test_nothing_is_searched(store: Store) -> None:
    """DynamoDB has no way to, and cannot count."""
    ada = DynamoDBStore(store.client, store.table).user("ada")
    with pytest.raises(NotImplementedError, match="DynamoDB cannot search"):
        await ada.list(search="x")
    assert await ada.count() is None


NOW = "2026-01-01T00:00:00.000+00:00"


@pytest.mark.parametrize(
    "cursor",
    [
        [],
        ["x"],
        ["x", "y"],
        [NOW],
        [NOW, ""],
        [NOW, 5],
        [NOW, None],
        [NOW, "x" * 2040],
        [NOW, "\ud800"],
        [NOW, "x", "ada"],
        ["~", "x"],
        [5, "x"],
        [{"S": NOW}, "x"],
        {"user": "ada"},
        "text",
    ],
    ids=repr,
)
async def test_wrong_cursors_are_refused(store: Store, cursor: Any) -> None:
    """What is no cursor of this list is an error before anything is sent."""
    opened = DynamoDBStore(store.client, store.table)
    text = encoded(cursor)
    with requests_of(store.client) as sent, pytest.raises(CursorError, match="cursor must be"):
        await opened.user("ada").list(cursor=text)
    if cursor not in (["x"], [NOW]):  # places in the list of all
        with pytest.raises(CursorError, match="cursor must be"):
            await opened.list(cursor=text)
    assert not sent


def encoded(values: Any) -> str:
    """Return the text of a cursor with these values."""
    return urlsafe_b64encode(json.dumps(values).encode()).decode()


async def test_cursor_has_no_user_in_it(store: Store) -> None:
    """Who has another's cursor learns a moment and an id, and gets their own list from there."""
    opened = DynamoDBStore(store.client, store.table)
    for name in ("ada", "bob"):
        for at in range(3):
            await opened.user(name).session(f"{name}-{at}").add_items(numbered(0, 1))
    page = await opened.user("bob").list(limit=1)
    assert page.cursor is not None

    stolen = await opened.user("ada").list(cursor=page.cursor)

    assert [each.session_id for each in stolen.conversations] == ["ada-2", "ada-1", "ada-0"]


@pytest.mark.parametrize("ttl", ["99999999999999", "1e30", "12.5", "-5"])
async def test_times_that_others_have_set(store: Store, ttl: str) -> None:
    """A time to live that no date can hold is none that is shown."""
    ada = DynamoDBStore(store.client, store.table).user("ada")
    await ada.session("a").add_items(numbered(0, 1))
    await store.change(key_of("ada", "a"), ttl={"N": ttl}, created_at={"S": "yesterday"})

    found = await ada.get("a")

    if float(ttl) < time.time():
        assert found is None
    else:
        assert found is not None
        assert (found.expires_at, found.created_at) == (None, None)
