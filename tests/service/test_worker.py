"""The worker: leases that are kept, lost and taken over, handlers that fail, ends in good order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from tests.service.place import away, rows
from tests.system.support import eventually
from voxtra.service import worker as module
from voxtra.service.worker import Worker, leased
from voxtra.store import jobs as jobs_module
from voxtra.store.database import Database
from voxtra.store.jobs import Job, LeaseLost, Queue, enqueue
from voxtra.store.schema import jobs, utc_now


class Doing:
    """A handler that does what a test says, and ends its jobs."""

    def __init__(self, queue: Queue, database: Database) -> None:
        self.queue = queue
        self.database = database
        self.begun: list[str] = []
        self.cancelled: list[str] = []
        self.work: Callable[[Job], Awaitable[object]] = self.nothing

    async def nothing(self, job: Job) -> None:
        """Be done at once."""

    async def run(self, job: Job) -> None:
        """Do it, and finish."""
        self.begun.append(job.subject_id)
        try:
            await self.work(job)
        except asyncio.CancelledError:
            self.cancelled.append(job.subject_id)
            raise
        async with self.database.write() as connection:
            await self.queue.finish(connection, job)


@pytest.fixture
def doing(database: Database) -> Doing:
    """Return a handler."""
    return Doing(Queue(database, "w1"), database)


@contextlib.asynccontextmanager
async def working(doing: Doing, concurrency: int = 2) -> AsyncIterator[Worker]:
    """Run a worker, and end it whatever happens."""
    worker = Worker(doing.queue, {"ingest": doing}, concurrency)
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        await worker.stop(0.0)
        await task


async def add(database: Database, *subjects: str) -> None:
    """Queue a job for each subject, in this order."""
    for subject in subjects:
        async with database.write() as connection:
            await enqueue(connection, "ingest", subject, tenant_id="t")


async def states(database: Database) -> dict[str, str]:
    """Return the state of each job."""
    return {row.subject_id: row.state for row in await rows(database, jobs)}


@pytest.fixture
def brief_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have leases of a fraction of a second, renewed every tenth of one."""
    for each in (module, jobs_module):
        monkeypatch.setattr(each, "LEASE", timedelta(seconds=0.3))


async def test_as_many_at_once_as_there_is_room_for(database: Database, doing: Doing) -> None:
    """With room for two the third job begins when one of the first is done."""
    gate = asyncio.Event()
    doing.work = lambda job: gate.wait()
    await add(database, "a", "b", "c")
    async with working(doing):
        await eventually(lambda: len(doing.begun) == 2)
        assert doing.begun == ["a", "b"]
        gate.set()
        await eventually(lambda: doing.begun == ["a", "b", "c"])
        await eventually(lambda: _all_done(database))


async def _all_done(database: Database) -> bool:
    return set((await states(database)).values()) == {"done"}


async def test_a_new_job_wakes_it(
    database: Database, doing: Doing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that is queued in this process is begun at once, and not at the next look."""
    monkeypatch.setattr(module, "LOOK", 3600.0)
    async with working(doing):
        await add(database, "a")
        await eventually(lambda: doing.begun == ["a"])
        await add(database, "b")
        await eventually(lambda: doing.begun == ["a", "b"])


async def test_a_job_of_another_process_is_found_by_looking(
    database: Database,
    doing: Doing,
    another: Callable[[], Database],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where nobody tells (SQLite), the queue is looked at."""
    monkeypatch.setattr(module, "LOOK", 0.01)
    async with working(doing):
        await add(another(), "a")
        await eventually(lambda: doing.begun == ["a"])


@pytest.mark.usefixtures("brief_leases")
async def test_a_long_job_keeps_its_lease(database: Database, doing: Doing) -> None:
    """As long as its worker lives, nobody else takes a job, however long it takes."""
    gate = asyncio.Event()
    doing.work = lambda job: gate.wait()
    await add(database, "a")
    until = set()

    async def renewed() -> bool:
        (row,) = await rows(database, jobs)
        until.add(row.leased_until)
        return len(until) > 4

    async with working(doing):
        await eventually(lambda: doing.begun)
        await eventually(renewed)
        assert await Queue(database, "w2").claim(["ingest"]) == []
        gate.set()
        await eventually(lambda: _all_done(database))
    assert doing.begun == ["a"]


@pytest.mark.usefixtures("brief_leases")
async def test_who_has_lost_the_lease_stops(
    database: Database, doing: Doing, caplog: pytest.LogCaptureFixture
) -> None:
    """A job that somebody else has by now is cancelled, and what it did does not count."""
    doing.work = lambda job: asyncio.Event().wait()
    await add(database, "a", "b")
    async with working(doing):
        await eventually(lambda: len(doing.begun) == 2)
        async with database.write() as connection:
            taken = jobs.c.subject_id == "a"
            far = utc_now() + timedelta(hours=1)
            await connection.execute(
                update(jobs).where(taken).values(leased_by="w2 x", leased_until=far)
            )
        await eventually(lambda: doing.cancelled == ["a"])
        await eventually(lambda: "another worker has it" in caplog.text)
    first = next(row for row in await rows(database, jobs) if row.subject_id == "a")
    assert (first.leased_by, first.state, first.problem) == ("w2 x", "waiting", "")


@pytest.mark.usefixtures("brief_leases")
async def test_a_lost_lease_is_no_cancellation_for_others(database: Database) -> None:
    """The block raises `LeaseLost`, and its task can go on: it was not cancelled by anybody."""
    queue = Queue(database, "w1")
    await add(database, "a")
    (job,) = await queue.claim(["ingest"])
    async with database.write() as connection:
        await connection.execute(update(jobs).values(leased_by="w2 x"))
    with pytest.raises(LeaseLost):
        async with leased(queue, job):
            await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


@pytest.mark.usefixtures("brief_leases")
async def test_a_cancellation_from_outside_stays_one(database: Database) -> None:
    """Who cancels a leased block is told so, and not of a lease."""
    queue = Queue(database, "w1")
    await add(database, "a")
    (job,) = await queue.claim(["ingest"])

    async def work() -> None:
        async with leased(queue, job):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.usefixtures("brief_leases")
async def test_a_lease_outlives_a_database_that_is_away(database: Database, doing: Doing) -> None:
    """Renewals that fail are tried again: nobody else could claim the job meanwhile either."""
    gate = asyncio.Event()
    doing.work = lambda job: gate.wait()
    await add(database, "a")
    async with working(doing):
        await eventually(lambda: doing.begun)
        with away(database, 2) as refused:
            await refused.wait()
            gate.set()
            await eventually(lambda: _all_done(database))
    assert doing.cancelled == []


async def test_a_handler_that_fails(
    database: Database, doing: Doing, caplog: pytest.LogCaptureFixture
) -> None:
    """A job whose handler raises is due again later, with the problem in its row; others go on."""

    async def fail(job: Job) -> None:
        if job.subject_id == "a":
            raise KeyError("unheard of")

    doing.work = fail
    await add(database, "a", "b")
    async with working(doing):
        await eventually(lambda: _is(database, "b", "done"))
        await eventually(lambda: _has_problem(database, "a"))
    row = next(row for row in await rows(database, jobs) if row.subject_id == "a")
    assert (row.state, row.problem, row.leased_by) == ("waiting", "KeyError: 'unheard of'", "")
    assert timedelta(0) < row.run_at - utc_now() <= timedelta(seconds=2)
    assert "ingest a failed" in caplog.text


async def _is(database: Database, subject: str, state: str) -> bool:
    return (await states(database))[subject] == state


async def _has_problem(database: Database, subject: str) -> bool:
    return any(row.subject_id == subject and row.problem for row in await rows(database, jobs))


async def test_a_database_that_is_away(
    database: Database, doing: Doing, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that can't claim tries again, and does the jobs when the database is back."""
    await add(database, "a")
    with away(database, 1) as refused:
        async with working(doing):
            await refused.wait()
            await eventually(lambda: _all_done(database))
    assert "no jobs can be claimed" in caplog.text


async def test_the_end_waits_for_what_is_under_way(database: Database, doing: Doing) -> None:
    """A stop lets jobs finish, and claims no more."""
    gate = asyncio.Event()
    doing.work = lambda job: gate.wait()
    await add(database, "a", "b")
    worker = Worker(doing.queue, {"ingest": doing}, 1)
    task = asyncio.create_task(worker.run())
    await eventually(lambda: doing.begun)
    stopping = asyncio.create_task(worker.stop(30.0))
    await asyncio.sleep(0)
    gate.set()
    async with asyncio.timeout(5):
        await stopping
        await task
    assert await states(database) == {"a": "done", "b": "waiting"}
    assert doing.begun == ["a"]


async def test_the_end_is_bounded(database: Database, doing: Doing) -> None:
    """What is not done in its grace is cancelled, and nothing of it runs when the worker has ended;
    another one does it when the lease has run out.
    """
    doing.work = lambda job: asyncio.Event().wait()
    await add(database, "a")
    worker = Worker(doing.queue, {"ingest": doing}, 1)
    task = asyncio.create_task(worker.run())
    await eventually(lambda: doing.begun)
    async with asyncio.timeout(5):
        await worker.stop(0.01)
        await task
    assert doing.cancelled == ["a"]
    later = Queue(database, "w2", clock=lambda: utc_now() + 2 * jobs_module.LEASE)
    assert [job.subject_id for job in await later.claim(["ingest"])] == ["a"]


async def test_a_job_that_is_claimed_while_it_ends(database: Database) -> None:
    """A claim that was on its way at the stop leaves nothing running behind."""
    claiming, go_on = asyncio.Event(), asyncio.Event()

    class Slow(Queue):
        async def claim(self, *kinds: Any, **options: Any) -> list[Job]:
            found = await super().claim(*kinds, **options)
            if found:
                claiming.set()
                await go_on.wait()
            return found

    doing = Doing(Slow(database, "w1"), database)
    doing.work = lambda job: asyncio.Event().wait()
    await add(database, "a")
    worker = Worker(doing.queue, {"ingest": doing}, 1)
    task = asyncio.create_task(worker.run())
    await claiming.wait()
    await worker.stop(0.01)
    go_on.set()
    await eventually(lambda: doing.begun)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert doing.cancelled == ["a"]


async def test_a_worker_that_is_cancelled(database: Database, doing: Doing) -> None:
    """The end of its task is the end of its jobs, too."""
    doing.work = lambda job: asyncio.Event().wait()
    await add(database, "a")
    task = asyncio.create_task(Worker(doing.queue, {"ingest": doing}, 1).run())
    await eventually(lambda: doing.begun)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert doing.cancelled == ["a"]
