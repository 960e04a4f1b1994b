"""Conferences over the REST API: made, filled, emptied, ended and recorded."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from sqlalchemy import select

from tests.web.support import FOREIGN, client_of, make_key, service_on
from tests.web.switch import Switch
from voxtra.store.schema import audit
from voxtra.web.call_resources import Conference, Participant


@pytest.fixture
def switch(database) -> Switch:
    """Return what has the conferences."""
    return Switch(database)


@pytest.fixture
def service(database, tmp_path, clock, switch):
    """Return a service with the switch for its PBX."""
    return service_on(database, tmp_path, control=switch, clock=clock)


def _code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def _make(client: httpx.AsyncClient, **body: Any) -> str:
    made = await client.post("/v1.0/conferences", json=body)
    assert made.status_code == 201, made.text
    shown = made.json()
    assert made.headers["location"] == f"/v1.0/conferences/{shown['id']}"
    return str(shown["id"])


async def test_a_conference_is_made_and_ended(admin, switch, service):
    """It is there when the request is answered, and over when it is deleted; once more is a
    success and asks the PBX nothing.
    """
    conference_id = await _make(admin, name="weekly", metadata={"team": 7})
    path = f"/v1.0/conferences/{conference_id}"
    shown = (await admin.get(path)).json()
    assert (shown["name"], shown["state"], shown["metadata"]) == ("weekly", "active", {"team": 7})
    assert {*shown, "recording"} == set(Conference.model_fields)
    for _ in range(2):
        ended = (await admin.delete(path)).json()
        assert (ended["state"], ended["ended_at"] is None) == ("ended", False)
    assert [verb for verb, _ in switch.asked] == ["end"]
    async with service.database.read() as connection:
        acts = await connection.execute(select(audit.c.action).order_by(audit.c.seq))
        assert acts.scalars().all() == ["conference.created", "conference.ended"]


async def test_a_conference_needs_no_body(admin):
    """Everything about it has a default."""
    made = await admin.post("/v1.0/conferences")
    assert (made.status_code, made.json()["name"]) == (201, "")


async def test_conferences_are_listed_newest_first(admin, switch):
    """Walking the pages gives every conference once; `active` tells those that are over apart."""
    ids = [await _make(admin, name=str(number)) for number in range(5)]
    await admin.delete(f"/v1.0/conferences/{ids[0]}")
    await switch.create_conference(FOREIGN)
    await switch.settle()
    assert await _walk(admin, page_size=2) == ids[::-1]
    assert await _walk(admin, active="true") == ids[:0:-1]
    assert await _walk(admin, active="false") == ids[:1]


async def _walk(client: httpx.AsyncClient, **query: Any) -> list[str]:
    found: list[str] = []
    token = ""
    while True:
        answer = await client.get("/v1.0/conferences", params={**query, "page_token": token})
        page = answer.json()
        found += [each["id"] for each in page["result"]]
        token = page["next_page_token"]
        if not token:
            return found


async def test_calls_come_and_go(admin, switch):
    """Who is in a conference, and who was, is listed in the order of their coming."""
    conference_id = await _make(admin)
    path = f"/v1.0/conferences/{conference_id}/participants"
    one, two = await switch.ring(), await switch.ring()
    for call_id in (one, two):
        added = await admin.post(path, json={"call_id": call_id})
        assert (added.status_code, added.json()["call_id"]) == (201, call_id)
        assert set(added.json()) == set(Participant.model_fields)
    again = await admin.post(path, json={"call_id": two})
    assert again.json() == added.json()
    for _ in range(2):
        assert (await admin.delete(f"{path}/{one}")).status_code == 204
    listed = (await admin.get(path)).json()
    assert [each["call_id"] for each in listed["result"]] == [one, two]
    assert [each["left_at"] is None for each in listed["result"]] == [False, True]
    assert listed["next_page_token"] == ""


async def test_who_cannot_join_is_said_so(admin, switch):
    """A call that is unknown, foreign or over, and a conference that is over, are told apart."""
    conference_id = await _make(admin)
    path = f"/v1.0/conferences/{conference_id}/participants"
    over, foreign = await switch.ring(), await switch.ring(FOREIGN)
    await admin.delete(f"/v1.0/calls/{over}")
    for call_id, code in (
        ("never", (404, "call_not_found")),
        (foreign, (404, "call_not_found")),
        (over, (409, "call_not_active")),
    ):
        assert _code(await admin.post(path, json={"call_id": call_id})) == code
    assert (await admin.post(path, json={})).json()["field"] == "call_id"
    await admin.delete(f"/v1.0/conferences/{conference_id}")
    for answer in (
        await admin.post(path, json={"call_id": await switch.ring()}),
        await admin.delete(f"{path}/{over}"),
        await admin.post(f"/v1.0/conferences/{conference_id}/recording_start"),
    ):
        assert _code(answer) == (409, "conference_not_active")


async def test_a_conference_is_recorded(admin):
    """The four verbs work as on a call, and the answer is the conference."""
    conference_id = await _make(admin)
    path = f"/v1.0/conferences/{conference_id}"
    assert _code(await admin.post(f"{path}/recording_stop")) == (409, "recording_not_active")
    started = (await admin.post(f"{path}/recording_start", json={"format": "wav"})).json()
    recording_id = started["recording_id"]
    assert (started["id"], started["recording_ids"]) == (conference_id, [recording_id])
    assert started["recording"]["reference_type"] == "conference"
    assert started["recording"]["reference_id"] == conference_id
    Conference.model_validate(started)
    refused = await admin.post(f"{path}/recording_start")
    assert _code(refused) == (409, "recording_active")
    assert (await admin.post(f"{path}/recording_pause")).json()["recording"]["paused"] is True
    assert (await admin.post(f"{path}/recording_resume")).json()["recording"]["paused"] is False
    stopped = (await admin.post(f"{path}/recording_stop")).json()
    assert (stopped["recording_id"], stopped["recording_ids"]) == ("", [recording_id])
    assert (await admin.get(path)).json()["recording_ids"] == [recording_id]


async def test_a_conference_has_no_sides(admin, switch):
    """Stereo needs the two sides of one call."""
    conference_id = await _make(admin)
    answer = await admin.post(
        f"/v1.0/conferences/{conference_id}/recording_start", json={"layout": "stereo"}
    )
    assert _code(answer) == (400, "invalid_request")
    assert answer.json()["field"] == "layout"
    assert switch.asked == []


async def test_a_foreign_conference_is_like_none(admin, switch, service, site):
    """No route tells a conference of another tenant, or a call, from one that never was."""
    foreign = await switch.create_conference(FOREIGN)
    await switch.settle()
    for conference_id in (foreign, "never", await switch.ring()):
        path = f"/v1.0/conferences/{conference_id}"
        for answer in (
            await admin.get(path),
            await admin.delete(path),
            await admin.get(f"{path}/participants"),
            await admin.post(f"{path}/participants", json={"call_id": "x"}),
            await admin.delete(f"{path}/participants/x"),
            *[
                await admin.post(f"{path}/recording_{verb}")
                for verb in ("start", "stop", "pause", "resume")
            ],
        ):
            assert _code(answer) == (404, "conference_not_found")
    assert switch.asked == []
    async with client_of(site, await make_key(service, "agent", FOREIGN)) as owner:
        shown = (await owner.get(f"/v1.0/conferences/{foreign}")).json()
    assert shown["state"] == "active"


async def test_control_needs_its_scope(agent, switch):
    """An agent sees conferences and changes none."""
    for answer in (
        await agent.post("/v1.0/conferences"),
        await agent.delete("/v1.0/conferences/x"),
        await agent.post("/v1.0/conferences/x/participants", json={"call_id": "x"}),
        await agent.post("/v1.0/conferences/x/recording_start"),
    ):
        assert answer.status_code == 403
        assert answer.json()["missing_scope"] == "calls:control"
    assert (await agent.get("/v1.0/conferences")).json()["result"] == []
