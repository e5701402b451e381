"""How the modules depend on each other: downwards, in no circle, and past no closed door."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import openai_agents_session

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = "openai_agents_session"
ROOT = Path(openai_agents_session.__file__).parent
BACKENDS = ("redis", "dynamodb", "database")
SHARED = (None, "_web")
"""Folders that others may look into; None stands for the modules beside them."""
ROOMS = {
    "__init__",
    "_session",
    "_conversation",
    "_lease",
    "_store",
    "_catalog",
    "_urls",
    "_driver",
}


def imports() -> dict[str, set[str]]:
    """Return for each module of the package those that it imports, for types alone as well."""
    modules = {name_of(path): path for path in ROOT.rglob("*.py")}
    return {
        module: {each for each in named(path) if each in modules}
        for module, path in modules.items()
        if path != ROOT / "__init__.py"  # it imports the backends by their names, when asked
    }


def name_of(path: Path) -> str:
    """Return the dotted name of a module within the package."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def named(path: Path) -> Iterator[str]:
    """Return what may be a module in the import statements of a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{PACKAGE}."):
            module = (node.module or "").removeprefix(f"{PACKAGE}.")
            yield module
            yield f"{module}.__init__"
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == PACKAGE:
            yield from (alias.name for alias in node.names)


def wing_of(module: str) -> str | None:
    """Return the folder that a module is in; None for a shared one."""
    return module.partition(".")[0] if "." in module else None


def test_no_import_runs_in_a_circle() -> None:
    """Each module can be understood with those below it alone."""
    graph = imports()
    assert len(graph) > 30

    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(reversed(error.args[1]))) from None


def test_shared_modules_know_no_backend() -> None:
    """What the backends share imports none of them; nor does what the web frameworks share."""
    graph = imports()

    upwards = {
        (module, each)
        for module, named in graph.items()
        for each in named
        if (wing_of(module) is None and wing_of(each) is not None)
        or (wing_of(module) == "_web" and wing_of(each) not in SHARED)
    }

    assert not upwards


def test_the_web_is_for_web_frameworks() -> None:
    """No backend knows how conversations are served."""
    graph = imports()

    knowing = {
        wing_of(module)
        for module, named in graph.items()
        for each in named
        if wing_of(each) == "_web" and wing_of(module) != "_web"
    }

    assert knowing == {"litestar", "fastapi"}


def test_private_modules_of_a_backend_stay_inside() -> None:
    """Another folder imports what is public there, or nothing; no backend knows another."""
    graph = imports()

    across = {
        (module, each)
        for module, named in graph.items()
        for each in named
        if wing_of(each) not in (*SHARED, wing_of(module))
    }

    assert {(wing_of(module), wing_of(each)) for module, each in across} == {
        ("litestar", "database")
    }
    assert not [
        one for one in across if one[1].partition(".")[2].startswith("_") and "__" not in one[1]
    ]


def test_backends_have_the_same_rooms() -> None:
    """Who knows one backend finds the same things under the same names in the others."""
    for backend in BACKENDS:
        assert {path.stem for path in (ROOT / backend).glob("*.py")} >= ROOMS, backend
