"""Removing the files of deleted recordings: audio, peaks, what was derived from them, and the
archives that hold them. It is tried until all are gone.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from voxtra.blobs.base import BlobError, BlobStore
from voxtra.exceptions import VoxtraError
from voxtra.store import exports, tombstones
from voxtra.store.database import Database
from voxtra.store.jobs import Job, LeaseLost, Queue
from voxtra.store.tombstones import Remains

__all__ = ["LONGEST_WAIT", "Purge", "Remover", "remove_archives"]

log = logging.getLogger(__name__)

LONGEST_WAIT: Final = 3600.0
"""Seconds between two tries: what can't be removed now may be removed when a disk is back."""

Remover = Callable[[Remains], Awaitable[None]]
"""Removes one kind of file of a deleted recording; none being there is a success."""


class Purge:
    """The handler of `purge` jobs. `removers` know of files that are no blobs: caches, tracks that
    are still on the PBX.
    """

    def __init__(
        self,
        database: Database,
        queue: Queue,
        blobs: BlobStore,
        removers: Sequence[Remover] = (),
    ) -> None:
        self._database = database
        self._queue = queue
        self._blobs = blobs
        self._removers = removers

    async def run(self, job: Job) -> None:
        """Remove what is left of the recording, or give the job back for another try."""
        try:
            await self._remove(job)
        except LeaseLost as error:
            log.info("%s", error)
        except (VoxtraError, OSError) as error:
            wait = min(2.0**job.attempts, LONGEST_WAIT)
            log.warning(
                "recording %s: its files can't be removed yet: %s; next try in %.0f s",
                job.subject_id,
                error,
                wait,
            )
            await self._queue.retry(job, str(error), wait)

    async def _remove(self, job: Job) -> None:
        async with self._database.read() as connection:
            left = await tombstones.remains(connection, job.tenant_id, job.subject_id)
        if left is not None:
            for remove in self._removers:
                await remove(left)
            for key in left.blob_keys:
                await self._blobs.delete(key)
        await remove_archives(self._database, self._blobs, recording_id=job.subject_id)
        async with self._database.write() as connection:
            await tombstones.forget(connection, job.subject_id)
            await self._queue.finish(connection, job)


async def remove_archives(database: Database, blobs: BlobStore, *, recording_id: str = "") -> int:
    """Remove the archives of expired exports, of all or of those that were to hold a recording;
    return how many.

    Raises the last `BlobError` after all were tried.
    """
    async with database.read() as connection:
        left = await exports.leftovers(connection, recording_id=recording_id)
    failed: BlobError | None = None
    for export_id, key in left:
        try:
            await blobs.delete(key)
        except BlobError as error:
            failed = error
            continue
        async with database.write() as connection:
            await exports.forget_blob(connection, export_id)
    if failed is not None:
        raise failed
    return len(left)
