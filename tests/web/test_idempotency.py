"""`Idempotency-Key` on POST."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import APIRouter
from sqlalchemy import select, text

from tests.web.support import client_of, make_key
from voxtra.store.schema import idempotency
from voxtra.web.problems import Problem

URL = {"url": "https://receiver.example/hook"}


class Act:
    """A route that counts how often it is carried out, and can wait or fail."""

    def __init__(self) -> None:
        self.count = 0
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.began = asyncio.Event()
        self.failure: Exception | None = None

    async def __call__(self) -> dict[str, int]:
        """Count."""
        self.count += 1
        number = self.count
        self.began.set()
        await self.go_on.wait()
        if self.failure is not None:
            raise self.failure
        return {"number": number}


@pytest.fixture
def act(site):
    """Return a route of the site, which is at POST /act and needs no scope."""
    made = Act()
    router = APIRouter()
    router.add_api_route("/act", made.__call__, methods=["POST"])
    site.include_router(router)
    return made


def keyed(key: str | bytes = "k1", **more: Any) -> dict[str, Any]:
    """Return the arguments of a request with a key."""
    return {"headers": {"Idempotency-Key": key}, **more}


async def test_the_same_request_is_carried_out_once(act, admin):
    """Sent again, a request gets the answer that it had, and says that it is the old one."""
    first = await admin.post("/act", **keyed())
    again = await admin.post("/act", **keyed())
    assert first.json() == again.json() == {"number": 1}
    assert again.status_code == first.status_code
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert again.headers["content-type"] == first.headers["content-type"]
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert act.count == 1


async def test_without_a_key_each_request_counts(act, admin):
    """Nothing is taken for a repetition that does not say so."""
    await admin.post("/act")
    assert (await admin.post("/act")).json() == {"number": 2}


async def test_answers_are_forgotten_after_a_day(act, admin, clock):
    """An answer is repeated for 24 hours; then the key is new again."""
    await admin.post("/act", **keyed())
    clock.go(hours=23, minutes=59)
    assert (await admin.post("/act", **keyed())).json() == {"number": 1}
    clock.go(minutes=1)
    assert (await admin.post("/act", **keyed())).json() == {"number": 2}


@pytest.mark.parametrize("other", [{"json": {"b": 1}}, {"params": {"a": "1"}}])
async def test_another_request_with_the_key_is_refused(act, admin, other):
    """A key belongs to one request: with another body or address it is 422."""
    await admin.post("/act", **keyed(json={"a": 1}))
    answer = await admin.post("/act", **keyed(**other))
    assert answer.status_code == 422
    assert answer.json()["code"] == "idempotency_mismatch"
    assert act.count == 1


async def test_keys_of_two_principals_have_nothing_in_common(act, admin, agent):
    """The same key by somebody else is another request."""
    await admin.post("/act", **keyed())
    assert (await agent.post("/act", **keyed())).json() == {"number": 2}


async def test_a_refusal_of_the_act_is_repeated(act, admin):
    """An answer of 400 to 499 is an answer, too."""
    act.failure = Problem("recording_active")
    first = await admin.post("/act", **keyed())
    act.failure = None
    again = await admin.post("/act", **keyed())
    assert first.status_code == again.status_code == 409
    assert first.json()["code"] == again.json()["code"] == "recording_active"
    assert again.headers["content-type"] == "application/problem+json"
    assert act.count == 1


@pytest.mark.parametrize(
    "failure", [Problem("pbx_unreachable"), ZeroDivisionError(), Problem("forbidden")]
)
async def test_what_failed_can_be_tried_again_at_once(act, admin, failure):
    """An answer of 500 and more is not kept, nor is a refusal that came before the act."""
    act.failure = failure
    assert (await admin.post("/act", **keyed())).status_code in (500, 503, 403)
    act.failure = None
    assert (await admin.post("/act", **keyed())).json() == {"number": 2}


async def test_a_request_without_a_key_of_ours_keeps_nothing(act, nobody, service):
    """What is not authenticated writes no row."""
    await nobody.post("/act", **keyed())
    async with service.database.read() as connection:
        assert (await connection.execute(select(idempotency))).all() == []


async def test_of_two_at_once_one_is_carried_out(act, admin):
    """While a request is under way its repetition is told to come back later."""
    act.go_on.clear()
    first = asyncio.create_task(admin.post("/act", **keyed()))
    await act.began.wait()
    second = await admin.post("/act", **keyed())
    assert second.status_code == 409
    assert second.json()["code"] == "idempotency_in_progress"
    assert second.headers["retry-after"] == "1"
    act.go_on.set()
    assert (await first).json() == {"number": 1}
    assert (await admin.post("/act", **keyed())).json() == {"number": 1}
    assert act.count == 1


async def test_of_many_at_once_one_is_carried_out(act, admin):
    """However many come in the same moment, one act is done."""
    answers = await asyncio.gather(*(admin.post("/act", **keyed()) for _ in range(12)))
    assert {each.status_code for each in answers} <= {200, 409}
    assert {each.json().get("number", 1) for each in answers} == {1}
    assert act.count == 1


async def test_a_crash_in_between_lets_it_be_tried_again(act, admin, clock, service):
    """A request whose process died is taken over after a minute, by one of those who ask."""
    await admin.post("/act", **keyed())
    async with service.database.write() as connection:
        # what is left of a process that was killed in between
        await connection.execute(text("UPDATE idempotency SET status = 0, body = ''"))
    clock.go(seconds=59)
    assert (await admin.post("/act", **keyed())).status_code == 409
    clock.go(seconds=1)
    answers = await asyncio.gather(*(admin.post("/act", **keyed()) for _ in range(5)))
    assert sorted({each.status_code for each in answers}) in ([200], [200, 409])
    assert act.count == 2


async def test_an_answer_with_a_secret_is_kept_nowhere(admin, service):
    """Of a key that was made only the address is repeated; its secret is in no row."""
    wanted = {"name": "crm", "role": "agent"}
    first = await admin.post("/v1.0/keys", **keyed(json=wanted))
    assert first.status_code == 201
    again = await admin.post("/v1.0/keys", **keyed(json=wanted))
    assert again.status_code == 409
    assert again.json()["code"] == "answer_not_kept"
    assert again.json()["location"] == first.headers["location"]
    async with service.database.read() as connection:
        rows = str((await connection.execute(select(idempotency))).all())
    assert first.json()["key"].split("_", 2)[2] not in rows
    assert len((await admin.get("/v1.0/keys")).json()["result"]) == 2


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "\u00e9".encode("latin-1")])
async def test_an_odd_key_is_refused(act, admin, key):
    """A key that could not be meant is named as the fault, and nothing is done."""
    answer = await admin.post("/act", **keyed(key))
    assert answer.status_code == 400
    assert answer.json()["field"] == "Idempotency-Key"
    assert act.count == 0


async def test_the_key_in_the_query_is_no_part_of_the_request(act, site, service):
    """The same request with the key in the header or in the query is the same."""
    key = await make_key(service, "admin")
    async with client_of(site) as client:
        await client.post(f"/act?token={key}", **keyed())
        bearer = {"Authorization": f"Bearer {key}", "Idempotency-Key": "k1"}
        assert (await client.post("/act", headers=bearer)).json() == {"number": 1}
