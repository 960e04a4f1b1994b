"""How long recordings stay: who decides, from when on, and what writes it into their rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update

from tests.store.making import ENDED, TENANT, add_recording, add_sink, add_tenant, row_of
from voxtra.exceptions import ConfigurationError, RecordingExpired, UnknownRecording
from voxtra.store import holds, retention, tombstones
from voxtra.store.database import Database
from voxtra.store.jobs import Queue
from voxtra.store.retention import Facts, Policy, Rule, expires_at
from voxtra.store.schema import recordings

DAY = timedelta(days=1)

directions = st.sampled_from(["inbound", "outbound"])
words = st.sampled_from(["", "sales", "support"])
some_days = st.integers(0, 400)
rules = st.builds(Rule, days=some_days, direction=st.just("") | directions, queue=words, tag=words)
facts = st.builds(
    Facts,
    since=st.none() | st.datetimes(timezones=st.just(UTC), min_value=datetime(2026, 3, 1)),
    direction=directions,
    queue=words,
    tags=st.lists(words.filter(bool), unique=True).map(tuple),
    days=st.none() | some_days,
)


@given(facts, st.builds(Policy, some_days, st.lists(rules, max_size=4).map(tuple)))
def test_the_nearest_word_decides(known: Facts, policy: Policy):
    """What was said of the recording decides, else the first rule that fits, else the tenant."""
    said = [known.days] if known.days is not None else []
    for rule in policy.rules:
        about_it = (
            (rule.direction == "" or rule.direction == known.direction)
            and (rule.queue == "" or rule.queue == known.queue)
            and (rule.tag == "" or rule.tag in known.tags)
        )
        if about_it:
            said.append(rule.days)
    days = [*said, policy.days][0]
    found = expires_at(known, policy)
    if known.since is None or days == 0:
        assert found is None
    else:
        assert found == known.since + timedelta(days=days)


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        ({"days": -1}, "days"),
        ({"days": 36_501}, "days"),
        ({"days": 30, "rules": (Rule(7), Rule(-7))}, "rules.1.days"),
        ({"days": 30, "rules": (Rule(7, direction="sideways"),)}, "rules.0.direction"),
    ],
)
def test_a_wrong_policy_names_the_field(policy: dict[str, Any], field: str):
    """Days outside a hundred years and unknown directions are refused."""
    with pytest.raises(ConfigurationError) as caught:
        Policy(**policy)
    assert caught.value.field == field


async def settle(database: Database, recording_id: str) -> Any:
    """Have the expiry of a recording written, and return it."""
    async with database.write() as connection:
        answer = await retention.settle_expiry(connection, TENANT, recording_id)
    assert (await row_of(database, recording_id)).expires_at == answer
    return answer


async def set_policy(database: Database, policy: Policy) -> None:
    """Set the policy of the tenant."""
    async with database.write() as connection:
        await retention.set_policy(connection, TENANT, policy, now=ENDED)


async def test_the_policy_is_read_as_it_was_set(database: Database):
    """Rules keep their order, and a new policy replaces all of the old one."""
    policy = Policy(90, (Rule(7, direction="inbound"), Rule(0, queue="sales"), Rule(1, tag="x")))
    async with database.write() as connection:
        await add_tenant(connection)
        assert await retention.policy_of(connection, TENANT) == Policy(30)
    await set_policy(database, policy)
    async with database.read() as connection:
        assert await retention.policy_of(connection, TENANT) == policy
    await set_policy(database, Policy(0))
    async with database.read() as connection:
        assert await retention.policy_of(connection, TENANT) == Policy(0)


async def test_a_policy_is_its_tenants(database: Database):
    """Rules of one tenant say nothing about the recordings of another."""
    async with database.write() as connection:
        await add_tenant(connection)
        await add_tenant(connection, "other", days=90)
        foreign = await add_recording(connection, tenant_id="other")
    await set_policy(database, Policy(1, (Rule(1),)))
    async with database.write() as connection:
        assert await retention.policy_of(connection, "other") == Policy(90)
        answer = await retention.settle_expiry(connection, "other", foreign)
    assert answer == ENDED + 90 * DAY


async def test_a_policy_needs_its_tenant(database: Database):
    """A tenant that is not there is an error, and its recordings stay for ever."""
    async with database.write() as connection:
        made = await add_recording(connection, tenant_id="nobody")
        assert await retention.settle_expiry(connection, "nobody", made) is None
    with pytest.raises(ConfigurationError, match="there is no tenant acme"):
        await set_policy(database, Policy(1))


async def test_a_new_policy_queues_the_computation(database: Database):
    """One job of the tenant is there, however often the policy changes before it is done."""
    async with database.write() as connection:
        await add_tenant(connection)
    await set_policy(database, Policy(1))
    await set_policy(database, Policy(2))
    (job,) = await Queue(database, "w").claim([retention.JOB], limit=9)
    assert (job.tenant_id, job.subject_id) == (TENANT, TENANT)


@pytest.mark.parametrize(
    ("columns", "since"),
    [
        ({}, ENDED),
        ({"state": "failed"}, ENDED),
        ({"state": "failed", "ended_at": None}, ENDED - timedelta(minutes=1)),
        ({"state": "stopping"}, None),
        ({"state": "recording", "ended_at": None}, None),
    ],
)
async def test_time_runs_from_the_end_of_the_recording(
    database: Database, columns: dict[str, Any], since: Any
):
    """One that never began counts from its request; one that is not final does not expire."""
    async with database.write() as connection:
        await add_tenant(connection)
        made = await add_recording(connection, **columns)
    assert await settle(database, made) == (None if since is None else since + 30 * DAY)


async def test_tags_queue_and_direction_of_the_row_decide(database: Database):
    """The rules look at the row as it stands when the expiry is settled."""
    async with database.write() as connection:
        await add_tenant(connection)
        made = await add_recording(connection, queue="sales", tags=["a"])
    await set_policy(database, Policy(30, (Rule(5, tag="b"), Rule(7, queue="sales"))))
    assert await settle(database, made) == ENDED + 7 * DAY
    async with database.write() as connection:
        change = update(recordings).where(recordings.c.id == made)
        await connection.execute(change.values(tags=["a", "b"]))
    assert await settle(database, made) == ENDED + 5 * DAY


async def test_days_of_one_recording(database: Database):
    """They are before all rules, and None gives the decision back to those."""
    async with database.write() as connection:
        await add_tenant(connection)
        made = await add_recording(connection)
        days = [await retention.set_days(connection, TENANT, made, n) for n in (3, 0, None)]
    assert days == [ENDED + 3 * DAY, None, ENDED + 30 * DAY]
    assert (await row_of(database, made)).retention_days is None


async def test_days_of_what_can_not_have_them(database: Database):
    """Unknown, foreign and deleted recordings, and absurd days, are refused."""
    async with database.write() as connection:
        await add_tenant(connection)
        gone = await add_recording(connection)
        foreign = await add_recording(connection, tenant_id="other")
        await tombstones.delete(connection, TENANT, gone, actor="p", reason="asked", now=ENDED)
    async with database.write() as connection:
        for unknown in ("nothing", foreign):
            with pytest.raises(UnknownRecording):
                await retention.set_days(connection, TENANT, unknown, 3)
            with pytest.raises(UnknownRecording):
                await retention.settle_expiry(connection, TENANT, unknown)
        with pytest.raises(RecordingExpired, match="asked"):
            await retention.set_days(connection, TENANT, gone, 3)
        with pytest.raises(ConfigurationError, match="retention_days"):
            await retention.set_days(connection, TENANT, foreign, -1)
    assert (await row_of(database, foreign)).retention_days is None


async def test_all_of_a_tenant_are_computed_anew(database: Database):
    """Page by page, counting what changed; tombstones and other tenants stay as they are."""
    async with database.write() as connection:
        await add_tenant(connection)
        await add_tenant(connection, "other")
        made = [await add_recording(connection, id=f"rec-{n}") for n in range(5)]
        foreign = await add_recording(connection, tenant_id="other")
        await tombstones.delete(connection, TENANT, made[0], actor="p", reason="asked", now=ENDED)
        await retention.settle_expiry(connection, TENANT, made[1])
    steps = []
    after = ""
    async with database.write() as connection:
        while True:
            after, changed = await retention.reapply(connection, TENANT, after, limit=2)
            steps.append((after, changed))
            if not after:
                break
    assert steps == [(made[2], 1), (made[4], 2), ("", 0)]
    async with database.read() as connection:
        rows = await connection.execute(select(recordings.c.id, recordings.c.expires_at))
        expiries = {row.id: row.expires_at for row in rows}
    assert expiries == {
        **dict.fromkeys(made[1:], ENDED + 30 * DAY),
        made[0]: None,
        foreign: None,
    }


async def test_what_is_due(database: Database):
    """Of all that look due each is looked at with its hold, its sink and the rules of now."""
    async with database.write() as connection:
        await add_tenant(connection)
        plain, held, awaited, told, longer, forever, young = made = [
            await add_recording(connection, size=9, ended_at=ENDED - n * DAY)
            for n in (6, 5, 4, 3, 2, 1, -1)
        ]
        for each in made:
            await retention.settle_expiry(connection, TENANT, each)
        await holds.place(connection, TENANT, held, actor="p", reason="case", now=ENDED)
        await add_sink(connection, awaited)
        await add_sink(connection, told, state="dead")
        await add_sink(connection, plain, kind="webhook")
        for each, tag in ((longer, "longer"), (forever, "forever")):
            change = update(recordings).where(recordings.c.id == each)
            await connection.execute(change.values(tags=[tag]))
    await set_policy(database, Policy(30, (Rule(33, tag="longer"), Rule(0, tag="forever"))))
    now = ENDED + 30 * DAY
    async with database.read() as connection:
        candidates = await retention.due_after(connection, now, None, limit=9)
        second = await retention.due_after(
            connection, now, (candidates[0].expires_at, candidates[0].id), limit=1
        )
        found = [await retention.due(connection, TENANT, each, now) for each in made]
        foreign = await retention.due(connection, "other", plain, now)
    assert [row.id for row in candidates] == [plain, awaited, told, longer, forever]
    assert [row.id for row in second] == [awaited]
    assert [due and due.recording_id for due in found] == [
        plain,
        None,
        None,
        told,
        None,
        None,
        None,
    ]
    assert found[0] == retention.Due(plain, TENANT, ENDED + 24 * DAY, 9)
    assert foreign is None
    assert young not in {row.id for row in candidates}
