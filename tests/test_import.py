"""The lazy door: what ``import openai_agents_session`` costs, shows and says.

Each check runs in an interpreter of its own, since this one has long imported everything.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest

import openai_agents_session
from tests.interpreters import run_python

if TYPE_CHECKING:
    from pathlib import Path

BACKENDS = {
    "AgentSessionService": ("database", "sqlalchemy"),
    "DatabaseSession": ("database", "sqlalchemy"),
    "DatabaseStore": ("database", "sqlalchemy"),
    "DynamoDBSession": ("dynamodb", "aiobotocore"),
    "DynamoDBStore": ("dynamodb", "aiobotocore"),
    "RedisSession": ("redis", "redis"),
    "RedisStore": ("redis", "redis"),
}
"""The names of the door: the extra that each needs, and the driver which that installs."""

BARE = ["LeaseLostError", "SessionBusyError", "__version__", "open_store"]
"""Those that need no extra."""

HEAVY = [
    "agents",
    "aiobotocore",
    "botocore",
    "openai",
    "pydantic",
    "pydantic_core",
    "redis",
    "sqlalchemy",
]

REPORT = """
import json, sys
try:
    {statement}
except BaseException as exc:
    cause = exc.__cause__
    report = dict(
        error=type(exc).__name__,
        message=str(exc),
        name=getattr(exc, "name", None),
        cause=cause and type(cause).__name__,
    )
else:
    report = {{}}
report["modules"] = sorted(sys.modules)
print(json.dumps(report))
"""
"""Runs a statement and prints what it raised and what is imported then."""

FINDER = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {name!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""
"""Makes a package look as if it were not installed."""

IMPORT = "from openai_agents_session import {name}"

# The service has the door of its session.
for_each_backend = pytest.mark.parametrize(
    "backend", [name for name in BACKENDS if name.endswith("Session")]
)


def run(statement: str, *, before: str = "", fresh: bool = False) -> dict[str, Any]:
    """Run a statement in an interpreter of its own and return the report about it.

    Unless it is to be fresh, it has imported the SDK, and nothing else.
    """
    command = ["-c", before + REPORT.format(statement=statement)]
    if fresh:
        done = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, check=False, timeout=60
        )
    else:
        done = run_python(*command, timeout=60)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def imported(report: dict[str, Any], *names: str) -> list[str]:
    """Which of these packages the interpreter has imported."""
    packages = {module.partition(".")[0] for module in report["modules"]}
    return [name for name in names if name in packages]


@pytest.mark.parametrize(
    "statement",
    [
        "import openai_agents_session",
        "import openai_agents_session; dir(openai_agents_session); openai_agents_session.__all__",
        "import openai_agents_session; openai_agents_session.__version__",
        "import openai_agents_session; hasattr(openai_agents_session, 'Missing')",
    ],
)
def test_importing_the_package_imports_nothing_else(statement: str) -> None:
    """Neither the import nor a look at the names pulls in a driver, the SDK or Pydantic."""
    report = run(statement, fresh=True)

    assert imported(report, "openai_agents_session") == ["openai_agents_session"]
    assert imported(report, *HEAVY) == []


def test_the_version_is_looked_up_when_it_is_asked_for() -> None:
    """It is that of the installed package, and reading the metadata is left until then."""
    before = run("import openai_agents_session", fresh=True)
    assert "importlib.metadata" not in before["modules"]

    after = run("import openai_agents_session; openai_agents_session.__version__", fresh=True)
    assert "importlib.metadata" in after["modules"]
    assert openai_agents_session.__version__ == version("openai-agents-session")


@for_each_backend
def test_a_backend_is_imported_when_its_name_is_used(backend: str) -> None:
    """The name brings its own driver, and no other backend's."""
    report = run(IMPORT.format(name=backend))

    assert "error" not in report
    _, driver = BACKENDS[backend]
    others = {name for _, name in BACKENDS.values()} - {driver}
    assert imported(report, driver) == [driver]
    assert imported(report, *others) == []


@pytest.mark.parametrize(
    ("before", "statement"),
    [
        (FINDER, IMPORT),
        (FINDER, "from openai_agents_session import *; {name}"),
        (FINDER, "import openai_agents_session; openai_agents_session.{name}"),
        (FINDER, "import openai_agents_session; getattr(openai_agents_session, '{name}', None)"),
        (FINDER, "from openai_agents_session.{module} import {name}"),
        (FINDER, "import openai_agents_session.{module}"),
        ("import sys; sys.modules[{name!r}] = None", IMPORT),
    ],
)
@for_each_backend
def test_a_missing_driver_names_its_extra(backend: str, before: str, statement: str) -> None:
    """Without its driver, whichever way the name is used says what to install."""
    extra, driver = BACKENDS[backend]
    # A backend's module has the name of its extra.
    statement = statement.format(name=backend, module=extra)
    report = run(statement, before=before.format(name=driver))

    assert report["error"] == "ImportError"
    assert report["message"] == (
        f"{backend} requires the '{extra}' extra. "
        f"Install it with: pip install 'openai-agents-session[{extra}]'"
    )
    assert report["name"] == driver
    assert report["cause"] == "ModuleNotFoundError"


def test_what_a_driver_needs_may_be_missing_with_it() -> None:
    """As on a machine without the extra, where botocore is missing as well as aiobotocore."""
    absent = "".join(FINDER.format(name=name) for name in ("aiobotocore", "botocore"))
    report = run(IMPORT.format(name="DynamoDBSession"), before=absent)

    assert report["message"] == (
        "DynamoDBSession requires the 'dynamodb' extra. "
        "Install it with: pip install 'openai-agents-session[dynamodb]'"
    )


@pytest.mark.parametrize("missing", sorted({driver for _, driver in BACKENDS.values()}))
def test_one_backend_does_without_the_others_driver(missing: str) -> None:
    """With one driver missing, the other backends work."""
    others = [name for name, (_, driver) in BACKENDS.items() if driver != missing]
    report = run(IMPORT.format(name=", ".join(others)), before=FINDER.format(name=missing))

    assert "error" not in report


@for_each_backend
def test_the_driver_can_be_installed_later(backend: str) -> None:
    """A failed use is not remembered: once the driver is there, the name works."""
    _, driver = BACKENDS[backend]
    report = run(
        f"del sys.modules['{driver}']; door.{backend}",
        before=f"import sys; sys.modules['{driver}'] = None; import openai_agents_session as door\n"
        f"try: door.{backend}\nexcept ImportError: pass\nelse: raise SystemExit('no error')\n",
    )

    assert "error" not in report


def test_the_package_imports_without_its_drivers_and_the_sdk() -> None:
    """With nothing but the standard library, the package itself imports."""
    before = "".join(FINDER.format(name=name) for name in HEAVY)

    assert "error" not in run("import openai_agents_session", before=before, fresh=True)


@for_each_backend
def test_a_missing_sdk_is_not_disguised(backend: str) -> None:
    """Where it is the SDK that is missing, the error says so."""
    report = run(IMPORT.format(name=backend), before=FINDER.format(name="agents"), fresh=True)

    assert report["error"] == "ModuleNotFoundError"
    assert report["name"] == "agents"
    assert "extra" not in report["message"]


@pytest.mark.parametrize(
    ("source", "error", "name"),
    [
        ("", "ModuleNotFoundError", "{driver}.{submodule}"),
        ("import no_such_dependency", "ModuleNotFoundError", "no_such_dependency"),
        ("raise ImportError('a broken build')", "ImportError", None),
        ("raise RuntimeError('a broken build')", "RuntimeError", None),
    ],
    ids=["without its submodule", "without a dependency", "ImportError", "RuntimeError"],
)
@for_each_backend
def test_a_broken_driver_is_not_disguised(
    tmp_path: Path, backend: str, source: str, error: str, name: str | None
) -> None:
    """A driver's package that is there but fails keeps its own words."""
    _, driver = BACKENDS[backend]
    # What is imported first; of SQLAlchemy it is a name of the package itself.
    submodule = {"redis": "asyncio", "aiobotocore": "client"}.get(driver)
    if not source and submodule is None:
        error, name = "ImportError", driver
    (tmp_path / driver).mkdir()
    (tmp_path / driver / "__init__.py").write_text(source)

    report = run(
        IMPORT.format(name=backend),
        before=f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n",
    )

    assert report["error"] == error
    assert report["name"] == (name and name.format(driver=driver, submodule=submodule))
    assert "extra" not in report["message"]


@for_each_backend
def test_a_bug_of_ours_is_not_disguised(backend: str) -> None:
    """An import that fails inside the package itself is not taken for a missing driver."""
    report = run(
        IMPORT.format(name=backend),
        before="import sys; sys.modules['openai_agents_session._session'] = None\n",
    )

    assert report["error"] == "ModuleNotFoundError"
    assert report["name"] == "openai_agents_session._session"
    assert "extra" not in report["message"]


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A name that the package does not have is refused as Python does it."""
    name = "Missing"
    with pytest.raises(AttributeError, match="'openai_agents_session' has no attribute 'Missing'"):
        getattr(openai_agents_session, name)
    with pytest.raises(ImportError, match="cannot import name 'Missing'"):
        exec(f"from openai_agents_session import {name}")


def test_the_names_are_all_there() -> None:
    """Each public name resolves, is listed by ``dir`` and comes with a star import."""
    public = openai_agents_session.__all__
    star: dict[str, object] = {}
    exec("from openai_agents_session import *", star)

    assert sorted([*BACKENDS, *BARE]) == sorted(public)
    assert sorted(set(public)) == sorted(public)
    for name in public:
        assert name in dir(openai_agents_session)
        assert star[name] is getattr(openai_agents_session, name)
    for name in BACKENDS:
        assert getattr(openai_agents_session, name).__name__ == name


@for_each_backend
def test_a_name_stays_the_same_object(backend: str) -> None:
    """Using a name twice, and by way of its module, gives one class."""
    module, _ = BACKENDS[backend]  # which has the name of the extra
    direct = getattr(import_module(f"openai_agents_session.{module}"), backend)

    assert getattr(openai_agents_session, backend) is direct
    assert getattr(openai_agents_session, backend) is direct
    assert pickle.loads(pickle.dumps(direct)) is direct


def test_the_public_names_of_the_dynamodb_module() -> None:
    """Beside its session and its store the module has what makes a table and what tidies it."""
    module = import_module("openai_agents_session.dynamodb")

    assert sorted(module.__all__) == [
        "DynamoDBSession",
        "DynamoDBStore",
        "create_table_if_not_exists",
        "remove_orphaned_pages",
    ]
    assert all(hasattr(module, name) for name in module.__all__)


def test_the_package_says_that_it_is_typed() -> None:
    """Type checkers read annotations of a package only with this marker (PEP 561)."""
    assert files("openai_agents_session").joinpath("py.typed").is_file()


def test_the_scripts_are_resources() -> None:
    """The Lua files are found the way the library finds them, from a wheel or a zip as well."""
    scripts = [
        script
        for script in files("openai_agents_session.redis").joinpath("lua").iterdir()
        if script.name.endswith(".lua")
    ]

    assert scripts
    assert all("redis.call" in script.read_text("utf-8") for script in scripts)
