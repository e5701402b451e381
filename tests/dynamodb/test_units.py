"""The pure functions: tokens, what an item says, how records are put into pages, requests."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openai_agents_session.dynamodb._conversation import Found
from openai_agents_session.dynamodb._history import _up_to
from openai_agents_session.dynamodb._owner import NOBODY, Owner, id_of, key_of
from openai_agents_session.dynamodb._packing import (
    MISSING,
    PART_BYTES,
    Page,
    Room,
    distribute,
    join,
    pack,
)
from openai_agents_session.dynamodb._state import (
    NEWEST_WRITES,
    REMEMBERED_SECONDS,
    REMEMBERED_WRITES,
    WRONG_CLOCK_SECONDS,
    ItemState,
    PageRef,
    Token,
    about_of,
    about_value,
    recent_tokens,
    size_of,
    texts_of,
    timestamp,
)
from openai_agents_session.dynamodb._updates import (
    append_update,
    clear_update,
    empty_update,
    has_room,
    outlives,
    replace_update,
)

relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

NOW = 1_900_000_000
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
ROOM = Room(200, 50)
records_lists = st.lists(texts.map(lambda text: {"S": text}), max_size=30)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the time stand still."""
    monkeypatch.setattr(time, "time", lambda: float(NOW))
    monkeypatch.setattr(time, "time_ns", lambda: NOW * 10**9)


def token(seconds: float, nonce: int = 0) -> bytes:
    """Return a token of a write that began so many seconds from now."""
    return Token.of(int((NOW + seconds) * 1000), nonce)


# --- tokens ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("clock")
def test_token_tells_when_its_write_began() -> None:
    """A token is 12 bytes: milliseconds, which sort like the time, and something random."""
    made = Token.after(0)

    assert len(made) == 12
    assert made.stamp == NOW * 1000
    assert made.isascii()
    assert made[:7] == Token.after(0)[:7]
    assert made != Token.after(0)


@pytest.mark.usefixtures("clock")
def test_token_is_later_than_what_it_follows() -> None:
    """Where another clock is ahead, a new token comes just after it."""
    assert Token.after(NOW * 1000 + 5000).stamp == NOW * 1000 + 5001
    assert Token.after(NOW * 1000).stamp == NOW * 1000 + 1
    assert Token.after(NOW * 1000 - 1).stamp == NOW * 1000


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("wrong", [-1e6, 0, 1e6])
def test_tokens_of_ten_minutes_are_remembered(wrong: float) -> None:
    """Tokens are kept for ten minutes as the others tell the time, however wrong clocks are."""
    age = REMEMBERED_SECONDS + 2 * WRONG_CLOCK_SECONDS
    old = [token(wrong - age - 0.001), token(wrong - age - 5)]
    new = [token(wrong - age), *(token(wrong + number) for number in range(NEWEST_WRITES))]

    kept, since = recent_tokens([*old, *new], 7)

    assert kept == frozenset(new)
    assert since == Token(old[0]).stamp
    assert recent_tokens(new, 7) == (frozenset(new), 7)
    assert recent_tokens([*old, *new[:-1]], 7) == (frozenset([*old, *new[:-1]]), 7)


@pytest.mark.usefixtures("clock")
def test_tokens_that_are_dropped_raise_since() -> None:
    """Also where they are older than that: what is told of a time before is not complete."""
    tokens = [token(-100 + number / 100) for number in range(REMEMBERED_WRITES + 1)]

    assert recent_tokens(tokens, Token(tokens[9]).stamp)[1] == Token(tokens[9]).stamp + 1


@pytest.mark.usefixtures("clock")
def test_so_many_tokens_are_remembered() -> None:
    """Of more tokens than an item may carry the newest are kept."""
    tokens = [token(-100 + number / 100) for number in range(REMEMBERED_WRITES + 3)]

    kept, since = recent_tokens(tokens, 0)

    assert kept == frozenset(tokens[3:])
    assert since == Token(tokens[2]).stamp
    assert recent_tokens(tokens[3:], 0) == (frozenset(tokens[3:]), 0)


@relaxed
@given(st.lists(st.integers(-2000, 60), max_size=40), st.integers(-3000, 0))
def test_no_token_since_is_forgotten(moments: list[int], began: int) -> None:
    """What is not kept did not begin later than ``since``, and ``since`` never moves back."""
    now = int(time.time())
    tokens = {Token.of((now + each) * 1000, nonce) for nonce, each in enumerate(moments)}

    kept, since = recent_tokens(tokens, (now + began) * 1000)

    assert kept <= tokens
    assert since >= (now + began) * 1000
    assert all(Token(each).stamp <= since for each in tokens - kept)


def test_moments_sort_like_numbers() -> None:
    """Dates are texts of one length that sort like the milliseconds which they stand for."""
    stamps = [0, 1, 999, 1000, 10**12, 10**12 + 1, 1_900_000_000_000, 253_402_300_799_999]

    found = [timestamp(stamp) for stamp in stamps]

    assert sorted(found) == found
    assert len(set(found)) == len(stamps)
    assert {len(text) for text in found} == {29}
    assert found[-2] == "2030-03-17T17:46:40.000+00:00"


# --- references to pages ---------------------------------------------------------------------


@given(st.integers(0, 10**9))
def test_reference_survives_being_written(count: int) -> None:
    """A reference is read as it was written, and needs no more than 14 bytes for a small page."""
    ref = PageRef.new(count)

    assert PageRef.parse(str(ref)) == ref
    assert re.fullmatch(r"[A-Za-z0-9_-]{12}", ref.name)
    assert count > 9 or len(str(ref)) == 14


def test_names_differ() -> None:
    """No name comes twice."""
    assert len({PageRef.new(1).name for _ in range(1000)}) == 1000


# --- heads -----------------------------------------------------------------------------------


def test_no_item_is_an_empty_head() -> None:
    """Where there is no item, there is nothing."""
    head = ItemState.parse({})

    assert head == ItemState()
    assert not head.exists
    assert not head.has_expired
    assert (head.count, head.size, head.version, head.pages) == (0, 0, None, ())


@pytest.mark.usefixtures("clock")
def test_item_is_parsed() -> None:
    """Everything that an item says is read."""
    head = ItemState.parse(
        {
            "session_id": {"S": "x"},
            "items": {"L": [{"S": "{}"}, {"N": "1"}]},
            "version": {"N": "281474976710656"},
            "pages": {"L": [{"S": "3.AAAAAAAAAAAA"}, {"S": "0.AAAA-_AAAAAA"}]},
            "writes": {"BS": [token(0), token(1)]},
            "writes_since": {"N": "17"},
            "ttl": {"N": str(NOW + 5)},
            "pages_until": {"N": str(NOW + 9)},
            "created_at": {"S": "then"},
        }
    )

    assert head.exists
    assert not head.has_expired
    assert head.records == [{"S": "{}"}, {"N": "1"}]
    assert head.version == 2**48
    assert head.pages == (PageRef("AAAAAAAAAAAA", 3), PageRef("AAAA-_AAAAAA", 0))
    assert head.count == 5
    assert head.writes == {token(0), token(1)}
    assert (head.since, head.ttl, head.pages_until) == (17, NOW + 5, NOW + 9)
    assert head.created_at == "then"


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    ("ttl", "expired"),
    [(0, True), (-1, True), (1, False), (10**9, False), (-0.5, True), (0.5, False)],
)
def test_item_expires_in_the_second_of_its_ttl(ttl: float, expired: bool) -> None:
    """At that second its time is over, and what was read of it has no records."""
    item = ItemState.parse({"items": {"L": [{"S": "{}"}]}, "ttl": {"N": str(NOW + ttl)}})

    assert item.has_expired is item.has_ended is expired
    assert Found.of(item).stored == ([] if expired else [{"S": "{}"}])


def test_what_was_found_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not end between being read and being written."""
    ref = PageRef.new(3)
    item = ItemState(exists=True, records=[{"S": "{}"}], pages=(ref,), ttl=int(time.time()) + 1000)
    found = Found.of(item)
    later = time.time() + 2000
    monkeypatch.setattr(time, "time", lambda: later)

    assert (found.stored, found.older, found.ended) == ([{"S": "{}"}], (ref,), False)
    assert (Found.of(item).stored, Found.of(item).older) == ([], ())


@given(texts)
def test_size_is_in_bytes(text: str) -> None:
    """A text takes its bytes in UTF-8, and one more as an element."""
    assert size_of([{"S": text}, {"S": "ü"}]) == len(text.encode()) + 1 + 3


def test_elements_that_are_no_text_have_a_size_too() -> None:
    """Elements of other types take room as well, more or less."""
    assert size_of([{"B": b"x" * 1000}]) >= 1000
    assert size_of([{"NULL": True}]) > 0
    assert texts_of([{"B": b"{}"}, {"S": "{}"}]) == ["", "{}"]


# --- pages -----------------------------------------------------------------------------------


def stored(pages: list[tuple[list[Any], int]]) -> tuple[list[PageRef], list[Page | None]]:
    """Return packed pages as they are read again."""
    return [PageRef.new(count) for _, count in pages], [Page(records) for records, _ in pages]


@relaxed
@given(records_lists, st.integers(1, 200))
def test_packed_records_come_back(records: list[Any], limit: int) -> None:
    """Records come out of pages as they went in, whatever their size and the pages'."""
    pages, rest = pack(records, limit)

    assert join(*stored(pages)) + rest == records
    assert sum(count for _, count in pages) + len(rest) == len(records)
    assert all(found for found, _ in pages)


@relaxed
@given(records_lists, st.integers(1, 200))
def test_pages_are_as_full_as_can_be(records: list[Any], limit: int) -> None:
    """No page is larger than it may be, but of one large record; nor could it take the next."""
    pages, rest = pack(records, limit)

    assert size_of(rest) <= limit
    sizes = [size_of(found) for found, _ in pages]
    following = [found[0] for found, _ in pages[1:]] + rest[:1]
    for (found, count), size, after in zip(pages, sizes, following, strict=False):
        assert size <= limit or (len(found) == 1 and count <= 1)
        assert size + size_of([after]) > limit


@relaxed
@given(
    st.sampled_from(["x", "ü", "你", "👩", "aü你👩", "👩a"]),
    st.integers(0, 12),
    st.integers(PART_BYTES - 5, 3 * PART_BYTES + 5),
)
def test_large_record_is_cut_between_letters(letters: str, shift: int, size: int) -> None:
    """A record beyond the limit is cut into texts, and comes together again."""
    text = "." * shift + letters * (size // len(letters.encode()))
    record = {"S": text}

    pages, rest = pack([{"S": "before"}, record, {"S": "after"}], 4096)

    assert rest == [{"S": "after"}]
    assert [count for _, count in pages] == [1, 1, *[0] * (len(pages) - 2)]
    parts = [found[0]["S"].encode() for found, _ in pages[1:]]
    assert all(0 < len(part) <= PART_BYTES for part in parts)
    assert all(len(part) > PART_BYTES - 4 for part in parts[:-1])
    assert b"".join(parts).decode() == text
    assert join(*stored(pages)) == [{"S": "before"}, record]


@relaxed
@given(st.data())
def test_lost_page_hides_no_other(data: st.DataObject) -> None:
    """For each record of a lost page, whole or in part, there is one that cannot be read."""
    large = {"S": "x" * (2 * PART_BYTES + 10)}
    records = [*[{"S": f"{number}" * 40} for number in range(10)], large, {"S": "y" * 90}]
    pages, rest = pack([*records, {"S": "z" * 70}], 100)
    refs, whole = stored(pages)
    lost = data.draw(st.sets(st.integers(0, len(pages) - 1)))
    found = [None if at in lost else page for at, page in enumerate(whole)]

    joined = join(refs, found) + rest

    expected: list[Any] = []
    at = -1
    for number, ref in enumerate(refs):
        begun = [*records, *rest][at + 1 : at + 1 + ref.count]
        expected += [MISSING] * ref.count if number in lost else begun
        at += ref.count
        if number in lost and not ref.count:
            expected[-1] = MISSING
    assert joined == expected + rest


def test_large_record_that_is_no_text_is_not_cut() -> None:
    """An element of another type is a page of its own."""
    record = {"B": b"x" * 5000}

    assert pack([record, record], 4096) == ([([record], 1), ([record], 1)], [])


@relaxed
@given(records_lists, st.integers(1, 200), st.integers(1, 200), st.booleans())
def test_records_are_spread_over_an_item_and_its_pages(
    records: list[Any], first: int, later: int, paged: bool
) -> None:
    """An item keeps what it has room for, and what is more is in pages, the large ones first."""
    room, kept = Room(max(first, later), min(first, later)), (PageRef.new(1),) * paged
    pages, rest = distribute(records, room, kept)

    assert join(*stored(pages)) + rest == records
    assert size_of(rest) <= (room.beside(kept) if not pages else room.later)
    assert bool(pages) == (size_of(records) > room.beside(kept))
    if pages and not paged:
        found, _ = pages[0]
        assert found == pack(records, room.first)[0][0][0]


def test_room_of_pages() -> None:
    """A page and what belongs to it fill whole read units, and 20 turns of 2 KB fit into one."""
    assert Room.of(None).first >= 20 * 2048
    assert Room.of(16 * 1024) == Room(16_000, 16_000)
    assert Room.of(None).beside(()) == 44 * 1024 - 384
    assert Room.of(None).beside((PageRef.new(1),)) == 8 * 1024 - 384


# --- requests --------------------------------------------------------------------------------


def test_item_takes_what_fits() -> None:
    """An append in place needs room, a conversation that is not over, and lasting pages."""
    later, ref = int(time.time()) + 1000, PageRef.new(1)
    head = ItemState(exists=True, version=1, records=[{"S": "x" * 99}])

    assert has_room(ItemState(), 200, ROOM, None)
    assert not has_room(ItemState(), 201, ROOM, None)
    assert has_room(head, 100, ROOM, None)
    assert not has_room(head, 101, ROOM, None)
    assert not has_room(replace(head, version=None), 1, ROOM, None)
    assert not has_room(replace(head, ttl=1), 1, ROOM, None)
    paged = ItemState(exists=True, version=1, records=[{"S": "x" * 9}])
    paged = replace(paged, pages=(ref,), ttl=later, pages_until=later + 10)
    assert has_room(paged, 40, ROOM, None)
    assert not has_room(paged, 41, ROOM, None)
    assert has_room(replace(paged, pages=(ref,) * 512), 1, ROOM, None)
    assert not has_room(replace(paged, pages=(ref,) * 513), 1, ROOM, None)
    assert has_room(paged, 1, ROOM, None)
    assert has_room(paged, 1, ROOM, later + 10)
    assert not has_room(paged, 1, ROOM, later + 11)
    assert not has_room(replace(paged, ttl=later + 11), 1, ROOM, None)
    assert not has_room(replace(paged, ttl=None), 1, ROOM, None)
    assert has_room(replace(paged, ttl=None, pages_until=None), 1, ROOM, None)
    assert not has_room(replace(paged, ttl=None, pages_until=None), 1, ROOM, later)


@pytest.mark.parametrize(
    ("pages", "item", "lasting"),
    [
        (None, None, True),
        (10, None, False),
        (10, 10, True),
        (11, 10, True),
        (9, 10, False),
    ],
)
def test_pages_that_outlive_the_item(
    pages: float | None, item: float | None, lasting: bool
) -> None:
    """Pages with a time last as long as an item with an earlier one."""
    assert outlives(pages, item) is lasting


@pytest.mark.parametrize("ttl", [None, 5])
def test_every_name_and_value_of_a_request_is_used(ttl: int | None) -> None:
    """DynamoDB refuses names and values that no expression uses, and those that are missing."""
    mark = Token.after(0)
    heads = [
        ItemState(),
        ItemState(exists=True, version=3, ttl=7),
        ItemState.parse({"session_id": {"S": "x"}, "conversation_data": {"S": "[{}]"}}),
        ItemState.parse({"session_id": {"S": "x"}, "items": {"L": [{"S": "{}"}]}}),
    ]
    afters = [
        ItemState(version=4, writes=frozenset({mark}), ttl=ttl),
        ItemState(version=4, writes=frozenset({mark}), pages=(PageRef.new(1),), pages_until=9),
    ]
    append = partial(
        append_update, [{"S": "{}"}], mark, size=3, room=Room(4096, 4096), ttl=ttl, start=1
    )
    ada = Owner("Ada", {"name": "Groceries", "is_active": False, "description": None})
    changes = {"name": None, "description": "x", "is_active": True, "agent_name": "y"}
    requests = [
        append(),
        append(owner=ada),
        append(owner=ada, begins=False),
        append(owner=ada, begins=False, changes={}),
        append(owner=ada, begins=False, changes=changes),
        append(owner=ada, begins=False, changes={"is_active": False}),
        empty_update(mark, ada, ttl),
        *(
            clear_update(mark, {mark}, 1, exists=exists, owner=owner, expired=expired)
            for exists in (True, False)
            for owner in (NOBODY, ada)
            for expired in (None, True, False)
        ),
        *(
            replace_update(head, after, mark, ended=ended, owner=owner)
            for head in heads
            for after in afters
            for ended in (True, False)
            for owner in (NOBODY, ada)
        ),
    ]
    for request in requests:
        text = request["UpdateExpression"] + " " + request["ConditionExpression"]
        assert set(re.findall(r"#\w+", text)) == set(request["ExpressionAttributeNames"])
        assert set(re.findall(r":\w+", text)) == set(request["ExpressionAttributeValues"])
        assert request["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD"
        assert len(request["UpdateExpression"]) < 4096  # DynamoDB's limit of an expression
        assert "None" not in json.dumps(request, default=str)


# --- whose it is -----------------------------------------------------------------------------

hostile = st.lists(
    st.sampled_from(["a", "#", "%", "%23", "~", ":", "é", "\0"]), min_size=1, max_size=5
)
ids = texts.filter(bool) | hostile.map("".join)


@given(ids, ids, ids, ids)
def test_no_two_pairs_have_one_key(user: str, one: str, other_user: str, other: str) -> None:
    """A key says of which user's which conversation it is."""
    key = key_of(user, one)

    assert (key == key_of(other_user, other)) is ((user, one) == (other_user, other))
    assert id_of(user, key) == one
    assert key_of(None, one) == one == id_of(None, one)


@given(st.dictionaries(st.sampled_from(["name", "description", "agent_name"]), st.none() | texts))
def test_what_is_said_comes_back(about: dict[str, Any]) -> None:
    """What is stored is what was said, and nothing of what was not."""
    for active in (None, True, False):
        said = about | ({} if active is None else {"is_active": active})
        found = about_of({"about": about_value(said)})
        assert found == {name: value for name, value in said.items() if value not in (None, True)}


@given(st.lists(st.integers(0, 3), max_size=9), st.integers(0, 20))
def test_pages_up_to_a_position(counts: list[int], end: int) -> None:
    """All pages that have one of the records before it, and no other."""
    counts = [1, *counts]  # a conversation does not begin with a further part
    refs = tuple(PageRef.new(count) for count in counts)
    of_pages: list[set[int]] = []
    record = -1
    for count in counts:
        of_pages.append({*range(record + 1, record + 1 + count)} or {record})
        record += count

    kept = _up_to(refs, end)

    assert kept == refs[: len(kept)]
    assert [ref in kept for ref in refs] == [min(each) < end for each in of_pages]
