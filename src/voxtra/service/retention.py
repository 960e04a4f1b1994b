"""Retention at work: what is over is deleted, and what rules would do is told before they do it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from voxtra.exceptions import VoxtraError
from voxtra.store import audit, retention, tombstones
from voxtra.store.database import Database
from voxtra.store.jobs import Job, LeaseLost, Queue
from voxtra.store.retention import Due, Policy

__all__ = ["Forecast", "Purger", "Recompute", "Report", "forecast"]

log = logging.getLogger(__name__)

BATCH: Final = 200
"""Recordings that are looked at in one query or, computed anew, in one transaction."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a run deleted (a dry one: would have), by tenant; `failed` are tried by the next one."""

    dry_run: bool
    deleted: int
    size: int
    by_tenant: dict[str, int]
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a policy would do to the recordings that a tenant has.

    `changed` would expire at another time than now, `due` (of `due_size` bytes) would be deleted by
    the next run, `held` would be, were they not held.
    """

    recordings: int = 0
    changed: int = 0
    due: int = 0
    due_size: int = 0
    held: int = 0


class Purger:
    """Deletes the recordings whose time is over, each in a transaction of its own that looks again
    whether that is so: a hold or a new rule that came first wins.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run(
        self,
        now: datetime,
        *,
        dry_run: bool = False,
        tenant_id: str = "",
        tell: Callable[[Due], object] = lambda due: None,
    ) -> Report:
        """Delete what is over at `now`, of one tenant or of all, the longest over first; a dry run
        says what that would be. `tell` is called for each.
        """
        count: Counter[str] = Counter()
        size = failed = 0
        after: tuple[datetime, str] | None = None
        while True:
            async with self._database.read() as connection:
                rows = await retention.due_after(
                    connection, now, after, tenant_id=tenant_id, limit=BATCH
                )
            for row in rows:
                try:
                    look = self._look if dry_run else self._delete
                    due = await look(row.tenant_id, row.id, now)
                except (VoxtraError, ValueError):
                    # It keeps no other from being deleted. A database that is away does.
                    log.exception("recording %s is over but can't be deleted", row.id)
                    failed += 1
                    continue
                if due is not None:
                    count[due.tenant_id] += 1
                    size += due.size
                    tell(due)
            if len(rows) < BATCH:
                return Report(dry_run, count.total(), size, dict(count), failed)
            after = (rows[-1].expires_at, rows[-1].id)

    async def _look(self, tenant_id: str, recording_id: str, now: datetime) -> Due | None:
        async with self._database.read() as connection:
            return await retention.due(connection, tenant_id, recording_id, now)

    async def _delete(self, tenant_id: str, recording_id: str, now: datetime) -> Due | None:
        async with self._database.write() as connection:
            due = await retention.due(connection, tenant_id, recording_id, now, lock=True)
            if due is None:
                return None
            reason = f"its retention ended at {due.expires_at:%Y-%m-%dT%H:%M:%SZ}"
            await tombstones.delete(
                connection, tenant_id, recording_id, actor=retention.ACTOR, reason=reason, now=now
            )
            await audit.record(
                connection,
                tenant_id=tenant_id,
                actor=retention.ACTOR,
                action="recording.deleted",
                subject_kind="recording",
                subject_id=recording_id,
                detail={"reason": reason},
                at=now,
            )
        return due


class Recompute:
    """The handler of `retention` jobs: a tenant's rules have changed, so have its expiries."""

    def __init__(self, database: Database, queue: Queue) -> None:
        self._database = database
        self._queue = queue

    async def run(self, job: Job) -> None:
        """Compute all recordings of the tenant anew. Rules that change meanwhile queue the job once
        more.
        """
        after, changed = "", 0
        try:
            while True:
                async with self._database.write() as connection:
                    after, count = await retention.reapply(
                        connection, job.tenant_id, after, limit=BATCH
                    )
                    if not after:
                        await self._queue.finish(connection, job)
                        return
                changed += count
                await self._queue.renew(job, {"changed": changed, "after": after})
        except LeaseLost as error:
            log.info("%s", error)


async def forecast(database: Database, tenant_id: str, policy: Policy, now: datetime) -> Forecast:
    """Tell what a policy would do to a tenant's recordings if it were set at `now`."""
    recordings = changed = due = due_size = held = 0
    after = ""
    while True:
        async with database.read() as connection:
            rows = await retention.stock(connection, tenant_id, after, BATCH)
        if not rows:
            return Forecast(recordings, changed, due, due_size, held)
        after = rows[-1].id
        for row in rows:
            expiry = retention.expires_at(retention.facts_of(row), policy)
            recordings += 1
            changed += expiry != row.expires_at
            if expiry is None or expiry > now:
                continue
            if row.held:
                held += 1
            else:
                due += 1
                due_size += row.size or 0
