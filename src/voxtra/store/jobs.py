"""Work to be done by whoever comes: rows, written in the transaction that makes it necessary, and
claimed by lease.

A worker that dies lets its lease run out, and another takes the job over; one that was too slow
finds its lease gone when it wants to finish (`LeaseLost`), and what it did must not count. So every
job can be done twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Select, and_, case, literal_column, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from voxtra.exceptions import VoxtraError
from voxtra.ids import new_id
from voxtra.store.database import Database, insert_into, wake
from voxtra.store.schema import jobs, utc_now

__all__ = ["LEASE", "Job", "LeaseLost", "Queue", "enqueue"]

LEASE: Final = timedelta(seconds=15)
"""How long a worker may be silent before its job is another's; it renews three times in that."""


class LeaseLost(VoxtraError):
    """The job is somebody else's by now: what was done of it does not count."""

    def __init__(self, kind: str, subject_id: str) -> None:
        super().__init__(f"the lease of {kind} {subject_id} ran out, and another worker has it")


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of work: `kind` of it, and the id of what it is about.

    `attempts` counts from 1, `progress` is what the attempt before noted, `lease` is this claim's.
    """

    id: str
    tenant_id: str
    kind: str
    subject_id: str
    payload: dict[str, Any] = field(default_factory=dict)
    progress: dict[str, Any] = field(default_factory=dict)
    attempts: int = 0
    lease: str = ""


async def enqueue(
    connection: AsyncConnection,
    kind: str,
    subject_id: str,
    *,
    tenant_id: str,
    payload: Mapping[str, Any] | None = None,
    run_at: datetime | None = None,
) -> None:
    """Have work done, from `run_at` on (now); there is one job for each kind and subject.

    One that waits is left as it is, but for the payload; one that somebody is at is done once more
    afterwards; one that is over begins anew.
    """
    now = utc_now()
    fresh = _fresh(run_at or now)
    over = jobs.c.state != "waiting"
    statement = insert_into(connection, jobs).values(
        id=new_id(),
        tenant_id=tenant_id,
        kind=kind,
        subject_id=subject_id,
        payload=dict(payload or {}),
        created_at=now,
        **fresh,
    )
    # A row that waits is written all the same: nobody claims it before this is committed.
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=["kind", "subject_id"],
            set_={
                **{
                    name: case((over, statement.excluded[name]), else_=jobs.c[name])
                    for name in fresh
                },
                "payload": statement.excluded.payload,
                "again": and_(jobs.c.state == "waiting", jobs.c.leased_by != ""),
            },
        )
    )
    wake(connection, "jobs")


def _fresh(run_at: datetime) -> dict[str, Any]:
    """Return the columns of a job that nobody has worked on."""
    return {
        "state": "waiting",
        "progress": {},
        "run_at": run_at,
        "attempts": 0,
        "leased_by": "",
        "leased_until": None,
        "again": False,
        "problem": "",
        "finished_at": None,
    }


class Queue:
    """The jobs as one worker sees them; `worker` is its name, which the rows show."""

    def __init__(
        self, database: Database, worker: str, *, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._database = database
        self._clock = clock
        self.worker = worker

    def subscribe(self) -> contextlib.AbstractContextManager[asyncio.Event]:
        """Give an event that is set whenever jobs are queued; its owner clears it."""
        return self._database.signals.subscribe("jobs")

    async def claim(self, kinds: Sequence[str], *, limit: int = 1) -> list[Job]:
        """Take up to `limit` jobs that are due and nobody's, longest due first."""
        async with self._database.read() as connection:
            due = _due(kinds, self._clock()).with_only_columns(jobs.c.id)
            if (await connection.execute(due.limit(1))).first() is None:
                return []  # the common case costs no write
        async with self._database.write(durable=False) as connection:
            now = self._clock()
            due = _due(kinds, now).limit(limit).with_for_update(skip_locked=True)
            rows = (await connection.execute(due)).all()
            if not rows:
                return []
            # Another one for each claim: an older claim of this very worker must not count either.
            lease = f"{self.worker} {new_id()}"
            await connection.execute(
                update(jobs)
                .where(jobs.c.id.in_([row.id for row in rows]))
                .values(
                    leased_by=lease,
                    leased_until=now + LEASE,
                    attempts=jobs.c.attempts + 1,
                    again=False,
                )
            )
        return [
            Job(
                row.id,
                row.tenant_id,
                row.kind,
                row.subject_id,
                row.payload,
                row.progress,
                row.attempts + 1,
                lease,
            )
            for row in rows
        ]

    async def renew(self, job: Job, progress: Mapping[str, Any] | None = None) -> None:
        """Keep a job, and note how far it is. Raises `LeaseLost`."""
        values: dict[str, Any] = {"leased_until": self._clock() + LEASE}
        if progress is not None:
            values["progress"] = dict(progress)
        async with self._database.write(durable=False) as connection:
            await self._change(connection, job, values)

    async def finish(self, connection: AsyncConnection, job: Job) -> None:
        """Note that a job is done, in the transaction of its result. Raises `LeaseLost`, which
        rolls that back.
        """
        await self._end(connection, job, "done", "")

    async def retry(self, job: Job, problem: str, after: float) -> None:
        """Give a job back: it is due again in `after` seconds. Raises `LeaseLost`."""
        values = {
            "problem": problem,
            "run_at": self._clock() + timedelta(seconds=after),
            "leased_by": "",
            "leased_until": None,
        }
        async with self._database.write(durable=False) as connection:
            await self._change(connection, job, values)

    async def give_up(self, connection: AsyncConnection, job: Job, problem: str) -> None:
        """Note that a job can't be done, in the transaction that says so of its subject. Raises
        `LeaseLost`, which rolls that back.
        """
        await self._end(connection, job, "dead", problem)

    async def _end(self, connection: AsyncConnection, job: Job, state: str, problem: str) -> None:
        now = self._clock()
        over = {
            "state": state,
            "problem": problem,
            "finished_at": now,
            "leased_by": "",
            "leased_until": None,
        }
        await self._change(connection, job, over)
        asked_again = await connection.execute(
            update(jobs).where(jobs.c.id == job.id, jobs.c.again).values(**_fresh(now))
        )
        if asked_again.rowcount:
            wake(connection, "jobs")

    async def _change(
        self, connection: AsyncConnection, job: Job, values: Mapping[str, Any]
    ) -> None:
        changed = await connection.execute(
            update(jobs).where(jobs.c.id == job.id, jobs.c.leased_by == job.lease).values(**values)
        )
        if changed.rowcount != 1:
            raise LeaseLost(job.kind, job.subject_id)


def _due(kinds: Sequence[str], now: datetime) -> Select[Any]:
    return (
        select(jobs)
        .where(
            jobs.c.state == literal_column("'waiting'"),  # or SQLite passes the index over
            jobs.c.kind.in_(kinds),
            jobs.c.run_at <= now,
            or_(jobs.c.leased_until.is_(None), jobs.c.leased_until < now),
        )
        .order_by(jobs.c.run_at, jobs.c.id)
    )
