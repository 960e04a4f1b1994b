"""Work that is claimed by lease, done once as far as anybody can tell, and never forgotten."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Row, delete, insert, select

from voxtra.store.database import Database
from voxtra.store.jobs import LEASE, Job, LeaseLost, Queue, enqueue
from voxtra.store.schema import jobs, tenants

BEGIN = datetime(2030, 1, 1, tzinfo=UTC)


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = BEGIN

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, time: timedelta) -> None:
        self.now += time


@pytest.fixture
def clock() -> Clock:
    """Return a clock that stands still."""
    return Clock()


async def ask(
    database: Database, subject: str, kind: str = "ingest", *, at: datetime = BEGIN, **payload: Any
) -> None:
    """Have something done."""
    async with database.write() as connection:
        await enqueue(connection, kind, subject, tenant_id="t", run_at=at, payload=payload)


async def claim(queue: Queue, kind: str = "ingest") -> Job:
    """Take the one job that is due."""
    (job,) = await queue.claim([kind], limit=2)
    return job


async def finish(database: Database, queue: Queue, job: Job) -> None:
    """Note that a job is done, with a row as its result."""
    async with database.write() as connection:
        await connection.execute(insert(tenants).values(id=job.lease, created_at=BEGIN))
        await queue.finish(connection, job)


async def row_of(database: Database, subject: str) -> Row[Any]:
    """Return the row of a job."""
    async with database.read() as connection:
        return (await connection.execute(select(jobs).where(jobs.c.subject_id == subject))).one()


async def results(database: Database) -> set[str]:
    """Return the claims whose results are there."""
    async with database.read() as connection:
        return set((await connection.execute(select(tenants.c.id))).scalars())


async def test_a_job_is_claimed_with_all_that_was_said_of_it(
    database: Database, clock: Clock
) -> None:
    """Who claims a job gets its subject, tenant and payload, and it is nobody else's then."""
    await ask(database, "r1", wanted=["a"])
    queue = Queue(database, "one", clock=clock)
    job = await claim(queue)
    assert (job.kind, job.subject_id, job.tenant_id, job.attempts) == ("ingest", "r1", "t", 1)
    assert job.payload == {"wanted": ["a"]}
    assert job.progress == {}
    assert await Queue(database, "two", clock=clock).claim(["ingest"]) == []
    assert await queue.claim(["ingest"]) == []


async def test_a_job_wakes_who_waits_for_jobs(database: Database) -> None:
    """Workers are woken by a new job, once it is committed."""
    with database.signals.subscribe("jobs") as signal:
        await ask(database, "r1")
        assert signal.is_set()


async def test_jobs_come_in_the_order_in_which_they_were_due(
    database: Database, clock: Clock
) -> None:
    """Of the kinds asked for the longest due job comes first, and what is due later not at all."""
    second = timedelta(seconds=1)
    await ask(database, "late", at=BEGIN + second)
    await ask(database, "now", at=BEGIN)
    await ask(database, "before", at=BEGIN - second)
    await ask(database, "other", kind="purge", at=BEGIN - 2 * second)
    queue = Queue(database, "one", clock=clock)
    assert [job.subject_id for job in await queue.claim(["ingest"], limit=9)] == ["before", "now"]
    assert [job.subject_id for job in await queue.claim(["purge"], limit=9)] == ["other"]
    assert await queue.claim([], limit=9) == []
    clock.pass_(second)
    assert [job.subject_id for job in await queue.claim(["ingest"], limit=9)] == ["late"]


async def test_a_job_is_claimed_by_one(another: Callable[[], Database], clock: Clock) -> None:
    """Of many workers that claim at once, in any number of processes, one gets each job."""
    databases = [another() for _ in range(4)]
    for number in range(40):
        await ask(databases[0], f"r{number}")

    async def work(number: int) -> list[str]:
        queue = Queue(databases[number % 4], f"worker {number}", clock=clock)
        got: list[str] = []
        while taken := await queue.claim(["ingest"], limit=3):
            got += [job.subject_id for job in taken]
        return got

    claimed = Counter[str]()
    for subjects in await asyncio.gather(*(work(number) for number in range(12))):
        claimed.update(subjects)
    # On PostgreSQL a worker that finds only rows of claims under way stops early: none is lost.
    for subject in await work(0):
        claimed.update([subject])
    assert claimed == Counter({f"r{number}": 1 for number in range(40)})


async def test_a_job_that_is_done_is_over(database: Database, clock: Clock) -> None:
    """A finished job is claimed by nobody any more, and says when it was finished."""
    await ask(database, "r1")
    queue = Queue(database, "one", clock=clock)
    await finish(database, queue, await claim(queue))
    clock.pass_(10 * LEASE)
    assert await queue.claim(["ingest"]) == []
    row = await row_of(database, "r1")
    assert (row.state, row.finished_at, row.leased_by) == ("done", BEGIN, "")


async def test_a_worker_that_is_silent_loses_its_job(database: Database, clock: Clock) -> None:
    """When a lease has run out another takes the job over, with the progress noted so far, and the
    slow one's result does not count.
    """
    await ask(database, "r1")
    slow, fast = (Queue(database, name, clock=clock) for name in ("slow", "fast"))
    lost = await claim(slow)
    await slow.renew(lost, {"done": 3})
    clock.pass_(LEASE)
    assert await fast.claim(["ingest"]) == []
    clock.pass_(timedelta(microseconds=1))
    taken = await claim(fast)
    assert (taken.attempts, taken.progress) == (2, {"done": 3})

    for too_late in (
        finish(database, slow, lost),
        slow.renew(lost),
        slow.retry(lost, "too slow", 1),
    ):
        with pytest.raises(LeaseLost, match="ingest r1"):
            await too_late
    assert await results(database) == set()
    await finish(database, fast, taken)
    with pytest.raises(LeaseLost):
        await finish(database, slow, lost)
    assert await results(database) == {taken.lease}


async def test_who_renews_keeps_its_job(database: Database, clock: Clock) -> None:
    """A worker that says in time that it is still at it is left to it, however long it takes."""
    await ask(database, "r1")
    queue = Queue(database, "one", clock=clock)
    job = await claim(queue)
    for _ in range(5):
        clock.pass_(LEASE)
        assert await Queue(database, "two", clock=clock).claim(["ingest"]) == []
        await queue.renew(job)
    await finish(database, queue, job)
    assert await results(database) == {job.lease}


async def test_an_older_claim_of_the_same_worker_does_not_count(
    database: Database, clock: Clock
) -> None:
    """A worker that lost a job and claimed it again has one claim, also when it all began anew."""
    await ask(database, "r1")
    queue = Queue(database, "one", clock=clock)
    old = await claim(queue)
    clock.pass_(2 * LEASE)
    await finish(database, queue, await claim(queue))
    await ask(database, "r1")
    again = await claim(queue)
    assert again.attempts == old.attempts
    with pytest.raises(LeaseLost):
        await finish(database, queue, old)
    await finish(database, queue, again)


async def test_a_job_given_back_is_due_later(database: Database, clock: Clock) -> None:
    """A job that failed is due after the delay asked for, says why, and counts its attempts."""
    await ask(database, "r1")
    queue = Queue(database, "one", clock=clock)
    await queue.retry(await claim(queue), "the disk is full", 60)
    row = await row_of(database, "r1")
    assert (row.problem, row.run_at) == ("the disk is full", BEGIN + timedelta(seconds=60))
    clock.pass_(timedelta(seconds=59))
    assert await queue.claim(["ingest"]) == []
    clock.pass_(timedelta(seconds=1))
    assert (await claim(queue)).attempts == 2


async def test_a_job_given_up_is_over_and_says_why(database: Database, clock: Clock) -> None:
    """A job that can't be done is never claimed again, and its row has the problem."""
    await ask(database, "r1")
    queue = Queue(database, "one", clock=clock)
    job = await claim(queue)
    async with database.write() as connection:
        await queue.give_up(connection, job, "no such file")
    clock.pass_(10 * LEASE)
    assert await queue.claim(["ingest"]) == []
    row = await row_of(database, "r1")
    assert (row.state, row.problem, row.finished_at) == ("dead", "no such file", BEGIN)


async def test_asking_twice_is_asking_once(database: Database, clock: Clock) -> None:
    """There is one job for a kind and a subject; asking again while it waits changes its payload
    only.
    """
    await ask(database, "r1", at=BEGIN, first=1)
    await ask(database, "r1", at=BEGIN + LEASE, second=2)
    await ask(database, "r1", kind="purge")
    queue = Queue(database, "one", clock=clock)
    job = await claim(queue)
    assert job.payload == {"second": 2}
    await finish(database, queue, job)
    assert await queue.claim(["ingest"]) == []
    assert (await claim(queue, "purge")).subject_id == "r1"


async def test_asking_twice_does_not_bring_a_failing_job_forward(
    database: Database, clock: Clock
) -> None:
    """A job that waits for its next try keeps its time and its count of attempts."""
    await ask(database, "r1")
    queue = Queue(database, "one", clock=clock)
    await queue.retry(await claim(queue), "no", 60)
    await ask(database, "r1")
    assert await queue.claim(["ingest"]) == []
    clock.pass_(timedelta(seconds=60))
    assert (await claim(queue)).attempts == 2


@pytest.mark.parametrize("end", ["finish", "give up"])
async def test_a_job_that_is_over_begins_anew(database: Database, clock: Clock, end: str) -> None:
    """Asking for a job that is done or dead has it done again from the start."""
    await ask(database, "r1")
    queue = Queue(database, "one", clock=clock)
    job = await claim(queue)
    await queue.renew(job, {"done": 3})
    async with database.write() as connection:
        if end == "finish":
            await queue.finish(connection, job)
        else:
            await queue.give_up(connection, job, "no")
    await ask(database, "r1")
    row = await row_of(database, "r1")
    assert (row.state, row.problem, row.finished_at) == ("waiting", "", None)
    job = await claim(queue)
    assert (job.attempts, job.progress) == (1, {})


@pytest.mark.parametrize("end", ["finish", "give up", "retry", "die"])
async def test_asking_while_somebody_is_at_it_has_it_done_once_more(
    database: Database, clock: Clock, end: str
) -> None:
    """What is asked for while a worker is at the job, who may not see it, is done afterwards."""
    await ask(database, "r1")
    queue = Queue(database, "one", clock=clock)
    job = await claim(queue)
    await ask(database, "r1", new=True)
    assert await queue.claim(["ingest"]) == []  # not two at once
    with database.signals.subscribe("jobs") as signal:
        if end == "finish":
            await finish(database, queue, job)
        elif end == "give up":
            async with database.write() as connection:
                await queue.give_up(connection, job, "no")
        elif end == "retry":
            await queue.retry(job, "no", 0)
        assert signal.is_set() is (end in ("finish", "give up"))
    clock.pass_(2 * LEASE)
    again = await claim(queue)
    assert again.payload == {"new": True}
    await finish(database, queue, again)
    assert await queue.claim(["ingest"]) == []


steps = st.lists(
    st.tuples(
        st.sampled_from(["ask", "claim", "renew", "finish", "retry", "give up", "wait"]),
        st.integers(0, 2),
    ),
    max_size=30,
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=steps)
async def test_no_request_is_forgotten_and_no_claim_counts_twice(
    database: Database, steps: list[tuple[str, int]]
) -> None:
    """Whatever three workers do and however they dawdle: the lease is one worker's at a time, and
    after each request somebody begins the job, finishing what counts exactly once per claim.
    """
    async with database.write() as connection:
        await connection.execute(delete(jobs))
    clock = Clock()
    queues = [Queue(database, f"w{number}", clock=clock) for number in range(3)]
    held: dict[int, Job] = {}
    owner: tuple[int, datetime] | None = None  # who has the lease, and until when
    open_request = False

    for step, number in steps:
        queue = queues[number]
        if step == "wait":
            clock.pass_(LEASE * 0.6)
        elif step == "ask":
            await ask(database, "r", at=BEGIN)
            open_request = True
        elif step == "claim":
            taken = await queue.claim(["ingest"])
            if taken:
                assert owner is None or owner[1] < clock.now
                (held[number],) = taken
                owner = (number, clock.now + LEASE)
                open_request = False
        elif number in held:
            mine = owner is not None and owner[0] == number
            job = held[number]
            try:
                if step == "renew":
                    await queue.renew(job)
                elif step == "retry":
                    await queue.retry(job, "no", 0)
                else:
                    async with database.write() as connection:
                        if step == "finish":
                            await queue.finish(connection, job)
                        else:
                            await queue.give_up(connection, job, "no")
            except LeaseLost:
                assert not mine
                del held[number]
            else:
                assert mine
                owner = (number, clock.now + LEASE) if step == "renew" else None
                if step != "renew":
                    del held[number]

    clock.pass_(2 * LEASE)
    if open_request:
        assert len(await queues[0].claim(["ingest"])) == 1
