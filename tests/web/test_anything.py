"""Whatever a client may send: schemathesis reads the OpenAPI document, and sends what it allows."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from agents import Agent
from agents.testing import ModelStep, ScriptedModel, assistant_message

from tests.web.apps import FRAMEWORKS
from tests.web.serving import serving

if TYPE_CHECKING:
    from tests.web.places import Place

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance"
)
DOCUMENTS = {"litestar": "/schema/openapi.json", "fastapi": "/openapi.json"}
ROUTES = {
    "POST /agents/sessions/*/chat",
    "POST /agents/sessions/*/chat/stream",
    "GET /agents/sessions",
    "GET /agents/sessions/*/messages",
    "PATCH /agents/sessions/*",
    "POST /agents/sessions/*/fork",
    "DELETE /agents/sessions/*",
    "GET /agents/health",
}


def agreeing() -> Agent[Any]:
    """An agent that says yes to everything."""
    yes = ModelStep.respond(lambda _: [assistant_message("Yes.")])
    return Agent(name="Assistant", model=ScriptedModel([yes] * 10_000))


async def send_anything(
    framework: str, place: Place, user: str, directory: Path, examples: int
) -> None:
    """Let schemathesis do so, and assert that it finds nothing and gets through everywhere."""
    report = directory / "report.har"
    async with serving(FRAMEWORKS[framework](agreeing(), place.source), user) as client:
        # The document's example of an id, for what is asked of a conversation that is there.
        path = "/agents/sessions/groceries/chat"
        assert (await client.post(path, json={"message": "Hi"})).status_code == 200
        process = await asyncio.create_subprocess_exec(
            *(str(Path(sys.executable).parent / "schemathesis"), "run", "--no-color"),
            *("--header", f"X-User: {user}", "--checks", CHECKS, "--seed", "1"),
            *("--max-examples", str(examples)),
            *("--report", "har", "--report-har-path", str(report)),
            f"{client.base_url}{DOCUMENTS[framework]}",
            cwd=directory,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        site = str(client.base_url)
    assert process.returncode == 0, said.decode()[-5000:]

    succeeded = set()
    for entry in json.loads(report.read_text())["log"]["entries"]:
        if 200 <= entry["response"]["status"] < 300:
            asked = entry["request"]["url"].removeprefix(site).partition("?")[0]
            one = re.sub("(?<=/sessions/)[^/]+", "*", asked)
            succeeded.add(f"{entry['request']['method']} {one}")
    assert succeeded >= ROUTES


async def test_no_request_is_a_server_error(
    framework: str, memory: Place, user: str, tmp_path: Path
) -> None:
    """Every answer is one that the document shows, whatever was asked."""
    await send_anything(framework, memory, user, tmp_path, 3)


@pytest.mark.slow
async def test_no_request_is_a_server_error_on_any_store(
    framework: str, place: Place, user: str, tmp_path: Path
) -> None:
    """Nor does a store refuse what the document allows."""
    await send_anything(framework, place, user, tmp_path, 15)
