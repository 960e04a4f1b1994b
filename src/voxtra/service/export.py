"""Making exports: a zip of many recordings with a manifest, streamed from blob to blob.

A file that is missing, or other than it was, is an entry of the manifest and no more. The archive
can be had when all of it is stored, and only then. Each attempt writes a blob of its own: what a
worker that lost its lease has written can't take the place of the good one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Row, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection

from voxtra.blobs.base import BlobError, BlobStore, BlobWriter, Stored
from voxtra.exceptions import VoxtraError
from voxtra.service.access import granted
from voxtra.service.archive import Archive, EntryBroken
from voxtra.service.candidates import Candidates, Source, Unreadable
from voxtra.service.manifest import Manifest, Result
from voxtra.service.purge import remove_archives
from voxtra.store import exports
from voxtra.store.database import Database
from voxtra.store.jobs import LEASE, Job, LeaseLost, Queue
from voxtra.store.schema import principals, utc_now

__all__ = ["LOCAL_ACTOR", "Exporter"]

log = logging.getLogger(__name__)

SCOPE: Final = "recordings:export"

LOCAL_ACTOR: Final = "cli"
"""Who types commands on the machine itself; nobody else but principals may export."""

TRIES: Final = 8
"""Attempts at an export that breaks as a whole: some minutes, so that a restart is survived."""

BEAT: Final = LEASE.total_seconds() / 5
"""Seconds after which the lease is renewed and the progress told."""

FIRST_WAIT: Final = 5.0
LONGEST_WAIT: Final = 300.0

FOLDER: Final = "recordings"
"""Where the audio is in the archive; the manifests are beside it."""

_PASSING: Final = (DBAPIError, PoolTimeout, OSError)


class _Outdated(VoxtraError):
    """A recording in the archive was deleted meanwhile."""


@dataclass(slots=True)
class _Tally:
    """How far the work is."""

    total: int
    added: set[str] = field(default_factory=set)
    failed: int = 0


class Exporter:
    """The handler of `export` jobs.

    `folder` takes what has to be fetched from an object store before it can be added, two files at
    most. `lifetime` is how long archives are kept.
    """

    def __init__(
        self,
        database: Database,
        queue: Queue,
        blobs: BlobStore,
        folder: Path,
        *,
        lifetime: timedelta = exports.LIFETIME,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._queue = queue
        self._blobs = blobs
        self._candidates = Candidates(database, blobs, folder)
        self._lifetime = lifetime
        self._clock = clock

    async def run(self, job: Job) -> None:
        """Make the export, or give the job back for another try, or say why it can't be made."""
        try:
            await self._try(job)
        except* LeaseLost as lost:
            # Who has the job now has removed what it knew of; this may have come later.
            log.info("%s", lost.exceptions[0])
            await self._blobs.delete(_key(job, job.attempts))
        except* Exception as errors:
            error = errors.exceptions[0]
            log.warning("export %s can't be made", job.subject_id, exc_info=error)
            await self._failed(job, str(error) or type(error).__name__)

    async def sweep(self, now: datetime) -> int:
        """End the exports whose time is over and remove their archives; return how many were
        removed. One that can't be is left for the next time.
        """
        async with self._database.write() as connection:
            await exports.expire(connection, now)
        try:
            return await remove_archives(self._database, self._blobs)
        except BlobError as error:
            log.warning("an expired export can't be removed yet: %s", error)
            return 0

    async def _try(self, job: Job) -> None:
        for attempt in range(1, job.attempts):
            await self._blobs.delete(_key(job, attempt))
        async with self._database.write() as connection:
            row = await exports.begin(connection, job.tenant_id, job.subject_id)
            if row is None:
                await self._queue.finish(connection, job)
                return
            allowed = await _may_export(connection, row)
        if not allowed:
            await self._give_up(job, "who asked for it may not export recordings any more")
            return
        tally, key = _Tally(row.total), _key(job, job.attempts)
        async with asyncio.TaskGroup() as group:
            beat = group.create_task(self._beat(job, tally))
            async with self._blobs.open_writer(key) as writer:
                await self._fill(job, row, writer, tally)
            beat.cancel()
        # When the answer to a commit is lost nobody knows whether it was made: the blob stays then,
        # and where it was not the next attempt removes it.
        if writer.stored is not None and not await self._publish(job, key, writer.stored, tally):
            await self._blobs.delete(key)

    async def _fill(self, job: Job, row: Row[Any], writer: BlobWriter, tally: _Tally) -> None:
        archive, manifest = Archive(writer.write), Manifest()
        candidates = self._candidates.of(job.tenant_id, job.subject_id)
        async with aclosing(candidates):
            async for candidate in candidates:
                file, result, cause = "", candidate.result, candidate.cause
                if candidate.source is not None:
                    with candidate.source.file:
                        try:
                            file = await _copy(archive, manifest, candidate.source)
                        except (EntryBroken, Unreadable) as error:
                            result, cause = Result.UNREADABLE, str(error)
                if result is Result.OK:
                    tally.added.add(candidate.recording_id)
                else:
                    tally.failed += 1
                manifest.add(candidate.recording_id, candidate.row, result, file=file, cause=cause)
        now = self._clock()
        head = {
            "export_id": row.id,
            "created_at": row.created_at,
            "created_by": row.created_by,
            "finished_at": now,
            "total": tally.total,
            "done": len(tally.added),
            "failed": tally.failed,
        }
        await archive.add_text("manifest.json", now, manifest.as_json(head))
        await archive.add_text("manifest.csv", now, manifest.as_csv())
        await archive.close()

    async def _publish(self, job: Job, key: str, stored: Stored, tally: _Tally) -> bool:
        """Let the archive be had; False: nobody wants it any more."""
        async with self._database.write() as connection:
            wanted = await exports.finish(
                connection,
                job.tenant_id,
                job.subject_id,
                done=len(tally.added),
                failed=tally.failed,
                size=stored.size,
                sha256=stored.sha256,
                blob_key=key,
                now=self._clock(),
                lifetime=self._lifetime,
            )
            if wanted and tally.added & await exports.deleted_of(connection, job.subject_id):
                raise _Outdated("a recording in it was deleted meanwhile")
            await self._queue.finish(connection, job)
        return wanted

    async def _beat(self, job: Job, tally: _Tally) -> None:
        """Keep the job and tell how far it is. Raises `LeaseLost`."""
        while True:
            await asyncio.sleep(BEAT)
            done, failed = len(tally.added), tally.failed
            try:
                await self._queue.renew(job, {"total": tally.total, "done": done, "failed": failed})
                async with self._database.write() as connection:
                    await exports.progress(connection, job.subject_id, done=done, failed=failed)
            except _PASSING as error:
                log.warning("the lease of export %s can't be renewed: %s", job.subject_id, error)

    async def _failed(self, job: Job, problem: str) -> None:
        if job.attempts >= TRIES:
            await self._give_up(job, problem)
            return
        wait = min(FIRST_WAIT * 2 ** (job.attempts - 1), LONGEST_WAIT)
        with suppress(LeaseLost):
            await self._queue.retry(job, problem, wait)

    async def _give_up(self, job: Job, cause: str) -> None:
        with suppress(LeaseLost):
            async with self._database.write() as connection:
                await exports.fail(
                    connection, job.tenant_id, job.subject_id, cause=cause, now=self._clock()
                )
                await self._queue.give_up(connection, job, cause)
            for attempt in range(1, job.attempts + 1):
                await self._blobs.delete(_key(job, attempt))


async def _may_export(connection: AsyncConnection, row: Row[Any]) -> bool:
    """Tell whether who asked for an export may still have it."""
    if row.created_by == LOCAL_ACTOR:
        return True
    found = await connection.execute(
        select(principals.c.role).where(
            principals.c.id == row.created_by,
            principals.c.tenant_id == row.tenant_id,
            principals.c.disabled_at.is_(None),
        )
    )
    return SCOPE in granted(found.scalar() or "", ())


async def _copy(archive: Archive, manifest: Manifest, source: Source) -> str:
    """Copy a recording into the archive and return its name there. Raises `EntryBroken`,
    `Unreadable`: nothing names it there then.
    """
    row = source.row
    name = f"{FOLDER}/{manifest.name_for(row)}"
    at = row.started_at or row.requested_at
    async with aclosing(source.pieces()) as pieces:
        await archive.add(name, at, size=row.size, crc=source.crc, pieces=pieces)
    return name


def _key(job: Job, attempt: int) -> str:
    return f"exports/{job.tenant_id}/{job.subject_id}.{attempt}.zip"
