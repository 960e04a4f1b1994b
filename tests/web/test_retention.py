"""Retention over the REST API."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import insert, select

from voxtra.ids import new_id
from voxtra.store.access import DEFAULT_TENANT
from voxtra.store.schema import jobs, recordings

POLICY = {
    "days": 90,
    "rules": [{"days": 0, "direction": "outbound", "queue": "", "tag": "contract"}],
}


async def test_days_and_rules_are_read_and_replaced(admin, agent, service):
    """What was set is what everybody reads, in the order of the rules, and it is computed anew."""
    assert (await agent.get("/v1.0/retention")).json() == {"days": 30, "rules": []}
    assert (await admin.put("/v1.0/retention", json=POLICY)).json() == POLICY
    assert (await agent.get("/v1.0/retention")).json() == POLICY
    async with service.database.read() as connection:
        kinds = (await connection.execute(select(jobs.c.kind))).scalars().all()
    assert kinds == ["retention"]


async def test_only_admins_change_it(agent):
    """Who may listen may not decide for how long."""
    for answer in (
        await agent.put("/v1.0/retention", json=POLICY),
        await agent.post("/v1.0/retention/dry-run", json=POLICY),
    ):
        assert answer.status_code == 403


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"days": -1}, "days"),
        ({"days": 36_501}, "days"),
        ({"rules": []}, "days"),
        ({"days": 1, "rules": [{"days": 1, "direction": "up"}]}, "rules[0].direction"),
        ({"days": 1, "rules": [{"day": 1}]}, "rules[0].day"),
    ],
)
async def test_a_wrong_policy_is_refused(admin, wanted, field):
    """The field that is wrong is named, and nothing is changed."""
    answer = await admin.put("/v1.0/retention", json=wanted)
    assert answer.status_code == 400
    assert field in [each["field"] for each in answer.json()["errors"]]
    assert (await admin.get("/v1.0/retention")).json()["days"] == 30


async def test_a_dry_run_tells_and_changes_nothing(admin, service):
    """It counts what would be deleted, and deletes nothing."""
    now = service.clock()
    ended = {"young": now - timedelta(days=5), "old": now - timedelta(days=50)}
    async with service.database.write() as connection:
        for name, at in ended.items():
            await connection.execute(
                insert(recordings).values(
                    id=new_id(),
                    tenant_id=DEFAULT_TENANT,
                    name=name,
                    target="snoop",
                    format="wav",
                    layout="mono",
                    state="available",
                    requested_at=at,
                    ended_at=at,
                    size=1000,
                )
            )
    told = (await admin.post("/v1.0/retention/dry-run", json={"days": 10})).json()
    assert told == {"recordings": 2, "changed": 2, "due": 1, "due_bytes": 1000, "held": 0}
    assert (await admin.get("/v1.0/retention")).json()["days"] == 30


async def test_a_change_is_audited_with_what_was_before(admin):
    """The audit has both policies."""
    await admin.put("/v1.0/retention", json=POLICY)
    (act,) = (await admin.get("/v1.0/audit?action=retention.changed")).json()["result"]
    assert act["detail"] == {"before": {"days": 30, "rules": []}, "after": POLICY}
