"""Where the examples keep their data: in the user's cache, so that a checkout stays clean."""

from __future__ import annotations

import os
from pathlib import Path


def data_directory() -> Path:
    """Return the examples' directory in the user's cache, made if it is not there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    found = cache / "openai-agents-session"
    found.mkdir(mode=0o700, parents=True, exist_ok=True)
    return found
