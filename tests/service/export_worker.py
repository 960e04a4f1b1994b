"""A worker process that makes exports until it is killed: `python -m ... DATABASE_URL BLOBS`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from voxtra.blobs.local import LocalStore
from voxtra.service.export import Exporter
from voxtra.store import exports
from voxtra.store.database import Database
from voxtra.store.jobs import Queue


async def work(url: str, folder: Path) -> None:
    """Take one job and do it."""
    database, blobs = Database(url), LocalStore(folder)
    queue = Queue(database, "killed")
    (job,) = await queue.claim([exports.JOB])
    await Exporter(database, queue, blobs, folder.parent / "work").run(job)


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], Path(sys.argv[2])))
