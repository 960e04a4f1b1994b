"""How much an Ogg file (Vorbis or Opus) holds, from its pages alone.

Every page says how many samples end in it. The last complete page therefore counts the whole file,
also one whose end was never written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from voxtra.audio.formats import Encoding
from voxtra.exceptions import RecordingError

__all__ = ["OggStream", "read_stream"]

_CAPTURE = b"OggS\0"
_HEADER = 27  # bytes before the segment table
_LARGEST_PAGE = _HEADER + 255 + 255 * 255
_NO_SAMPLE_ENDS = -1


@dataclass(frozen=True, slots=True)
class OggStream:
    """Codec, rate (Hz; Opus always counts at 48 kHz), channels and samples per channel."""

    encoding: Encoding
    sample_rate: int
    channels: int
    samples: int


def read_stream(file: BinaryIO, size: int) -> OggStream:
    """Read what the first page and the last complete page of a file of `size` bytes say.

    Raises RecordingError with the reason when it does not begin as an Ogg Vorbis or Opus file.
    """
    file.seek(0)
    first = file.read(_HEADER + 255 + 64)
    if not first.startswith(_CAPTURE) or len(first) < _HEADER:
        raise RecordingError("no Ogg header")
    serial = first[14:18]
    packet = first[_HEADER + first[26] :]
    if packet.startswith(b"\x01vorbis") and len(packet) >= 16:
        encoding, skipped = Encoding.VORBIS, 0
        channels, rate = packet[11], int.from_bytes(packet[12:16], "little")
    elif packet.startswith(b"OpusHead") and len(packet) >= 12:
        encoding, rate = Encoding.OPUS, 48_000
        channels, skipped = packet[9], int.from_bytes(packet[10:12], "little")
    else:
        raise RecordingError("the Ogg file holds neither Vorbis nor Opus")
    if channels == 0 or rate == 0:
        raise RecordingError(f"the Ogg header makes no sense: {channels} channels at {rate} Hz")
    last = _last_granule(file, size, serial)
    return OggStream(encoding, rate, channels, max(0, last - skipped))


def _last_granule(file: BinaryIO, size: int, serial: bytes) -> int:
    """Return the sample count of the last complete page, 0 if none has any.

    Two page lengths before the end of an intact prefix there is always one whole page. Audio that
    happens to look like a page would have to match 9 fixed bytes.
    """
    file.seek(max(0, size - 2 * _LARGEST_PAGE))
    tail = file.read(2 * _LARGEST_PAGE)
    end = len(tail)
    while (at := tail.rfind(_CAPTURE, 0, end)) >= 0:
        granule = _granule(tail[at : at + _LARGEST_PAGE], serial)
        if granule is not None and granule != _NO_SAMPLE_ENDS:
            return granule
        end = at + len(_CAPTURE) - 1
    return 0


def _granule(page: bytes, serial: bytes) -> int | None:
    """Return the granule position of a page, None if it is torn or of another stream."""
    if len(page) < _HEADER or page[14:18] != serial:
        return None
    table = page[_HEADER : _HEADER + page[26]]
    if len(table) < page[26] or len(page) < _HEADER + len(table) + sum(table):
        return None
    return int.from_bytes(page[6:14], "little", signed=True)
