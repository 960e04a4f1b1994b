"""A zip archive written front to back, stored and not compressed: audio hardly gets smaller.

The header before each file tells its length and CRC, so that the archive can be read from a pipe as
well. Both must be known first: who adds a file has read it once.

A file that turns out shorter or other than it was while it is copied leaves bytes that the
directory at the end does not name: the archive is whole, and the file not in it.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import AsyncIterable, Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from voxtra.exceptions import VoxtraError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["Archive", "EntryBroken"]

_MODE: Final = 0o100640
_EARLIEST: Final = (1980, 1, 1, 0, 0, 0)
"""The format knows no earlier time."""


class EntryBroken(VoxtraError):
    """The file that was being added is not what was announced; it is not in the archive."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"{name} changed while it was copied")


class Archive:
    """A zip whose bytes go to `write` as they come."""

    def __init__(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        self._write = write
        self._tape = _Tape()
        # It writes headers and the directory; what it would do to files needs a seek or hides
        # their lengths behind them.
        self._zip = ZipFile(self._tape, "w", ZIP_STORED)

    async def add(
        self, name: str, at: datetime, *, size: int, crc: int, pieces: AsyncIterable[bytes]
    ) -> None:
        """Add a file of known length and CRC-32. Raises `EntryBroken`."""
        info = ZipInfo(name, max(_EARLIEST, at.astimezone(UTC).timetuple()[:6]))
        info.compress_type = ZIP_STORED
        info.external_attr = _MODE << 16
        info.file_size = info.compress_size = size
        info.CRC = crc
        info.header_offset = self._tape.tell()
        self._tape.write(info.FileHeader())
        await self._drain()
        found, count = 0, 0
        async for piece in pieces:
            found = zlib.crc32(piece, found)
            count += len(piece)
            self._tape.skip(len(piece))
            await self._write(piece)
        if (count, found) != (size, crc):
            raise EntryBroken(name)
        self._zip.filelist.append(info)

    async def add_text(self, name: str, at: datetime, data: bytes) -> None:
        """Add a small file that is in memory."""

        async def pieces() -> AsyncIterable[bytes]:
            yield data

        await self.add(name, at, size=len(data), crc=zlib.crc32(data), pieces=pieces())

    async def close(self) -> None:
        """Write the directory, without which it is no archive."""
        self._zip.start_dir = self._tape.tell()
        self._zip.close()
        await self._drain()

    async def _drain(self) -> None:
        await self._write(self._tape.take())


class _Tape(io.RawIOBase):
    """What `ZipFile` writes to: it may ask where it is, and never go back."""

    def __init__(self) -> None:
        self._at = 0
        self._waiting = bytearray()

    def write(self, data: ReadableBuffer, /) -> int:
        """Take what is to be written."""
        before = len(self._waiting)
        self._waiting += data
        count = len(self._waiting) - before
        self._at += count
        return count

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self._at

    def skip(self, count: int) -> None:
        """Count bytes that were written past it."""
        self._at += count

    def take(self) -> bytes:
        """Return what was written since the last time."""
        taken, self._waiting = bytes(self._waiting), bytearray()
        return taken
