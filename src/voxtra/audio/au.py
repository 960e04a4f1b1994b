"""Headers of .au files as Asterisk writes them: mono mu-law behind 24 bytes."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from voxtra.exceptions import RecordingError

__all__ = ["G721", "MULAW", "SIZE_OFFSET", "AuHeader", "header", "read_header"]

SIZE_OFFSET = 8
"""Where the length of the audio stands; a killed Asterisk leaves 0 there."""

MULAW = 1
G721 = 23  # G.726 at 32 kbit/s under its older name


@dataclass(frozen=True, slots=True)
class AuHeader:
    """Where the samples are: everything behind the header, since nothing may follow them."""

    sample_rate: int
    data_offset: int
    data_bytes: int
    declared_data: int


def read_header(file: BinaryIO, size: int) -> AuHeader:
    """Read the header of an .au file of `size` bytes.

    Raises RecordingError with the reason when it is not mono mu-law with a sane header.
    """
    file.seek(0)
    start = file.read(24)
    if len(start) < 24 or start[:4] != b".snd":
        raise RecordingError("no au header")
    offset, declared, encoding, rate, channels = struct.unpack(">5I", start[4:])
    if encoding != MULAW or channels != 1 or rate == 0 or not 24 <= offset <= size:
        raise RecordingError(
            f"the au header makes no sense: encoding {encoding}, {channels} channels at {rate} Hz, "
            f"audio at byte {offset}"
        )
    return AuHeader(rate, offset, size - offset, declared)


def header(encoding: int, sample_rate: int, data_bytes: int) -> bytes:
    """Return an .au header for one channel of `data_bytes` bytes."""
    return struct.pack(">4s5I", b".snd", 24, data_bytes, encoding, sample_rate, 1)
