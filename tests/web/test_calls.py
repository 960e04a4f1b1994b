"""Calls over the REST API: listed, made, ended and recorded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from tests.web.support import FOREIGN, client_of, make_key, service_on
from tests.web.switch import Switch
from voxtra.model import CallDirection
from voxtra.record_options import RecordOptions
from voxtra.store.schema import audit
from voxtra.web.call_resources import Call
from voxtra.web.site import make_site


@pytest.fixture
def switch(database) -> Switch:
    """Return what has the calls."""
    return Switch(database)


@pytest.fixture
def service(database, tmp_path, clock, switch):
    """Return a service with the switch for its PBX."""
    return service_on(database, tmp_path, control=switch, clock=clock)


def _code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def _start(client: httpx.AsyncClient, call_id: str, **body: Any) -> httpx.Response:
    return await client.post(f"/v1.0/calls/{call_id}/recording_start", json=body)


# -- recording


async def test_a_recording_is_started_and_stopped(admin, switch):
    """The answer is the call with `recording_id` and `recording_ids`, and the recording beside it;
    the next one of the call has an id of its own.
    """
    call_id = await switch.ring()
    path = f"/v1.0/calls/{call_id}"
    before = (await admin.get(path)).json()
    assert (before["recording_id"], before["recording_ids"]) == ("", [])
    assert "recording" not in before
    started = (await _start(admin, call_id, format="wav")).json()
    first = started["recording_id"]
    assert started["recording_ids"] == [first]
    assert (started["id"], started["recording"]["id"]) == (call_id, first)
    assert started["recording"]["state"] == "recording"
    assert started["recording"]["reference_id"] == call_id
    assert (await admin.get(path)).json()["recording_id"] == first
    stopped = (await admin.post(f"{path}/recording_stop")).json()
    assert (stopped["recording_id"], stopped["recording_ids"]) == ("", [first])
    assert stopped["recording"]["state"] == "stopping"
    assert stopped["recording"]["end_reason"] == "stopped"
    second = (await _start(admin, call_id)).json()["recording_id"]
    shown = (await admin.get(path)).json()
    assert (shown["recording_id"], shown["recording_ids"]) == (second, [first, second])


async def test_everything_about_a_recording_has_a_default(admin, switch):
    """No body, an empty one and the words of the flow are all the same: a mono WAV to the end."""
    ways: tuple[dict[str, Any], ...] = (
        {},
        {"content": b""},
        {"json": {}},
        {"json": {"format": "wav", "end_of_silence": 0, "end_of_key": "", "duration": 0}},
    )
    for send in ways:
        call_id = await switch.ring()
        answer = await admin.post(f"/v1.0/calls/{call_id}/recording_start", **send)
        assert answer.status_code == 200, answer.text
        assert switch.asked[-1][1]["options"] == RecordOptions()


async def test_what_is_asked_of_a_recording_arrives(admin, switch):
    """Format, layout, limits, key and beep reach the recorder as they were sent."""
    call_id = await switch.ring()
    body = {
        "format": "wav16",
        "layout": "mono",
        "duration": 3600,
        "end_of_silence": 10,
        "end_of_key": "5",
        "beep": True,
    }
    assert (await _start(admin, call_id, **body)).status_code == 200
    assert switch.asked[-1][1]["options"] == RecordOptions(
        fmt="wav16", max_duration=3600, max_silence=10, terminate_on="5", beep=True
    )
    other = await switch.ring()
    assert (await _start(admin, other, layout="stereo")).json()["recording"]["layout"] == "stereo"


async def test_a_wrong_option_names_its_field(admin, switch):
    """Nothing reaches the recorder of a request that is wrong."""
    call_id = await switch.ring()
    for body, field in (
        ({"format": "flac"}, "format"),
        ({"format": "g729"}, "format"),
        ({"format": ""}, "format"),
        ({"format": 7}, "format"),
        ({"layout": "quad"}, "layout"),
        ({"layout": "stereo", "format": "ulaw"}, "layout"),
        ({"layout": "stereo", "end_of_silence": 5}, "end_of_silence"),
        ({"duration": -1}, "duration"),
        ({"duration": 86_401}, "duration"),
        ({"duration": "long"}, "duration"),
        ({"end_of_silence": -1}, "end_of_silence"),
        ({"end_of_key": "##"}, "end_of_key"),
        ({"end_of_key": "E"}, "end_of_key"),
        ({"beep": "loud"}, "beep"),
        ({"on_end_flow_id": "x"}, "on_end_flow_id"),
    ):
        answer = await _start(admin, call_id, **body)
        assert _code(answer) == (400, "invalid_request"), (body, answer.text)
        assert answer.json()["field"] == field, answer.text
    assert switch.asked == []


async def test_a_second_recording_is_refused_with_the_first(admin, switch):
    """409 names the recording that is active, which goes on."""
    call_id = await switch.ring()
    first = (await _start(admin, call_id)).json()["recording_id"]
    refused = await _start(admin, call_id)
    assert _code(refused) == (409, "recording_active")
    assert refused.json()["recording_id"] == first
    assert (await admin.get(f"/v1.0/calls/{call_id}")).json()["recording_id"] == first


@pytest.mark.parametrize("verb", ["stop", "pause", "resume"])
async def test_what_is_not_recorded_cannot_be_changed(admin, switch, verb):
    """Where nothing is recorded there is nothing to stop, and 409 says so."""
    call_id = await switch.ring()
    answer = await admin.post(f"/v1.0/calls/{call_id}/recording_{verb}")
    assert _code(answer) == (409, "recording_not_active")


async def test_a_recording_is_paused_and_resumed(admin, switch, service):
    """The recording says that it is paused; every verb is in the audit."""
    call_id = await switch.ring()
    recording_id = (await _start(admin, call_id)).json()["recording_id"]
    path = f"/v1.0/calls/{call_id}"
    paused = (await admin.post(f"{path}/recording_pause")).json()
    assert (paused["recording_id"], paused["recording"]["paused"]) == (recording_id, True)
    resumed = (await admin.post(f"{path}/recording_resume")).json()
    assert (resumed["recording_id"], resumed["recording"]["paused"]) == (recording_id, False)
    await admin.post(f"{path}/recording_stop")
    async with service.database.read() as connection:
        acts = list(await connection.execute(select(audit).order_by(audit.c.seq)))
    verbs = ["started", "paused", "resumed", "stopped"]
    assert [act.action for act in acts] == [f"recording.{verb}" for verb in verbs]
    assert {(act.subject_id, act.detail["holder_id"]) for act in acts} == {(recording_id, call_id)}


async def test_a_call_that_is_over_is_not_recorded(admin, switch):
    """409 says that the call is not up any more."""
    call_id = await switch.ring()
    assert (await admin.post(f"/v1.0/calls/{call_id}/hangup")).status_code == 200
    assert _code(await _start(admin, call_id)) == (409, "call_not_active")


# -- the call


async def test_a_call_is_shown_as_it_is_documented(admin, switch):
    """Every field that is sent is in the model of the OpenAPI document, and the other way round."""
    call_id = await switch.ring(metadata={"queue": "sales", "agent": "anna", "tags": ["vip"]})
    shown = (await admin.get(f"/v1.0/calls/{call_id}")).json()
    assert {*shown, "recording"} == set(Call.model_fields)
    assert (shown["queue"], shown["agent"], shown["tags"]) == ("sales", "anna", ["vip"])
    recorded = (await _start(admin, call_id)).json()
    assert set(recorded) == set(Call.model_fields)
    Call.model_validate(recorded)


async def test_a_call_is_made(admin, switch, service):
    """The answer is the call, written down, and where it is; what was asked reaches the PBX."""
    body = {
        "destination": "PJSIP/200",
        "caller_id": "+4930123456",
        "timeout": 20,
        "extension": "survey",
        "variables": {"CAMPAIGN": "7"},
        "metadata": {"queue": "sales"},
    }
    made = await admin.post("/v1.0/calls", json=body)
    assert made.status_code == 201
    shown = made.json()
    assert made.headers["location"] == f"/v1.0/calls/{shown['id']}"
    assert (shown["direction"], shown["callee"], shown["queue"]) == (
        "outbound",
        "PJSIP/200",
        "sales",
    )
    assert (await admin.get(made.headers["location"])).json() == shown
    asked = {("endpoint" if key == "destination" else key): value for key, value in body.items()}
    assert switch.asked == [("originate", asked)]
    async with service.database.read() as connection:
        (act,) = await connection.execute(select(audit))
    assert (act.action, act.subject_id) == ("call.originated", shown["id"])


async def test_a_wrong_wish_for_a_call_names_its_field(admin, switch):
    """Nobody is called by a request that is wrong."""
    for body, field in (
        ({}, "destination"),
        ({"destination": ""}, "destination"),
        ({"destination": " "}, "destination"),
        ({"destination": "PJSIP/1", "timeout": 0}, "timeout"),
        ({"destination": "PJSIP/1", "timeout": 601}, "timeout"),
        ({"destination": "PJSIP/1", "variables": {"A": 1}}, "variables.A"),
        ({"destination": "PJSIP/1", "metadata": []}, "metadata"),
        ({"destination": "PJSIP/1", "flow_id": "x"}, "flow_id"),
    ):
        answer = await admin.post("/v1.0/calls", json=body)
        assert _code(answer) == (400, "invalid_request"), answer.text
        assert answer.json()["field"] == field, answer.text
    assert switch.asked == []


@pytest.mark.parametrize("verb", ["hangup", "delete"])
async def test_a_call_is_ended(admin, switch, verb):
    """By either way the answer is the ended call; a second time is a success and asks nobody."""
    path = f"/v1.0/calls/{await switch.ring()}"
    for _ in range(2):
        answer = await (admin.delete(path) if verb == "delete" else admin.post(f"{path}/hangup"))
        assert answer.status_code == 200
        shown = answer.json()
        assert (shown["state"], shown["end_cause"]) == ("completed", 16)
        assert shown["ended_at"] is not None
    assert [asked for asked, _ in switch.asked] == ["hangup"]


async def test_calls_are_listed_newest_first(admin, switch):
    """Walking the pages gives every call of the tenant once; the last page has no token."""
    began = datetime(2026, 3, 2, tzinfo=UTC)
    moments = [began + timedelta(seconds=number // 2) for number in range(7)]
    ids = [await switch.ring(at=at) for at in moments]
    await switch.ring(FOREIGN)
    expected = [each for _, each in sorted(zip(moments, ids, strict=True), reverse=True)]
    for size in (1, 3, 100):
        assert await _walk(admin, page_size=size) == expected


async def _walk(client: httpx.AsyncClient, **query: Any) -> list[str]:
    found: list[str] = []
    token = ""
    while True:
        answer = await client.get("/v1.0/calls", params={**query, "page_token": token})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += [each["id"] for each in page["result"]]
        token = page["next_page_token"]
        if not token:
            return found


async def test_calls_are_found_by_what_they_are(admin, switch):
    """Every filter finds the calls that have what it says, and no others."""
    early = datetime(2026, 3, 2, tzinfo=UTC)
    one = await switch.ring(metadata={"queue": "sales", "agent": "anna"}, at=early)
    two = await switch.ring(
        direction=CallDirection.OUTBOUND, caller="1", callee="2", at=early + timedelta(hours=1)
    )
    await admin.post(f"/v1.0/calls/{one}/hangup")
    for query, found in (
        ({"active": "true"}, [two]),
        ({"active": "false"}, [one]),
        ({"direction": "outbound"}, [two]),
        ({"caller": "+4930123456"}, [one]),
        ({"callee": "2"}, [two]),
        ({"queue": "sales"}, [one]),
        ({"agent": "anna"}, [one]),
        ({"since": "2026-03-02T00:30:00Z"}, [two]),
        ({"until": "2026-03-02T00:30:00Z"}, [one]),
    ):
        assert await _walk(admin, **query) == found, query


async def test_a_made_up_token_is_refused(admin):
    """A page token that no list of calls gave is named as the fault, also one of another list."""
    for token in ("x", "cDE6YWJj", "cDE6MDE5OWYzYTJjNGQw", "cDE6" + "YTg" * 10):
        answer = await admin.get("/v1.0/calls", params={"page_token": token})
        assert _code(answer) == (400, "invalid_request")
        assert answer.json()["field"] == "page_token"


async def test_a_foreign_call_is_like_none(admin, switch, service, site):
    """No route tells a call of another tenant from one that never was, and none touches it."""
    foreign = await switch.ring(FOREIGN)
    for call_id in (foreign, "never"):
        path = f"/v1.0/calls/{call_id}"
        for answer in (
            await admin.get(path),
            await admin.delete(path),
            await admin.post(f"{path}/hangup"),
            *[
                await admin.post(f"{path}/recording_{verb}")
                for verb in ("start", "stop", "pause", "resume")
            ],
        ):
            assert _code(answer) == (404, "call_not_found")
    assert switch.asked == []
    async with client_of(site, await make_key(service, "agent", FOREIGN)) as owner:
        assert (await owner.get(f"/v1.0/calls/{foreign}")).json()["ended_at"] is None


async def test_control_needs_its_scope(agent, switch):
    """An agent sees calls and changes none."""
    path = f"/v1.0/calls/{await switch.ring()}"
    assert (await agent.get(path)).status_code == 200
    for answer in (
        await agent.post("/v1.0/calls", json={"destination": "PJSIP/1"}),
        await agent.delete(path),
        await agent.post(f"{path}/hangup"),
        await agent.post(f"{path}/recording_start"),
        await agent.post(f"{path}/recording_stop"),
    ):
        assert answer.status_code == 403
        assert answer.json()["missing_scope"] == "calls:control"
    assert switch.asked == []


async def test_a_pbx_that_is_away_is_said_so(database, tmp_path):
    """Every verb answers 503 with Retry-After while the PBX can't be reached."""
    away = service_on(database, tmp_path)
    switch = Switch(database)
    path = f"/v1.0/calls/{await switch.ring()}"
    async with client_of(make_site(away), await make_key(away, "admin")) as client:
        for answer in (
            await client.post("/v1.0/calls", json={"destination": "PJSIP/1"}),
            await client.delete(path),
            await client.post(f"{path}/recording_start"),
        ):
            assert _code(answer) == (503, "pbx_unreachable")
            assert int(answer.headers["retry-after"]) > 0
