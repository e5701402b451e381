"""Code on the pages of the documentation, and how it is run."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

RUN = ast.dump(ast.parse("asyncio.run(main())").body[0])
GUARD = ast.dump(ast.parse("__name__ == '__main__'", mode="eval").body)


@dataclass(frozen=True)
class Block:
    """A block of Python in a page: a program, which can be saved and run, or a part of one."""

    page: Path
    line: int
    code: str

    @property
    def name(self) -> str:
        """The page and the line, for the name of a test."""
        return f"{self.page.name}:{self.line}"

    @property
    def runs_main(self) -> bool:
        """Whether it ends with ``asyncio.run(main())``, as only a program does."""
        flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        module: ast.Module = compile(self.code, str(self.page), "exec", flags=flags)
        return any(map(_runs_main, module.body))

    @property
    def runs(self) -> bool:
        """Whether it runs something when it is saved, and does not only define it."""
        return "asyncio.run(" in self.code

    async def run(self, names: dict[str, Any]) -> None:
        """Run it as ``python -m asyncio`` would: ``await`` is allowed at the top level.

        Of a program, the body of ``main`` is run in place of ``asyncio.run(main())``. So what
        ``main`` has made is there for the blocks that go on from it.
        """
        # The empty lines make a traceback point into the page.
        code: Any = compile(
            _opened(ast.parse("\n" * self.line + self.code)),
            str(self.page),
            "exec",
            flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
            dont_inherit=True,
        )
        outcome = eval(code, names)
        if code.co_flags & inspect.CO_COROUTINE:
            await outcome


def _runs_main(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.If) and ast.dump(statement.test) == GUARD:
        return any(map(_runs_main, statement.body))
    return ast.dump(statement) == RUN


def _opened(module: ast.Module) -> ast.Module:
    """Put the body of ``main`` where it is run."""
    mains = {
        statement.name: statement.body
        for statement in module.body
        if isinstance(statement, ast.AsyncFunctionDef)
    }
    body: list[ast.stmt] = []
    for statement in module.body:
        body += mains["main"] if _runs_main(statement) else [statement]
    module.body = body
    return module
