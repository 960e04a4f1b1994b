"""Exports: what is in the archive is what was recorded, and all else is in the manifest."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import os
import random
import shutil
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Row, insert, select, update

from tests.store.making import ENDED, TENANT, add_recording
from voxtra.blobs.base import BlobError, BlobWriter
from voxtra.blobs.local import LocalStore
from voxtra.service import candidates
from voxtra.service import export as service
from voxtra.service.export import LOCAL_ACTOR, Exporter
from voxtra.store import exports, journal, retention, tombstones
from voxtra.store.database import Database
from voxtra.store.jobs import LEASE, Queue
from voxtra.store.schema import jobs, principals, recordings, utc_now

NOW = ENDED + timedelta(days=1)

Hook = Callable[[], Awaitable[object]]


class Store(LocalStore):
    """A folder of blobs that calls `opened` when the next archive is begun, and `stored` when it is
    stored but not known yet; with `remote` it has no files for others, as an object store.
    """

    remote = False
    opened: Hook | None = None
    stored: Hook | None = None

    def local_path(self, key: str) -> Path | None:  # type: ignore[override]  # as the base class
        return None if self.remote else super().local_path(key)

    @asynccontextmanager
    async def open_writer(self, key: str) -> AsyncIterator[BlobWriter]:
        if self.opened is not None:
            hook, self.opened = self.opened, None
            await hook()
        async with super().open_writer(key) as writer:
            yield writer
        if self.stored is not None:
            hook, self.stored = self.stored, None
            await hook()


@dataclass
class Desk:
    """A tenant with a database, blobs, and a worker that makes exports."""

    database: Database
    blobs: Store
    folder: Path

    async def record(self, audio: bytes = b"", **columns: Any) -> str:
        """Add a recording with its audio."""
        columns = {"size": len(audio), "sha256": hashlib.sha256(audio).hexdigest(), **columns}
        async with self.database.write() as connection:
            made = await add_recording(connection, **columns)
            if columns.get("state", "available") == "available" and not columns.get("blob_key"):
                key = f"recordings/{made}.wav"
                await self.blobs.write(key, [audio])
                change = update(recordings).where(recordings.c.id == made)
                await connection.execute(change.values(blob_key=key))
        return made

    async def ask(self, *recording_ids: str, created_by: str = LOCAL_ACTOR) -> str:
        """Ask for an export."""
        async with self.database.write() as connection:
            return await exports.create(
                connection, TENANT, recording_ids, created_by=created_by, now=NOW
            )

    async def work(self, *, late: timedelta = timedelta(0), worker: str = "w") -> bool:
        """Do the job that is due, if there is one, in so much time from now."""
        queue = Queue(self.database, worker, clock=lambda: utc_now() + late)
        claimed = await queue.claim([exports.JOB])
        for job in claimed:
            await self.exporter(queue).run(job)
        return bool(claimed)

    def exporter(self, queue: Queue) -> Exporter:
        """Return a worker."""
        return Exporter(self.database, queue, self.blobs, self.folder / "work", clock=lambda: NOW)

    async def get(self, export_id: str) -> Row[Any]:
        """Return an export as it stands."""
        async with self.database.read() as connection:
            row = await exports.get(connection, TENANT, export_id)
        assert row is not None
        return row

    async def open(self, export_id: str) -> tuple[zipfile.ZipFile, dict[str, dict[str, Any]]]:
        """Return the archive, tested, and the entries of its manifest by recording."""
        row = await self.get(export_id)
        assert row.state == "available", row.cause
        path = self.blobs.root / row.blob_key
        data = await asyncio.to_thread(path.read_bytes)
        assert (row.size, row.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        if (program := shutil.which("unzip")) is not None:
            tested = await asyncio.to_thread(
                subprocess.run, [program, "-tq", path], capture_output=True, check=False
            )
            assert tested.returncode == 0, tested.stdout
        archive = zipfile.ZipFile(io.BytesIO(data))
        assert archive.testzip() is None
        manifest = msgspec.json.decode(archive.read("manifest.json"))
        lines = list(csv.DictReader(io.StringIO(archive.read("manifest.csv").decode())))
        entries = manifest.pop("recordings")
        assert [line["result"] for line in lines] == [entry["result"] for entry in entries]
        assert (manifest["export_id"], manifest["total"]) == (export_id, len(entries))
        assert (manifest["done"], manifest["failed"]) == (row.done, row.failed)
        files = [entry["file"] for entry in entries if entry["result"] == "ok"]
        assert archive.namelist() == [*files, "manifest.json", "manifest.csv"]
        return archive, {entry["recording_id"]: entry for entry in entries}

    def archives(self) -> list[str]:
        """Return the names of all archives, and of what is half-written."""
        return sorted(path.name for path in self.blobs.root.glob("exports/**/*") if path.is_file())


@pytest.fixture
async def desk(database: Database, tmp_path: Path) -> AsyncIterator[Desk]:
    """Have an empty tenant."""
    blobs = Store(tmp_path / "blobs")
    yield Desk(database, blobs, tmp_path)
    blobs.close()


async def test_files_and_manifest_agree_with_the_rows(desk: Desk):
    """Each file has the bytes, and its entry the facts, of the recording."""
    audio = {await desk.record(os.urandom(n)): n for n in (0, 1, 3_000_000)}
    export_id = await desk.ask(*audio)
    assert await desk.work() is True
    archive, entries = await desk.open(export_id)
    assert set(entries) == set(audio)
    for recording_id, size in audio.items():
        entry = entries[recording_id]
        data = archive.read(entry["file"])
        assert (len(data), entry["size"], entry["result"]) == (size, size, "ok")
        assert hashlib.sha256(data).hexdigest() == entry["sha256"]
        assert entry["file"] == (
            f"recordings/2026-03-01_11.59.00Z_inbound_4915550100_to_200_{recording_id[-8:]}.wav"
        )
        assert (entry["caller"], entry["ended_at"]) == ("+4915550100", "2026-03-01T12:00:00Z")
    row = await desk.get(export_id)
    assert (row.done, row.failed, row.expires_at) == (3, 0, NOW + exports.LIFETIME)
    async with desk.database.read() as connection:
        told = await journal.since(connection, TENANT, 0)
    assert [each.type for each in told] == ["export.available"]
    assert await desk.work() is False


async def test_each_that_is_missing_says_why(desk: Desk):
    """Whatever is wrong with some, the archive has the others."""
    good = [await desk.record(b"audio") for _ in range(2)]
    deleted, expired = await desk.record(b"x"), await desk.record(b"x")
    async with desk.database.write() as connection:
        for each, actor in ((deleted, "p1"), (expired, retention.ACTOR)):
            await tombstones.delete(
                connection, TENANT, each, actor=actor, reason="because", now=NOW
            )
    wrong = {
        "nothing": ("not_found", "there is none of this id"),
        await desk.record(b"x", tenant_id="other"): ("not_found", "there is none of this id"),
        await desk.record(state="recording", ended_at=None): ("not_ready", "it is recording"),
        await desk.record(state="stopping"): ("not_ready", "it is stopping"),
        await desk.record(state="failed", cause="silence"): ("failed", "silence"),
        deleted: ("deleted", "deleted at 2026-03-02T12:00:00Z: because"),
        expired: ("expired", "deleted at 2026-03-02T12:00:00Z: because"),
        await desk.record(blob_key="recordings/gone.wav"): ("unreadable", "its file can't be"),
        await desk.record(b"audio", size=6): ("unreadable", "its file has 5 bytes, and 6 were"),
        await desk.record(b"audio", sha256="ab"): ("unreadable", "the SHA-256 differs"),
        await desk.record(size=None): ("unreadable", "nothing says where its file is"),
        await desk.record(b"x", blob_key="../x"): ("unreadable", "is no key of a blob"),
    }
    ids = [*good, *wrong]
    random.Random(1).shuffle(ids)
    export_id = await desk.ask(*ids)
    await desk.work()
    archive, entries = await desk.open(export_id)
    for recording_id, (result, cause) in wrong.items():
        assert entries[recording_id]["result"] == result
        assert cause in entries[recording_id]["cause"]
        assert entries[recording_id]["file"] == ""
    assert {archive.read(entries[each]["file"]) for each in good} == {b"audio"}
    row = await desk.get(export_id)
    assert (row.total, row.done, row.failed) == (14, 2, 12)


async def test_a_foreign_recording_shows_nothing(desk: Desk):
    """Its entry is the same as one of an id that never was."""
    foreign = await desk.record(b"x", tenant_id="other", caller="+4915550199")
    export_id = await desk.ask(foreign, "nothing")
    await desk.work()
    _, entries = await desk.open(export_id)
    facts = [{**entry, "recording_id": ""} for entry in entries.values()]
    assert facts[0] == facts[1]


@pytest.mark.parametrize("remote", [False, True])
async def test_a_file_that_breaks_while_it_is_copied(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, remote: bool
):
    """The archive stays whole without it, wherever the blobs are."""
    desk.blobs.remote = remote
    made = [await desk.record(bytes([n]) * 3_000_000) for n in range(3)]
    compare = candidates._compare

    async def and_break(file: io.FileIO, row: Row[Any]) -> int:
        crc = await compare(file, row)
        if row.id == made[1]:
            os.truncate(f"/proc/self/fd/{file.fileno()}", 2_000_000)
        return crc

    monkeypatch.setattr(candidates, "_compare", and_break)
    export_id = await desk.ask(*made)
    await desk.work()
    archive, entries = await desk.open(export_id)
    assert entries[made[1]]["result"] == "unreadable"
    assert "changed while it was copied" in entries[made[1]]["cause"]
    for number in (0, 2):
        entry = entries[made[number]]
        assert archive.read(entry["file"]) == bytes([number]) * 3_000_000


async def test_blobs_without_files_are_fetched_first(desk: Desk):
    """From an object store the same archive comes, and nothing is left beside it."""
    desk.blobs.remote = True
    good, short = await desk.record(os.urandom(2_500_000)), await desk.record(b"audio", size=9)
    gone = await desk.record(blob_key="recordings/gone.wav", size=5)
    export_id = await desk.ask(good, short, gone)
    await desk.work()
    archive, entries = await desk.open(export_id)
    assert [entries[each]["result"] for each in (good, short, gone)] == [
        "ok",
        "unreadable",
        "unreadable",
    ]
    assert len(archive.read(entries[good]["file"])) == 2_500_000
    assert list((desk.folder / "work").iterdir()) == []


async def test_the_archive_ends_with_its_time(desk: Desk):
    """It can be had until then; the sweep after that removes it, and nothing else."""
    made = await desk.record(b"audio")
    export_id = await desk.ask(made)
    await desk.work()
    exporter = desk.exporter(Queue(desk.database, "w"))
    over = NOW + exports.LIFETIME
    assert await exporter.sweep(over - timedelta(seconds=1)) == 0
    await desk.open(export_id)
    assert await exporter.sweep(over) == 1
    assert desk.archives() == []
    row = await desk.get(export_id)
    assert (row.state, row.blob_key) == ("expired", "")
    assert (desk.blobs.root / f"recordings/{made}.wav").exists()


async def test_a_sweep_that_fails_is_made_again(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    """The export can't be had any more; its archive goes when the store lets it go."""
    export_id = await desk.ask(await desk.record(b"audio"))
    await desk.work()

    def stuck(key: str) -> None:
        raise BlobError(key, "the disk is read-only")

    exporter = desk.exporter(Queue(desk.database, "w"))
    with monkeypatch.context() as patch:
        patch.setattr(desk.blobs, "_delete", stuck)
        assert await exporter.sweep(NOW + exports.LIFETIME) == 0
    assert (await desk.get(export_id)).state == "expired"
    assert await exporter.sweep(NOW + exports.LIFETIME) == 1
    assert desk.archives() == []


async def add_principal(desk: Desk, role: str, **columns: Any) -> str:
    """Add somebody with a role."""
    values = {"id": "p1", "tenant_id": TENANT, "name": "eve", "created_at": ENDED, **columns}
    async with desk.database.write() as connection:
        await connection.execute(insert(principals).values(role=role, **values))
    return "p1"


@pytest.mark.parametrize("role", ["admin", "supervisor"])
async def test_who_may_export_gets_it(desk: Desk, role: str):
    """The role has the scope when the archive is made."""
    who = await add_principal(desk, role)
    export_id = await desk.ask(await desk.record(b"audio"), created_by=who)
    await desk.work()
    await desk.open(export_id)


@pytest.mark.parametrize(
    ("role", "columns"),
    [
        ("agent", {}),
        ("unheard-of", {}),
        ("admin", {"disabled_at": ENDED}),
        ("admin", {"tenant_id": "other"}),
        ("admin", {"id": "p2"}),
    ],
)
async def test_who_may_not_export_any_more_gets_nothing(
    desk: Desk, role: str, columns: dict[str, Any]
):
    """What was allowed when it was asked for is looked at again when it is made."""
    await add_principal(desk, role, **columns)
    export_id = await desk.ask(await desk.record(b"audio"), created_by="p1")
    await desk.work()
    row = await desk.get(export_id)
    assert row.state == "failed"
    assert "may not export" in row.cause
    assert desk.archives() == []
    async with desk.database.read() as connection:
        told = await journal.since(connection, TENANT, 0)
    assert [each.type for each in told] == ["export.failed"]


async def test_an_export_that_was_removed_is_not_made(desk: Desk):
    """Its job ends without an archive."""
    export_id = await desk.ask(await desk.record(b"audio"))
    async with desk.database.write() as connection:
        await exports.remove(connection, TENANT, export_id, now=NOW)
    assert await desk.work() is True
    assert await desk.work() is False
    assert (await desk.get(export_id)).state == "expired"
    assert desk.archives() == []


async def test_an_export_that_is_removed_while_it_is_made(desk: Desk):
    """Nobody can have it, and nothing is left of it."""
    export_id = await desk.ask(await desk.record(b"audio"))

    async def remove() -> None:
        async with desk.database.write() as connection:
            await exports.remove(connection, TENANT, export_id, now=NOW)

    desk.blobs.stored = remove
    await desk.work()
    assert (await desk.get(export_id)).state == "expired"
    assert desk.archives() == []
    assert await desk.work() is False


async def test_a_recording_that_is_deleted_while_it_is_exported(desk: Desk):
    """The archive that holds it is thrown away, and made once more without it."""
    made, other = await desk.record(b"secret"), await desk.record(b"audio")
    export_id = await desk.ask(made, other)

    async def delete() -> None:
        async with desk.database.write() as connection:
            await tombstones.delete(connection, TENANT, made, actor="p1", reason="asked", now=NOW)

    desk.blobs.stored = delete
    await desk.work()
    assert (await desk.get(export_id)).state == "running"
    await desk.work(late=timedelta(seconds=service.LONGEST_WAIT))
    archive, entries = await desk.open(export_id)
    assert (entries[made]["result"], entries[other]["result"]) == ("deleted", "ok")
    assert [len(archive.namelist()), len(desk.archives())] == [3, 1]


@pytest.mark.parametrize("moment", ["opened", "stored"])
async def test_a_late_worker_does_not_replace_the_archive(desk: Desk, moment: str):
    """What somebody who lost the lease has stored is removed, and the good one stays."""
    export_id = await desk.ask(await desk.record(b"audio"))

    async def be_overtaken() -> None:
        await desk.work(late=2 * LEASE, worker="second")

    setattr(desk.blobs, moment, be_overtaken)
    await desk.work(worker="first")
    await desk.open(export_id)
    assert desk.archives() == [f"{export_id}.2.zip"]
    async with desk.database.read() as connection:
        told = await journal.since(connection, TENANT, 0)
    assert [each.type for each in told] == ["export.available"]


async def test_a_store_that_fails_is_tried_again(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    """After an outage the archive is made; one that lasts ends the export with its cause."""
    export_id, hopeless = await desk.ask(await desk.record(b"audio")), await desk.ask("x")

    def full(key: str) -> None:
        raise BlobError(key, "the disk is full: free some space or enlarge it")

    with monkeypatch.context() as patch:
        patch.setattr(desk.blobs, "_create", full)
        for _ in range(2):
            await desk.work()
        row = await desk.get(export_id)
        assert (row.state, row.done) == ("running", 0)
    late = timedelta(seconds=service.LONGEST_WAIT)
    async with desk.database.write() as connection:
        change = update(jobs).where(jobs.c.subject_id == hopeless)
        await connection.execute(change.values(run_at=ENDED + timedelta(days=9000)))
    assert await desk.work(late=late) is True
    await desk.open(export_id)
    with monkeypatch.context() as patch:
        patch.setattr(desk.blobs, "_create", full)
        async with desk.database.write() as connection:
            change = update(jobs).where(jobs.c.subject_id == hopeless)
            await connection.execute(change.values(run_at=ENDED, attempts=service.TRIES - 1))
        await desk.work()
    row = await desk.get(hopeless)
    assert row.state == "failed"
    assert "the disk is full" in row.cause
    async with desk.database.read() as connection:
        query = select(jobs.c.state).where(jobs.c.subject_id == hopeless)
        assert (await connection.execute(query)).scalar_one() == "dead"


async def test_progress_is_told_while_it_is_made(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    """Row and job say how many are done before all are; the lease lasts meanwhile."""
    monkeypatch.setattr(service, "BEAT", 0.0)
    made = [await desk.record(b"audio") for _ in range(5)]
    export_id = await desk.ask(*made, "nothing")
    seen = asyncio.Event()

    async def look() -> None:
        while True:
            row = await desk.get(export_id)
            async with desk.database.read() as connection:
                query = select(jobs.c.progress).where(jobs.c.subject_id == export_id)
                progress = (await connection.execute(query)).scalar_one()
            if row.state == "running" and (row.done, row.failed) == (5, 1):
                assert progress == {"total": 6, "done": 5, "failed": 1}
                seen.set()
                return
            await asyncio.sleep(0)

    desk.blobs.stored = lambda: asyncio.wait_for(seen.wait(), 30)
    await asyncio.gather(desk.work(), look())
    await desk.open(export_id)


async def test_a_killed_workers_export_is_taken_over(sqlite_url: str, tmp_path: Path):
    """Nothing of its archive can be had; the next worker begins anew and brings it to its end."""
    database, blobs = Database(sqlite_url), Store(tmp_path / "blobs")
    desk = Desk(database, blobs, tmp_path)
    first = await desk.record(os.urandom(2_000_000), id="rec-1")
    second = await desk.record(b"audio", id="rec-2")
    third = await desk.record(b"audio", id="rec-3")
    export_id = await desk.ask(first, second, third)
    # Whoever opens a pipe to read waits until somebody writes: the worker stops there.
    blob = blobs.root / f"recordings/{third}.wav"
    kept = blob.rename(blob.with_suffix(".kept"))
    os.mkfifo(blob)
    command = [sys.executable, "-m", "tests.service.export_worker", sqlite_url, str(blobs.root)]
    worker = await asyncio.create_subprocess_exec(*command)
    pipe = await asyncio.wait_for(asyncio.to_thread(os.open, blob, os.O_WRONLY), 60)
    worker.kill()
    await worker.wait()
    os.close(pipe)
    kept.replace(blob)
    assert (await desk.get(export_id)).state == "running"
    assert [name.endswith(".part") for name in desk.archives()] == [True]
    assert await desk.work() is False
    assert await desk.work(late=2 * LEASE) is True
    _, entries = await desk.open(export_id)
    assert {entry["result"] for entry in entries.values()} == {"ok"}
    assert await blobs.sweep(datetime.now(ENDED.tzinfo) + timedelta(hours=1)) == 1
    assert desk.archives() == [f"{export_id}.2.zip"]
    blobs.close()
    await database.close()


@pytest.mark.parametrize("remote", [False, True])
async def test_memory_does_not_grow_with_the_files(sqlite_url: str, tmp_path: Path, remote: bool):
    """An archive of 100 MB is made in less than 16."""
    database, blobs = Database(sqlite_url), Store(tmp_path / "blobs")
    blobs.remote = remote
    desk = Desk(database, blobs, tmp_path)
    audio = os.urandom(12_500_000)
    export_id = await desk.ask(*[await desk.record(audio) for _ in range(8)])
    del audio
    tracemalloc.start()
    try:
        await desk.work()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (await desk.get(export_id)).done == 8
    assert peak < 16_000_000
    blobs.close()
    await database.close()
