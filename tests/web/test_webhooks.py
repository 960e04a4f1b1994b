"""Webhook endpoints and deliveries over the REST API."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select, text

from tests.web.support import FOREIGN
from voxtra.events import EventType, VoxtraEvent
from voxtra.service.context import Service
from voxtra.store import journal
from voxtra.store.access import DEFAULT_TENANT
from voxtra.store.schema import audit

URL = "https://crm.example.com/hooks"


async def make(admin: httpx.AsyncClient, **wanted: Any) -> dict[str, Any]:
    """Make an endpoint."""
    answer = await admin.post("/v1.0/webhooks", json={"url": URL, **wanted})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def happen(
    service: Service, kind: EventType = EventType.CALL_ENDED, tenant_id: str = DEFAULT_TENANT
) -> None:
    """Let something happen, of which webhooks tell."""
    async with service.database.write() as connection:
        event = VoxtraEvent(kind, "call-1", {"reason": "normal"})
        await journal.append(connection, event, tenant_id=tenant_id)


async def test_an_endpoint_shows_its_secret_once(admin):
    """Making one and replacing its secret are the only answers with a secret."""
    made = await make(admin, events=["recording.available"], description="CRM")
    assert made["secret"].startswith("whsec_")
    shown = (await admin.get(f"/v1.0/webhooks/{made['id']}")).json()
    assert shown == {name: value for name, value in made.items() if name != "secret"}
    assert (await admin.get("/v1.0/webhooks")).json()["result"] == [shown]


async def test_a_secret_is_rotated_with_time_to_change(admin, clock):
    """The old secret goes on signing for as long as was said."""
    made = await make(admin)
    path = f"/v1.0/webhooks/{made['id']}/rotate-secret"
    rotated = (await admin.post(path, json={"keep_seconds": 60})).json()
    assert rotated["secret"] not in ("", made["secret"])
    until = (clock.now + timedelta(seconds=60)).isoformat().replace("+00:00", "Z")
    assert rotated["old_secret_until"] == until


async def test_an_endpoint_is_changed_disabled_and_enabled(admin):
    """What is left out of a change stays as it is."""
    made = await make(admin, description="CRM")
    path = f"/v1.0/webhooks/{made['id']}"
    changed = (await admin.patch(path, json={"events": ["call.ended"], "enabled": False})).json()
    assert changed["events"] == ["call.ended"]
    assert changed["description"] == "CRM"
    assert not changed["enabled"]
    assert changed["disabled_reason"] == "by the admin"
    enabled = (await admin.patch(path, json={"enabled": True})).json()
    assert enabled["enabled"]
    assert enabled["disabled_reason"] == ""


async def test_a_deleted_endpoint_is_gone(admin):
    """It is found no more, and can't be deleted twice."""
    path = f"/v1.0/webhooks/{(await make(admin))['id']}"
    assert (await admin.delete(path)).status_code == 204
    for method in ("GET", "DELETE"):
        answer = await admin.request(method, path)
        assert answer.status_code == 404
        assert answer.json()["code"] == "webhook_endpoint_not_found"


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"url": "http://127.0.0.1/hook"}, "url"),
        ({"url": "https://10.0.0.1/"}, "url"),
        ({"url": "ftp://example.com"}, "url"),
        ({"url": ""}, "url"),
        ({}, "url"),
        ({"url": URL, "events": ["recording.availible"]}, "events[0]"),
        ({"url": URL, "secret": "whsec_%"}, "secret"),
        ({"url": URL, "more": 1}, "more"),
    ],
)
async def test_a_wrong_endpoint_is_refused(admin, wanted, field):
    """What could never work, or must not be reached, is refused with the field."""
    answer = await admin.post("/v1.0/webhooks", json=wanted)
    assert answer.status_code == 400
    assert answer.json()["field"] == field


async def test_a_change_is_checked_too(admin):
    """An endpoint can't be moved to an address that it could not have been made with."""
    path = f"/v1.0/webhooks/{(await make(admin))['id']}"
    answer = await admin.patch(path, json={"url": "http://169.254.169.254/"})
    assert answer.status_code == 400
    assert (await admin.get(path)).json()["url"] == URL


async def test_endpoints_come_in_pages(admin):
    """Walking the pages gives every endpoint once."""
    made = [(await make(admin, description=str(number)))["id"] for number in range(5)]
    found, token = [], ""
    while True:
        query = {"page_size": 2, "page_token": token}
        page = (await admin.get("/v1.0/webhooks", params=query)).json()
        found += [each["id"] for each in page["result"]]
        token = page["next_page_token"]
        if not token:
            break
    assert found == made


async def test_deliveries_are_listed_and_shown(admin, service):
    """A delivery is found by endpoint, state, type, and shows what is sent."""
    first, second = await make(admin), await make(admin, events=["recording.held"])
    await happen(service)
    await happen(service, EventType.RECORDING_HELD)
    await happen(service, tenant_id=FOREIGN)

    async def found(**query: str) -> list[tuple[str, str]]:
        page = await admin.get("/v1.0/deliveries", params=query)
        return [(each["endpoint_id"], each["type"]) for each in page.json()["result"]]

    of_first = [(first["id"], "recording.held"), (first["id"], "call.ended")]
    assert await found(endpoint_id=first["id"]) == of_first
    assert await found(endpoint_id=second["id"]) == [(second["id"], "recording.held")]
    assert await found(type="call.ended") == [(first["id"], "call.ended")]
    assert await found(state="dead") == []
    assert len(await found()) == 3
    page = (await admin.get("/v1.0/deliveries", params={"type": "call.ended"})).json()
    shown = (await admin.get(f"/v1.0/deliveries/{page['result'][0]['id']}")).json()
    assert shown["body"]["type"] == "call.ended"
    assert shown["body"]["data"] == {"reason": "normal"}
    assert shown["log"] == []


async def test_deliveries_come_in_pages(admin, service):
    """Walking the pages gives every delivery once, newest first."""
    await make(admin)
    for _ in range(5):
        await happen(service)
    found, token = [], ""
    while True:
        query = {"page_size": 2, "page_token": token}
        page = (await admin.get("/v1.0/deliveries", params=query)).json()
        found += [each["created_at"] for each in page["result"]]
        token = page["next_page_token"]
        if not token:
            break
    assert len(found) == 5
    assert found == sorted(found, reverse=True)


async def test_a_dead_delivery_is_sent_once_more(admin, service):
    """Replaying one makes it wait again, with its message id."""
    await make(admin)
    await happen(service)
    async with service.database.write() as connection:
        await connection.execute(text("UPDATE deliveries SET state = 'dead', next_at = NULL"))
    (dead,) = (await admin.get("/v1.0/deliveries?state=dead")).json()["result"]
    answer = await admin.post(f"/v1.0/deliveries/{dead['id']}/replay")
    assert answer.status_code == 202
    assert answer.json()["state"] == "waiting"
    assert answer.json()["message_id"] == dead["message_id"]


async def test_a_time_range_is_sent_once_more(admin, service):
    """Replaying a range takes what was queued in it, in the state that is asked for."""
    made = await make(admin)
    await happen(service)
    await happen(service)
    async with service.database.write() as connection:
        await connection.execute(text("UPDATE deliveries SET state = 'delivered', next_at = NULL"))
        await connection.execute(text("UPDATE deliveries SET state = 'dead' WHERE seq = 1"))
    path = f"/v1.0/webhooks/{made['id']}/replay"
    day = {"since": "2020-01-01T00:00:00Z", "until": "2100-01-01T00:00:00Z"}
    nothing = {"since": "2020-01-01T00:00:00Z", "until": "2020-01-02T00:00:00Z"}
    assert (await admin.post(path, json=nothing)).json() == {"replayed": 0}
    answer = await admin.post(path, json={**day, "state": "dead"})
    assert answer.status_code == 202
    assert answer.json() == {"replayed": 1}
    assert (await admin.post(path, json={**day, "state": "delivered"})).json() == {"replayed": 1}
    backwards = {"since": day["until"], "until": day["since"]}
    refused = await admin.post(path, json=backwards)
    assert refused.status_code == 400
    assert refused.json()["field"] == "until"
    naive = await admin.post(path, json={**day, "since": "2020-01-01T00:00:00"})
    assert naive.status_code == 400
    assert naive.json()["field"] == "since"


async def test_no_act_is_left_out_of_the_audit(admin, service):
    """Making, changing, rotating, replaying and deleting are in the audit, and no secret is."""
    made = await make(admin, secret="a secret of mine")
    path = f"/v1.0/webhooks/{made['id']}"
    await admin.patch(path, json={"enabled": False})
    await admin.post(f"{path}/rotate-secret", json={"secret": "another secret"})
    day = {"since": "2020-01-01T00:00:00Z", "until": "2100-01-01T00:00:00Z"}
    await admin.post(f"{path}/replay", json=day)
    await admin.delete(path)
    acts = (await admin.get(f"/v1.0/audit?subject_id={made['id']}")).json()["result"]
    assert [act["action"] for act in reversed(acts)] == [
        "webhook.created",
        "webhook.changed",
        "webhook.rotated",
        "webhook.replayed",
        "webhook.deleted",
    ]
    async with service.database.read() as connection:
        rows = str((await connection.execute(select(audit))).all())
    assert "secret of mine" not in rows
    assert "another secret" not in rows
