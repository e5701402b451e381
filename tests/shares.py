"""Which part of a long list of cases is always run; the rest is run with ``--slow``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable


def share_of(cases: Iterable[Any], *always: Any) -> list[Any]:
    """Parameters of a test, of which these are always run.

    Raises:
        ValueError: there is no such case.
    """
    cases = list(cases)
    if missing := [case for case in always if case not in cases]:
        raise ValueError(f"no such case: {missing}")
    return [
        case if case in always else pytest.param(case, marks=pytest.mark.slow) for case in cases
    ]


def slow(*values: Any, id: str | None = None) -> Any:  # noqa: A002 - as pytest.param calls it
    """A case that is run with ``--slow`` alone."""
    return pytest.param(*values, marks=pytest.mark.slow, id=id)


def is_left_out(item: pytest.Item) -> bool:
    """Whether a test that a class inherits is none of the ``share`` that it names.

    A suite that runs on many stores of one kind proves the same on each. A class that says in
    ``share`` which of its tests differ there leaves the others to ``--slow``.
    """
    wanted: tuple[str, ...] | None = getattr(getattr(item, "cls", None), "share", None)
    return wanted is not None and getattr(item, "originalname", "") not in wanted
