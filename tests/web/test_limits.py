"""How much one client may ask."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.web.support import client_of, make_key, service_on, serving
from voxtra.web.limits import MAX_BODY, Limiter, Rate
from voxtra.web.site import make_site


class Ticks:
    """Seconds that go when they are told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(
    rate=st.sampled_from([0.5, 1.0, 3.0, 50.0]),
    burst=st.integers(1, 20),
    waits=st.lists(st.floats(0, 5), max_size=60),
)
def test_never_more_than_the_burst_and_the_rate(rate, burst, waits):
    """In any time no more are allowed than the burst and what the rate gives in it; who waits as
    long as is said is allowed.
    """
    ticks = Ticks()
    limiter = Limiter(Rate(rate, burst), ticks)
    allowed = []
    for wait in waits:
        ticks.now += wait
        verdict = limiter.take("a")
        if verdict.allowed:
            allowed.append(ticks.now)
        else:
            ticks.now += verdict.retry_after
            assert limiter.take("a").allowed
            allowed.append(ticks.now)
    for first, begin in enumerate(allowed):
        for last in range(first, len(allowed)):
            assert last - first + 1 <= burst + rate * (allowed[last] - begin) + 1e-6


def test_names_have_buckets_of_their_own():
    """What one uses up is not missing to another."""
    limiter = Limiter(Rate(1, 1), Ticks())
    assert limiter.take("a").allowed
    assert not limiter.take("a").allowed
    assert limiter.take("b").allowed


def test_full_buckets_are_forgotten():
    """The memory of a limiter is bounded by who asked a short time ago."""
    ticks = Ticks()
    limiter = Limiter(Rate(1, 10), ticks)
    for number in range(1000):
        limiter.take(str(number))
    ticks.now += 10
    limiter.take("last")
    assert len(limiter) == 1


async def test_too_many_requests_are_told_when_to_come_back(database, tmp_path):
    """Beyond the burst it is 429 with the seconds to wait; other keys are not concerned."""
    config = {"server": {"requests_per_second": 0.1, "burst": 3}}
    service = service_on(database, tmp_path, config=config)
    site = make_site(service)
    first, second = await make_key(service, "agent"), await make_key(service, "admin")
    async with client_of(site, first) as client:
        answers = [await client.get("/v1.0/retention") for _ in range(4)]
        assert [each.status_code for each in answers] == [200, 200, 200, 429]
        assert [each.headers["ratelimit-remaining"] for each in answers] == ["2", "1", "0", "0"]
        assert answers[0].headers["ratelimit-limit"] == "3"
        assert 1 <= int(answers[3].headers["retry-after"]) <= 10
        assert answers[3].json()["code"] == "too_many_requests"
        assert (await client.get("/healthz", headers={"Authorization": ""})).status_code == 200
    async with client_of(site, second) as client:
        assert (await client.get("/v1.0/retention")).status_code == 200


async def test_wrong_keys_are_limited_by_address(site, service):
    """After many wrong keys an address is told to wait; a right key from there still passes, and so
    does a wrong one from elsewhere to its 401.
    """
    key = await make_key(service, "agent")
    async with client_of(site, "wrong", address="192.0.2.1") as client:
        statuses = [(await client.get("/v1.0/usage")).status_code for _ in range(22)]
        assert statuses[:20] == [401] * 20
        refused = await client.get("/v1.0/usage")
        right = await client.get("/v1.0/usage", headers={"Authorization": f"Bearer {key}"})
    assert refused.status_code == 429
    assert refused.json()["code"] == "too_many_failures"
    assert "retry-after" in refused.headers
    assert right.status_code == 200
    async with client_of(site, "wrong", address="192.0.2.2") as client:
        assert (await client.get("/v1.0/usage")).status_code == 401


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize("length", [MAX_BODY - 1, MAX_BODY, MAX_BODY + 1])
async def test_a_body_has_at_most_a_mebibyte(admin, length):
    """One byte more is 413, whatever is in it; what fits is looked at."""
    body = b'"' + b"x" * (length - 2) + b'"'
    answer = await admin.post("/v1.0/keys", content=body, headers=JSON)
    assert answer.status_code == (413 if length > MAX_BODY else 400)
    if length > MAX_BODY:
        assert answer.json()["code"] == "body_too_large"


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "GET"])
async def test_the_limit_is_for_every_method(admin, method):
    """No method is a way around it."""
    answer = await admin.request(method, "/v1.0/keys/x", content=b" " * (MAX_BODY + 1))
    assert answer.status_code == 413


async def test_a_body_without_a_length_is_counted(admin):
    """A streamed body is broken off where it becomes too long."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 100:
            sent += 1
            yield b"x" * 65_536

    answer = await admin.post("/v1.0/keys", content=endless(), headers=JSON)
    assert answer.status_code == 413
    assert sent <= MAX_BODY // 65_536 + 2


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_a_body_that_is_no_json_is_415(admin, media):
    """What curl sends without its header is told which header is missing."""
    answer = await admin.post("/v1.0/keys", content=b"{}", headers={"Content-Type": media})
    assert answer.status_code == 415
    assert "application/json" in answer.json()["fix"]


async def test_no_body_needs_no_type(admin):
    """A POST that has nothing to say may say so without a header, as curl does."""
    made = (await admin.post("/v1.0/webhooks", json={"url": "https://a.example/"})).json()
    answer = await admin.post(f"/v1.0/webhooks/{made['id']}/rotate-secret")
    assert answer.status_code == 200


async def test_a_body_that_is_cut_off_is_no_request(site, service):
    """A client that goes in the middle of its body has done nothing, and breaks nothing."""
    key = await make_key(service, "admin")
    body = json.dumps({"name": "half", "role": "agent"}).encode()
    async with serving(site) as url:
        port = httpx.URL(url).port
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        head = (
            f"POST /v1.0/keys HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body[:10])
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        bearer = {"Authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(base_url=url, headers=bearer) as client:
            names = [each["name"] for each in (await client.get("/v1.0/keys")).json()["result"]]
    assert names == ["the admin"]
