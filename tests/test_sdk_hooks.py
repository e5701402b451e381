"""The parts of the SDK that sessions use and that are not public: they have the shape we know.

When a release of the SDK moves one of them, the failure says in a sentence which, and what
there is to do.
"""

from __future__ import annotations

import inspect
from dataclasses import fields
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
from agents import SQLiteSession
from agents.extensions.memory import RedisSession
from agents.extensions.memory.encrypt_session import EncryptedSession
from agents.memory import openai_responses_compaction_session, session, session_settings
from agents.memory.session_settings import SessionSettings

from openai_agents_session._session import BaseSession, CompactionSnapshot

if TYPE_CHECKING:
    from collections.abc import Callable

SDK = tuple(int(part) for part in version("openai-agents").split(".")[:2])


def parameters(function: Callable[..., Any]) -> list[tuple[str, Any, Any]]:
    """What a function takes: names, kinds and defaults."""
    found = inspect.signature(function).parameters.values()
    return [(each.name, each.kind, each.default) for each in found]


def test_a_snapshot_has_the_fields_that_compaction_reads() -> None:
    """Ours stands in for the SDK's own."""
    theirs = [field.name for field in fields(session._CompactionSnapshot)]
    ours = [field.name for field in fields(CompactionSnapshot)]
    assert theirs == ours, (
        f"agents.memory.session._CompactionSnapshot has now the fields {theirs}: "
        "let CompactionSnapshot in _session.py have the same."
    )


def test_compaction_asks_for_a_snapshot_as_we_give_it() -> None:
    """The SDK's own sessions have the hook, with the same parameters."""
    theirs = parameters(SQLiteSession._get_compaction_snapshot)
    assert theirs == parameters(BaseSession._get_compaction_snapshot), (
        f"The SDK's _get_compaction_snapshot takes now {theirs}: let BaseSession's take the same."
    )


@pytest.mark.parametrize(
    ("hook", "asking", "since"),
    [
        ("_get_compaction_snapshot", openai_responses_compaction_session, (0, 23)),
        ("_get_compaction_snapshot", inspect.getmodule(EncryptedSession), (0, 23)),
        ("_atomic_replace_items", openai_responses_compaction_session, (0, 24)),
    ],
)
def test_compaction_asks_for_the_hooks_by_name(hook: str, asking: Any, since: Any) -> None:
    """Nothing but the name connects them, so that one of another name is never called."""
    assert (f'"{hook}"' in inspect.getsource(asking)) == (since <= SDK), (
        f"{asking.__name__} of openai-agents {version('openai-agents')} asks for {hook}, "
        f"or does no more: find out what compaction calls, and name BaseSession's hook like it."
    )


def test_compaction_replaces_a_history_as_we_let_it() -> None:
    """The SDK's own sessions have the hook, with the same parameters, since 0.24."""
    theirs = getattr(RedisSession, "_atomic_replace_items", None)
    assert (theirs is not None) == (SDK >= (0, 24)), (
        "The SDK's RedisSession has lost _atomic_replace_items: "
        "find out what compaction calls, and name BaseSession's hook like it."
    )
    ours = parameters(BaseSession._atomic_replace_items)
    assert theirs is None or parameters(theirs) == ours, (
        f"The SDK's _atomic_replace_items takes now {parameters(theirs)}: "
        "let BaseSession's take the same."
    )


def test_settings_are_read_by_the_sdk() -> None:
    """Both helpers are in no ``__all__``, and still do what sessions need of them."""
    coerce, resolve = (
        getattr(session_settings, name, None)
        for name in ("coerce_session_settings", "resolve_session_limit")
    )
    assert coerce, "agents.memory.session_settings.coerce_session_settings is gone: replace it."
    assert resolve, "agents.memory.session_settings.resolve_session_limit is gone: replace it."
    assert coerce({"limit": 3}) == SessionSettings(limit=3), (
        "coerce_session_settings does not make SessionSettings of a dict any more."
    )
    limits = [resolve(*pair) for pair in ((None, coerce({"limit": 3})), (5, coerce({"limit": 3})))]
    assert limits == [3, 5], "resolve_session_limit does not prefer the limit that is given."
