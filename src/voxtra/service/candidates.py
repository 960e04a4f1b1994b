"""The recordings of an export, each looked at before anything of it is copied.

Each file is read twice: here it is compared with the hash that its row has, so that nothing gets
into an archive but what was recorded. While one is copied the next one is compared.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import tempfile
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

from sqlalchemy import Row

from voxtra.blobs.base import BlobStore
from voxtra.exceptions import VoxtraError
from voxtra.model import RecordingState
from voxtra.service.manifest import Result
from voxtra.store import exports, retention
from voxtra.store.database import Database

__all__ = ["Candidate", "Candidates", "Source", "Unreadable"]

PIECE: Final = 1024 * 1024
"""Bytes that are copied at once."""

STRETCH: Final = 16 * PIECE
"""Bytes that are compared at once: as many are read in vain when the work is given up."""

IDS: Final = 100
"""Ids that are read in one query."""

P = ParamSpec("P")
T = TypeVar("T")


class Unreadable(VoxtraError):
    """A recording's file can't go into an archive; the text says why."""


@dataclass(frozen=True, slots=True)
class Source:
    """The audio of a recording as an open file that was read and is right, with its CRC-32."""

    row: Row[Any]
    file: io.FileIO
    crc: int

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the audio from its beginning. Raises `Unreadable`."""
        while piece := await _read(self.file, PIECE):
            yield piece


@dataclass(frozen=True, slots=True)
class Candidate:
    """One recording of an export: what can be said of it, and its audio where that can be had.

    `row` None: there is no such recording. Who takes it closes the file of its source.
    """

    recording_id: str
    result: Result
    row: Row[Any] | None = None
    cause: str = ""
    source: Source | None = None


class Candidates:
    """Looks at recordings; `folder` takes what is not a file yet, two of them at most."""

    def __init__(self, database: Database, blobs: BlobStore, folder: Path) -> None:
        self._database = database
        self._blobs = blobs
        self._folder = folder

    async def of(self, tenant_id: str, export_id: str) -> AsyncGenerator[Candidate, None]:
        """Yield the recordings of an export in their order."""
        looking: list[asyncio.Task[Candidate]] = []
        try:
            async for recording_id in self._ids(export_id):
                looking.append(asyncio.create_task(self._look(tenant_id, recording_id)))
                if len(looking) == 2:
                    yield await looking.pop(0)
            while looking:
                yield await looking.pop(0)
        finally:
            for task in looking:
                task.cancel()
                with suppress(Exception, asyncio.CancelledError):
                    left = await task
                    if left.source is not None:
                        left.source.file.close()

    async def _ids(self, export_id: str) -> AsyncIterator[str]:
        after = ""
        while True:
            async with self._database.read() as connection:
                found = await exports.items(connection, export_id, after, IDS)
            if not found:
                return
            for after in found:
                yield after

    async def _look(self, tenant_id: str, recording_id: str) -> Candidate:
        """Find out whether a recording can be added, and open its file if it can."""
        async with self._database.read() as connection:
            row = await exports.candidate(connection, tenant_id, recording_id)
        if row is None:
            return Candidate(recording_id, Result.NOT_FOUND, cause="there is none of this id")
        if row.deleted_at is not None:
            expired = row.deleted_by == retention.ACTOR
            result = Result.EXPIRED if expired else Result.DELETED
            cause = f"deleted at {row.deleted_at:%Y-%m-%dT%H:%M:%SZ}: {row.delete_reason}"
            return Candidate(recording_id, result, row, cause)
        if row.state != RecordingState.AVAILABLE:
            result = Result.FAILED if row.state == RecordingState.FAILED else Result.NOT_READY
            return Candidate(recording_id, result, row, row.cause or f"it is {row.state}")
        try:
            source = await self._open(row)
        except VoxtraError as error:
            return Candidate(recording_id, Result.UNREADABLE, row, str(error))
        return Candidate(recording_id, Result.OK, row, source=source)

    async def _open(self, row: Row[Any]) -> Source:
        """Return the audio as it was stored. Raises `Unreadable`, and the errors of blobs."""
        if not row.blob_key or row.size is None:
            raise Unreadable("nothing says where its file is")
        path = self._blobs.local_path(row.blob_key)
        file = _opened(path) if path is not None else _nameless(self._folder)
        try:
            if path is None:
                async for piece in self._blobs.stream(row.blob_key, 0, row.size, PIECE):
                    await _in_thread(file.write, piece)
                file.seek(0)
            return Source(row, file, await _compare(file, row))
        except BaseException:
            file.close()
            raise


def _opened(path: Path) -> io.FileIO:
    try:
        return io.FileIO(path)
    except OSError as error:
        raise Unreadable(f"its file can't be opened: {error.strerror}") from None


def _nameless(folder: Path) -> io.FileIO:
    """Return a new file that is gone when it is closed, whatever becomes of this process."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=folder)
    Path(name).unlink()
    return io.FileIO(descriptor, "r+")


async def _compare(file: io.FileIO, row: Row[Any]) -> int:
    """Return the CRC of a file that is what its row says, and go back to its beginning."""
    digest, crc, size = hashlib.sha256(), 0, 0
    buffer = memoryview(bytearray(PIECE))

    def stretch() -> bool:
        nonlocal crc, size
        for _ in range(0, STRETCH, PIECE):
            count = file.readinto(buffer) or 0
            if count == 0:
                return False
            digest.update(buffer[:count])
            crc = zlib.crc32(buffer[:count], crc)
            size += count
        return True

    try:
        while await _in_thread(stretch):
            pass
        file.seek(0)
    except OSError as error:
        raise Unreadable(f"its file can't be read: {error.strerror}") from None
    if size != row.size:
        raise Unreadable(f"its file has {size} bytes, and {row.size} were stored")
    if digest.hexdigest() != row.sha256:
        raise Unreadable("its file is not what was stored: the SHA-256 differs")
    return crc


async def _read(file: io.FileIO, size: int) -> bytes:
    try:
        return await _in_thread(file.read, size)
    except OSError as error:
        raise Unreadable(f"its file can't be read: {error.strerror}") from None


async def _in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do what blocks in a thread. Also when it is cancelled, it ends after the thread's work: the
    file that is worked on may be closed then.
    """
    future = asyncio.get_running_loop().run_in_executor(None, partial(work, *args, **kwargs))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise
