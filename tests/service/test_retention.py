"""Retention on a virtual clock: nothing goes early, nothing that is held, and nothing stays longer
than to the next run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete, insert, select, update

from tests.store.making import ENDED, TENANT, add_recording, add_sink, add_tenant, row_of
from voxtra.service import retention as service
from voxtra.service.retention import Forecast, Purger, Recompute, Report, forecast
from voxtra.store import audit, holds, journal, retention, tombstones
from voxtra.store.database import Database
from voxtra.store.jobs import LEASE, Queue
from voxtra.store.retention import Due, Policy, Rule
from voxtra.store.schema import deliveries, metadata, recordings, utc_now

T = TypeVar("T")

DAY = timedelta(days=1)
TENANTS = (TENANT, "other")

some_days = st.sampled_from([0, 1, 2, 3, 5, 8, 30])
words = st.sampled_from(["", "a", "b"])
policies = st.builds(
    Policy,
    some_days,
    st.lists(
        st.builds(
            Rule,
            some_days,
            st.sampled_from(["", "inbound", "outbound"]),
            words,
            words,
        ),
        max_size=3,
    ).map(tuple),
)
picks = st.integers(0, 1000)


@dataclass
class Known:
    """What the test knows of a recording."""

    tenant: str
    final_since: datetime | None
    direction: str
    queue: str
    tags: list[str] = field(default_factory=list)
    days: int | None = None
    held: bool = False
    awaited: bool = False
    deleted: bool = False

    def is_over(self, policy: Policy, now: datetime) -> bool:
        """Tell whether its time is over: the requirement once more, in other words."""
        days = self.days
        if days is None:
            fitting = [
                each.days
                for each in policy.rules
                if {each.direction, self.direction} - {""} == {self.direction}
                and {each.queue, self.queue} - {""} <= {self.queue}
                and (each.tag == "" or each.tag in self.tags)
            ]
            days = [*fitting, policy.days][0]
        return days > 0 and self.final_since is not None and now >= self.final_since + days * DAY


class Keeping(RuleBasedStateMachine):
    """Recordings, rules, holds and sinks of two tenants, and a clock that jumps."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.database = self.do(self._open())
        self.known: dict[str, Known] = {}
        self.policies = dict.fromkeys(TENANTS, Policy(30))
        self.now = ENDED

    async def _open(self) -> Database:
        database = Database(self.url)
        async with database.write() as connection:
            for table in metadata.sorted_tables:
                await connection.execute(delete(table))
            for tenant in TENANTS:
                await add_tenant(connection, tenant)
        return database

    def teardown(self) -> None:
        """Let go of the database."""
        self.do(self.database.close())
        self.runner.close()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end."""
        return self.runner.run(work)

    def pick(self, number: int) -> str:
        """Return one of the recordings."""
        return list(self.known)[number % len(self.known)]

    def living(self) -> bool:
        """Tell whether there is any recording."""
        return bool(self.known)

    # -- what happens

    @rule(
        tenant=st.sampled_from(TENANTS),
        direction=st.sampled_from(["inbound", "outbound"]),
        queue=words,
        tags=st.lists(words.filter(bool), unique=True),
        age=st.integers(0, 4),
        state=st.sampled_from(["available", "available", "failed", "recording", "stopping"]),
    )
    def record(
        self, tenant: str, direction: str, queue: str, tags: list[str], age: int, state: str
    ) -> None:
        """A recording appears, final or not."""
        ended = self.now - age * DAY
        final = state in ("available", "failed")

        async def act() -> str:
            async with self.database.write() as connection:
                made = await add_recording(
                    connection,
                    tenant_id=tenant,
                    state=state,
                    direction=direction,
                    queue=queue,
                    tags=tags,
                    ended_at=None if state == "recording" else ended,
                    size=1,
                )
                await retention.settle_expiry(connection, tenant, made)
            return made

        made = self.do(act())
        self.known[made] = Known(tenant, ended if final else None, direction, queue, tags)

    @precondition(living)
    @rule(number=picks)
    def finish(self, number: int) -> None:
        """A recording becomes final now."""
        made = self.pick(number)
        if self.known[made].final_since is not None:
            return

        async def act() -> None:
            async with self.database.write() as connection:
                await connection.execute(
                    update(recordings)
                    .where(recordings.c.id == made)
                    .values(state="available", ended_at=self.now)
                )
                await retention.settle_expiry(connection, self.known[made].tenant, made)

        self.do(act())
        self.known[made].final_since = self.now

    @precondition(living)
    @rule(number=picks, tags=st.lists(words.filter(bool), unique=True))
    def tag(self, number: int, tags: list[str]) -> None:
        """Somebody changes the tags of a recording."""
        made = self.pick(number)
        if self.known[made].deleted:
            return

        async def act() -> None:
            async with self.database.write() as connection:
                change = update(recordings).where(recordings.c.id == made)
                await connection.execute(change.values(tags=tags))
                await retention.settle_expiry(connection, self.known[made].tenant, made)

        self.do(act())
        self.known[made].tags = tags

    @precondition(living)
    @rule(number=picks, days=st.none() | some_days)
    def say(self, number: int, days: int | None) -> None:
        """Somebody says how long one recording stays."""
        made = self.pick(number)
        if self.known[made].deleted:
            return

        async def act() -> None:
            async with self.database.write() as connection:
                await retention.set_days(connection, self.known[made].tenant, made, days)

        self.do(act())
        self.known[made].days = days

    @precondition(living)
    @rule(number=picks)
    def hold_or_release(self, number: int) -> None:
        """Somebody holds a recording, or releases it."""
        made = self.pick(number)
        known = self.known[made]
        if known.deleted:
            return
        verb = holds.release if known.held else holds.place

        async def act() -> None:
            async with self.database.write() as connection:
                await verb(connection, known.tenant, made, actor="p", reason="case", now=self.now)

        self.do(act())
        known.held = not known.held

    @precondition(living)
    @rule(number=picks)
    def sink(self, number: int) -> None:
        """A sink is to be told of a recording, or has been."""
        made = self.pick(number)
        known = self.known[made]
        if known.deleted:
            return

        async def act() -> None:
            async with self.database.write() as connection:
                if known.awaited:
                    await connection.execute(
                        update(deliveries)
                        .where(deliveries.c.recording_id == made)
                        .values(state="delivered")
                    )
                else:
                    await add_sink(connection, made)

        self.do(act())
        known.awaited = not known.awaited

    @rule(tenant=st.sampled_from(TENANTS), policy=policies)
    def change_rules(self, tenant: str, policy: Policy) -> None:
        """A tenant changes its days and rules; the computation comes later."""

        async def act() -> None:
            async with self.database.write() as connection:
                await retention.set_policy(connection, tenant, policy, now=self.now)

        self.do(act())
        self.policies[tenant] = policy

    @rule(hours=st.integers(-48, 24 * 9))
    def jump(self, hours: int) -> None:
        """Time passes, or the clock is set."""
        self.now += timedelta(hours=hours)

    # -- the run

    def over(self) -> set[str]:
        """Return what is to be deleted at this moment."""
        return {
            made
            for made, known in self.known.items()
            if not (known.deleted or known.held or known.awaited)
            and known.is_over(self.policies[known.tenant], self.now)
        }

    def compute(self) -> None:
        """Do the queued computations."""

        async def act() -> None:
            queue = Queue(self.database, "w")
            while jobs := await queue.claim([retention.JOB]):
                await Recompute(self.database, queue).run(jobs[0])

        self.do(act())

    def purge(self, *, dry_run: bool) -> tuple[Report, list[Due]]:
        """Run, and return what was told."""
        told: list[Due] = []
        purger = Purger(self.database)
        return self.do(purger.run(self.now, dry_run=dry_run, tell=told.append)), told

    @rule()
    def run_with_old_expiries(self) -> None:
        """A run that comes before the computation deletes nothing that the new rules keep."""
        over = self.over()
        _, told = self.purge(dry_run=False)
        assert {due.recording_id for due in told} <= over
        for due in told:
            self.known[due.recording_id].deleted = True

    @rule()
    def run(self) -> None:
        """A run deletes exactly what is over, as its dry run said."""
        self.compute()
        over = self.over()
        promised, listed = self.purge(dry_run=True)
        report, told = self.purge(dry_run=False)
        assert told == listed
        assert (promised.dry_run, report.dry_run) == (True, False)
        assert promised.by_tenant == report.by_tenant
        assert {due.recording_id for due in told} == over
        assert report.deleted == report.size == len(told) == sum(report.by_tenant.values())
        for due in told:
            self.known[due.recording_id].deleted = True

    @invariant()
    def rows_agree(self) -> None:
        """Rows are deleted exactly where a run has said so, and held ones never."""

        async def act() -> dict[str, tuple[bool, bool]]:
            async with self.database.read() as connection:
                rows = await connection.execute(select(recordings))
                return {row.id: (row.deleted_at is not None, row.held) for row in rows}

        assert self.do(act()) == {
            made: (known.deleted, known.held) for made, known in self.known.items()
        }


def test_random_policies_holds_and_clocks(database_url: str):
    """Over random histories none goes early, none that is held, and none later than one run."""

    class OnThis(Keeping):
        url = database_url

    run_state_machine_as_test(
        OnThis, settings=settings(max_examples=25, stateful_step_count=30, deadline=None)
    )


async def add_over(database: Database, count: int, **columns: Any) -> list[str]:
    """Add recordings whose time is over at `ENDED` + 30 days."""
    async with database.write() as connection:
        made = [await add_recording(connection, size=5, **columns) for _ in range(count)]
        for each in made:
            await retention.settle_expiry(connection, TENANT, each)
    return made


@pytest.fixture
async def tenant(database: Database) -> None:
    """Have the tenant."""
    async with database.write() as connection:
        await add_tenant(connection)


@pytest.mark.usefixtures("tenant")
async def test_more_than_a_batch_is_deleted_in_one_run(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    """All that is over goes, also where many ended at the same moment and some are kept."""
    monkeypatch.setattr(service, "BATCH", 3)
    made = await add_over(database, 8)
    async with database.write() as connection:
        await add_sink(connection, made[4])
    promised = await Purger(database).run(ENDED + 30 * DAY, dry_run=True)
    report = await Purger(database).run(ENDED + 30 * DAY)
    assert promised == Report(True, 7, 35, {TENANT: 7})
    assert report == Report(False, 7, 35, {TENANT: 7})
    assert (await row_of(database, made[4])).deleted_at is None


@pytest.mark.usefixtures("tenant")
async def test_a_deletion_says_why(database: Database):
    """Tombstone, event and audit name retention and the time; a job removes the files."""
    (made,) = await add_over(database, 1)
    now = ENDED + 31 * DAY
    await Purger(database).run(now)
    row = await row_of(database, made)
    assert (row.deleted_at, row.deleted_by) == (now, "retention")
    assert row.delete_reason == "its retention ended at 2026-03-31T12:00:00Z"
    async with database.read() as connection:
        (act,) = await audit.page(connection, TENANT)
        (told,) = await journal.since(connection, TENANT, 0)
    assert (act.actor, act.action, act.subject_id, act.at) == (
        "retention",
        "recording.deleted",
        made,
        now,
    )
    assert (told.type, told.data["reason"]) == ("recording.deleted", row.delete_reason)
    assert [job.subject_id for job in await Queue(database, "w").claim([tombstones.JOB])] == [made]


@pytest.mark.usefixtures("tenant")
async def test_a_run_for_one_tenant_leaves_the_others(database: Database):
    """Only what is that tenant's goes."""
    async with database.write() as connection:
        await add_tenant(connection, "other")
        foreign = await add_recording(connection, tenant_id="other")
        await retention.settle_expiry(connection, "other", foreign)
    await add_over(database, 2)
    now = ENDED + 30 * DAY
    assert (await Purger(database).run(now, tenant_id=TENANT)).by_tenant == {TENANT: 2}
    assert (await Purger(database).run(now)).by_tenant == {"other": 1}


@pytest.mark.usefixtures("tenant")
async def test_one_that_can_not_be_deleted_keeps_no_other(database: Database):
    """It is counted, and tried again by the next run."""
    bad, good = await add_over(database, 2)
    async with database.write() as connection:
        await connection.execute(
            insert(deliveries).values(
                id="d",
                message_id="d",
                tenant_id=TENANT,
                kind="webhook",
                type="x",
                recording_id=bad,
                body="no JSON",
                state="delivered",
                created_at=ENDED,
            )
        )
    now = ENDED + 30 * DAY
    assert await Purger(database).run(now) == Report(False, 1, 5, {TENANT: 1}, failed=1)
    assert (await row_of(database, good)).deleted_at == now
    async with database.write() as connection:
        await connection.execute(delete(deliveries))
    assert await Purger(database).run(now) == Report(False, 1, 5, {TENANT: 1})


@pytest.mark.usefixtures("tenant")
async def test_holds_that_come_during_a_run_win_or_are_refused(database: Database):
    """A recording is held and there, or deleted and the hold was refused."""
    made = await add_over(database, 20)

    async def hold(recording_id: str) -> None:
        async with database.write() as connection:
            await holds.place(connection, TENANT, recording_id, actor="p", reason="case", now=ENDED)

    report, *_ = await asyncio.gather(
        Purger(database).run(ENDED + 30 * DAY),
        *(hold(each) for each in reversed(made)),
        return_exceptions=True,
    )
    assert isinstance(report, Report)
    rows = [await row_of(database, each) for each in made]
    assert all(row.held is (row.deleted_at is None) for row in rows)
    assert report.deleted == sum(not row.held for row in rows)


@pytest.mark.usefixtures("tenant")
async def test_rules_that_change_during_a_computation_are_computed(database: Database):
    """The job is queued once more, and in the end all expiries are those of the last rules."""
    made = await add_over(database, 3)
    queue = Queue(database, "w")
    async with database.write() as connection:
        await retention.set_policy(connection, TENANT, Policy(1), now=ENDED)
    (job,) = await queue.claim([retention.JOB])
    async with database.write() as connection:
        await retention.set_policy(connection, TENANT, Policy(2), now=ENDED)
    await Recompute(database, queue).run(job)
    (again,) = await queue.claim([retention.JOB])
    await Recompute(database, queue).run(again)
    assert await queue.claim([retention.JOB]) == []
    assert {(await row_of(database, each)).expires_at for each in made} == {ENDED + 2 * DAY}


@pytest.mark.usefixtures("tenant")
async def test_a_computation_that_was_taken_over_ends_quietly(database: Database):
    """The worker that has the job now does it; the late one changes nothing about that."""
    await add_over(database, 1)
    async with database.write() as connection:
        await retention.set_policy(connection, TENANT, Policy(1), now=ENDED)
    late = Queue(database, "late")
    (job,) = await late.claim([retention.JOB])
    later = Queue(database, "later", clock=lambda: utc_now() + 2 * LEASE)
    (taken,) = await later.claim([retention.JOB])
    await Recompute(database, late).run(job)
    await Recompute(database, later).run(taken)
    assert await later.claim([retention.JOB]) == []


@pytest.mark.usefixtures("tenant")
async def test_a_forecast_tells_what_a_policy_would_do(database: Database):
    """It counts what would change, go or be kept by a hold, and changes nothing."""
    old, held, young = [
        (await add_over(database, 1, ended_at=ENDED - n * DAY))[0] for n in (9, 8, 1)
    ]
    async with database.write() as connection:
        await add_recording(connection, tenant_id="other", ended_at=ENDED - 9 * DAY)
        await add_recording(connection, state="recording", ended_at=None)
        await holds.place(connection, TENANT, held, actor="p", reason="case", now=ENDED)
    told = await forecast(database, TENANT, Policy(5), ENDED)
    assert told == Forecast(recordings=4, changed=3, due=1, due_size=5, held=1)
    assert await forecast(database, TENANT, Policy(30), ENDED) == Forecast(recordings=4)
    for each in (old, held, young):
        row = await row_of(database, each)
        assert row.expires_at == row.ended_at + 30 * DAY
