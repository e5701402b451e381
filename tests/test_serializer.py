"""The serializer: what goes in comes out equal as JSON, or is refused before anything is written.

Equality is type-exact here: ``1``, ``1.0`` and ``True`` are three different things, ``0.0``
is not ``-0.0``, and a NaN equals a NaN (``tests/json_values.py``).
"""

from __future__ import annotations

import copy
import dataclasses
import datetime
import decimal
import enum
import inspect
import json
import math
import sys
import traceback
import uuid
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, RootModel, field_serializer
from typing_extensions import is_typeddict

from openai_agents_session._serializer import (
    MAX_DEPTH,
    deserialize,
    deserialize_all,
    serialize,
    split_array,
)
from tests.json_values import (
    ITEM_DICTS,
    ITEM_MODELS,
    MAX_DIGITS,
    json_items,
    json_values,
    nested,
    of,
    same,
    scalars,
    texts,
    type_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable

# Time says nothing on a machine that runs other tests beside this one.
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
# For each of some hundred types.
few = settings(relaxed, max_examples=relaxed.max_examples * 15 // 100)

big = 10**MAX_DIGITS - 1


def round_trip(item: object) -> object:
    """Serialize one item and read it back."""
    [text] = serialize([cast("Any", item)])
    return deserialize(text)


# --- round trips of arbitrary JSON ---------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "right"),
    [(1, 1.0), (1, True), (0.0, -0.0), ([], {}), ([1], [1, 2]), ({"a": 1}, {"a": 2}), ("", None)],
)
def test_the_comparison_of_these_tests_is_exact(left: object, right: object) -> None:
    """Values that Python may call equal, but JSON or its types do not, are told apart."""
    assert not same(left, right)
    assert same(left, left)
    assert same(right, right)


@relaxed
@given(json_items)
@example({"": "", "\ud800": "\udfff\ud83d", "\x00": "\x00\u2028\U0010ffff"})
@example({"n": [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1, 1.0, True, False, None]})
@example({"n": [big, -big, 2**63, 2**64, -(2**63) - 1, 10**20]})
@example({})
def test_an_item_comes_back_as_it_went_in(item: dict[str, Any]) -> None:
    """Any JSON object, surrogates, NaN and huge integers included, comes back equal."""
    assert same(round_trip(item), item)


@relaxed
@given(json_items)
@example({"s": "\ud800"})
@example(nested(300, "é"))
def test_the_text_is_utf8_and_readable_by_the_standard_library(item: dict[str, Any]) -> None:
    """The stored text is valid UTF-8 that any JSON reader which knows NaN understands."""
    [text] = serialize([cast("Any", item)])

    assert type(text) is bytes
    assert same(json.loads(text.decode("utf-8")), item)


@relaxed
@given(json_items)
@example({"s": "\ud800"})
@example(nested(300, "é"))
def test_str_and_bytes_are_read_alike(item: dict[str, Any]) -> None:
    """A client with ``decode_responses`` reads the same items as one without."""
    [text] = serialize([cast("Any", item)])

    assert same(deserialize(text), item)
    assert same(deserialize(text.decode("utf-8")), item)


@relaxed
@given(json_items, st.booleans())
@example({"s": "\ud800é"}, True)
@example(nested(300, "é"), True)
def test_texts_of_release_0_1_0_are_read(item: dict[str, Any], ensure_ascii: bool) -> None:
    """What ``json.dumps`` wrote, with its escapes or without, is read equal."""
    text = json.dumps(item, ensure_ascii=ensure_ascii)
    assert same(deserialize(text), item)

    record = text.encode("utf-8", "surrogatepass")
    try:
        record.decode("utf-8")
    except UnicodeDecodeError:  # json.dumps wrote a bare surrogate: no text that Redis returns
        assert deserialize(record) is None
    else:
        assert same(deserialize(record), item)


@relaxed
@given(st.lists(json_items, max_size=5))
def test_a_batch_gives_one_text_an_item_in_order(items: list[dict[str, Any]]) -> None:
    """A batch of any size, zero included, gives as many texts in the same order."""
    stored = serialize(cast("Any", items))

    assert len(stored) == len(items)
    assert same([deserialize(text) for text in stored], items)


@relaxed
@given(json_items)
def test_the_item_itself_is_left_as_it_was(item: dict[str, Any]) -> None:
    """Serializing changes nothing in the caller's item."""
    before = copy.deepcopy(item)

    serialize([cast("Any", item)])

    assert same(item, before)


def test_subclasses_of_json_types_are_stored_as_their_plain_values() -> None:
    """Enums, tuples and other subclasses go in as the JSON value that they are."""

    class Colour(str, enum.Enum):
        RED = "red"

    class Level(enum.IntEnum):
        LOW = 1

    class Text(str):
        __slots__ = ()

        def __str__(self) -> str:
            return "not this"

    class Number(float):
        pass

    class Mapping(dict[str, Any]):
        pass

    item = Mapping(
        {Colour.RED: Colour.RED, Text("t"): (Text("t"), Level.LOW, Number(1.5)), "m": Mapping(a=1)}
    )

    assert same(round_trip(item), {"red": "red", "t": ["t", 1, 1.5], "m": {"a": 1}})


# --- depth and size ------------------------------------------------------------------------

LEAVES = ["s", "\ud800", 1, 1.5, True, None, [], {}]


@pytest.mark.parametrize("kind", [list, dict])
@pytest.mark.parametrize("leaf", [leaf for leaf in LEAVES if leaf not in ([], {})], ids=repr)
def test_the_deepest_item_comes_back(leaf: object, kind: type) -> None:
    """Nesting of ``MAX_DEPTH`` levels round trips, whatever the innermost value is."""
    item = nested(MAX_DEPTH, leaf, kind=kind)

    assert same(round_trip(item), item)


@pytest.mark.parametrize("kind", [list, dict])
@pytest.mark.parametrize("leaf", [[], {}], ids=repr)
def test_an_empty_container_counts_as_a_level(leaf: object, kind: type) -> None:
    """The innermost list or dict is the last level, also when it is empty."""
    item = nested(MAX_DEPTH - 1, leaf, kind=kind)
    assert same(round_trip(item), item)

    with pytest.raises(TypeError, match=r"items\[0\] \(dict\)"):
        serialize([cast("Any", nested(MAX_DEPTH, leaf, kind=kind))])


@pytest.mark.parametrize("kind", [list, dict])
@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 5_000, 100_000])
def test_deeper_nesting_is_refused(levels: int, kind: type) -> None:
    """One level more than ``MAX_DEPTH``, or very many more, raises ``TypeError``."""
    with pytest.raises(TypeError, match=r"items\[1\] \(dict\).*deep"):
        serialize([{}, cast("Any", nested(levels, "s", kind=kind))])  # ty: ignore[invalid-argument-type]  # an empty dict is no item type


def _call_near_the_limit(function: Callable[[], Any], spare: int) -> Any:
    """Call a function when only so many frames are left on the caller's stack."""
    used, frame = 0, inspect.currentframe()
    while frame is not None:
        used, frame = used + 1, frame.f_back
    if sys.getrecursionlimit() - used > spare:
        return _call_near_the_limit(function, spare)
    return function()


@pytest.mark.parametrize("kind", [list, dict])
@pytest.mark.parametrize("levels", [2, 100, 300, MAX_DEPTH])
@pytest.mark.parametrize("spare", [60, 200, 500])
def test_the_callers_stack_does_not_decide_what_can_be_stored(
    spare: int, levels: int, kind: type
) -> None:
    """Deep in an application the same items are written and read as at its top."""
    item = nested(levels, "s\ud800", kind=kind)

    assert same(_call_near_the_limit(lambda: round_trip(item), spare), item)


def test_the_largest_integers() -> None:
    """4,300 digits come back; one more, which Python could not read again, is refused."""
    assert same(round_trip({"n": [big, -big]}), {"n": [big, -big]})

    for number in (big + 1, -big - 1, 10**20_000):
        with pytest.raises(TypeError, match=r"items\[0\] \(dict\).*integer"):
            serialize([cast("Any", {"n": [number]})])


def test_megabytes() -> None:
    """An item of several megabytes, as an image is, comes back equal."""
    image = "data:image/png;base64," + "QUJD" * 1_000_000
    item = {
        "role": "user",
        "content": [{"type": "input_image", "image_url": image, "detail": "auto"}],
    }

    assert same(round_trip(item), item)


# --- every item type of the SDK ------------------------------------------------------------


KINDS = [
    *("message", "function_tool_call", "functioncalloutput", "reasoning", "compaction"),
    *("computer_tool_call", "computercalloutput", "file_search", "web_search", "imagegeneration"),
    *("code_interpreter", "localshell", "custom_tool_call", "mcplisttools", "mcpcall"),
    *("mcpapprovalrequest", "mcpapprovalresponse"),
]


def test_the_item_types_are_found() -> None:
    """The unions hold the kinds of item that a conversation is made of."""
    for types in (ITEM_DICTS, ITEM_MODELS):
        found = " ".join(type_name(cls).lower() for cls in types)
        assert [kind for kind in KINDS if kind not in found] == []
    assert all(is_typeddict(cls) for cls in ITEM_DICTS)
    assert all(issubclass(cls, BaseModel) for cls in ITEM_MODELS)


@pytest.mark.parametrize("cls", ITEM_DICTS, ids=type_name)
@few
@given(data=st.data())
def test_every_item_type_as_a_dict(cls: type, data: st.DataObject) -> None:
    """Each kind of input item comes back as the dict that went in."""
    item = data.draw(of(cls))

    assert same(round_trip(item), item)


@pytest.mark.parametrize("cls", ITEM_MODELS, ids=type_name)
@few
@given(data=st.data())
def test_every_item_type_as_a_model(cls: type, data: st.DataObject) -> None:
    """Each kind of item as a model comes back as its dump, alone and inside a dict."""
    model = data.draw(of(cls))
    dump = model.model_dump(mode="json")

    assert same(round_trip(model), dump)
    assert same(round_trip({"a": [model], "b": {"c": model}}), {"a": [dump], "b": {"c": dump}})


def test_a_model_may_hold_what_only_its_dump_can_say() -> None:
    """A model's datetime or set is JSON once dumped, so it is stored; surrogates too."""

    class Note(BaseModel):
        at: datetime.datetime
        tags: set[str]
        raw: Any

    note = Note(
        at=datetime.datetime(2031, 1, 2, tzinfo=datetime.timezone.utc), tags={"t"}, raw="\ud800"
    )

    assert same(round_trip(note), {"at": "2031-01-02T00:00:00Z", "tags": ["t"], "raw": "\ud800"})


# --- what cannot be serialized -------------------------------------------------------------

SECRET = uuid.uuid4().hex  # made at run time: a traceback shows source lines


@dataclasses.dataclass
class Record:
    """Not JSON, though its repr looks like data."""

    text: str = SECRET


class Unwilling(BaseModel):
    """A model whose dump fails, with the content in the error's words."""

    text: str = SECRET

    @field_serializer("text")
    def fail(self, value: str) -> str:
        """Raise as a faulty serializer of an application might."""
        raise ValueError(value)


class Opaque(BaseModel):
    """A model that accepts a value which no dump can hold."""

    value: Any


def circular_list() -> list[Any]:
    """A list that contains itself."""
    ring: list[Any] = [SECRET]
    ring.append(ring)
    return ring


def circular_dict() -> dict[str, Any]:
    """A dict that contains itself, one level down."""
    ring: dict[str, Any] = {"text": SECRET}
    ring["ring"] = [ring]
    return ring


NOT_JSON = {
    "datetime": (datetime.datetime(2031, 1, 2, tzinfo=datetime.timezone.utc), "datetime"),
    "date": (datetime.date(2031, 1, 2), "date"),
    "uuid": (uuid.UUID(SECRET), "UUID"),
    "bytes": (SECRET.encode(), "bytes"),
    "bytearray": (bytearray(SECRET.encode()), "bytearray"),
    "set": ({SECRET}, "set"),
    "frozenset": (frozenset({SECRET}), "frozenset"),
    "decimal": (decimal.Decimal("12345.6789"), "Decimal"),
    "complex": (1j, "complex"),
    "object": (object(), "object"),
    "class": (Opaque, "ModelMetaclass"),
    "function": (round_trip, "function"),
    "iterator": (iter([SECRET]), "list_iterator"),
    "dataclass": (Record(), "Record"),
    "int key": ({1: SECRET}, "int"),
    "bool key": ({True: SECRET}, "bool"),
    "None key": ({None: SECRET}, "NoneType"),
    "tuple key": ({(SECRET,): SECRET}, "tuple"),
    "bytes key": ({SECRET.encode(): SECRET}, "bytes"),
    "circular list": (circular_list(), "deep"),
    "circular dict": (circular_dict(), "deep"),
    "model with a failing dump": (Unwilling(), "Unwilling"),
    "model with an object": (Opaque(value=object()), "Opaque"),
    "model with bytes that are no text": (Opaque(value=b"\xff" + SECRET.encode()), "Opaque"),
}


def refusal(position: int, items: list[Any]) -> str:
    """The message of the ``TypeError`` for a batch, after checking that it is discreet."""
    with pytest.raises(TypeError) as caught:
        serialize(items)
    message = str(caught.value)
    assert message.startswith(f"items[{position}] ({type(items[position]).__name__})")
    shown = "".join(traceback.format_exception(caught.value))
    for content in (SECRET, "2031", "12345", str(uuid.UUID(SECRET))):
        assert content not in shown
    return message


@pytest.mark.parametrize("case", NOT_JSON)
@pytest.mark.parametrize("wrap", ["value", "in a list", "in a dict", "deep"])
def test_what_json_cannot_hold_is_refused(case: str, wrap: str) -> None:
    """A value that is not JSON raises ``TypeError`` with position and type, never content."""
    value, named = NOT_JSON[case]
    good = {"role": "user", "content": SECRET}
    held: dict[str, Any] = {
        "value": {"content": value},
        "in a list": {"content": [SECRET, value]},
        "in a dict": {"content": {SECRET: SECRET, "k": value}},
        "deep": {"content": [[[{SECRET: [value]}]]]},
    }

    assert named in refusal(2, [good, good, held[wrap], good])


@pytest.mark.parametrize(
    "item",
    [
        SECRET,
        SECRET.encode(),
        [SECRET],
        (SECRET,),
        {SECRET},
        None,
        3,
        1.5,
        True,
        object(),
        Record(),
        Opaque,
        RootModel[list[str]]([SECRET]),
        Unwilling(),
        Opaque(value=object()),
    ],
    ids=lambda item: type(item).__name__,
)
def test_only_dicts_and_models_are_items(item: object) -> None:
    """Anything else, also a model whose dump is no object, is refused by position and type."""
    assert refusal(0, [item])
    assert refusal(1, [{"role": "user"}, item])


def test_a_single_item_in_place_of_a_list_is_refused() -> None:
    """A dict or a string where a list of items belongs is not taken for its keys or letters."""
    for items in ({"role": "user"}, "user"):
        with pytest.raises(TypeError, match=r"items\[0\] \(str\)"):
            serialize(cast("Any", items))


@relaxed
@given(item=json_items, position=st.integers(0, 3), key=texts)
def test_one_bad_item_refuses_the_batch(item: dict[str, Any], position: int, key: str) -> None:
    """Wherever the bad item stands, it is named and nothing is returned for the others."""
    batch = [item] * 4
    batch[position] = {**item, key: object()}

    with pytest.raises(TypeError, match=rf"^items\[{position}\] \(dict\)"):
        serialize(cast("Any", batch))


# --- unreadable records --------------------------------------------------------------------


def oracle(record: bytes | str) -> dict[str, Any] | None:
    """What the standard library makes of a record, if it is a JSON object."""
    try:
        value = json.loads(record if isinstance(record, str) else record.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


near_json = st.text(st.sampled_from('{}[]":,.0123456789eE+-\\u truefalsNInity\x00é\ud800'))


@relaxed
@given(st.binary() | near_json | near_json.map(lambda text: '{"k":' + text + "}") | texts)
@example(b"")
@example("")
@example(b"\xff\xfe{\x00}\x00")
@example(b"\xef\xbb\xbf{}")
@example('{"k":"\ud800"}')
@example('{"k":-NaN}')
@example('{"k":1e999,"l":-0}')
@example('{"k":1,"k":2}')
@example(b'{"k":"\xed\xa0\x80"}')
@example('{"k":' + "1" * 5_000 + "}")
def test_any_record_is_read_or_none(record: bytes | str) -> None:
    """Whatever bytes or text are stored, reading agrees with ``json`` and never raises."""
    assert same(deserialize(record), oracle(record))


@relaxed
@given(st.lists(json_items.map(json.dumps) | near_json | st.binary(), max_size=4))
@example(['{"k":1}', "[]", "{}"])
@example(['{"k":"\\ud800"}', b"", "{}"])
def test_many_records_are_read_like_each(records: list[bytes | str]) -> None:
    """Reading records together gives for each what reading it alone gives, in order."""
    items, unreadable = deserialize_all(records)

    assert same(items, [deserialize(record) for record in records])
    assert unreadable == items.count(None)


@relaxed
@given(json_items, st.data())
def test_a_truncated_record_is_unreadable(item: dict[str, Any], data: st.DataObject) -> None:
    """A text cut short anywhere gives None."""
    [text] = serialize([cast("Any", item)])
    cut = text[: data.draw(st.integers(0, len(text) - 1))]

    assert deserialize(cut) is None


@relaxed
@given(json_items, st.sampled_from([b"\xff", b"\xc3", b"\xed\xa0\x80", b"\x80"]), st.data())
def test_invalid_utf8_is_unreadable(item: dict[str, Any], junk: bytes, data: st.DataObject) -> None:
    """A byte sequence that is not UTF-8, wherever it stands, gives None."""
    [text] = serialize([cast("Any", {**item, "k": "v"})])
    boundary = len(text.decode("utf-8")[: data.draw(st.integers(0, len(text)))].encode("utf-8"))

    assert deserialize(text[:boundary] + junk + text[boundary:]) is None


@relaxed
@given(scalars | st.lists(json_values))
def test_json_that_is_no_object_is_unreadable(value: object) -> None:
    """Numbers, strings, lists, null and their like are JSON, but not items."""
    text = json.dumps(value)

    assert deserialize(text) is None
    assert deserialize(text.encode("utf-8")) is None


@pytest.mark.parametrize("opening", ["[", '{"k":'])
@pytest.mark.parametrize("closing", ["", "]", "}"])
def test_bottomless_nesting_is_unreadable(opening: str, closing: str) -> None:
    """A record nested far beyond any parser's depth gives None, not a crash."""
    assert deserialize('{"k":' + opening * 100_000 + closing * 100_000 + "}") is None


# --- lists in one text ---------------------------------------------------------------------


@relaxed
@given(st.lists(json_values), st.booleans())
@example([{"n": [math.nan, math.inf, big]}, {"k": "\ud800"}, {"k": {"k": 1.0}}], True)
def test_an_array_is_split_into_its_elements(elements: list[Any], ascii_only: bool) -> None:
    """A list in one text becomes one text for each element, whatever they are, in order."""
    found = split_array(json.dumps(elements, ensure_ascii=ascii_only))

    assert found is not None
    assert same([json.loads(text) for text in found], elements)
    assert [deserialize(text) is None for text in found] == [
        not isinstance(element, dict) for element in elements
    ]


@pytest.mark.parametrize(
    "text", ["", " ", "{", "[1", "[1]]", "{}", "null", "1", '"[]"', "[" * 100_000, "[NaN,,]"]
)
def test_what_is_no_array_is_not_split(text: str) -> None:
    """Any other text gives None, and no error."""
    assert split_array(text) is None


def test_an_array_is_split_from_a_deep_stack() -> None:
    """How deep in the application it is called does not matter, as for a record."""
    deep = nested(600, 1)
    text = json.dumps([deep])
    limit = sys.getrecursionlimit()

    def deeper(levels: int) -> list[str] | None:
        return deeper(levels - 1) if levels else split_array(text)

    found = deeper(limit - len(inspect.stack(0)) - 60)

    assert found is not None
    assert same([json.loads(each) for each in found], [deep])
