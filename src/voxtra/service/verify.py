"""Whether every stored recording is what its row says, and everything stored has a row that says
so. Nothing is changed: what is wrong is told, with what to do.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, func, select

from voxtra.blobs.base import BlobError, BlobNotFound, BlobStore
from voxtra.exceptions import (
    RecordingExpired,
    RecordingFailed,
    RecordingNotReady,
    UnknownRecording,
)
from voxtra.model import RecordingState
from voxtra.service.recovery import Found
from voxtra.store import tombstones
from voxtra.store.database import Database
from voxtra.store.schema import exports, jobs, recordings

__all__ = ["Fault", "Finding", "Stock", "Verifier", "check_stored"]

BATCH: Final = 200
"""Rows, or keys, that are looked up in one query."""

PIECE: Final = 1024 * 1024

_STORED: Final = (
    recordings.c.state == RecordingState.AVAILABLE.value,
    recordings.c.deleted_at.is_(None),
)

_LOOK_AT_DISK: Final = (
    "Restore it from a backup, and look at what it is stored on: nothing in Voxtra changes a "
    "stored file"
)


class Fault(StrEnum):
    """What can be wrong."""

    MISSING = "missing"
    """The row names a file, and there is none."""
    LENGTH = "length"
    CHANGED = "changed"
    """The length is right, the SHA-256 is not."""
    UNREADABLE = "unreadable"
    STRAY = "stray"
    """A file that no row names."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: with the blob `key` of a recording, or of an export."""

    fault: Fault
    recording_id: str
    key: str
    cause: str
    fix: str


@dataclass(frozen=True, slots=True)
class Stock:
    """How much there is to verify: recordings, and their bytes."""

    recordings: int
    size: int


class Verifier:
    """Compares rows and blobs, of all tenants; `tell` is given the number of bytes just read."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        tell: Callable[[int], object] = lambda size: None,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._tell = tell

    async def stock(self) -> Stock:
        """Return how much `every` goes through."""
        query = select(func.count(), func.coalesce(func.sum(recordings.c.size), 0)).where(*_STORED)
        async with self._database.read() as connection:
            count, size = (await connection.execute(query)).one()
        return Stock(count, int(size))

    async def named(self, recording_ids: Sequence[str]) -> list[Row[Any]]:
        """Return the rows of recordings that can be verified.

        Raises `UnknownRecording`, `RecordingExpired`, `RecordingFailed` and `RecordingNotReady`.
        """
        found = []
        async with self._database.read() as connection:
            for recording_id in recording_ids:
                query = select(recordings).where(recordings.c.id == recording_id)
                row = (await connection.execute(query)).first()
                if row is None:
                    raise UnknownRecording(recording_id)
                check_stored(row)
                found.append(row)
        return found

    async def every(self) -> AsyncIterator[Row[Any]]:
        """Yield the rows of all recordings that can be verified, the oldest first."""
        after = ""
        while True:
            query = select(recordings).where(*_STORED, recordings.c.id > after)
            async with self._database.read() as connection:
                rows = (
                    await connection.execute(query.order_by(recordings.c.id).limit(BATCH))
                ).all()
            if not rows:
                return
            for row in rows:
                yield row
            after = rows[-1].id

    async def check(self, row: Row[Any]) -> list[Finding]:
        """Read the blobs of a recording back and return what is wrong with them."""
        found = [await self._audio(row)]
        if row.peaks_key:
            found.append(await self._peaks(row))
        wrong = [each for each in found if each is not None]
        if wrong and await self._is_deleted(row.id):
            return []  # meanwhile, and so were its blobs
        return wrong

    async def strays(self) -> AsyncIterator[Finding]:
        """Yield the blobs that no row names."""
        for prefix, look in (("recordings", self._recordings), ("exports", self._exports)):
            async for keys in _batches(self._blobs.keys(prefix)):
                for stray in await look(keys):
                    if await self._is_there(stray.key):
                        yield stray

    async def _audio(self, row: Row[Any]) -> Finding | None:
        key = row.blob_key
        if not key or row.size is None:
            return Finding(
                Fault.MISSING,
                row.id,
                key,
                "its row does not say where its file is",
                "Restore the database from a backup",
            )
        try:
            size = await self._blobs.size(key)
            if size != row.size:
                cause = f"it has {size} bytes, and {row.size} were stored"
                return Finding(Fault.LENGTH, row.id, key, cause, _LOOK_AT_DISK)
            if await self._digest(key, size) != row.sha256:
                cause = "it is not what was stored: the SHA-256 differs"
                return Finding(Fault.CHANGED, row.id, key, cause, _LOOK_AT_DISK)
        except BlobNotFound:
            fix = f"Restore it from a backup to {self._place(key)}"
            return Finding(Fault.MISSING, row.id, key, "its file is not there", fix)
        except BlobError as error:
            fix = "Put that right, and verify again"
            return Finding(Fault.UNREADABLE, row.id, key, error.cause, fix)
        return None

    async def _digest(self, key: str, size: int) -> str:
        digest = hashlib.sha256()
        async for piece in self._blobs.stream(key, 0, size, PIECE):
            digest.update(piece)
            self._tell(len(piece))
        return digest.hexdigest()

    async def _peaks(self, row: Row[Any]) -> Finding | None:
        key = row.peaks_key
        try:
            await self._blobs.size(key)
        except BlobNotFound:
            fix = f"Restore it from a backup to {self._place(key)}; the audio does not need it"
            return Finding(Fault.MISSING, row.id, key, "its waveform is not there", fix)
        except BlobError as error:
            fix = "Put that right, and verify again"
            return Finding(Fault.UNREADABLE, row.id, key, error.cause, fix)
        return None

    async def _recordings(self, keys: Sequence[str]) -> list[Finding]:
        ids = {key: PurePosixPath(key).stem for key in keys}
        rows = await self._rows(
            select(
                recordings.c.id,
                recordings.c.state,
                recordings.c.blob_key,
                recordings.c.peaks_key,
                recordings.c.deleted_at,
            ),
            recordings.c.id.in_(ids.values()),
        )
        known = {row.id: row for row in rows}
        going = await self._rows(
            select(jobs.c.subject_id),
            jobs.c.kind == tombstones.JOB,
            jobs.c.state == "waiting",
            jobs.c.subject_id.in_(known),
        )
        purged = {row.subject_id for row in going}
        return [
            self._stray(key, recording_id, known.get(recording_id))
            for key, recording_id in ids.items()
            if recording_id not in purged and not _is_named(key, known.get(recording_id))
        ]

    def _stray(self, key: str, recording_id: str, row: Row[Any] | None) -> Finding:
        remove = f"remove {self._place(key)}"
        if row is None:
            cause = "there is no recording of this id"
            fix = f"Find out who wrote it, or {remove}"
            if Found(f"voxtra-{recording_id}", "", ()).own_id and not key.endswith(".peaks"):
                name = f"<app_name>-{recording_id}{PurePosixPath(key).suffix}"
                fix = f"Copy it into Asterisk's recording folder as {name} to have it taken in"
        elif row.deleted_at is not None:
            cause = "its recording was deleted, and it was left or came back with a backup"
            fix = f"R{remove[1:]}"
        else:
            cause = f"its recording is {row.state} and does not name it"
            fix = f"Hear whether it is wanted; if not, {remove}"
        return Finding(Fault.STRAY, recording_id, key, cause, fix)

    async def _exports(self, keys: Sequence[str]) -> list[Finding]:
        ids = {key: PurePosixPath(key).name.partition(".")[0] for key in keys}
        rows = await self._rows(
            select(exports.c.id, exports.c.state, exports.c.blob_key),
            exports.c.id.in_(ids.values()),
        )
        named = {row.blob_key for row in rows}
        making = {row.id for row in rows if row.state in ("waiting", "running")}
        cause, fix = "no export names it", "Remove {}: an export can be made again"
        return [
            Finding(Fault.STRAY, "", key, cause, fix.format(self._place(key)))
            for key, export_id in ids.items()
            if key not in named and export_id not in making
        ]

    async def _rows(self, query: Any, *where: ColumnElement[bool]) -> Sequence[Row[Any]]:
        async with self._database.read() as connection:
            rows: Sequence[Row[Any]] = (await connection.execute(query.where(*where))).all()
        return rows

    async def _is_deleted(self, recording_id: str) -> bool:
        query = select(recordings.c.deleted_at)
        rows = await self._rows(query, recordings.c.id == recording_id)
        return not rows or rows[0].deleted_at is not None

    async def _is_there(self, key: str) -> bool:
        try:
            await self._blobs.size(key)
        except BlobNotFound:
            return False
        return True

    def _place(self, key: str) -> str:
        """Return where a blob is, as people find it."""
        return str(self._blobs.local_path(key) or key)


def check_stored(row: Row[Any]) -> None:
    """Raise `RecordingExpired`, `RecordingFailed` or `RecordingNotReady` unless a recording has a
    stored file.
    """
    if row.deleted_at is not None:
        raise RecordingExpired(row.id, row.delete_reason)
    if row.state == RecordingState.FAILED:
        raise RecordingFailed(row.id, row.cause)
    if row.state != RecordingState.AVAILABLE:
        raise RecordingNotReady(row.id, row.state)


def _is_named(key: str, row: Row[Any] | None) -> bool:
    """Tell whether a row names a blob, or is about to."""
    if row is None or row.deleted_at is not None:
        return False
    return not RecordingState(row.state).is_final or key in (row.blob_key, row.peaks_key)


async def _batches(keys: AsyncIterator[str]) -> AsyncIterator[list[str]]:
    some: list[str] = []
    async for key in keys:
        some.append(key)
        if len(some) == BATCH:
            yield some
            some = []
    if some:
        yield some
