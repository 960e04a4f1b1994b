"""The command `voxtra recordings export`."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, Final

import click
from sqlalchemy import Row

from voxtra.blobs.base import BlobError
from voxtra.commands import options
from voxtra.commands.filters import add_filters, filter_of, matching
from voxtra.commands.opened import ACTOR, Opened, note, opened, run
from voxtra.commands.saving import check_free, saved
from voxtra.commands.show import print_json, progress, say, warn
from voxtra.commands.text import sized
from voxtra.ids import own_id
from voxtra.service.export import Exporter
from voxtra.service.purge import remove_archives
from voxtra.store import exports
from voxtra.store.filters import Filter
from voxtra.store.jobs import Queue
from voxtra.store.schema import utc_now

__all__ = ["export"]

LOOK: Final = 0.2
"""Seconds between two looks at how far it is."""

_OVER: Final = ("available", "failed", "expired")


@click.command()
@options.config
@click.argument("recording_ids", metavar="[ID]...", nargs=-1)
@add_filters
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="The archive, a .zip."
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@options.tenant
@options.json_object
def export(
    path: Path,
    recording_ids: tuple[str, ...],
    *,
    output: Path,
    force: bool,
    tenant_id: str,
    as_json: bool,
    **given: Any,
) -> None:
    """Write recordings into a zip with a manifest: those named, or those that a filter finds.

    What can't be had is in the manifest with its cause, and the exit code is 1 then. The archive is
    made by the service if it runs, and here if not; in its store it is only until it is copied.
    """
    wanted = filter_of(given)
    if bool(recording_ids) == (wanted != Filter()):
        raise click.UsageError("Name recordings by id, or by a filter such as --since 30d.")
    check_free(output, force=force)

    async def work() -> int:
        async with opened(path) as at:
            async with at.database.read() as connection:
                await at.check_tenant(connection, tenant_id)
            ids = list(recording_ids) or await _found(at, tenant_id, wanted)
            async with _asked(at, tenant_id, ids) as export_id:
                row = await _made(at, tenant_id, export_id)
                async with at.database.write() as connection:
                    await note(connection, tenant_id, "export.downloaded", export_id)
                with saved(output, force=force) as file:
                    await _copy(at, row, file)
        facts = {"total": row.total, "done": row.done, "failed": row.failed}
        if as_json:
            print_json({"file": str(output), "size": row.size, "sha256": row.sha256, **facts})
        else:
            say(f"wrote {output} ({sized(row.size)}): {row.done} of {row.total} recordings")
            if row.failed:
                warn(f"{row.failed} can't be had: manifest.csv in it says why of each")
        return 1 if row.failed else 0

    run(work)


async def _found(at: Opened, tenant_id: str, wanted: Filter) -> list[str]:
    """Return the ids that a filter finds, one more than an export may have at most."""
    async with at.database.read() as connection:
        rows = matching(connection, tenant_id, wanted, exports.MOST + 1)
        ids = [row.id async for row in rows]
    if not ids:
        raise click.ClickException("no recording is found; see voxtra recordings ls")
    return ids


@asynccontextmanager
async def _asked(at: Opened, tenant_id: str, ids: list[str]) -> AsyncIterator[str]:
    """Ask for an export, and leave nothing of it in the store when the block ends: nobody else
    wants it.
    """
    async with at.database.write() as connection:
        export_id = await exports.create(
            connection, tenant_id, ids, created_by=ACTOR, now=utc_now()
        )
        await note(connection, tenant_id, "export.created", export_id, total=len(set(ids)))
    try:
        yield export_id
    finally:
        async with at.database.write() as connection:
            await exports.remove(connection, tenant_id, export_id, now=utc_now())
        try:
            await remove_archives(at.database, at.blobs)
        except BlobError as error:
            warn(f"the archive in the store is removed later, by the service: {error}")


async def _made(at: Opened, tenant_id: str, export_id: str) -> Row[Any]:
    """Have the export made, by the service or here, and return it."""
    with TemporaryDirectory(prefix="voxtra-") as folder:
        queue = Queue(at.database, f"cli-{own_id('worker')}")
        exporter = Exporter(at.database, queue, at.blobs, Path(folder))
        working = asyncio.create_task(_work(queue, exporter))
        try:
            row = await _over(at, tenant_id, export_id, working)
        finally:
            working.cancel()
            with suppress(asyncio.CancelledError):
                await working
    if row.state != "available":
        raise click.ClickException(f"the export can't be made: {row.cause}")
    return row


async def _work(queue: Queue, exporter: Exporter) -> None:
    """Do exports that nobody is at, until this is cancelled."""
    while True:
        for job in await queue.claim((exports.JOB,)):
            await exporter.run(job)
        await asyncio.sleep(LOOK)


async def _over(
    at: Opened, tenant_id: str, export_id: str, working: asyncio.Task[None]
) -> Row[Any]:
    """Wait until an export is over, and show how far it is meanwhile."""
    with progress("exporting", None) as bar:
        while True:
            async with at.database.read() as connection:
                row = await exports.get(connection, tenant_id, export_id)
            if row is None:
                raise click.ClickException("the export is gone: somebody removed its row")
            bar.to(row.done + row.failed, total=row.total)
            if row.state in _OVER:
                return row
            await asyncio.wait([working], timeout=LOOK)
            if working.done():
                working.result()  # it never ends by itself


async def _copy(at: Opened, row: Row[Any], file: IO[bytes]) -> None:
    digest = hashlib.sha256()
    with progress("copying", row.size, size=True) as bar:
        async for piece in at.blobs.stream(row.blob_key, 0, row.size):
            digest.update(piece)
            file.write(piece)
            bar.advance(len(piece))
    if digest.hexdigest() != row.sha256:
        raise click.ClickException(
            "the archive is not what was made: the SHA-256 differs. Look at what it is stored on, "
            "and export again"
        )
