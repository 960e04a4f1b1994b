"""Errors as they travel."""

from __future__ import annotations

import math
from typing import Any

import pytest
from fastapi import APIRouter
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError
from sqlalchemy.exc import OperationalError, ProgrammingError

from tests.web.support import client_of
from voxtra import exceptions
from voxtra.exceptions import (
    AuthenticationFailed,
    CallEnded,
    ConfigurationError,
    NotFound,
    RecordingActive,
    RecordingNotReady,
    VoxtraError,
)
from voxtra.web.bodies import Body
from voxtra.web.codes import PROBLEMS
from voxtra.web.problems import HANDLED, Problem, problem_of, problems

MEMBERS = {"type", "title", "status", "detail", "code", "fix", "instance", "request_id"}


class Inner(Body):
    """A body in a body."""

    number: int = Field(ge=1)


class Outer(Body):
    """What the tests send."""

    text: str = "x"
    inner: list[Inner] = Field(default=[])
    anything: dict[str, object] = Field(default={})


@pytest.fixture
async def client(site):
    """Return a client of a site that has a few more routes, which fail."""
    router = APIRouter()

    @router.post("/x")
    async def post(wanted: Outer) -> Outer:
        return wanted

    @router.get("/fails/{how}")
    async def fails(how: str) -> None:
        raise FAILURES[how]

    site.include_router(router)
    async with client_of(site) as made:
        yield made


SECRET = "SELECT secret FROM keys"
FAILURES = {
    "unforeseen": ZeroDivisionError(SECRET),
    "ours": VoxtraError(SECRET),
    "programming": ProgrammingError(SECRET, {}, Exception(SECRET)),
    "operational": OperationalError(SECRET, {}, Exception(SECRET)),
    "refused": ConnectionRefusedError(SECRET),
    "active": RecordingActive("a.wav", "0199"),
    "ready": RecordingNotReady("0199", "stopping"),
}


@pytest.mark.parametrize("code", sorted(PROBLEMS))
def test_every_problem_says_what_to_do(code):
    """Every code has a status, a title and a fix in plain words."""
    kind = PROBLEMS[code]
    assert 400 <= kind.status <= 507
    assert kind.title[0].isupper()
    assert not kind.title.endswith(".")
    assert kind.fix.endswith(".")


@pytest.mark.parametrize("how", ["unforeseen", "ours", "programming"])
async def test_what_nobody_foresaw_says_nothing(client, how):
    """An unexpected error is 500 with the request's id, and nothing of what it says itself."""
    answer = await client.get(f"/fails/{how}", headers={"X-Request-ID": "abc"})
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal_error"
    assert answer.json()["request_id"] == "abc"
    assert "SELECT" not in answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("how", ["operational", "refused"])
async def test_a_database_that_is_away_is_503(client, how):
    """What passes by itself is 503 with a time to come back, and does not show the statement."""
    answer = await client.get(f"/fails/{how}")
    assert answer.status_code == 503
    assert answer.json()["code"] == "store_unavailable"
    assert answer.headers["retry-after"] == "5"
    assert "SELECT" not in answer.text


async def test_errors_of_the_framework_are_problems(client):
    """What a verb raises becomes its problem, with what it carries."""
    active = await client.get("/fails/active")
    assert active.status_code == 409
    assert active.json()["code"] == "recording_active"
    assert active.json()["recording_id"] == "0199"
    ready = await client.get("/fails/ready")
    assert (ready.status_code, ready.json()["code"]) == (404, "recording_not_ready")
    assert ready.headers["retry-after"] == "2"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AuthenticationFailed("no"), "pbx_unreachable"),
        (NotFound(404, "GET", "/channels/1"), "pbx_refused"),
        (CallEnded("1"), "call_not_active"),
        (ConfigurationError("is wrong", field="url"), "invalid_request"),
        (RuntimeError("x"), "internal_error"),
        (Problem("call_not_found"), "call_not_found"),
    ],
)
def test_the_nearest_base_decides(error, code):
    """An error is what the nearest known base of its type is."""
    assert problem_of(error).code == code


def test_every_error_of_ours_is_something():
    """No error that Voxtra raises about calls, recordings or the PBX is an internal one."""
    foreseen = [*vars(exceptions).values()]
    kinds = [each for each in foreseen if isinstance(each, type) and each is not VoxtraError]
    unknown = [
        kind.__name__
        for kind in kinds
        if issubclass(kind, VoxtraError) and not any(base in HANDLED[:-2] for base in kind.__mro__)
    ]
    assert unknown == ["RouteNotFoundError", "CallError", "RecordingError"]


@pytest.mark.parametrize(
    ("body", "field", "word"),
    [
        ({"txt": "x"}, "txt", "Unknown"),
        ({"inner": [{"number": 1}, {"number": 0}]}, "inner[1].number", "greater"),
        ({"inner": [{"number": 1, "more": 2}]}, "inner[0].more", "Unknown"),
        ({"inner": [{}]}, "inner[0].number", "required"),
        ({"text": "a\0b"}, "", "NUL"),
        ({"anything": {"a": ["\0"]}}, "", "NUL"),
        ({"anything": {"a": 2**63}}, "", "64 bit"),
        ([], "", "object"),
        ("x", "", "object"),
    ],
)
async def test_a_wrong_field_is_named(client, body, field, word):
    """A body that is wrong is 400 (never 422), with the field and what is wrong about it."""
    answer = await client.post("/x", json=body)
    assert answer.status_code == 400
    problem = answer.json()
    assert set(problem) == MEMBERS | {"field", "errors"}
    assert problem["code"] == "invalid_request"
    assert problem["field"] == (field or "body")
    assert word in problem["detail"]


async def test_every_wrong_field_is_named_at_once(client):
    """All faults are told together, so that nobody has to find them one by one."""
    answer = await client.post("/x", json={"text": 1, "more": 2, "inner": [{"number": "a"}]})
    assert {each["field"] for each in answer.json()["errors"]} == {
        "text",
        "more",
        "inner[0].number",
    }


@pytest.mark.parametrize(
    "body",
    [b"{", b"", b"\xff\xfe", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}", b"nul"],
    ids=["open", "empty", "bytes", "deep", "long number", "word"],
)
async def test_what_is_no_json_is_400(client, body):
    """A body that can't be read is 400, whatever is wrong with it."""
    answer = await client.post("/x", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["code"] in ("invalid_json", "invalid_request")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
async def test_numbers_that_are_none_are_refused(client, number):
    """What JSON has no number for, and no database, is refused."""
    body = f'{{"anything": {{"a": {number}}}}}'
    answer = await client.post("/x", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert "NaN" in answer.json()["detail"]


async def test_an_unknown_address_is_a_problem(client):
    """A path that does not exist is told as such."""
    answer = await client.get("/v2/recordings")
    assert answer.status_code == 404
    assert answer.json()["code"] == "route_not_found"
    assert answer.json()["instance"] == "/v2/recordings"


async def test_a_wrong_method_names_the_right_ones(client):
    """405 lists every method of the path, not only those of the first route of it."""
    answer = await client.put("/v1.0/keys")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, POST"
    assert answer.json()["code"] == "method_not_allowed"


async def test_nul_in_an_address_is_refused(client, admin):
    """No database is asked for an id with a NUL: one of them would refuse the query."""
    for path in ("/v1.0/keys/a%00b", "/v1.0/audit?actor=%00"):
        answer = await admin.get(path)
        assert answer.status_code == 400
        assert answer.json()["code"] == "invalid_request"


async def test_an_unknown_parameter_is_refused(admin):
    """A mistyped filter is refused: taken for none, it would fit everything."""
    answer = await admin.get("/v1.0/deliveries?statee=dead")
    assert answer.status_code == 400
    assert answer.json()["field"] == "statee"
    assert "state" in answer.json()["detail"]


async def test_answers_have_the_headers_of_a_careful_server(client):
    """No answer is sniffed, framed, cached, or read by another site."""
    for path in ("/healthz", "/nowhere"):
        headers = (await client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers


def test_problems_of_one_status_are_documented_together():
    """A route may have several problems of the same status."""
    found = problems("recording_active", "recording_held", "call_not_found")
    assert found[409]["x-codes"] == ["recording_active", "recording_held"]
    assert found[404]["x-codes"] == ["call_not_found"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_what_a_body_takes_every_database_takes(value):
    """What passes can be stored: no NUL, no half character, no NaN, no number beyond 64 bits."""

    def fits(each: Any) -> bool:
        if isinstance(each, str):
            return "\0" not in each and all(not 0xD800 <= ord(c) <= 0xDFFF for c in each)
        if isinstance(each, bool) or each is None:
            return True
        if isinstance(each, float):
            return math.isfinite(each)
        if isinstance(each, int):
            return -(2**63) <= each < 2**63
        if isinstance(each, list):
            return all(map(fits, each))
        assert isinstance(each, dict)
        return all(fits(name) and fits(item) for name, item in each.items())

    try:
        Outer.model_validate({"anything": {"value": value}})
    except ValidationError:
        passed = False
    else:
        passed = True
    assert passed == fits(value)
