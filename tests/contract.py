"""The contract of a session store, as a pytest base class.

Derive a ``Test…`` class from :class:`SessionContract`, say in its class attributes what
the store can do, and fill in the hooks: the inherited tests then prove that the store
keeps conversations whole, in order, apart from each other and no longer than asked.
Tests of an ability that is switched off are not collected. Every test also proves that
a neighbouring conversation in the same store was left alone.

Needs ``pytest-asyncio`` in its auto mode; has no other demands on the surroundings.
"""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timezone
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar, cast

import pytest
import pytest_asyncio
from agents.extensions.memory import RedisSession as SdkRedisSession
from agents.extensions.memory.encrypt_session import EncryptedSession
from agents.memory import (
    OpenAIResponsesCompactionSession,
    Session,
    SessionABC,
    SessionSettings,
    is_openai_responses_compaction_aware_session,
)
from openai.types.responses import (
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
    ResponseReasoningItem,
)
from openai.types.responses.response_reasoning_item import Summary

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from pydantic import BaseModel

# Which methods a session has beyond the SDK's protocol is a matter of the abilities
# below, so no one protocol describes every session that comes by here.
AnySession: TypeAlias = Any
Item: TypeAlias = Any

_Test = TypeVar("_Test", bound=Callable[..., Any])

# The text that must never turn up in a log, a repr or an error message.
SECRET = "the-user-said-this-in-confidence"


def requires(*abilities: str) -> Callable[[_Test], _Test]:
    """Collect the test only where every one of these abilities is switched on."""

    def mark(test: _Test) -> _Test:
        setattr(test, "abilities", abilities)  # noqa: B010 - a function has no such attribute
        return test

    return mark


def user(text: str) -> dict[str, Any]:
    """Return a message of the user, the smallest item that a Runner would store."""
    return {"role": "user", "content": text}


def numbered(start: int, stop: int) -> list[Item]:
    """Return messages that carry their own number."""
    return [user(f"item {number}") for number in range(start, stop)]


def nested(depth: int) -> Item:
    """Return an item that holds containers in containers, ``depth`` of them."""
    value: Any = "the bottom"
    for level in range(depth - 1):
        value = [value] if level % 2 else {"in": value}
    return {"role": "user", "content": value}


def assert_same(stored: Any, given: Any) -> None:
    """Assert that both are the same JSON: 1 is not 1.0, NaN is NaN, any depth."""
    # Not recursive: the items of interest are nested deeper than the interpreter
    # likes to compare, and pytest would print them whole.
    pairs = [(stored, given, "$")]
    while pairs:
        left, right, path = pairs.pop()
        assert type(left) is type(right), f"{path}: {type(left)} instead of {type(right)}"
        if isinstance(right, dict):
            assert set(left) == set(right), f"{path}: other keys"
            pairs += [(left[key], right[key], f"{path}.{key:.20}") for key in right]
        elif isinstance(right, list):
            assert len(left) == len(right), f"{path}: {len(left)} instead of {len(right)}"
            pairs += [
                (one, other, f"{path}[{at}]")
                for at, (one, other) in enumerate(zip(left, right, strict=True))
            ]
        elif isinstance(right, float):
            assert repr(left) == repr(right), path
        else:
            # No comparison in the message: values may be megabytes long.
            same = left == right
            assert same, f"{path}: another value"


LOSSLESS: dict[str, Item] = {
    "a message": user("Hello"),
    "an empty dict": {},
    "empty values": {"role": "", "content": [], "extra": {}, "nothing": None},
    "booleans": {"yes": True, "no": False},
    "unicode": user("Grüße, 你好, 👩‍👩‍👧‍👦, \u202eright to left\u202c, e\u0301 is not é"),
    "control characters": user('a\x00b\x1b[0m\r\n\t"\\/\u2028\u2029\x7f'),
    "lone surrogates": {"role": "user", "content": "\ud83d and \ude00", "\udfff": 1},
    "not a number": {"values": [math.nan, math.inf, -math.inf]},
    "floats": {"values": [0.1, 1.0, -0.0, 1e308, 5e-324, 1e22, 123456789.123456789]},
    "integers": {"values": [0, -1, 2**53 + 1, -(2**64), 10**4000]},
    "strange keys": {"": 1, " ": 2, "a.b": 3, "$ref": 4, "__proto__": 5, "NULL": 6},
    "text that looks like JSON": user('{"role": "user"}'),
    "300 levels": nested(300),
    "800 levels": nested(800),
    "3 MB": user("0123456789abcdef" * 196_608),
    "a function call": {
        "type": "function_call",
        "call_id": "call_1",
        "name": "weather",
        "arguments": '{"city": "Zürich"}',
    },
    "a call's output": {
        "type": "function_call_output",
        "call_id": "call_1",
        "output": [{"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="}],
    },
    "compacted history": {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAA"},
}


def models() -> dict[str, BaseModel]:
    """Return answers of a model as the OpenAI client delivers them."""
    return {
        "message": ResponseOutputMessage(
            id="msg_1",
            type="message",
            role="assistant",
            status="completed",
            content=[ResponseOutputText(type="output_text", text="Grüezi", annotations=[])],
        ),
        "call": ResponseFunctionToolCall(
            type="function_call", call_id="call_1", name="weather", arguments="{}"
        ),
        "reasoning": ResponseReasoningItem(
            id="rs_1", type="reasoning", summary=[Summary(type="summary_text", text="Hm.")]
        ),
    }


def _circular() -> Item:
    item: dict[str, Any] = {"role": "user"}
    item["content"] = [item]
    return item


# What JSON cannot hold, and the type that the error has to name.
REFUSED: dict[str, tuple[Any, str]] = {
    "a datetime": ({"at": datetime(2026, 1, 1, tzinfo=timezone.utc)}, "datetime"),
    "bytes": ({"content": [b"raw"]}, "bytes"),
    "a set": ({"content": {"in": {1, 2}}}, "set"),
    "a decimal": ({"price": Decimal("1.10")}, "Decimal"),
    "a complex number": ({"z": 1j}, "complex"),
    "an object": ({"content": object()}, "object"),
    "an integer for a key": ({"content": {1: "one"}}, "int"),
    "a text for an item": ("Hello", "str"),
    "a list for an item": ([{"role": "user"}], "list"),
    "nothing for an item": (None, "NoneType"),
    "a circle": (_circular(), ""),
    "5,000 levels": (nested(5000), ""),
}

# Bad ids and what is raised for them.
BAD_IDS: dict[str, tuple[Any, type[Exception]]] = {
    "empty": ("", ValueError),
    "None": (None, TypeError),
    "a number": (7, TypeError),
    "bytes": (b"user", TypeError),
    "half a character": ("a\ud800", ValueError),
}

BAD_TTLS: tuple[Any, ...] = (0, -1, True, False, 1.5, 60.0, "60", b"60", math.inf, 10**11)

HOSTILE_IDS: tuple[str, ...] = (
    "a",
    "A",
    "a ",
    "a:b",
    "a:b:c",
    ":",
    "{x}",
    "x",
    "{x}y",
    "{y}x",
    "a}b",
    "a}b{c}",
    "{",
    "}",
    "{}",
    "{}{x}",
    "{a",
    "*",
    "?",
    "[a-z]",
    "~",
    "a~b",
    "%s",
    "a\nb",
    "a\r\nb",
    "a\x00b",
    "a\x00",
    "é",
    "e\u0301",
    "👩‍👩‍👧",
    "../x",
    "..",
    "/",
    "\\",
    "'; DROP TABLE x; --",
    '"',
    "None",
    "0",
    " ",
    "x" * 1000,
    "x" * 999,
)

# Attributes that the SDK looks for to find out what a session can do.
PROBED = (
    "run_compaction",
    "_defer_compaction",
    "_get_items_with_generation",
    "_add_items_with_generation",
    "_read_compaction_items",
    "_ignore_ids_for_matching",
    "anything_at_all",
)


# For another store of a kind that was asked everything: what may still differ there.
SHARE = (
    "test_batches_of_concurrent_writers_stay_whole",
    "test_settings_give_the_default_limit",
    "test_concurrent_pops_share_the_items",
    "test_clear_removes_everything",
    "test_replace_is_one_step",
    "test_replace_beside_appends",
    "test_many_unreadable_records_hide_nothing",
    "test_snapshot_replaces_its_end",
    "test_snapshot_of_the_past_replaces_nothing",
    "test_every_write_slides_the_ttl",
    "test_expired_is_gone",
    "test_no_ttl_removes_none",
    "test_cancelled_append_is_all_or_nothing",
    "test_write_under_way_is_done_before_the_event_loop_ends",
    "test_hostile_ids_are_conversations_of_their_own",
    "test_compaction_session_on_top",
)


class FakeCompactor:
    """Stand in for the OpenAI client: answers every compaction with the same items."""

    def __init__(self, output: Sequence[Item]) -> None:
        self.responses = self
        self.output = list(output)
        self.requests: list[dict[str, Any]] = []

    async def compact(self, **request: Any) -> SimpleNamespace:
        """Note the request, give the event loop to others, and answer."""
        self.requests.append(request)
        await asyncio.sleep(0)
        return SimpleNamespace(output=self.output, usage=None)

    def as_client(self) -> AsyncOpenAI:
        """Return itself under the type that the SDK asks for."""
        return cast("AsyncOpenAI", self)


class SessionContract:
    """What every session store has to do, one test for each promise.

    Fill in ``make_session`` and, for the abilities that are left on, the other hooks.
    Override the fixture ``store`` to prepare what the hooks need, before every test.
    """

    # Abilities: switch off what the store does not promise.
    strict_items: ClassVar[bool] = True  # takes models, and refuses what JSON cannot hold
    validates: ClassVar[bool] = True  # refuses bad arguments at construction
    strict_limits: ClassVar[bool] = True  # a limit below zero gives no items
    replaces: ClassVar[bool] = True  # replace_items, in one step
    snapshots: ClassVar[bool] = True  # the SDK's hook _get_compaction_snapshot
    expires: ClassVar[bool] = True  # takes a ttl
    leaves_expiry: ClassVar[bool] = True  # without a ttl, keeps an expiry set by others
    vanishes: ClassVar[bool] = True  # of an emptied conversation nothing is left
    keeps_unreadable: ClassVar[bool] = True  # warns of records it cannot read, keeps them
    settles: ClassVar[bool] = True  # a write that has begun is done before a cancellation
    manages_client: ClassVar[bool] = True  # ping, an awaitable close, ``async with``

    # The class that make_session builds; some tests derive from it.
    session_class: ClassVar[type[Any]]
    # Raw records that the store can hold but no session can read.
    unreadable: ClassVar[tuple[bytes, ...]] = (
        f"not JSON: {SECRET}".encode(),
        b'{"role": "user", "content": "' + SECRET.encode(),
        f'"{SECRET}"'.encode(),
        b'["a", "list"]',
        b"null",
        b"42",
        b"",
        b'{"role": "user", "content": nan}',
        b'{"role": "user", "content": "\xff"}',
        b"\xff\xfe" + SECRET.encode(),
    )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Take the tests of abilities that are switched off out of the collection."""
        super().__init_subclass__(**kwargs)
        for name, test in vars(SessionContract).items():
            abilities: tuple[str, ...] = getattr(test, "abilities", ())
            if not all(getattr(cls, ability) for ability in abilities):
                setattr(cls, name, None)

    # ------------------------------------------------------------------ hooks

    @pytest_asyncio.fixture
    async def store(self) -> AsyncIterator[None]:
        """Prepare the store before a test and tidy it up afterwards; override it."""
        yield

    async def make_session(
        self, session_id: Any, *, cls: type[Any] | None = None, **options: Any
    ) -> AnySession:
        """Return a session of class ``cls`` or ``session_class``.

        The options are ``ttl`` (only where ``expires``) and ``session_settings``.
        """
        raise NotImplementedError

    async def close_session(self, session: AnySession) -> None:
        """Let go of a session that a test has finished with."""
        await session.close()

    async def raw(self, session: AnySession) -> list[bytes]:
        """Return every stored record of the session, oldest first, as it is stored."""
        raise NotImplementedError

    async def corrupt(self, session: AnySession, raw: bytes) -> None:
        """Append a raw record that the session cannot read."""
        raise NotImplementedError

    async def expire(self, session: AnySession) -> None:
        """Move the record or the clock so that the session is past its TTL."""
        raise NotImplementedError

    async def ttl_left(self, session: AnySession) -> float | None:
        """Return the seconds that the session has left, None if it will not expire."""
        raise NotImplementedError

    async def set_ttl_left(self, session: AnySession, seconds: int) -> None:
        """Let the stored session expire in this many seconds, behind its back."""
        raise NotImplementedError

    async def settle(self) -> None:
        """Wait until everything that was sent to the store has arrived there."""
        await asyncio.sleep(0.01)

    # --------------------------------------------------------------- fixtures

    @pytest.fixture
    def session_id(self) -> str:
        """Return an id that no other test uses."""
        return f"contract-{uuid.uuid4().hex}"

    @pytest_asyncio.fixture
    async def session(self, session_id: str) -> AsyncIterator[AnySession]:
        """Give a session without any options."""
        session = await self.make_session(session_id)
        yield session
        await self.close_session(session)

    @pytest_asyncio.fixture
    async def lasting(self, session_id: str) -> AsyncIterator[AnySession]:
        """Give a session with a TTL of 1,000 seconds."""
        session = await self.make_session(session_id, ttl=1000)
        yield session
        await self.close_session(session)

    @pytest_asyncio.fixture(autouse=True)
    async def neighbour(
        self,
        store: None,  # noqa: ARG002 - has to be ready before any session
        session_id: str,
    ) -> AsyncIterator[AnySession]:
        """Keep another conversation beside the test's and see that it stays as it is."""
        session = await self.make_session(f"{session_id}:2")
        items = [user("I live next door"), user("and want to be left alone")]
        await session.add_items(items)
        assert await session.get_items() == items

        yield session

        assert await session.get_items() == items, "the neighbour was touched"
        await session.clear_session()
        await self.close_session(session)

    # ------------------------------------------------- P2: what goes in comes out

    @pytest.mark.parametrize("name", LOSSLESS)
    async def test_item_comes_back_as_it_went_in(self, session: AnySession, name: str) -> None:
        """An item that JSON can hold comes back exactly as it went in, and so does a pop."""
        before, after = user("before"), user("after")
        assert await session.get_items() == []

        await session.add_items([before, LOSSLESS[name], after])

        assert_same(await session.get_items(), [before, LOSSLESS[name], after])
        assert await session.pop_item() == after
        assert_same(await session.pop_item(), LOSSLESS[name])
        assert await session.get_items() == [before]

    async def test_items_keep_their_order(self, session: AnySession) -> None:
        """Items come back in the order they were added in, over many batches."""
        for start in range(0, 30, 10):
            await session.add_items(numbered(start, start + 10))

        assert await session.get_items() == numbered(0, 30)

    async def test_equal_items_are_all_kept(self, session: AnySession) -> None:
        """Items that say the same are not taken for one."""
        await session.add_items([user("again")] * 3)
        await session.add_items([user("again")])

        assert await session.get_items() == [user("again")] * 4

    async def test_items_of_the_caller_are_left_alone(self, session: AnySession) -> None:
        """The caller's list stays the caller's: not changed, and free to be changed."""
        items = [user("mine")]
        await session.add_items(items)
        assert items == [user("mine")]

        items[0]["content"] = "changed later"

        assert await session.get_items() == [user("mine")]

    async def test_another_object_of_the_same_id_sees_the_items(
        self, session: AnySession, session_id: str
    ) -> None:
        """A conversation belongs to its id, not to the object that wrote it."""
        await session.add_items(numbered(0, 2))

        other = await self.make_session(session_id)

        assert await other.get_items() == numbered(0, 2)
        await other.add_items(numbered(2, 3))
        assert await session.get_items() == numbered(0, 3)
        await self.close_session(other)

    @requires("strict_items")
    @pytest.mark.parametrize("name", ["message", "call", "reasoning"])
    async def test_model_is_stored_as_its_dump(self, session: AnySession, name: str) -> None:
        """A Pydantic model goes in as its JSON dump, also somewhere inside a dict."""
        model = models()[name]
        dump = model.model_dump(mode="json")

        await session.add_items([model, {"type": "wrapper", "raw": model, "all": [model]}])

        assert_same(
            await session.get_items(), [dump, {"type": "wrapper", "raw": dump, "all": [dump]}]
        )

    @requires("strict_items")
    @pytest.mark.parametrize("name", REFUSED)
    async def test_what_json_cannot_hold_is_refused(self, session: AnySession, name: str) -> None:
        """A bad item is refused by position and type before any of its batch is written."""
        bad, type_name = REFUSED[name]
        await session.add_items(numbered(0, 2))
        assert await session.get_items() == numbered(0, 2)

        with pytest.raises(TypeError) as caught:
            await session.add_items([user(SECRET), user(SECRET), bad, user(SECRET)])

        message = str(caught.value)
        assert "2" in message
        assert type_name in message
        assert SECRET not in message
        assert await session.get_items() == numbered(0, 2)

    @requires("strict_items", "replaces")
    async def test_refused_replacement_changes_nothing(self, session: AnySession) -> None:
        """A replacement with an item that JSON cannot hold leaves the history as it was."""
        await session.add_items(numbered(0, 2))

        with pytest.raises(TypeError, match="bytes"):
            await session.replace_items([user("new"), {"content": b"raw"}])

        assert await session.get_items() == numbered(0, 2)

    # --------------------------------------------- P3, P6: batches and many writers

    async def test_empty_batch_is_a_no_op(self, session: AnySession) -> None:
        """An empty batch creates nothing and changes nothing."""
        await session.add_items([])
        assert await session.get_items() == []

        await session.add_items(numbered(0, 1))
        await session.add_items([])

        assert await session.get_items() == numbered(0, 1)

    async def test_batches_of_concurrent_writers_stay_whole(
        self, session: AnySession, session_id: str
    ) -> None:
        """Batches of many writers are all there, each whole and in its own order."""
        writers = [await self.make_session(session_id) for _ in range(20)]
        batches = [[user(f"{writer}.{at}") for at in range(7)] for writer in range(20)]

        await asyncio.gather(
            *(one.add_items(batch) for one, batch in zip(writers, batches, strict=True))
        )

        items = await session.get_items()
        assert len(items) == 140
        stored = [items[start : start + 7] for start in range(0, 140, 7)]
        assert sorted(stored, key=str) == sorted(batches, key=str)
        for writer in writers:
            await self.close_session(writer)

    async def test_one_object_serves_concurrent_writers(self, session: AnySession) -> None:
        """One session object may be used by many tasks at once."""
        batches = [[user(f"{writer}.{at}") for at in range(3)] for writer in range(20)]

        await asyncio.gather(*(session.add_items(batch) for batch in batches))

        items = await session.get_items()
        stored = [items[start : start + 3] for start in range(0, len(items), 3)]
        assert sorted(stored, key=str) == sorted(batches, key=str)

    async def test_reader_never_sees_half_a_batch(
        self, session: AnySession, session_id: str
    ) -> None:
        """A read that runs beside a write sees all of a batch or nothing of it."""
        reader = await self.make_session(session_id)
        lengths: set[int] = set()

        async def read() -> None:
            while max(lengths, default=0) < 200:
                lengths.add(len(await reader.get_items()))

        reading = asyncio.create_task(read())
        for _ in range(10):
            await session.add_items(numbered(0, 20))
        await asyncio.wait_for(reading, 10)

        assert {length % 20 for length in lengths} == {0}
        await self.close_session(reader)

    # ------------------------------------------------------------- P4: the limit

    @pytest.mark.parametrize(
        ("limit", "start"), [(None, 0), (0, 5), (1, 4), (3, 2), (5, 0), (6, 0), (2147483647, 0)]
    )
    async def test_limit_gives_the_newest_items(
        self, session: AnySession, limit: int | None, start: int
    ) -> None:
        """A limit gives that many of the newest items, oldest of them first."""
        await session.add_items(numbered(0, 5))
        assert await session.get_items() == numbered(0, 5)

        assert await session.get_items(limit=limit) == numbered(start, 5)
        assert await session.get_items(limit) == numbered(start, 5)

    @requires("strict_limits")
    @pytest.mark.parametrize("limit", [-1, -5, -2147483648])
    async def test_limit_below_zero_gives_nothing(self, session: AnySession, limit: int) -> None:
        """A limit below zero gives no items."""
        await session.add_items(numbered(0, 5))
        assert await session.get_items() == numbered(0, 5)

        assert await session.get_items(limit=limit) == []

    @pytest.mark.parametrize("settings", [SessionSettings(limit=2), {"limit": 2}])
    async def test_settings_give_the_default_limit(
        self, session: AnySession, session_id: str, settings: Any
    ) -> None:
        """The session's settings, typed or as a dict, hold unless a limit is given."""
        await session.add_items(numbered(0, 5))
        limited = await self.make_session(session_id, session_settings=settings)
        assert limited.session_settings == SessionSettings(limit=2)

        assert await limited.get_items() == numbered(3, 5)
        assert await limited.get_items(limit=None) == numbered(3, 5)
        assert await limited.get_items(limit=4) == numbered(1, 5)
        assert await limited.get_items(limit=0) == []
        assert await limited.pop_item() == numbered(4, 5)[0]
        await self.close_session(limited)

    @pytest.mark.parametrize("settings", [None, SessionSettings(), {}, {"limit": None}])
    async def test_settings_without_limit_give_everything(
        self, session: AnySession, session_id: str, settings: Any
    ) -> None:
        """Settings that name no limit hide nothing."""
        await session.add_items(numbered(0, 5))
        unlimited = await self.make_session(session_id, session_settings=settings)

        assert await unlimited.get_items() == numbered(0, 5)
        await self.close_session(unlimited)

    async def test_default_limit_of_zero_gives_nothing(
        self, session: AnySession, session_id: str
    ) -> None:
        """A default limit of zero is a limit, not the lack of one."""
        await session.add_items(numbered(0, 2))
        silent = await self.make_session(session_id, session_settings={"limit": 0})

        assert await silent.get_items() == []
        assert await silent.get_items(limit=1) == numbered(1, 2)
        await self.close_session(silent)

    # -------------------------------------------------------- P6: popping, clearing

    async def test_pop_takes_the_newest(self, session: AnySession) -> None:
        """Pops take item after item from the end, then give nothing."""
        await session.add_items(numbered(0, 3))

        popped = [await session.pop_item() for _ in range(4)]

        assert popped == [*reversed(numbered(0, 3)), None]
        assert await session.get_items() == []
        await session.add_items(numbered(7, 8))
        assert await session.get_items() == numbered(7, 8)

    async def test_pop_of_an_absent_session_gives_nothing(self, session: AnySession) -> None:
        """A pop from a conversation that never was gives nothing and creates nothing."""
        assert await session.pop_item() is None
        assert await session.get_items() == []

    async def test_pop_gives_an_empty_item(self, session: AnySession) -> None:
        """An empty dict is an item like any other and is not taken for the end."""
        await session.add_items([user("first"), {}])

        assert await session.pop_item() == {}
        assert await session.pop_item() == user("first")
        assert await session.pop_item() is None

    async def test_concurrent_pops_share_the_items(
        self, session: AnySession, session_id: str
    ) -> None:
        """Concurrent pops hand out every item exactly once, and nothing to the rest."""
        await session.add_items(numbered(0, 20))
        assert len(await session.get_items()) == 20
        poppers = [await self.make_session(session_id) for _ in range(5)]

        popped = await asyncio.gather(*(one.pop_item() for one in poppers for _ in range(5)))

        assert popped.count(None) == 5
        got = [item for item in popped if item is not None]
        assert sorted(got, key=str) == sorted(numbered(0, 20), key=str)
        assert await session.get_items() == []
        for popper in poppers:
            await self.close_session(popper)

    async def test_pops_beside_appends_lose_nothing(self, session: AnySession) -> None:
        """What was added is either still there or was popped once, never both."""
        given = [user(f"{number}") for number in range(40)]
        await session.add_items(given[:10])

        results = await asyncio.gather(
            *(session.add_items([item]) for item in given[10:]),
            *(session.pop_item() for _ in range(20)),
        )

        popped = [item for item in results if item is not None]
        left = await session.get_items()
        assert popped
        assert sorted(popped + left, key=str) == sorted(given, key=str)

    async def test_clear_removes_everything(self, session: AnySession) -> None:
        """A cleared conversation is empty and can be started again."""
        await session.add_items(numbered(0, 3))
        assert await session.get_items() == numbered(0, 3)

        await session.clear_session()

        assert await session.get_items() == []
        assert await session.pop_item() is None
        await session.add_items(numbered(5, 6))
        assert await session.get_items() == numbered(5, 6)

    async def test_clear_of_an_absent_session_is_a_no_op(self, session: AnySession) -> None:
        """Clearing a conversation that never was, or twice, is no error."""
        assert await session.get_items() == []

        await session.clear_session()
        await session.clear_session()

        assert await session.get_items() == []

    # ------------------------------------------------------------- P8: replacing

    @requires("replaces")
    @pytest.mark.parametrize("count", [0, 1, 3, 10])
    async def test_replace_swaps_the_history(self, session: AnySession, count: int) -> None:
        """The new history, of any length, stands in place of the old one, in order."""
        await session.add_items(numbered(0, 3))
        assert await session.get_items() == numbered(0, 3)

        await session.replace_items(numbered(50, 50 + count))

        assert await session.get_items() == numbered(50, 50 + count)
        await session.add_items(numbered(9, 10))
        assert await session.get_items() == numbered(50, 50 + count) + numbered(9, 10)

    @requires("replaces")
    async def test_replace_of_an_absent_session_starts_it(self, session: AnySession) -> None:
        """Replacing a conversation that never was starts it; with nothing, it stays absent."""
        await session.replace_items([])
        assert await session.get_items() == []

        await session.replace_items(numbered(0, 2))

        assert await session.get_items() == numbered(0, 2)

    @requires("replaces")
    async def test_replace_is_one_step(self, session: AnySession, session_id: str) -> None:
        """A reader beside a replacement sees the old history or the new one, whole."""
        old, new = numbered(0, 8), numbered(8, 20)
        reader = await self.make_session(session_id)
        await session.add_items(old)
        seen: list[list[Item]] = []
        done = asyncio.Event()

        async def read() -> None:
            while not done.is_set():
                seen.append(await reader.get_items())

        reading = asyncio.create_task(read())
        for _ in range(10):
            await session.replace_items(new)
            await session.replace_items(old)
        done.set()
        await reading

        assert seen
        assert all(items in (old, new) for items in seen)
        await self.close_session(reader)

    @requires("replaces")
    async def test_replace_beside_appends(self, session: AnySession) -> None:
        """What comes after a replacement survives it; what came before is gone whole."""
        await session.add_items(numbered(0, 3))
        summary = [user("so far"), user("so good")]

        await asyncio.gather(
            *(session.add_items([user(f"{at}.a"), user(f"{at}.b")]) for at in range(6)),
            session.replace_items(summary),
            *(session.add_items([user(f"{at}.a"), user(f"{at}.b")]) for at in range(6, 12)),
        )

        items = await session.get_items()
        assert items[:2] == summary
        rest = [item["content"] for item in items[2:]]
        assert [text.removesuffix(".a") for text in rest[::2]] == [
            text.removesuffix(".b") for text in rest[1::2]
        ]

    @requires("replaces")
    async def test_hook_of_the_sdk_replaces_and_says_so(self, session: AnySession) -> None:
        """The SDK's hook, looked up on the type as the SDK does, commits and returns True."""
        await session.add_items(numbered(0, 3))

        replaced = await type(session)._atomic_replace_items(session, numbered(7, 9))

        assert replaced is True
        assert await session.get_items() == numbered(7, 9)

    # ---------------------------------------------------- P9: unreadable records

    @requires("keeps_unreadable")
    @pytest.mark.parametrize("at", range(10))
    async def test_unreadable_record_is_skipped(
        self,
        session: AnySession,
        session_id: str,
        caplog: pytest.LogCaptureFixture,
        at: int,
    ) -> None:
        """A record that cannot be read hides nothing, is warned of, and stays stored."""
        bad = self.unreadable[at % len(self.unreadable)]
        await self.corrupt(session, bad)
        await session.add_items(numbered(0, 2))
        await self.corrupt(session, bad)
        await session.add_items(numbered(2, 4))
        await self.corrupt(session, bad)
        assert (await self.raw(session)).count(bad) == 3
        caplog.clear()

        assert await session.get_items() == numbered(0, 4)

        warnings = [entry for entry in caplog.records if entry.levelname == "WARNING"]
        assert any(session_id in entry.getMessage() for entry in warnings)
        assert SECRET not in caplog.text
        for limit in range(1, 5):
            assert await session.get_items(limit=limit) == numbered(4 - limit, 4)
        assert await session.get_items(limit=5) == numbered(0, 4)
        popped = [await session.pop_item() for _ in range(5)]
        assert popped == [*reversed(numbered(0, 4)), None]
        assert await self.raw(session) == [bad] * 3
        assert await session.get_items() == []
        await session.add_items(numbered(4, 5))
        assert await session.get_items() == numbered(4, 5)

    @requires("keeps_unreadable")
    async def test_many_unreadable_records_hide_nothing(self, session: AnySession) -> None:
        """However many records cannot be read, a limit and a pop reach the older items."""
        await session.add_items(numbered(0, 5))
        for at in range(300):
            await self.corrupt(session, self.unreadable[at % len(self.unreadable)])
        assert len(await self.raw(session)) == 305

        assert await session.get_items(limit=3) == numbered(2, 5)
        assert await session.pop_item() == numbered(4, 5)[0]
        assert await session.get_items() == numbered(0, 4)
        assert len(await self.raw(session)) == 304

    @requires("keeps_unreadable")
    async def test_concurrent_pops_pass_over_the_unreadable(self, session: AnySession) -> None:
        """Pops that race over unreadable records still share the items exactly once."""
        for number in range(10):
            await session.add_items(numbered(number, number + 1))
            await self.corrupt(session, self.unreadable[0])

        popped = await asyncio.gather(*(session.pop_item() for _ in range(12)))

        assert popped.count(None) == 2
        got = [item for item in popped if item is not None]
        assert sorted(got, key=str) == sorted(numbered(0, 10), key=str)
        assert await self.raw(session) == [self.unreadable[0]] * 10

    @requires("keeps_unreadable")
    async def test_clear_takes_the_unreadable_too(self, session: AnySession) -> None:
        """Clearing deletes all that is stored, whether it can be read or not."""
        await session.add_items(numbered(0, 1))
        await self.corrupt(session, self.unreadable[0])
        assert len(await self.raw(session)) == 2

        await session.clear_session()

        assert await self.raw(session) == []

    @requires("keeps_unreadable", "replaces")
    async def test_replace_takes_the_unreadable_too(self, session: AnySession) -> None:
        """A replacement stands in place of all that is stored."""
        await session.add_items(numbered(0, 1))
        await self.corrupt(session, self.unreadable[0])

        await session.replace_items(numbered(1, 3))

        assert len(await self.raw(session)) == 2
        assert await session.get_items() == numbered(1, 3)

    # -------------------------------------------------------- P8: the SDK's snapshot

    @requires("snapshots")
    async def test_snapshot_shows_the_newest_items(self, session: AnySession) -> None:
        """A snapshot holds the newest items and says whether they are all there are."""
        await session.add_items(numbered(0, 5))

        part = await session._get_compaction_snapshot(3)
        whole = await session._get_compaction_snapshot(6)

        assert (part.items, part.complete) == (numbered(2, 5), False)
        assert (whole.items, whole.complete) == (numbered(0, 5), True)

    @requires("snapshots")
    async def test_snapshot_replaces_its_end(self, session: AnySession) -> None:
        """Replacing from a position of the snapshot keeps everything before it."""
        await session.add_items(numbered(0, 5))
        snapshot = await session._get_compaction_snapshot(3)

        assert await snapshot.replace_suffix(1, [user("summary")]) is True

        assert await session.get_items() == [*numbered(0, 3), user("summary")]

    @requires("snapshots")
    async def test_snapshot_replaces_everything(self, session: AnySession) -> None:
        """A complete snapshot can be replaced from its first item on."""
        await session.add_items(numbered(0, 5))
        snapshot = await session._get_compaction_snapshot(10)

        assert await snapshot.replace_suffix(0, [user("a"), user("b")]) is True

        assert await session.get_items() == [user("a"), user("b")]

    @requires("snapshots")
    @pytest.mark.parametrize("change", ["added", "popped", "swapped", "cleared"])
    async def test_snapshot_of_the_past_replaces_nothing(
        self, session: AnySession, change: str
    ) -> None:
        """A snapshot whose end has changed since replaces nothing and says False."""
        await session.add_items(numbered(0, 5))
        snapshot = await session._get_compaction_snapshot(3)
        if change == "added":
            await session.add_items(numbered(5, 6))
        elif change == "cleared":
            await session.clear_session()
        else:
            assert await session.pop_item() == numbered(4, 5)[0]
        if change == "swapped":
            await session.add_items(numbered(9, 10))
        now = await session.get_items()
        assert now != numbered(0, 5)

        assert await snapshot.replace_suffix(0, [user("summary")]) is False

        assert await session.get_items() == now

    @requires("snapshots")
    async def test_snapshot_prunes_the_head(self, session: AnySession) -> None:
        """Pruning removes what the caller calls stale at the head, and stops at the rest."""
        stale = [user("stale 1"), user("stale 2")]
        kept = [user("kept"), user("stale 3")]
        await session.add_items([*stale, *kept, *numbered(0, 2)])

        def is_stale(item: Item) -> bool:
            return str(item["content"]).startswith("stale")

        snapshot = await session._get_compaction_snapshot(2, prune_prefix=is_stale)
        assert snapshot.items == numbered(0, 2)
        assert await session.get_items() == [*stale, *kept, *numbered(0, 2)]

        assert await snapshot.replace_suffix(0, [user("summary")]) is True

        assert await session.get_items() == [*kept, user("summary")]

    @requires("snapshots", "keeps_unreadable")
    async def test_snapshot_over_the_unreadable(self, session: AnySession) -> None:
        """Unreadable records do not shift what a snapshot replaces; or there is none."""
        await session.add_items(numbered(0, 2))
        await self.corrupt(session, self.unreadable[0])
        await session.add_items(numbered(2, 4))
        snapshot = await session._get_compaction_snapshot(3)

        if snapshot is not None:
            at = snapshot.items.index(numbered(3, 4)[0])
            await snapshot.replace_suffix(at, [user("summary")])

        items = await session.get_items()
        assert items == (numbered(0, 4) if snapshot is None else [*numbered(0, 3), user("summary")])

    @requires("snapshots")
    async def test_snapshot_of_an_absent_session_is_empty(self, session: AnySession) -> None:
        """There is nothing to see, or nothing at all, where there is no conversation."""
        snapshot = await session._get_compaction_snapshot(3)

        assert snapshot is None or (snapshot.items, snapshot.complete) == ([], True)

    # ---------------------------------------------------- subclasses keep their say

    @requires("replaces")
    async def test_subclass_is_not_bypassed(self, session_id: str) -> None:
        """Compaction goes through the item methods that a subclass has changed."""

        class Upper(self.session_class):  # type: ignore[name-defined, misc] - known only here
            async def add_items(self, items: list[Item]) -> None:
                await super().add_items([user(item["content"].upper()) for item in items])

        session = await self.make_session(session_id, cls=Upper)
        await session.add_items([user("hello")])
        assert await session.get_items() == [user("HELLO")]
        compaction = OpenAIResponsesCompactionSession(
            session_id,
            session,
            client=FakeCompactor([user("summary")]).as_client(),
            compaction_mode="input",
        )

        await compaction.run_compaction({"force": True})

        assert await session.get_items() == [user("SUMMARY")]
        await self.close_session(session)

    @requires("snapshots")
    async def test_snapshot_does_not_bypass_a_subclass(self, session_id: str) -> None:
        """A snapshot of a changed subclass, if there is one, writes as the subclass does."""

        class Upper(self.session_class):  # type: ignore[name-defined, misc] - known only here
            async def add_items(self, items: list[Item]) -> None:
                await super().add_items([user(item["content"].upper()) for item in items])

        session = await self.make_session(session_id, cls=Upper)
        await session.add_items([user("hello")])
        snapshot = await session._get_compaction_snapshot(5)

        replaced = snapshot is not None and await snapshot.replace_suffix(0, [user("summary")])

        assert await session.get_items() == [user("SUMMARY" if replaced else "HELLO")]
        await self.close_session(session)

    # ------------------------------------------------------------------- P7: TTL

    @requires("expires")
    async def test_write_sets_the_ttl(self, lasting: AnySession) -> None:
        """The first write starts the TTL, an absent session has none."""
        assert await self.ttl_left(lasting) is None

        await lasting.add_items(numbered(0, 1))

        left = await self.ttl_left(lasting)
        assert left is not None
        assert 990 < left <= 1000

    @requires("expires")
    @pytest.mark.parametrize("write", ["add", "pop", "replace"])
    async def test_every_write_slides_the_ttl(self, lasting: AnySession, write: str) -> None:
        """The TTL is counted from the last write, whatever that was."""
        await lasting.add_items(numbered(0, 2))
        await self.set_ttl_left(lasting, 50)
        before = await self.ttl_left(lasting)
        assert before is not None
        assert before <= 50

        if write == "add":
            await lasting.add_items(numbered(2, 3))
        elif write == "pop":
            assert await lasting.pop_item() == numbered(1, 2)[0]
        else:
            await lasting.replace_items(numbered(5, 7))

        left = await self.ttl_left(lasting)
        assert left is not None
        assert 990 < left <= 1000

    @requires("expires")
    async def test_reads_and_empty_batches_leave_the_ttl(self, lasting: AnySession) -> None:
        """Neither a read nor an empty batch makes a conversation live longer."""
        await lasting.add_items(numbered(0, 2))
        await self.set_ttl_left(lasting, 50)

        assert await lasting.get_items() == numbered(0, 2)
        assert await lasting.get_items(limit=1) == numbered(1, 2)
        await lasting.add_items([])

        left = await self.ttl_left(lasting)
        assert left is not None
        assert left <= 50

    @requires("expires")
    async def test_expired_is_gone(self, lasting: AnySession) -> None:
        """Nothing of an expired conversation is returned, popped or continued."""
        await lasting.add_items(numbered(0, 3))
        assert await lasting.get_items() == numbered(0, 3)

        await self.expire(lasting)

        assert await lasting.get_items() == []
        assert await lasting.get_items(limit=2) == []
        assert await lasting.pop_item() is None
        await lasting.clear_session()
        assert await lasting.get_items() == []

    @requires("expires")
    @pytest.mark.parametrize("write", ["add", "replace"])
    async def test_write_after_expiry_starts_anew(self, lasting: AnySession, write: str) -> None:
        """The first write after the expiry starts a new conversation with a TTL of its own."""
        await lasting.add_items(numbered(0, 3))
        await self.expire(lasting)

        if write == "add":
            await lasting.add_items(numbered(5, 6))
        else:
            await lasting.replace_items(numbered(5, 6))

        assert await lasting.get_items() == numbered(5, 6)
        left = await self.ttl_left(lasting)
        assert left is not None
        assert 990 < left <= 1000

    @requires("expires", "snapshots")
    async def test_snapshot_of_an_expired_session_replaces_nothing(
        self, lasting: AnySession
    ) -> None:
        """A snapshot does not bring back a conversation that has expired since."""
        await lasting.add_items(numbered(0, 3))
        snapshot = await lasting._get_compaction_snapshot(5)
        await self.expire(lasting)

        assert await snapshot.replace_suffix(0, [user("summary")]) is False

        assert await lasting.get_items() == []

    @requires("expires", "vanishes")
    async def test_end_of_the_items_is_the_end_of_the_ttl(self, lasting: AnySession) -> None:
        """An emptied conversation leaves nothing behind that would have to expire."""
        await lasting.add_items(numbered(0, 1))
        assert await lasting.pop_item() == numbered(0, 1)[0]
        assert await self.ttl_left(lasting) is None

        await lasting.add_items(numbered(0, 1))
        await lasting.clear_session()

        assert await self.ttl_left(lasting) is None
        assert await self.raw(lasting) == []

    @requires("expires")
    async def test_no_ttl_sets_none(self, session: AnySession) -> None:
        """Without a TTL no write makes the conversation expire."""
        await session.add_items(numbered(0, 3))
        assert await self.ttl_left(session) is None
        assert await session.pop_item() is not None
        assert await self.ttl_left(session) is None

        await session.replace_items(numbered(0, 2))

        assert await self.ttl_left(session) is None
        assert await session.get_items() == numbered(0, 2)

    @requires("expires", "leaves_expiry")
    @pytest.mark.parametrize("write", ["add", "pop", "replace"])
    async def test_no_ttl_removes_none(self, session: AnySession, write: str) -> None:
        """Without a TTL a write leaves an expiry that somebody else has set."""
        await session.add_items(numbered(0, 3))
        await self.set_ttl_left(session, 50)

        if write == "add":
            await session.add_items(numbered(3, 4))
        elif write == "pop":
            assert await session.pop_item() is not None
        else:
            await session.replace_items(numbered(0, 2))

        left = await self.ttl_left(session)
        assert left is not None
        assert 0 < left <= 50

    @requires("expires", "leaves_expiry", "snapshots")
    @pytest.mark.parametrize("start", [0, 2])
    async def test_no_ttl_removes_none_from_a_compacted_history(
        self, session: AnySession, start: int
    ) -> None:
        """Nor does compaction, of all of it or of its end."""
        await session.add_items(numbered(0, 3))
        await self.set_ttl_left(session, 50)
        snapshot = await session._get_compaction_snapshot(10)

        assert await snapshot.replace_suffix(start, [user("summary")]) is True

        assert await session.get_items() == [*numbered(0, start), user("summary")]
        left = await self.ttl_left(session)
        assert left is not None
        assert 0 < left <= 50

    # ------------------------------------------------------------ P10: cancelling

    @pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 8])
    async def test_cancelled_append_is_all_or_nothing(
        self, session: AnySession, steps: int
    ) -> None:
        """A cancelled append has happened or not; it is not half done, nor still to come."""
        await session.add_items(numbered(0, 1))
        appending = asyncio.create_task(session.add_items(numbered(1, 5)))
        for _ in range(steps):
            await asyncio.sleep(0)

        appending.cancel()
        await asyncio.wait({appending})

        now = await session.get_items()
        assert now in (numbered(0, 1), numbered(0, 5))
        await self.settle()
        assert await session.get_items() == now
        await session.add_items(numbered(8, 9))
        assert await session.get_items() == now + numbered(8, 9)

    @pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 8])
    async def test_cancelled_pop_takes_one_item_at_most(
        self, session: AnySession, steps: int
    ) -> None:
        """A cancelled pop has taken the newest item or none, and leaves a usable session."""
        await session.add_items(numbered(0, 4))
        popping = asyncio.create_task(session.pop_item())
        for _ in range(steps):
            await asyncio.sleep(0)

        popping.cancel()
        await asyncio.wait({popping})

        now = await session.get_items()
        assert now in (numbered(0, 4), numbered(0, 3))
        await self.settle()
        assert await session.get_items() == now
        assert await session.pop_item() == now[-1]

    @requires("settles")
    @pytest.mark.parametrize("write", ["add", "pop", "replace", "clear"])
    async def test_write_under_way_is_done_before_the_event_loop_ends(
        self, session: AnySession, write: str
    ) -> None:
        """At its end asyncio.run cancels all tasks: a write that has begun is done by then."""
        writes: dict[str, tuple[Callable[[AnySession], Any], list[Any]]] = {
            "add": (lambda session: session.add_items(numbered(3, 9)), numbered(0, 9)),
            "pop": (lambda session: session.pop_item(), numbered(0, 2)),
            "replace": (lambda session: session.replace_items(numbered(5, 6)), numbered(5, 6)),
            "clear": (lambda session: session.clear_session(), []),
        }
        operation, after = writes[write]
        own = asyncio.all_tasks()
        for steps in (1, 2, 4, 7, 11, 16, 22):
            await session.replace_items(numbered(0, 3))
            writing = asyncio.ensure_future(operation(session))
            for _ in range(steps):
                await asyncio.sleep(0)

            ending = asyncio.all_tasks() - own
            for task in ending:
                task.cancel()
            await asyncio.wait({writing, *ending})

            assert await session.get_items() == after, steps

    # ----------------------------------------------- P11, P13: arguments and ids

    @requires("validates")
    @pytest.mark.parametrize("name", BAD_IDS)
    async def test_bad_id_is_refused(self, name: str) -> None:
        """A bad id is refused at construction, in words that name the argument."""
        bad_id, error = BAD_IDS[name]

        with pytest.raises(error, match="session_id"):
            await self.make_session(bad_id)

    @requires("validates")
    @pytest.mark.parametrize("settings", [{"limit": "many"}, {"limits": 3}, {"limit": [1]}, "5", 5])
    async def test_bad_settings_are_refused(self, session_id: str, settings: Any) -> None:
        """Settings that the SDK does not know are refused at construction."""
        with pytest.raises((TypeError, ValueError)):
            await self.make_session(session_id, session_settings=settings)

    @requires("validates", "expires")
    @pytest.mark.parametrize("ttl", BAD_TTLS)
    async def test_bad_ttl_is_refused(self, session_id: str, ttl: Any) -> None:
        """A TTL is a positive whole number of seconds, and nothing else will do."""
        with pytest.raises((TypeError, ValueError), match="ttl"):
            await self.make_session(session_id, ttl=ttl)

    async def test_hostile_ids_are_conversations_of_their_own(self) -> None:
        """Whatever is in an id, it reaches its own conversation and no other."""
        sessions = {one: await self.make_session(one) for one in HOSTILE_IDS}
        for one, session in sessions.items():
            assert await session.get_items() == [], one
            await session.add_items([user(one), user("to pop")])
            assert await session.pop_item() == user("to pop"), one
        for one, session in sessions.items():
            assert session.session_id == one
            assert await session.get_items() == [user(one)], one

        for one in HOSTILE_IDS[::2]:
            await sessions[one].clear_session()

        for at, (one, session) in enumerate(sessions.items()):
            assert await session.get_items() == ([user(one)] if at % 2 else []), one
            await session.clear_session()
            await self.close_session(session)

    @requires("expires", "replaces")
    async def test_hostile_ids_expire_and_are_replaced(self) -> None:
        """Replacing and expiring work for any id, too."""
        for one in HOSTILE_IDS:
            session = await self.make_session(one, ttl=1000)
            await session.replace_items([user(one)])
            assert await session.get_items() == [user(one)], one
            assert (await self.ttl_left(session) or 0) > 990, one
            await self.expire(session)
            assert await session.get_items() == [], one
            await self.close_session(session)

    # --------------------------------------------- P12 and what the SDK looks at

    async def test_session_is_one_of_the_sdk(self, session: AnySession, session_id: str) -> None:
        """A session is what the SDK calls a session, by inheritance and by shape."""
        assert isinstance(session, SessionABC)
        assert isinstance(session, Session)
        assert session.session_id == session_id
        assert session.session_settings == SessionSettings()

    @pytest.mark.parametrize("name", PROBED)
    async def test_session_claims_no_more_than_it_can(self, session: AnySession, name: str) -> None:
        """The SDK asks a session by attribute what it can do; the answers are true."""
        assert not hasattr(session, name)
        assert not is_openai_responses_compaction_aware_session(session)

    async def test_repr_keeps_the_conversation_to_itself(self, session: AnySession) -> None:
        """Neither repr nor str shows what was said."""
        await session.add_items([user(SECRET)])
        assert await session.get_items() == [user(SECRET)]

        assert SECRET not in repr(session) + str(session) + f"{session}"

    @requires("manages_client")
    async def test_ping_finds_the_store(self, session: AnySession) -> None:
        """A ping says True where the store answers, also before there is anything in it."""
        assert await session.ping() is True

    @requires("manages_client")
    async def test_session_can_be_closed_twice(self, session_id: str) -> None:
        """Closing again is no error, and what was stored stays."""
        session = await self.make_session(session_id)
        await session.add_items(numbered(0, 1))

        await session.close()
        await session.close()

        again = await self.make_session(session_id)
        assert await again.get_items() == numbered(0, 1)
        await self.close_session(again)

    @requires("manages_client")
    async def test_session_is_a_context_manager(self, session_id: str) -> None:
        """``async with`` gives the session itself and lets errors through."""
        session = await self.make_session(session_id)

        async with session as same:
            assert same is session
            await session.add_items(numbered(0, 1))
            assert await session.get_items() == numbered(0, 1)

        with pytest.raises(KeyError, match="of the caller"):
            async with await self.make_session(session_id):
                raise KeyError("of the caller")

    # ------------------------------------------------------ P8: the SDK's wrappers

    async def test_encrypted_session_on_top(self, session: AnySession, session_id: str) -> None:
        """The SDK's encryption works on top, and nothing readable reaches the store."""
        encrypted = EncryptedSession(session_id, session, encryption_key="a key of our own")
        items: list[Item] = [user(f"{SECRET} {number}") for number in range(4)]
        assert await encrypted.get_items() == []

        await encrypted.add_items(items)

        assert await encrypted.get_items() == items
        assert await encrypted.get_items(limit=2) == items[2:]
        assert SECRET not in str(await session.get_items())
        assert await encrypted.pop_item() == items[3]
        assert await encrypted.get_items() == items[:3]
        await encrypted.clear_session()
        assert await session.get_items() == []

    async def test_compaction_session_on_top(self, session: AnySession, session_id: str) -> None:
        """The SDK's compaction sends the history and leaves the answer in its place."""
        output = [user("summary"), {"type": "compaction", "id": "c", "encrypted_content": "x"}]
        client = FakeCompactor(output)
        compaction = OpenAIResponsesCompactionSession(
            session_id, session, client=client.as_client(), compaction_mode="input"
        )
        await compaction.add_items(numbered(0, 4))
        assert await session.get_items() == numbered(0, 4)

        await compaction.run_compaction({"force": True})

        assert [request["input"] for request in client.requests] == [numbered(0, 4)]
        assert await session.get_items() == output
        assert await compaction.get_items() == output

    @requires("replaces")
    async def test_encryption_over_compaction_replaces_in_one_step(
        self, session: AnySession, session_id: str
    ) -> None:
        """Both wrappers together swap the history in one step, without clearing it first.

        Before 0.24 the SDK does clear it, and puts the answer in its place all the same.
        """
        in_one_step = hasattr(SdkRedisSession, "_atomic_replace_items")
        output = [user(f"{SECRET} in short")]
        compaction = OpenAIResponsesCompactionSession(
            session_id,
            session,
            client=FakeCompactor(output).as_client(),
            compaction_mode="input",
        )
        encrypted = EncryptedSession(session_id, compaction, encryption_key="a key of our own")
        await encrypted.add_items(numbered(0, 4))
        assert await encrypted.get_items() == numbered(0, 4)
        lengths: set[int] = set()
        done = asyncio.Event()

        async def read() -> None:
            while not done.is_set():
                lengths.add(len(await session.get_items()))

        async def refuse() -> None:
            raise AssertionError("the history was cleared on the way")

        reading = asyncio.create_task(read())
        if in_one_step:
            session.clear_session = refuse
        await encrypted.run_compaction({"force": True})
        done.set()
        await reading

        assert lengths <= ({4, 1} if in_one_step else {4, 0, 1})
        assert await encrypted.get_items() == output
        stored = await session.get_items()
        assert len(stored) == 1
        assert SECRET not in str(stored)
