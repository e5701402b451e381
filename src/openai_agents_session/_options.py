"""The options of a store that stand in its URL's query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Kind: TypeAlias = "tuple[str, Callable[[str], Any]]"
"""What a value must be, in words, and what makes it of its text."""

_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}

TEXT: Kind = ("text", str)
WHOLE_NUMBER: Kind = ("a whole number", int)
FLAG: Kind = ("true or false", lambda text: _FLAGS[text.lower()])


def read_options(query: Iterable[tuple[str, str]], kinds: Mapping[str, Kind]) -> dict[str, Any]:
    """Return the values of a query's options that are among some.

    Raises:
        ValueError: one stands there twice, or has a wrong value, which is not quoted.
    """
    values: dict[str, Any] = {}
    for name, text in query:
        if name in kinds:
            if name in values:
                raise ValueError(f"{name} stands more than once in the url")
            what, read = kinds[name]
            try:
                values[name] = read(text)
            except (KeyError, ValueError):
                raise ValueError(f"{name} in the url must be {what}") from None
    return values
