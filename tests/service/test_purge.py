"""Purge: all files of a deleted recording go, at last, and of no other one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.store.making import ENDED, TENANT, add_recording, row_of
from voxtra.blobs.base import BlobError
from voxtra.blobs.local import LocalStore
from voxtra.service.purge import LONGEST_WAIT, Purge, remove_archives
from voxtra.store import exports, tombstones
from voxtra.store.database import Database
from voxtra.store.jobs import LEASE, Job, Queue
from voxtra.store.schema import utc_now
from voxtra.store.tombstones import Remains


class Stuck(LocalStore):
    """A store that does not let go of blobs with `part` in their keys."""

    part = ""

    def _delete(self, key: str) -> None:
        if self.part in key:
            raise BlobError(key, "the disk is read-only")
        super()._delete(key)


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[LocalStore]:
    """Open an empty store."""
    store = LocalStore(tmp_path / "blobs")
    yield store
    store.close()


async def add(database: Database, blobs: LocalStore, name: str) -> str:
    """Add a recording with audio and peaks."""
    for suffix in ("wav", "peaks"):
        await blobs.write(f"recordings/{name}.{suffix}", [b"x"])
    async with database.write() as connection:
        return await add_recording(
            connection,
            blob_key=f"recordings/{name}.wav",
            peaks_key=f"recordings/{name}.peaks",
        )


async def delete(database: Database, recording_id: str) -> None:
    """Delete a recording."""
    async with database.write() as connection:
        await tombstones.delete(
            connection, TENANT, recording_id, actor="p", reason="asked", now=ENDED
        )


async def claim(database: Database, *, after: timedelta = timedelta(0)) -> Job:
    """Take the one purge job that is there."""
    queue = Queue(database, "w", clock=lambda: utc_now() + after)
    (job,) = await queue.claim([tombstones.JOB], limit=9)
    return job


def files(blobs: LocalStore) -> list[str]:
    """Return the names of all files."""
    return sorted(path.name for path in blobs.root.rglob("*") if path.is_file())


async def test_audio_and_peaks_go(database: Database, blobs: LocalStore):
    """Those of others stay; afterwards the tombstone says that nothing is left."""
    made, other = await add(database, blobs, "a"), await add(database, blobs, "b")
    await delete(database, made)
    job = await claim(database)
    await Purge(database, Queue(database, "w"), blobs).run(job)
    assert files(blobs) == ["b.peaks", "b.wav"]
    row = await row_of(database, made)
    assert (row.blob_key, row.peaks_key, row.name, row.tracks) == ("", "", "", [])
    assert (await row_of(database, other)).blob_key == "recordings/b.wav"
    assert await Queue(database, "w").claim([tombstones.JOB]) == []


async def test_a_job_for_a_living_recording_removes_nothing(database: Database, blobs: LocalStore):
    """Only a tombstone allows it, whoever queued the job."""
    made = await add(database, blobs, "a")
    job = Job("j", TENANT, tombstones.JOB, made, attempts=1)
    await Purge(database, Queue(database, "w"), blobs).run(job)
    assert files(blobs) == ["a.peaks", "a.wav"]
    assert (await row_of(database, made)).blob_key == "recordings/a.wav"


async def test_it_is_tried_until_all_is_gone(database: Database, blobs: LocalStore):
    """A store that fails is asked again later, and what was removed before is no error."""
    made = await add(database, blobs, "a")
    await delete(database, made)

    stuck = Stuck(blobs.root)
    stuck.part = ".wav"
    job = await claim(database)
    await Purge(database, Queue(database, "w"), stuck).run(job)
    stuck.close()
    assert files(blobs) == ["a.wav"]
    assert (await row_of(database, made)).blob_key == "recordings/a.wav"
    assert await Queue(database, "w").claim([tombstones.JOB]) == []
    again = await claim(database, after=timedelta(seconds=LONGEST_WAIT))
    assert again.attempts == 2
    await Purge(database, Queue(database, "w"), blobs).run(again)
    assert files(blobs) == []
    assert (await row_of(database, made)).blob_key == ""


async def test_a_late_worker_changes_nothing(database: Database, blobs: LocalStore):
    """Who lost the lease leaves the job to who has it."""
    made = await add(database, blobs, "a")
    await delete(database, made)
    late = await claim(database)
    job = await claim(database, after=2 * LEASE)
    purge = Purge(database, Queue(database, "w"), blobs)
    await purge.run(late)
    assert (await row_of(database, made)).name != ""
    await purge.run(job)
    assert (await row_of(database, made)).name == ""


async def test_removers_are_told_what_remains(database: Database, blobs: LocalStore):
    """Caches and tracks on a PBX go as well; one that fails has everything tried again."""
    made = await add(database, blobs, "a")
    await delete(database, made)
    told: list[Remains] = []

    async def fail(left: Remains) -> None:
        told.append(left)
        if len(told) == 1:
            raise OSError("the folder is away")

    purge = Purge(database, Queue(database, "w"), blobs, [fail])
    await purge.run(await claim(database))
    assert (await row_of(database, made)).name == f"rec-{made}"
    await purge.run(await claim(database, after=timedelta(seconds=LONGEST_WAIT)))
    assert [(left.recording_id, left.name) for left in told] == [(made, f"rec-{made}")] * 2
    assert (await row_of(database, made)).name == ""


async def make_export(database: Database, blobs: LocalStore, recording_id: str) -> str:
    """Make an export that holds a recording."""
    async with database.write() as connection:
        export_id = await exports.create(
            connection, TENANT, [recording_id], created_by="p", now=ENDED
        )
        await exports.begin(connection, TENANT, export_id)
        await exports.finish(
            connection,
            TENANT,
            export_id,
            done=1,
            failed=0,
            size=1,
            sha256="",
            blob_key=f"exports/{export_id}.zip",
            now=ENDED,
        )
    await blobs.write(f"exports/{export_id}.zip", [b"x"])
    return export_id


async def test_archives_that_hold_it_go(database: Database, blobs: LocalStore):
    """Those without it stay."""
    made, other = await add(database, blobs, "a"), await add(database, blobs, "b")
    await make_export(database, blobs, made)
    without = await make_export(database, blobs, other)
    await delete(database, made)
    await Purge(database, Queue(database, "w"), blobs).run(await claim(database))
    assert files(blobs) == [f"{without}.zip", "b.peaks", "b.wav"]
    async with database.read() as connection:
        assert await exports.leftovers(connection) == []


async def test_an_archive_that_can_not_be_removed_keeps_no_other(
    database: Database, blobs: LocalStore
):
    """All are tried, then the error is raised; what is left is found the next time."""
    made = [await make_export(database, blobs, f"r{n}") for n in range(3)]
    async with database.write() as connection:
        await exports.expire(connection, ENDED + exports.LIFETIME)
    stuck = Stuck(blobs.root)
    stuck.part = made[1]
    with pytest.raises(BlobError):
        await remove_archives(database, stuck)
    stuck.close()
    async with database.read() as connection:
        assert [export_id for export_id, _ in await exports.leftovers(connection)] == [made[1]]
    assert await remove_archives(database, blobs) == 1
    assert files(blobs) == []
