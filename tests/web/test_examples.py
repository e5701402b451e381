"""The examples on each store: all that differs is the URL."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tests.interpreters import run_python
from tests.litestar.example import ADA, BOB, logged_in, running

if TYPE_CHECKING:
    from tests.web.places import Place

FASTAPI = Path(__file__).parents[2] / "docs" / "examples" / "fastapi_app.py"


async def test_the_fastapi_example_works_on_any_store(place: Place) -> None:
    """Two messages, a list and a deletion: nothing is left of them."""
    kept = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}

    done = run_python(FASTAPI, env={**kept, "PYTHONUTF8": "1", "STORE_URL": place.source})

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["Your name is Ada.", "listed: greetings"]
    assert [each async for each in place.store] == []


async def test_the_litestar_example_works_on_any_store(place: Place, tmp_path: Path) -> None:
    """Users and their lists stay in its database; what they say is in the store."""
    with (
        running(tmp_path, STORE_URL=place.source) as site,
        logged_in(site, ADA) as ada,
        logged_in(site, BOB) as bob,
    ):
        said = ada.post("/agents/sessions/list/chat", json={"message": "Add a todo: Bread"})
        assert said.json()["response"] == "I looked it up: Bread is on your list."
        messages = ada.get("/agents/sessions/list/messages").json()
        assert [m["role"] for m in messages] == ["user", "assistant", "tool", "assistant"]
        assert ada.get("/agents/health").json() == {"status": "ok"}
        assert bob.get("/agents/sessions").json()["items"] == []
        assert bob.get("/agents/sessions/list/messages").status_code == 404

    [found] = [each async for each in place.store]
    assert (found.session_id, found.agent_name) == ("list", "Todo Assistant")
