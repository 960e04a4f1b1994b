"""Where the PBX's files of a recording are: in the folder that is shared with it, or behind it."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Protocol

from voxtra.blobs.local import cause_of
from voxtra.exceptions import VoxtraError
from voxtra.ids import new_id
from voxtra.model import Recording, Track
from voxtra.spool import Spool
from voxtra.telephony.base import TrackStatus

__all__ = ["SourceError", "Sources", "Tracks"]

log = logging.getLogger(__name__)


class SourceError(VoxtraError):
    """A file of the PBX is out of reach; `cause` says why, and what to do. Worth another try."""

    def __init__(self, name: str, cause: str) -> None:
        self.name = name
        self.cause = cause
        super().__init__(f"{name} can't be read from the PBX: {cause}")


class Tracks(Protocol):
    """The PBX's own access to its files: an adapter, or `voxtra.telephony.stored`."""

    async def probe_track(self, track: Track, /) -> TrackStatus:
        """Tell what the PBX holds of a track."""
        ...

    async def fetch_track(self, track: Track, into: Path, /) -> None:
        """Copy a finished track's file to a local path."""
        ...

    async def delete_track(self, track: Track, /) -> None:
        """Delete a finished track's file; one that is gone already is a success."""
        ...


class Sources:
    """The files of recordings that have ended.

    What the spool's folder does not have is fetched from the PBX into the spool's download folder;
    without `tracks` that can't be asked, and what is not in the folder is out of reach.
    """

    def __init__(self, spool: Spool, tracks: Tracks | None = None) -> None:
        self._spool = spool
        self._tracks = tracks

    @asynccontextmanager
    async def reach(self, recording: Recording) -> AsyncIterator[list[Path | None]]:
        """Give the file of each track where it can be read, None where the PBX has none.

        What was fetched is removed at the end of the block. Raises `SourceError`, and
        `TelephonyError` when the PBX does not answer.
        """
        async with self.work_folder(recording) as work:
            try:
                paths = [await self._reach(recording, track, work) for track in recording.tracks]
            except OSError as error:
                raise SourceError(recording.name, cause_of(error)) from error
            yield paths

    @asynccontextmanager
    async def work_folder(self, recording: Recording) -> AsyncIterator[Path]:
        """Give the path of a folder, not yet made, that is removed at the end of the block.

        Each try has its own: one that lost its lease may still be writing.
        """
        work = self._spool.download_dir / f"{recording.id}.{new_id()}"
        try:
            yield work
        finally:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, work, ignore_errors=True))

    async def free(self, recording: Recording) -> None:
        """Delete the PBX's files of a recording; doing it again changes nothing.

        Only for a recording whose blob is proven and whose row says so: these are the only other
        copy. Raises `SourceError` and `TelephonyError`; what is left can be freed later.
        """
        await self.free_tracks(recording.tracks, recording.format)

    async def free_tracks(self, tracks: Iterable[Track], fmt: str) -> None:
        """Delete the PBX's files of these tracks, as `free` does."""
        for track in tracks:
            path = self._spool.path_of(track.name, fmt)
            try:
                freed = await asyncio.to_thread(_unlink, path)
            except OSError as error:
                if self._tracks is None:
                    raise SourceError(track.name, cause_of(error)) from error
                log.debug("%s is left to the PBX to delete: %s", path, error)
                freed = False
            if not freed and self._tracks is not None:
                await self._tracks.delete_track(track)

    async def sweep(self, before: datetime) -> int:
        """Remove what processes that died have left in the download folder, last changed before a
        time; return how much that was.
        """
        return await asyncio.to_thread(_sweep, self._spool.download_dir, before.timestamp())

    async def _reach(self, recording: Recording, track: Track, work: Path) -> Path | None:
        path = self._spool.path_of(track.name, recording.format)
        if await asyncio.to_thread(_is_readable, path):
            return path
        if self._tracks is None:
            raise SourceError(
                track.name,
                f"{path} is not there or not readable, and this process has no PBX to fetch it "
                "from: mount the recording folder, or configure the PBX",
            )
        held = await self._tracks.probe_track(track)
        if held.live:
            raise SourceError(track.name, "the PBX is still writing it")
        if not held.stored:
            return None
        copy = work / path.name
        await asyncio.to_thread(copy.parent.mkdir, parents=True, exist_ok=True)
        await self._tracks.fetch_track(track, copy)
        return copy


def _is_readable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.R_OK)


def _unlink(path: Path) -> bool:
    with suppress(FileNotFoundError):
        path.unlink()
        return True
    return False


def _sweep(folder: Path, before: float) -> int:
    swept = 0
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir() and path.stat().st_mtime < before:
            shutil.rmtree(path)
            swept += 1
    return swept
