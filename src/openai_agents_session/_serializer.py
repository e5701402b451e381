"""Conversation item <-> JSON text, shared by every backend.

``serialize`` is strict: what it accepts comes back equal, and what JSON cannot
hold is refused before anything is written. ``deserialize`` never raises: a record
that cannot be read is ``None``, and the caller decides what to say about it.

``pydantic_core`` does the work. It refuses lone surrogates and nesting deeper than
about 200, in both directions; those rare texts go through the standard library.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pydantic_core import from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from agents import TResponseInputItem

MAX_DEPTH = 900
"""Levels of nesting that an item may have. The standard library's parser recurses once
for each, and Python 3.10 and 3.11 allow 1,000 frames in all (``sys.getrecursionlimit``)."""

MAX_INT = 10**4300 - 1
"""The largest integer: Python parses at most 4,300 decimal digits
(``sys.int_info.default_max_str_digits``)."""

_LEAVES = frozenset({str, float, bool, type(None)})

_A = TypeVar("_A")
_R = TypeVar("_R")


def serialize(items: Iterable[TResponseInputItem]) -> list[bytes]:
    """Return each item as one JSON text in UTF-8.

    Args:
        items: dicts, or Pydantic models, which go in as ``model_dump(mode="json")``,
            also where they are nested inside a dict.

    Returns:
        One text for each item, in order; ``[]`` for no items.

    Raises:
        TypeError: an item holds what JSON cannot; the message names the item's
            position and the type, never its content.
    """
    return [_serialize_item(position, item) for position, item in enumerate(items)]


def deserialize(record: bytes | str) -> TResponseInputItem | None:
    """Return the item that a stored text holds, or None if it cannot be read.

    Args:
        record: one text as ``serialize`` or any other JSON writer made it.
    """
    try:
        item: object = from_json(record, cache_strings="keys")
    except (ValueError, TypeError):  # it takes a str with a lone surrogate for no str at all
        try:
            text = record if isinstance(record, str) else record.decode()
            item = _with_full_stack(json.loads, text)
        except (ValueError, RecursionError):
            return None
    return cast("TResponseInputItem", item) if type(item) is dict else None


def deserialize_all(
    records: Sequence[bytes | str],
) -> tuple[list[TResponseInputItem | None], int]:
    """Return what ``deserialize`` returns for each record, and how often that is None."""
    try:
        items = [from_json(record, cache_strings="keys") for record in records]
        if {dict}.issuperset(map(type, items)):
            return items, 0
    except (ValueError, TypeError):
        pass
    items = [deserialize(record) for record in records]
    return items, items.count(None)


def split_array(text: str) -> list[str] | None:
    """Return the JSON texts of an array's elements, whatever they are; None if it is none."""
    try:
        elements = _with_full_stack(json.loads, text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(elements, list):
        return None
    return [_with_full_stack(json.dumps, element) for element in elements]


def _serialize_item(position: int, item: object) -> bytes:
    try:
        return _with_full_stack(_text, item)
    except (_NotJSONError, RecursionError) as exc:
        reason = exc if isinstance(exc, _NotJSONError) else "it is nested too deeply"
        raise TypeError(
            f"items[{position}] ({_name(item)}) cannot be stored as JSON: {reason}"
        ) from None  # what a model's dump raised may quote the conversation


class _NotJSONError(Exception):
    """Says, without any content, what in an item JSON cannot hold."""


def _text(item: object) -> bytes:
    plain = _plain(item, 1)
    if type(plain) is not dict:
        raise _NotJSONError("an item is a dict or a Pydantic model")
    try:
        return to_json(plain, inf_nan_mode="constants")
    except ValueError:  # a lone surrogate, or nesting that pydantic_core takes for a cycle
        return json.dumps(plain).encode()


def _plain(value: Any, depth: int) -> Any:
    """Copy a value into exact JSON types, so that writing it can neither fail nor convert."""
    if type(value) in _LEAVES:
        return value
    if isinstance(value, (str, int, float)):
        return _plain_leaf(value)
    if depth > MAX_DEPTH:
        raise _NotJSONError(f"it is nested deeper than {MAX_DEPTH} levels, or contains itself")
    if isinstance(value, dict):
        plain = {}
        for key, child in value.items():
            if not isinstance(key, str):
                raise _NotJSONError(f"it has a key of type {_name(key)}; JSON keys are strings")
            plain[str.__str__(key)] = _plain(child, depth + 1)
        return plain
    if isinstance(value, (list, tuple)):
        plain_list = []
        for child in value:
            plain_list.append(_plain(child, depth + 1))  # noqa: PERF401 - it takes a frame more
        return plain_list
    if hasattr(value, "model_dump") and not isinstance(value, type):
        return _plain(_dump(value), depth + 1)
    raise _NotJSONError(f"it holds a value of type {_name(value)}")


def _plain_leaf(value: str | int | float) -> str | int | float:  # noqa: PYI041 - bool is an int too
    if isinstance(value, str):
        return str.__str__(value)  # an enum's value, not its name
    if isinstance(value, float):
        return float(value)
    if not -MAX_INT <= value <= MAX_INT:
        raise _NotJSONError("it has an integer of more than 4300 digits")
    return int(value)


def _dump(model: Any) -> object:
    try:
        return model.model_dump(mode="json")
    except Exception as exc:  # noqa: BLE001 - whatever it is, the item cannot be stored
        raise _NotJSONError(f"dumping its {_name(model)} raised {_name(exc)}") from None


def _name(value: object) -> str:
    return type(value).__qualname__


def _with_full_stack(function: Callable[[_A], _R], argument: _A) -> _R:
    """Call a recursive function; if the caller's stack is too deep for it, in a fresh one.

    Whether an item can be read must not depend on how deep in the application the
    session is used.
    """
    try:
        return function(argument)
    except RecursionError:
        with ThreadPoolExecutor(max_workers=1) as fresh_stack:
            return fresh_stack.submit(function, argument).result()
