"""Whose request it is, and that no line anywhere has a key in it."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from tests.web.support import client_of, make_key, service_on, serving
from voxtra.store import access
from voxtra.store.access import NewKey
from voxtra.store.database import Database
from voxtra.web import logs
from voxtra.web.logs import redact
from voxtra.web.site import make_site


@pytest.fixture
def lines():
    """Return what is logged as JSON while the test runs; everything is as before afterwards."""
    root, access_log = logging.getLogger(), logging.getLogger("uvicorn.access")
    changed = {name: logging.getLogger(name) for name in ("", "alembic", "uvicorn")}
    levels = {name: logger.level for name, logger in changed.items()}
    before = list(root.handlers)
    stream = io.StringIO()
    logs.configure(json=True, level="DEBUG", stream=stream)
    yield stream
    root.handlers[:] = before
    for name, logger in changed.items():
        logger.setLevel(levels[name])
    access_log.disabled = False
    access_log.setLevel(logging.NOTSET)


async def test_without_a_key_it_is_401_with_a_challenge(nobody):
    """A request without a key is told how to bring one."""
    answer = await nobody.get("/v1.0/usage")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="voxtra"'
    assert answer.json()["code"] == "unauthenticated"
    assert "Bearer" in answer.json()["fix"]


@pytest.mark.parametrize(
    "header",
    [
        "Bearer nonsense",
        "Bearer vx_00000000_" + "x" * 43,
        "Basic dXNlcjpwYXNzd29yZA==",
        "Bearer",
        "Bearer \u00e9".encode("latin-1"),
    ],
)
async def test_what_is_no_key_is_refused(nobody, header):
    """Nothing but a key that was given out lets anybody in."""
    answer = await nobody.get("/v1.0/usage", headers={"Authorization": header})
    assert answer.status_code == 401


async def test_the_right_prefix_with_a_wrong_secret_is_refused(service, nobody):
    """The prefix alone, which is no secret, is worth nothing."""
    key = await make_key(service, "admin")
    wrong = key[:-1] + ("a" if key[-1] != "a" else "b")
    answer = await nobody.get("/v1.0/usage", headers={"Authorization": f"Bearer {wrong}"})
    assert answer.status_code == 401
    assert answer.json()["detail"] == "The key is not known."


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_a_key_comes_in_the_header(service, nobody, scheme):
    """`Authorization: Bearer KEY` lets in, however the word is written."""
    key = await make_key(service, "agent")
    answer = await nobody.get("/v1.0/usage", headers={"Authorization": f"{scheme} {key}"})
    assert answer.status_code == 200


@pytest.mark.parametrize("query", ["token={}", "first_day=2026-01-01&token={}", "%74oken={}"])
async def test_a_key_comes_in_the_query(service, nobody, query):
    """`?token=KEY` lets in, beside other parameters, and is not taken for one of the route's."""
    key = await make_key(service, "agent")
    await nobody.get("/v1.0/usage?last_day=2026-01-02&" + query.format(key))
    answer = await nobody.get("/v1.0/usage?" + query.format(key) + "&last_day=2026-01-02")
    assert answer.status_code == 200


async def test_the_header_wins(service, nobody):
    """With a key in both places that of the header counts, for good or ill."""
    key = await make_key(service, "agent")
    good = {"Authorization": f"Bearer {key}"}
    assert (await nobody.get("/v1.0/usage?token=wrong", headers=good)).status_code == 200
    bad = {"Authorization": "Bearer wrong"}
    assert (await nobody.get(f"/v1.0/usage?token={key}", headers=bad)).status_code == 401


async def test_a_missing_scope_is_named(agent):
    """A key that may not do something is told which scope it would need."""
    answer = await agent.get("/v1.0/audit")
    assert answer.status_code == 403
    assert answer.json()["code"] == "forbidden"
    assert answer.json()["missing_scope"] == "audit:read"
    assert 'scope="audit:read"' in answer.headers["www-authenticate"]


async def test_a_disabled_principal_is_refused(service, agent):
    """All keys of a principal that was disabled are refused."""
    async with service.database.write() as connection:
        await connection.execute(text("UPDATE principals SET disabled_at = 1"))
    answer = await agent.get("/v1.0/usage")
    assert answer.status_code == 401
    assert answer.json()["detail"] == "The principal of the key is disabled."


async def test_use_is_noted_once_a_minute(service, admin, clock):
    """`used_at` is the first use of each minute: more would be a write for each request."""

    async def used() -> Any:
        return (await admin.get("/v1.0/keys")).json()["result"][0]["used_at"]

    first = await used()
    assert first is not None
    clock.go(seconds=59)
    assert await used() == first
    clock.go(seconds=1)
    assert await used() > first


async def test_a_database_that_is_away_is_503_and_not_401(tmp_path):
    """A key that can't be looked up is not called wrong, and the process still says it lives."""
    nowhere = Database("postgresql://voxtra:hidden@127.0.0.1:1/voxtra")
    service = service_on(nowhere, tmp_path)
    async with client_of(make_site(service), "vx_00000000_" + "x" * 43) as client:
        answer = await client.get("/v1.0/usage")
        alive = await client.get("/healthz")
    assert answer.status_code == 503
    assert answer.json()["code"] == "store_unavailable"
    assert answer.headers["retry-after"] == "5"
    assert alive.status_code == 200


def test_a_new_key_hides_its_secret():
    """The secret of a key is not in its repr."""
    made = NewKey("1", "2", "abcdefgh", "vx_abcdefgh_secret")
    assert "vx_abcdefgh_secret" not in repr(made)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("key vx_abcd1234_" + "S" * 43 + " used", "key vx_abcd1234_[redacted] used"),
        ("GET /x?token=abc&page=2 HTTP", "GET /x?token=[redacted]&page=2 HTTP"),
        ("Authorization: Bearer abcdefgh.ijk", "Authorization: Bearer [redacted]"),
        ("secret whsec_QUJD+/=", "secret whsec_[redacted]"),
        ("postgresql://user:pass@host/name", "postgresql://user:[redacted]@host/name"),
        ("nothing to hide: 12:30, a@b.example", "nothing to hide: 12:30, a@b.example"),
    ],
)
def test_secrets_are_cut_out_of_lines(line, shown):
    """What looks like a key, a token or a password is cut out, and nothing else is."""
    assert redact(line) == shown


async def test_no_log_line_has_a_key(service, site, lines):
    """Neither the server's nor our own lines have a key, whether it came in the query, was wrong,
    or stood in an error.
    """
    key = await make_key(service, "admin")
    async with serving(site) as url, httpx.AsyncClient(base_url=url) as client:
        logging.getLogger("uvicorn.access").disabled = False  # the worst that can be configured
        logging.getLogger("uvicorn.access").setLevel(logging.INFO)
        assert (await client.get(f"/v1.0/usage?token={key}")).status_code == 200
        assert (await client.get(f"/v1.0/nowhere?token={key}")).status_code == 404
        bearer = {"Authorization": f"Bearer {key}"}
        assert (await client.get("/v1.0/usage?x=1", headers=bearer)).status_code == 400
        made = await client.post("/v1.0/keys", json={"name": "a", "role": "agent"}, headers=bearer)
        logging.getLogger("voxtra").error("failed with %s", key, extra={"url": f"/x?token={key}"})
        try:
            raise ValueError(f"token={key}")
        except ValueError:
            logging.getLogger("voxtra").exception("a trace")
    text = lines.getvalue()
    assert "/v1.0/usage" in text
    assert "/v1.0/usage HTTP/1.1" in text  # the server's own line of it
    assert "a trace" in text
    for secret in (key, made.json()["key"]):
        assert secret.split("_", 2)[2] not in text


async def test_lines_carry_their_request(service, site, lines):
    """The line of a request says its id, tenant, principal, what it is about, its status and how
    long it took.
    """
    key = await make_key(service, "agent")
    async with client_of(site, key, headers={"X-Request-ID": "abc-1"}) as client:
        answer = await client.get("/v1.0/usage?first_day=2026-01-01&last_day=2026-01-02")
    found = [json.loads(line) for line in lines.getvalue().splitlines()]
    line = next(each for each in found if each["event"] == "GET /v1.0/usage")
    assert line["request_id"] == "abc-1" == answer.headers["x-request-id"]
    assert line["tenant_id"] == access.DEFAULT_TENANT
    assert line["status"] == 200
    assert line["level"] == "info"
    assert line["seconds"] > 0
    assert line["principal_id"]
    async with client_of(site, key) as client:
        await client.get("/v1.0/recordings/abc?token=x")
    found = [json.loads(line) for line in lines.getvalue().splitlines()]
    line = next(each for each in found if each["event"] == "GET /v1.0/recordings/abc")
    assert line["recording_id"] == "abc"
    assert line["request_id"] != "abc-1"


async def test_lines_for_people_are_redacted_too(lines):
    """The other form of lines goes through the same."""
    stream = io.StringIO()
    logs.configure(json=False, level="INFO", stream=stream)
    logging.getLogger("voxtra").info("with token=%s", "abc", extra={"n": 3})
    assert "token=[redacted]" in stream.getvalue()
    assert "n=3" in stream.getvalue()
    assert "token" not in lines.getvalue()  # and there is one handler, not one more


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "\u00e9".encode("latin-1"), "a\tb"])
async def test_an_odd_request_id_is_replaced(nobody, given):
    """A request id that could disturb logs is not taken over."""
    answer = await nobody.get("/healthz", headers={"X-Request-ID": given})
    assert len(answer.headers["x-request-id"]) == 32
