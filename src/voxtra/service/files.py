"""The audio of a recording in the shape that is asked for.

The stored bytes are served as they are where that is what is wanted. Other shapes are either a
view, computed by range from the stored bytes, or an encoding: a file made once, kept among others
in a folder of this node's until the room is needed. Nothing there is the only copy of anything.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path, PurePosixPath
from shutil import rmtree
from typing import Any, Final

from sqlalchemy import Row

from voxtra.audio.decode import can_decode
from voxtra.audio.extent import find_extent
from voxtra.audio.formats import FORMATS, AudioFormat, Container, Encoding
from voxtra.audio.render import VIEWABLE, Channel, Stopped, Target, WavView, encode, view
from voxtra.blobs.base import BlobError, BlobNotFound, BlobStore
from voxtra.exceptions import RecordingError
from voxtra.ids import new_id
from voxtra.store.database import Database
from voxtra.store.library import kept

__all__ = ["Audio", "AudioFiles", "NotRenderable", "Shape"]

BLOCK: Final = 512 * 1024
"""Bytes that are read at once. From the page cache, 64 KiB reached the speed of nginx, 256 and
512 KiB 1.3 of it, 1 MiB again 1.0; by a thread it was 0.24, 0.64, 0.88 and 0.89.
"""

HEAD: Final = 64 * 1024
"""Bytes in which the header of a WAV or AU file ends."""

LIMIT: Final = 2 * 1024**3
"""Bytes that encodings may take."""

ABANDONED: Final = 3600.0
"""Seconds after which an unfinished file that nobody writes to was left by a process that died."""

_PART: Final = ".part"

_VIEW_VERSION: Final = 1
"""Part of the validator of every view: to be changed with what views consist of."""


class Shape(StrEnum):
    """What a file is asked for as; `original`: the stored bytes, whatever they are."""

    ORIGINAL = "original"
    WAV = "wav"
    MP3 = "mp3"
    OPUS = "opus"


class NotRenderable(RecordingError):
    """The recording can't be given in the shape that was asked for; the text says what can."""


@dataclass(frozen=True, slots=True)
class Audio:
    """Audio that can be served: `etag` differs whenever a byte does, `stream(start, end)` gives the
    bytes from `start` up to before `end`. `made` tells that it is an encoding, a file of its own.
    """

    size: int
    etag: str
    media_type: str
    extension: str
    modified: datetime
    stream: Callable[[int, int], AsyncGenerator[bytes, None]]
    made: bool = False


_MEDIA_TYPES: Final = {
    "wav": "audio/wav",
    "wav16": "audio/wav",
    "WAV": "audio/wav",
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "opus": "audio/ogg; codecs=opus",
    "au": "audio/basic",
    "g722": "audio/G722",
}

_EXTENSIONS: Final = {"wav16": "wav", "WAV": "wav"}
"""What players know, for the formats whose extension only Asterisk does."""


class AudioFiles:
    """The audio of all recordings in `blobs`, with encodings in `folder`, together up to `limit`
    bytes (what is made passes it until it is there).
    """

    def __init__(self, blobs: BlobStore, folder: Path, limit: int = LIMIT) -> None:
        self._blobs = blobs
        self._folder = folder
        self._limit = limit
        self._making: dict[str, asyncio.Task[Path]] = {}
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="voxtra-render")
        self._closing = False

    async def open(
        self, recording: Row[Any], shape: Shape | None = None, channel: Channel | None = None
    ) -> Audio:
        """Return the audio of an available recording; the first encoding of it takes its time.

        Without a shape it is what players and browsers take: the stored file, or a WAV of it.
        Raises `NotRenderable`, `BlobNotFound` (also when the recording is deleted meanwhile) and
        `BlobError`.
        """
        key = recording.blob_key
        fmt = FORMATS[PurePosixPath(key).suffix[1:]]
        target, channel = _plan(fmt, recording.channels or 1, shape, channel)
        if target is None:
            return self._original(recording, fmt)
        if target is Target.WAV and fmt.encoding in VIEWABLE:
            return await self._view(recording, fmt, channel)
        return await self._encoding(recording, fmt, target, channel)

    async def read(self, key: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """Give the bytes of any blob from `start` up to before `end`, from a local file as fast as
        it can be. Raises `BlobNotFound` and `BlobError`, before the first byte if it is too short.
        """
        path = self._blobs.local_path(key)
        if path is None:
            async for data in self._blobs.stream(key, start, end):
                yield data
            return
        try:
            async with aclosing(_file_blocks(path, start, end)) as blocks:
                async for data in blocks:
                    yield data
        except FileNotFoundError:
            raise BlobNotFound(key) from None

    async def remove(self, recording_id: str) -> None:
        """Remove what was made of a recording; one that is being made is not kept."""
        await asyncio.to_thread(rmtree, self._folder / recording_id, ignore_errors=True)

    async def forget_deleted(self, database: Database) -> None:
        """Remove what was made here of recordings that another node has deleted."""
        found = await asyncio.to_thread(self._recordings)
        if not found:
            return
        async with database.read() as connection:
            living = await kept(connection, found)
        for recording_id in set(found) - living:
            await self.remove(recording_id)

    async def trim(self, limit: int) -> None:
        """Remove what was unused for longest until no more than `limit` bytes are left."""
        await asyncio.to_thread(self._trim, limit)

    async def close(self) -> None:
        """Give up what is being made, and wait until that is done."""
        self._closing = True
        await asyncio.gather(*self._making.values(), return_exceptions=True)
        self._threads.shutdown()

    # -- stored

    def _original(self, recording: Row[Any], fmt: AudioFormat) -> Audio:
        return Audio(
            recording.size,
            recording.sha256,
            _MEDIA_TYPES.get(fmt.name, "application/octet-stream"),
            _EXTENSIONS.get(fmt.name, fmt.extension),
            recording.available_at,
            partial(self.read, recording.blob_key),
        )

    # -- computed

    async def _view(self, recording: Row[Any], fmt: AudioFormat, channel: Channel | None) -> Audio:
        head = b""
        if fmt.container is not Container.RAW:
            head = await self._blobs.read(recording.blob_key, 0, min(HEAD, recording.size))
        try:
            made = view(find_extent(io.BytesIO(head), recording.size, fmt), channel)
        except RecordingError as error:
            raise _refusal(error) from error
        identity = f"{recording.sha256}/{channel}/{_VIEW_VERSION}"
        return Audio(
            made.size,
            hashlib.sha256(identity.encode()).hexdigest(),
            _MEDIA_TYPES["wav"],
            "wav",
            recording.available_at,
            partial(self._viewed, made, recording.blob_key),
        )

    async def _viewed(
        self, made: WavView, key: str, start: int, end: int
    ) -> AsyncGenerator[bytes, None]:
        if start < len(made.header):
            yield made.header[start:end]
        skip, left = made.skip(start), end - max(start, len(made.header))
        rest = b""
        async with aclosing(self.read(key, *made.source(start, end))) as blocks:
            async for data in blocks:
                rest += data
                whole = len(rest) - len(rest) % made.source_frame
                # in a thread: half a megabyte of mu-law takes a millisecond
                piece = await asyncio.to_thread(made.convert, rest[:whole])
                rest = rest[whole:]
                piece, skip = piece[skip : skip + left], max(0, skip - len(piece))
                left -= len(piece)
                yield piece

    # -- encoded

    async def _encoding(
        self, recording: Row[Any], fmt: AudioFormat, target: Target, channel: Channel | None
    ) -> Audio:
        stem = f"{recording.sha256[:16]}.{channel or 'all'}"
        name = f"{recording.id}/{stem}.{target}"
        path = await asyncio.to_thread(self._find, recording.id, stem, target)
        if path is None:
            if name not in self._making:
                work = self._make(recording, fmt, target, channel, stem)
                task = self._making[name] = asyncio.create_task(work, name=f"render {name}")
                task.add_done_callback(partial(self._made, name))
            # Whoever goes away leaves the work to the others who wait, and to those who come.
            path = await asyncio.shield(self._making[name])
        try:
            facts = await asyncio.to_thread(path.stat)
        except FileNotFoundError:
            raise BlobNotFound(recording.blob_key) from None
        return Audio(
            facts.st_size,
            path.name.split(".")[2],
            _MEDIA_TYPES[target],
            target,
            datetime.fromtimestamp(facts.st_mtime, UTC),
            partial(_file_blocks, path),
            made=True,
        )

    def _made(self, name: str, task: asyncio.Task[Path]) -> None:
        del self._making[name]
        if not task.cancelled():
            task.exception()  # those who wait for it are told; perhaps nobody does any more

    async def _make(
        self,
        recording: Row[Any],
        fmt: AudioFormat,
        target: Target,
        channel: Channel | None,
        stem: str,
    ) -> Path:
        folder: Path = self._folder / recording.id
        await asyncio.to_thread(folder.mkdir, mode=0o750, parents=True, exist_ok=True)
        part, fetched = folder / f"{new_id()}{_PART}", folder / f"{new_id()}{_PART}"
        try:
            source = self._blobs.local_path(recording.blob_key)
            if source is None:
                source = fetched
                await self._fetch(recording, fetched)
            work = partial(self._encode, source, fmt, part, target, channel)
            digest = await asyncio.get_running_loop().run_in_executor(self._threads, work)
            final = folder / f"{stem}.{digest}.{target}"
            await asyncio.to_thread(part.replace, final)
        except FileNotFoundError:
            # The folder, or the blob, was removed meanwhile.
            raise BlobNotFound(recording.blob_key) from None
        except Stopped:
            raise
        except RecordingError as error:
            raise _refusal(error) from error
        finally:
            await asyncio.to_thread(_unlink, part, fetched)
        await self.trim(self._limit)
        return final

    def _encode(
        self,
        source: Path,
        fmt: AudioFormat,
        out: Path,
        target: Target,
        channel: Channel | None,
    ) -> str:
        """Encode, and return the hash of what came out."""
        encode(source, fmt, out, target, channel=channel, stopped=lambda: self._closing)
        with out.open("rb", buffering=0) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    async def _fetch(self, recording: Row[Any], path: Path) -> None:
        """Copy a blob that is no file here."""
        with path.open("wb", buffering=0) as file:
            async for data in self._blobs.stream(recording.blob_key, 0, recording.size):
                await asyncio.to_thread(file.write, data)

    # -- the folder: <recording>/<hash of the stored file>.<channel>.<hash of this file>.<target>

    def _find(self, recording_id: str, stem: str, target: Target) -> Path | None:
        """Return an encoding that was made before, and note that it is used."""
        for path in sorted((self._folder / recording_id).glob(f"{stem}.*.{target}")):
            facts = path.stat()
            os.utime(path, ns=(int(datetime.now(UTC).timestamp() * 1e9), facts.st_mtime_ns))
            return path
        return None

    def _recordings(self) -> list[str]:
        return [path.name for path in self._folder.glob("*") if path.is_dir()]

    def _trim(self, limit: int) -> None:
        now = datetime.now(UTC).timestamp()
        found = [(path.stat(), path) for path in self._folder.glob("*/*")]
        total = 0
        for facts, path in sorted(found, key=lambda each: each[0].st_atime, reverse=True):
            if path.suffix == _PART:
                if facts.st_mtime < now - ABANDONED:
                    path.unlink(missing_ok=True)
                continue
            total += facts.st_size
            if total > limit:
                path.unlink(missing_ok=True)


def _plan(
    fmt: AudioFormat, channels: int, shape: Shape | None, channel: Channel | None
) -> tuple[Target | None, Channel | None]:
    """Return what the stored file has to become, None for what it is, and the channel to take."""
    if shape is Shape.ORIGINAL:
        if channel is not None:
            raise NotRenderable("The original has the channels it has: use format=wav.")
        return None, None
    if channels == 1 and channel is not None:
        if channel is not Channel.MIX:
            raise NotRenderable(
                f"The recording is mono and has no {channel} channel: leave it out."
            )
        channel = None
    if shape is None and (_plays(fmt) or not can_decode(fmt)) and channel is None:
        return None, None
    target = Target(shape or Shape.WAV)
    if channel is None and _is(fmt, target):
        return None, None
    if not can_decode(fmt):
        raise NotRenderable(f"{fmt.name} can't be decoded here: use format=original.")
    return target, channel


def _is(fmt: AudioFormat, target: Target) -> bool:
    """Tell whether a file stored as `fmt` is one of `target` already."""
    if target is Target.WAV:
        return fmt.container is Container.RIFF and fmt.encoding is Encoding.PCM16
    return target is Target.OPUS and fmt.encoding is Encoding.OPUS


def _plays(fmt: AudioFormat) -> bool:
    """Tell whether browsers play a file stored as `fmt`."""
    return fmt.container is Container.OGG or _is(fmt, Target.WAV)


def _refusal(error: RecordingError) -> NotRenderable:
    return NotRenderable(f"It can't be made: {error}. Use format=original.")


async def _file_blocks(path: Path, start: int, end: int) -> AsyncGenerator[bytes, None]:
    """Yield a stretch of a file.

    What is in the page cache is taken from there at once, which costs less than asking a thread;
    what is not, a thread waits for.
    """
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(file).st_size
        if size < end:
            raise BlobError(path.name, f"it ends at byte {size}, before byte {end}")
        buffer = memoryview(bytearray(min(BLOCK, end - start)))
        while start < end:
            block = buffer[: end - start]
            try:
                count = os.preadv(file, [block], start, os.RWF_NOWAIT)
            except OSError:  # not in the cache, or a file system that does not tell
                count = 0
            if count < len(block):
                rest = block[count:]
                count += await asyncio.to_thread(os.preadv, file, [rest], start + count)
            if not count:
                raise BlobError(path.name, f"it was cut at byte {start}, before byte {end}")
            yield bytes(block[:count])
            start += count
    finally:
        os.close(file)


def _unlink(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
