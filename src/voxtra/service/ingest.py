"""Bringing a finished recording home: from the PBX's files to a proven blob, in one pass.

Nothing here changes the database or the PBX's files, and everything can be done again: a process
that dies at any instant leaves at most a part that `sweep` removes. The order is the caller's, and
it is what keeps the only copy: `ingest`, then the transaction that makes the recording available,
and only then `Sources.free`.

A PBX's file is not even repaired where it lies. It may be on a share that is read-only, and a copy
only to repair it would cost as much as the ingest: its header is completed on the way to the blob.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from voxtra.audio.formats import lookup
from voxtra.audio.levels import Levels
from voxtra.audio.passage import Passage
from voxtra.blobs.base import BlobNotFound, BlobStore, Stored
from voxtra.blobs.local import cause_of
from voxtra.exceptions import RecordingError, RecordingFailed
from voxtra.model import Layout, Recording
from voxtra.service.sources import SourceError, Sources
from voxtra.store.recordings import FileFacts

__all__ = ["Ingested", "NoAudio", "ingest"]

MISSING = (
    "the PBX says it finished {} but has no file; is its recording folder writable, its disk full, "
    "or was the file removed?"
)


class NoAudio(RecordingFailed):
    """No recording can be made of what the PBX has; trying again would not help.

    The PBX's files, if there are any, are as they were and must stay.
    """


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of a recording: the columns of its row, and what else is worth telling.

    `repaired`: the header lacked its lengths, so the PBX was killed while it wrote. `levels` None:
    nothing here can decode the format. `problems` are what is wrong with a recording that is of use
    all the same, in plain words.
    """

    facts: FileFacts
    repaired: bool
    levels: Levels | None
    problems: tuple[str, ...]


async def ingest(
    recording: Recording,
    sources: Sources,
    blobs: BlobStore,
    key: str,
    peaks_key: str,
    *,
    offset: float = 0.0,
) -> Ingested:
    """Store the audio of an ended recording under `key`, and its peaks under `peaks_key`.

    Of a stereo recording, the caller's side is left, and the other began `offset` seconds after it;
    a side without audio is silence, and a problem. Raises `NoAudio`; `BlobError`, `SourceError`,
    `RecordingError` and `TelephonyError` are worth another try.
    """
    passage = Passage()
    try:
        async with sources.reach(recording) as paths:
            missing = [
                MISSING.format(track.name)
                for track, path in zip(recording.tracks, paths, strict=True)
                if path is None
            ]
            if any(paths):
                passage.problems += [f"half of it is silence: {cause}" for cause in missing]
            if not missing or not await _is_stored(blobs, key):
                if not any(paths):
                    raise NoAudio(recording.name, "; ".join(missing) or "no file belongs to it")
                chunks = _chunks(recording, paths, passage, offset)
                stored = await blobs.write(key, _judged(recording, chunks))
            else:
                # Files are freed after their blob is proven, so an earlier try came that far. What
                # it stored must not be replaced by what is left.
                stored = await _taken_again(recording, sources, blobs, key, passage)
    except OSError as error:
        raise SourceError(recording.name, cause_of(error)) from error
    return await _told(passage, stored, blobs, key, peaks_key)


def _chunks(
    recording: Recording, paths: list[Path | None], passage: Passage, offset: float
) -> Iterator[bytes]:
    fmt = lookup(recording.format)
    if not _is_pair(recording):
        return passage.of_one(next(path for path in paths if path is not None), fmt)
    sides = {track.side: path for track, path in zip(recording.tracks, paths, strict=True)}
    return passage.of_two(sides.get("in"), sides.get("out"), fmt, offset=offset)


def _is_pair(recording: Recording) -> bool:
    return recording.layout is Layout.STEREO and len(recording.tracks) == 2


def _judged(recording: Recording, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Pass the chunks on; what can't even begin never will."""
    try:
        first = next(chunks)
    except RecordingError as error:
        raise NoAudio(recording.name, str(error)) from error
    yield first
    yield from chunks


async def _told(
    passage: Passage, stored: Stored, blobs: BlobStore, key: str, peaks_key: str
) -> Ingested:
    levels, peaks = passage.levels, passage.peaks
    if peaks is not None:
        await blobs.write(peaks_key, [peaks.encode()])
    facts = FileFacts(
        duration_ms=round(passage.samples * 1000 / passage.sample_rate),
        samples=passage.samples,
        sample_rate=passage.sample_rate,
        channels=passage.channels,
        size=stored.size,
        sha256=stored.sha256,
        silence_ratio=levels.silence_ratio if levels else None,
        peak_dbfs=levels.peak_dbfs if levels else None,
        blob_key=key,
        peaks_key=peaks_key if peaks is not None else "",
    )
    return Ingested(facts, passage.repaired, levels, tuple(passage.problems))


async def _is_stored(blobs: BlobStore, key: str) -> bool:
    try:
        await blobs.size(key)
    except BlobNotFound:
        return False
    return True


async def _taken_again(
    recording: Recording, sources: Sources, blobs: BlobStore, key: str, passage: Passage
) -> Stored:
    """Let the passage find out from the blob itself what there is to say of it."""
    fmt = lookup("wav" if _is_pair(recording) else recording.format)
    async with sources.work_folder(recording) as work:
        path = blobs.local_path(key)
        if path is None:
            await asyncio.to_thread(work.mkdir, parents=True)
            path = work / "blob"
            with path.open("wb") as file:
                async for chunk in blobs.stream(key, 0, await blobs.size(key)):
                    await asyncio.to_thread(file.write, chunk)
        return await asyncio.to_thread(_hashed, passage.of_one(path, fmt))


def _hashed(chunks: Iterable[bytes]) -> Stored:
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
    return Stored(size, digest.hexdigest())
