"""Usage and audit over the REST API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from tests.web.support import FOREIGN
from voxtra.ids import new_id
from voxtra.service.context import Service
from voxtra.store.access import DEFAULT_TENANT
from voxtra.store.schema import recordings
from voxtra.web.api import usage

DAY = datetime(2026, 3, 2, tzinfo=UTC)


async def record(service: Service, at: datetime, **values: Any) -> None:
    """Write a recording that was asked for at some time."""
    wanted = {
        "id": f"{int(at.timestamp() * 1000):012x}{new_id()[12:]}",
        "tenant_id": DEFAULT_TENANT,
        "name": new_id(),
        "target": "snoop",
        "format": "wav",
        "layout": "mono",
        "state": "available",
        "requested_at": at,
        "ended_at": at,
        "size": 1000,
        "duration_ms": 1500,
        **values,
    }
    async with service.database.write() as connection:
        await connection.execute(insert(recordings).values(**wanted))


async def test_usage_is_told_by_day_and_state(agent, service):
    """Counts, bytes that are kept and seconds stand under their day and state, and sum up; a
    tombstone counts as deleted and keeps no bytes.
    """
    await record(service, DAY)
    await record(service, DAY + timedelta(hours=24) - timedelta(milliseconds=1))
    await record(service, DAY, state="failed", size=None, duration_ms=None)
    await record(service, DAY + timedelta(days=1), deleted_at=DAY + timedelta(days=2))
    await record(service, DAY + timedelta(days=2))
    await record(service, DAY - timedelta(milliseconds=1))
    await record(service, DAY, tenant_id=FOREIGN)
    answer = await agent.get("/v1.0/usage?first_day=2026-03-02&last_day=2026-03-03")
    two = {"recordings": 2, "deleted": 0, "bytes": 2000, "seconds": 3.0}
    tombstone = {"recordings": 1, "deleted": 1, "bytes": 0, "seconds": 1.5}
    failed = {"recordings": 1, "deleted": 0, "bytes": 0, "seconds": 0.0}
    assert answer.json() == {
        "first_day": "2026-03-02",
        "last_day": "2026-03-03",
        "days": [
            {"day": "2026-03-02", "states": {"available": two, "failed": failed}},
            {"day": "2026-03-03", "states": {"available": tombstone}},
        ],
        "total": {
            "available": {"recordings": 3, "deleted": 1, "bytes": 2000, "seconds": 4.5},
            "failed": failed,
        },
    }


async def test_the_last_thirty_days_are_the_default(agent, clock):
    """Without days it is the thirty that end today."""
    report = (await agent.get("/v1.0/usage")).json()
    today = clock.now.date()
    assert report["last_day"] == today.isoformat()
    assert report["first_day"] == (today - timedelta(days=29)).isoformat()
    assert report["days"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("first_day=2026-03-02&last_day=2026-03-01", "last_day"),
        ("first_day=2026-01-01&last_day=2026-12-31", "last_day"),
        ("first_day=x", "first_day"),
        ("first_day=1999-12-31", "first_day"),
        ("last_day=9999-12-31", "last_day"),
    ],
)
async def test_odd_days_are_refused(agent, query, field):
    """A range that is none, or too long for one answer, is refused."""
    answer = await agent.get(f"/v1.0/usage?{query}")
    assert answer.status_code == 400
    assert answer.json()["field"] == field


async def test_a_report_takes_bounded_time(agent, monkeypatch):
    """When the time is over no further day is begun, and what to do is said."""
    monkeypatch.setattr(usage, "PATIENCE", -1.0)
    answer = await agent.get("/v1.0/usage")
    assert answer.status_code == 503
    assert answer.json()["code"] == "too_much_work"


async def test_the_audit_comes_in_pages_and_by_filter(admin):
    """Walking the pages gives every act once, newest first; filters narrow it."""
    for number in range(5):
        await admin.post("/v1.0/keys", json={"name": f"key {number}", "role": "agent"})
    found, token = [], ""
    while True:
        query = {"page_size": 2, "page_token": token, "action": "key.created"}
        page = (await admin.get("/v1.0/audit", params=query)).json()
        found += [each["number"] for each in page["result"]]
        token = page["next_page_token"]
        if not token:
            break
    assert len(found) == 5
    assert found == sorted(found, reverse=True)
    assert (await admin.get("/v1.0/audit?action=none")).json()["result"] == []
