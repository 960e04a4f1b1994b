"""An export of many recordings, from the rows to a proven archive that can be had.

Ours compares each file with its hash, copies it, writes the manifests, syncs, and reads the archive
back from the disk. Raw is `zip -0` of the same files, which does none of that but the copying. Both
work on the same file system, one after the other in every round. Memory is what the resident set of
the process grows by while it makes the archive; there is nothing beside it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import tempfile
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

from sqlalchemy import insert

from bench.report import Row
from voxtra.blobs.local import LocalStore
from voxtra.ids import new_id
from voxtra.lab.pbx import Pbx
from voxtra.service.export import LOCAL_ACTOR, Exporter
from voxtra.store import exports
from voxtra.store.database import Database
from voxtra.store.jobs import Queue
from voxtra.store.migrate import migrate
from voxtra.store.schema import recordings, utc_now

__all__ = ["measure"]

SIZE: Final = 9_600_044
"""Bytes of ten minutes of mono WAV."""

ROUNDS: Final = 5

TENANT: Final = "bench"


async def measure(_pbx: Pbx, count: int, rounds: int = ROUNDS) -> list[Row]:
    """Export `count` recordings of ten minutes, and zip their files, `rounds` times."""
    with tempfile.TemporaryDirectory(prefix="voxtra-bench-", dir=Path.home()) as name:
        folder = Path(name)
        database = Database(f"sqlite:///{folder / 'voxtra.db'}")
        await migrate(database)
        blobs = LocalStore(folder / "blobs")
        ids = await _record(database, blobs, count)
        queue = Queue(database, "bench")
        exporter = Exporter(database, queue, blobs, folder / "work")

        async def ours() -> None:
            async with database.write() as connection:
                export_id = await exports.create(
                    connection, TENANT, ids, created_by=LOCAL_ACTOR, now=utc_now()
                )
            (job,) = await queue.claim([exports.JOB])
            await exporter.run(job)
            async with database.read() as connection:
                row = await exports.get(connection, TENANT, export_id)
            if row is None or row.done != count:
                raise RuntimeError(f"export {export_id} is not whole")

        async def raw() -> None:
            archive, source = folder / "raw.zip", blobs.root / "recordings"
            zipping = ["zip", "-0", "-q", "-r", str(archive), "."]
            process = await asyncio.create_subprocess_exec(*zipping, cwd=source)
            if await process.wait():
                raise RuntimeError("zip failed")

        speeds: dict[str, list[float]] = {"ours": [], "raw": []}
        grown = 0.0
        for _ in range(rounds + 1):
            before = _peak_reset()
            speeds["ours"].append(count * SIZE / await _timed(ours))
            grown = max(grown, _peak() - before)
            speeds["raw"].append(count * SIZE / await _timed(raw))
            await exporter.sweep(utc_now() + timedelta(days=99))
            (folder / "raw.zip").unlink()
        blobs.close()
        await database.close()
    ours_speed, raw_speed = (median(speeds[side][1:]) / 1e6 for side in ("ours", "raw"))
    what = f"{count} recordings of 10 minutes"
    return [
        Row("export", what, "MB/s", ours_speed, raw_speed, (">=", 0.8)),
        Row("export", f"memory, {what}", "MB", grown / 1e6, 0.0, ("<=", 64.0), "ours"),
    ]


async def _record(database: Database, blobs: LocalStore, count: int) -> list[str]:
    """Add recordings with their files; return their ids."""
    ids = []
    async with database.write() as connection:
        for number in range(count):
            audio = os.urandom(SIZE)
            ids.append(recording_id := new_id())
            key = f"recordings/{number:05}.wav"
            await blobs.write(key, [audio])
            now = utc_now()
            await connection.execute(
                insert(recordings).values(
                    id=recording_id,
                    tenant_id=TENANT,
                    name=recording_id,
                    target="snoop",
                    format="wav",
                    layout="mono",
                    state="available",
                    requested_at=now,
                    ended_at=now,
                    size=SIZE,
                    sha256=hashlib.sha256(audio).hexdigest(),
                    blob_key=key,
                )
            )
    return ids


async def _timed(work: Callable[[], Awaitable[None]]) -> float:
    """Return how many seconds it takes."""
    begun = perf_counter()
    await work()
    return perf_counter() - begun


def _peak_reset() -> float:
    """Forget the largest resident set; return the present one in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return _kilobytes("VmRSS") * 1024


def _peak() -> float:
    return _kilobytes("VmHWM") * 1024


def _kilobytes(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    if found is None:
        raise RuntimeError(f"the kernel tells no {name}")
    return int(found[1])
