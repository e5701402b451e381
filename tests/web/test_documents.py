"""The OpenAPI documents: each framework shows the same routes, and the examples are true."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest

from openai_agents_session._web import routes
from tests.memory_store import MemoryStore
from tests.web.agents import answering
from tests.web.apps import document_of

if TYPE_CHECKING:
    from collections.abc import Iterator

ONE = "/agents/sessions/{session_id}"
STATUSES = {
    f"delete {ONE}": [204, 400, 401, 404, 503],
    "get /agents/health": [200, 503],
    "get /agents/sessions": [200, 400, 401, 503],
    f"get {ONE}/messages": [200, 400, 401, 404, 503],
    f"patch {ONE}": [200, 400, 401, 404, 413, 415, 503],
    f"post {ONE}/chat": [200, 400, 401, 404, 409, 413, 415, 422, 502, 503],
    f"post {ONE}/chat/stream": [200, 400, 401, 409, 413, 415, 503],
    f"post {ONE}/fork": [201, 400, 401, 404, 409, 413, 415, 503],
}


@pytest.fixture
def document(make_app: Any) -> dict[str, Any]:
    """The document of an application."""
    return document_of(make_app(answering(), MemoryStore()))


def routes_of(document: dict[str, Any]) -> dict[str, Any]:
    """The routes of a document, by method and path."""
    return {
        f"{method} {path}": route
        for path, methods in document["paths"].items()
        for method, route in methods.items()
    }


def test_it_shows_every_route_with_examples(document: dict[str, Any]) -> None:
    """Each has a summary, a description, its errors, and examples of what goes in and out."""
    found = routes_of(document)

    statuses = {
        name: sorted(int(status) for status in route["responses"] if status != "4XX")
        for name, route in found.items()
    }
    assert statuses == STATUSES
    told = {
        (each.summary, each.description)
        for each in vars(routes).values()
        if isinstance(each, routes.Route)
    }
    assert {(route["summary"], route["description"]) for route in found.values()} == told
    for name, route in found.items():
        parameters = {each["name"]: each for each in route.get("parameters", [])}
        names = {"session_id"} if "{" in name else set()
        names |= {
            "get /agents/sessions": {"limit", "after", "is_active", "search"},
            f"get {ONE}/messages": {"limit", "before"},
        }.get(name, set())
        assert set(parameters) == names
        if "{" in name:
            assert parameters["session_id"]["schema"]["examples"]
    stream = found[f"post {ONE}/chat/stream"]["responses"]["200"]
    assert stream["content"]["text/event-stream"]["examples"]
    assert "application/json" not in stream["content"]
    for status in ("422", "502", "503"):
        assert status in str(stream["content"]["text/event-stream"]) + str(document["components"])
    for route in ("chat", "chat/stream"):
        busy = found[f"post {ONE}/{route}"]["responses"]["409"]
        assert busy["headers"]["Retry-After"]["schema"]["type"] == "integer"
        assert busy["description"].endswith("is being answered.")
    assert "headers" not in found[f"post {ONE}/fork"]["responses"]["409"]
    models = document["components"]["schemas"]
    for model, field in [
        *(("ChatRequest", "message"), ("ChatResponse", "response")),
        *(("ConversationRead", "session_name"), ("MessageRead", "content")),
        *(("ConversationFork", "session_id"), ("ConversationPatch", "description")),
    ]:
        assert models[model]["properties"][field]["examples"]
    for model in ("ChatRequest", "ConversationPatch", "ConversationFork"):
        assert models[model]["additionalProperties"] is False


def test_its_examples_are_what_it_says(document: dict[str, Any]) -> None:
    """Each is valid by the schema that it stands in."""
    found = [
        (schema, example)
        for part in parts(document)
        for schema, examples in [
            (part, part.get("examples")),
            (part.get("schema"), [each["value"] for each in shown(part.get("examples"))]),
        ]
        if isinstance(schema, dict) and isinstance(examples, list)
        for example in examples
    ]
    assert len(found) > 10

    for schema, example in found:
        whole = {**schema, "components": document["components"]}
        jsonschema_rs.validator_for(whole).validate(example)


def parts(document: Any) -> Iterator[dict[str, Any]]:
    """Every object in a document."""
    if isinstance(document, dict):
        yield document
    if isinstance(document, (dict, list)):
        for part in document.values() if isinstance(document, dict) else document:
            yield from parts(part)


def shown(examples: Any) -> list[Any]:
    """The named examples of a parameter or a body."""
    return list(examples.values()) if isinstance(examples, dict) else []
