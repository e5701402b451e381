"""What is added to the errors of others: the extra to install, and what helps."""

from __future__ import annotations

import sys

_NOTES = "_openai_agents_session_notes"


def explain_missing(error: ModuleNotFoundError, name: str, extra: str, *drivers: str) -> None:
    """Name the extra to install, if it is its driver that is missing.

    Call it where a backend's import has failed, and raise the error again after it: any
    other failure keeps its own words.

    Args:
        error: what the import raised.
        name: what needs the extra, as its user calls it.
        extra: the extra that installs the drivers.
        drivers: the top-level packages that it installs.

    Raises:
        ImportError: one of them is not there.
    """
    missing = (error.name or "").partition(".")[0]
    if missing in drivers and not sys.modules.get(missing):
        raise ImportError(
            f"{name} requires the '{extra}' extra. "
            f"Install it with: pip install 'openai-agents-session[{extra}]'",
            name=missing,
        ) from error


def add_note(error: BaseException, note: str) -> None:
    """Say more about an error without making another one of it.

    Args:
        error: somebody else's.
        note: what helps; nothing of a conversation.
    """
    error.__dict__.setdefault(_NOTES, []).append(note)
    if sys.version_info >= (3, 11):
        error.add_note(note)
    else:  # notes are not printed there
        error.args = (f"{error.args[0]}\n{note}", *error.args[1:])


def notes_of(error: BaseException) -> list[str]:
    """Return what ``add_note`` has said about an error, and nobody else."""
    return error.__dict__.get(_NOTES, [])
