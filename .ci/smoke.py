#!/usr/bin/env python3
"""See that the installed package offers what its extra promises, and nothing it does not.

Usage: ``python -I .ci/smoke.py [EXTRA]``, with the package and that extra installed.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import version
from importlib.resources import files

HEAVY = ("agents", "redis", "aiobotocore", "sqlalchemy", "pydantic")
WITH_REDIS = ("redis", "all")


def main(extra: str) -> None:
    """Check the package that this interpreter imports."""
    package = import_module("openai_agents_session")
    root = files(package)
    if "site-packages" not in str(root):
        raise SystemExit(f"imported from {root}: not the installed package")
    loaded = [name for name in HEAVY if name in sys.modules]
    if loaded:
        raise SystemExit(f"import openai_agents_session imported {', '.join(loaded)}")
    if not (root / "py.typed").is_file():
        raise SystemExit("py.typed is missing: type checkers would ignore the annotations")

    if extra in WITH_REDIS:
        session = package.RedisSession.from_url("smoke", "redis://localhost:6379", ttl=60)
        scripts = sorted(path.name for path in (root / "lua").iterdir())
        if session.session_id != "smoke" or not scripts:
            raise SystemExit(f"not a working session, or no scripts: {session!r}, {scripts}")
    else:
        expected = (
            "RedisSession requires the 'redis' extra. "
            "Install it with: pip install 'openai-agents-session[redis]'"
        )
        try:
            _ = package.RedisSession
        except ImportError as error:
            if str(error) != expected:
                raise SystemExit(f"a missing extra was reported as: {error}") from error
        else:
            raise SystemExit("RedisSession was importable without its extra")
    if extra in ("dynamodb", "all"):
        import_module("aiobotocore.session")  # the driver is all that this extra brings today
    print(f"openai-agents-session {version('openai-agents-session')} [{extra or 'no extra'}]: ok")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
