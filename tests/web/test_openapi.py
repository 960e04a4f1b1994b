"""The OpenAPI document says what the site does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.web.support import client_of
from voxtra.events import EventType
from voxtra.service.access import SCOPES
from voxtra.web.codes import PROBLEMS
from voxtra.web.site import document

FILE = Path(__file__).parents[2] / "docs/reference/openapi.json"
DOCUMENT = document()
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
PLANNED = {EventType.USER_TRANSCRIPT, EventType.AGENT_RESPONSE, EventType.BARGE_IN}
each_operation = pytest.mark.parametrize("name", sorted(OPERATIONS))


def test_the_document_that_is_checked_in_is_this_one():
    """script/generate has been run."""
    assert json.loads(FILE.read_text(encoding="utf-8")) == DOCUMENT


def test_it_is_openapi_3_1():
    """The version is the one whose schemas are JSON Schema, and which has webhooks."""
    assert DOCUMENT["openapi"].startswith("3.1")
    assert DOCUMENT["info"]["title"] == "Voxtra"
    assert set(DOCUMENT["components"]["securitySchemes"]) == {"key", "token"}


def test_every_reference_leads_somewhere():
    """No schema, example or parameter is named that is not there."""
    for reference in set(re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(DOCUMENT))):
        found = DOCUMENT
        for part in reference.split("/"):
            found = found[part]


def test_nothing_of_the_framework_shows():
    """Its own form of errors, which is never sent, is not in the document."""
    assert "HTTPValidationError" not in json.dumps(DOCUMENT)
    assert "x-codes" not in json.dumps(DOCUMENT)


@each_operation
def test_an_operation_says_what_it_is_for(name):
    """Every operation has a summary, a description and the scopes that it needs."""
    operation = OPERATIONS[name]
    assert operation["summary"]
    assert operation["description"].endswith(".")
    if name.split()[1].startswith("/v1.0"):
        key, token = operation["security"]
        assert key["key"] == token["token"]
        assert set(key["key"]) <= set(SCOPES)
        assert key["key"]


@each_operation
def test_an_operation_says_every_answer(name):
    """Every operation has a success with an example, unless it is no JSON, and every error is a
    problem with its codes as examples.
    """
    responses = OPERATIONS[name]["responses"]
    assert any(status.startswith("2") for status in responses)
    assert {"400", "500", "503"} <= set(responses)
    assert "422" not in responses or name.startswith("POST")
    if name.split()[1].startswith("/v1.0"):
        assert {"401", "403", "429"} <= set(responses)
    for status, response in responses.items():
        assert response["description"] not in ("", "Successful Response")
        content = response.get("content", {})
        if status >= "400":
            for code in content["application/problem+json"]["examples"]:
                assert str(PROBLEMS[code].status) == status
        elif "application/json" in content:
            assert has_example(content["application/json"])


@each_operation
def test_a_body_has_an_example_that_is_valid(name):
    """What is to be sent is shown, and refuses what it does not know."""
    body = OPERATIONS[name].get("requestBody")
    if body is None:
        return
    content = body["content"]["application/json"]
    assert has_example(content)
    for schema in schemas_of(content):
        if schema.get("type") == "object":
            assert schema["additionalProperties"] is False


def has_example(content: dict[str, Any]) -> bool:
    """Tell whether a content or its schema has an example."""
    return (
        "example" in content
        or "examples" in content
        or any("examples" in schema for schema in schemas_of(content))
    )


def schemas_of(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the schemas that a content may have, with references followed."""
    schema = content["schema"]
    return [
        DOCUMENT["components"]["schemas"][each["$ref"].rpartition("/")[2]]
        if "$ref" in each
        else each
        for each in schema.get("anyOf", [schema])
    ]


def test_operations_have_names_of_their_own():
    """Who makes a client from the document gets one function for each."""
    names = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(names) == len(set(names))


def test_every_event_is_described():
    """The webhooks of the document are the events that are sent."""
    assert set(DOCUMENT["webhooks"]) == set(EventType) - PLANNED


def test_every_code_is_in_the_schema():
    """The codes of problems are a closed list, each with an example."""
    problem = DOCUMENT["components"]["schemas"]["Problem"]
    assert set(problem["properties"]["code"]["enum"]) == set(PROBLEMS)
    for code, example in DOCUMENT["components"]["examples"].items():
        assert set(problem["required"]) <= set(example["value"])
        assert example["value"]["status"] == PROBLEMS[code].status


def test_every_code_is_the_answer_of_some_operation():
    """No code is in the list that nothing answers with, but for addresses that do not exist."""
    used = {
        code
        for operation in OPERATIONS.values()
        for response in operation["responses"].values()
        for code in response.get("content", {})
        .get("application/problem+json", {})
        .get("examples", ())
    }
    assert set(PROBLEMS) - used == {"route_not_found", "method_not_allowed"}


async def test_the_site_gives_its_document(site):
    """The document is had without a key, and no page loads anything from elsewhere."""
    async with client_of(site) as client:
        assert (await client.get("/v1.0/openapi.json")).json() == DOCUMENT
        for page in ("/docs", "/redoc", "/"):
            assert (await client.get(page)).status_code == 404
