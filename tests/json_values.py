"""JSON values for property tests: arbitrary ones, and every item type of the SDK.

The SDK's item types are found by walking the unions in ``openai.types.responses``, so a
type that a later release adds is covered without a change here.
"""

from __future__ import annotations

import struct
import sys
import types
import typing
from collections.abc import Iterable, Sequence
from typing import Any, Literal, Union, get_args, get_origin

from hypothesis import strategies as st
from openai._types import SequenceNotStr
from openai.types import responses
from pydantic import BaseModel
from typing_extensions import NotRequired, Required, get_type_hints, is_typeddict

MAX_DIGITS = 4300
"""Most digits of an integer that Python parses (``sys.int_info.default_max_str_digits``)."""

texts = st.text(st.characters(exclude_categories=()))  # with lone surrogates
huge_integers = st.builds(
    lambda number, zeros: number * 10**zeros,
    st.integers(-(10**19), 10**19),
    st.integers(0, MAX_DIGITS - 20),
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | huge_integers
    | st.floats()
    | st.sampled_from([-0.0, 5e-324, -5e-324, sys.float_info.max, sys.float_info.min])
    | texts
)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=20
)
json_items = st.dictionaries(texts, json_values)


def same(left: object, right: object) -> bool:
    """Whether two JSON values are equal: types, the order of keys and signs of zero included.

    A NaN equals a NaN. There is no recursion, since deep values are among the subjects.
    """
    pairs = [(left, right)]
    while pairs:
        a, b = pairs.pop()
        if type(a) is not type(b):
            return False
        if isinstance(a, dict) and isinstance(b, dict):
            if list(a) != list(b):
                return False
            pairs.extend(zip(a.values(), b.values(), strict=True))
        elif isinstance(a, list) and isinstance(b, list):
            if len(a) != len(b):
                return False
            pairs.extend(zip(a, b, strict=True))
        elif _identity(a) != _identity(b):
            return False
    return True


def _identity(scalar: object) -> object:
    """What tells a scalar from others of its type."""
    if not isinstance(scalar, float):
        return scalar
    return struct.pack("d", scalar) if scalar == scalar else "nan"  # noqa: PLR0124 - NaN alone differs


def nested(levels: int, leaf: object, *, kind: type = list) -> dict[str, Any]:
    """An item with this many levels of dicts and lists; the item itself is the first."""
    value = leaf
    for _ in range(levels - 1):
        value = {"k": value} if kind is dict else [value]
    return {"k": value}


def members(union: Any) -> list[Any]:
    """The types in a union, whether it is annotated with a discriminator or not."""
    if get_origin(union) is typing.Annotated:
        union = get_args(union)[0]
    return list(get_args(union))


ITEM_DICTS = members(responses.ResponseInputItemParam)
"""The shapes of items as dicts."""

ITEM_MODELS: list[type[BaseModel]] = list(
    dict.fromkeys(
        [
            *members(responses.ResponseInputItem),
            *members(responses.ResponseOutputItem),
            *members(responses.ResponseItem),
        ]
    )
)
"""The models that the OpenAI SDK makes of items."""


def type_name(cls: type) -> str:
    """The name for a test's id: the module too, for many classes are just ``Message``."""
    return f"{cls.__module__.rpartition('.')[2]}.{cls.__name__}"


_SPELLED_OUT = {
    object: st.none() | st.booleans() | st.integers() | st.text(),
    Any: st.none() | st.text(),
    str: st.text(),
    int: st.integers(),
    float: st.floats(allow_nan=False),
    bool: st.booleans(),
    type(None): st.none(),
}


def of(annotation: Any) -> st.SearchStrategy[Any]:
    """Values of a type as the OpenAI SDK's generated code spells it."""
    if annotation in _SPELLED_OUT:
        return _SPELLED_OUT[annotation]
    if is_typeddict(annotation):
        return st.deferred(lambda: _typed_dicts(annotation))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return st.deferred(lambda: _models(annotation))
    return _of_generic(get_origin(annotation), get_args(annotation))


def _of_generic(origin: Any, args: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    if origin in (typing.Annotated, Required, NotRequired):
        return of(args[0])
    if origin is Literal:
        return st.sampled_from(args)
    if origin in (Union, types.UnionType):
        return st.one_of([of(arg) for arg in args])
    if origin is dict:
        return st.dictionaries(of(args[0]), of(args[1]), max_size=2)
    # A new spelling in the SDK must be taught here, not passed over.
    assert origin in (list, Iterable, Sequence, SequenceNotStr), f"unknown: {origin!r}"
    return st.lists(of(args[0]), max_size=2)


def _typed_dicts(cls: Any) -> st.SearchStrategy[dict[str, Any]]:
    hints = get_type_hints(cls, include_extras=True)
    # Not __required_keys__: it misreads hints that are strings, as the SDK's are.
    required = {key for key, hint in hints.items() if get_origin(hint) is Required}
    return st.fixed_dictionaries(
        {key: of(hint) for key, hint in hints.items() if key in required},
        optional={key: of(hint) for key, hint in hints.items() if key not in required},
    )


def _models(cls: type[BaseModel]) -> st.SearchStrategy[BaseModel]:
    fields = {field.alias or name: field for name, field in cls.model_fields.items()}
    return st.fixed_dictionaries(
        {key: of(field.annotation) for key, field in fields.items() if field.is_required()},
        optional={key: of(f.annotation) for key, f in fields.items() if not f.is_required()},
    ).map(cls.model_validate)
