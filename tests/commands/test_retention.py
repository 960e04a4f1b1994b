"""`voxtra retention`: how long recordings are kept, and which ones go next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from tests.commands.office import Office
from voxtra.model import DEFAULT_TENANT
from voxtra.store.retention import Policy, Rule, set_policy
from voxtra.store.schema import utc_now


def test_days_and_rules_are_shown(office: Office) -> None:
    """In the order in which they decide."""

    async def change(connection: AsyncConnection) -> None:
        policy = Policy(30, (Rule(0, tag="contract"), Rule(7, "outbound", "sales")))
        await set_policy(connection, DEFAULT_TENANT, policy, now=utc_now())

    assert office.lines("retention", "show") == [{"days": 30, "rules": []}]
    office.write(change)
    [shown] = office.lines("retention", "show")
    assert [rule["days"] for rule in shown["rules"]] == [0, 7]
    _, *lines = office.run("retention", "show").out.splitlines()
    assert [line.split() for line in lines] == [
        ["any", "any", "contract", "for", "ever"],
        ["outbound", "sales", "any", "7", "days"],
        ["any", "any", "any", "30", "days"],
    ]


def test_a_dry_run_says_what_would_go_and_changes_nothing(any_office: Office) -> None:
    """What is over and not held; of one tenant, or of all."""
    office = any_office
    long_ago = datetime.now(UTC) - timedelta(days=60)
    over = {"ended_at": long_ago, "expires_at": long_ago + timedelta(days=30), "retention_days": 30}
    due = office.record(b"audio", **over)
    office.record(b"held", held=True, **over)
    office.record(b"young")
    theirs = office.record(b"other!", tenant_id="acme", **over)
    [said] = office.lines("retention", "dry-run")
    assert (said["deleted"], said["size"]) == (1, 5)
    assert [each["recording_id"] for each in said["recordings"]] == [due]
    [every] = office.lines("retention", "dry-run", "--every-tenant")
    assert {each["recording_id"] for each in every["recordings"]} == {due, theirs}
    text = office.run("retention", "dry-run").out
    assert due in text
    assert text.endswith("1 recording would be deleted (5 bytes)\n")
    assert office.row(due).deleted_at is None
    assert (
        "no tenant 'nobody'" in office.run("retention", "dry-run", "--tenant", "nobody").complaint
    )
    assert office.acts() == []
