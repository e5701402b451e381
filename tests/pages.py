"""Code on the pages of the documentation, and how it is run."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Block:
    """A block of Python in a page."""

    page: Path
    line: int
    code: str

    async def run(self, names: dict[str, Any]) -> None:
        """Run it as ``python -m asyncio`` would: ``await`` is allowed at the top level."""
        # The empty lines make a traceback point into the page.
        code = compile(
            "\n" * self.line + self.code,
            str(self.page),
            "exec",
            flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
            dont_inherit=True,
        )
        outcome = eval(code, names)
        if code.co_flags & inspect.CO_COROUTINE:
            await outcome
