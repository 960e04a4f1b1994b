"""Where the audio lies in a file: one answer for counting, decoding, mixing and serving."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from voxtra.audio import au, ogg, wav
from voxtra.audio.formats import AudioFormat, Container, Encoding

__all__ = ["Extent", "find_extent"]


@dataclass(frozen=True, slots=True)
class Extent:
    """Whole frames only: `data_bytes` bytes from `offset` hold `samples` samples in each channel.

    For ogg the bytes are the whole file, pages included.
    """

    encoding: Encoding
    sample_rate: int
    channels: int
    offset: int
    data_bytes: int
    samples: int


def find_extent(file: BinaryIO, size: int, fmt: AudioFormat) -> Extent:
    """Locate the audio of a file of `size` bytes that was recorded as `fmt`, finished or not.

    A header's rate, channels and codec win over the table's. Raises RecordingError with the reason
    when the file has not the header it should have.
    """
    if fmt.container is Container.RIFF:
        head = wav.read_header(file, size)
        return Extent(
            head.encoding,
            head.sample_rate,
            head.channels,
            head.data_offset,
            head.data_bytes,
            head.samples,
        )
    if fmt.container is Container.OGG:
        stream = ogg.read_stream(file, size)
        return Extent(stream.encoding, stream.sample_rate, stream.channels, 0, size, stream.samples)
    rate, offset = fmt.sample_rate, 0
    if fmt.container is Container.AU:
        au_head = au.read_header(file, size)
        rate, offset = au_head.sample_rate, au_head.data_offset
    frames = (size - offset) // fmt.frame_bytes
    return Extent(
        fmt.encoding, rate, 1, offset, frames * fmt.frame_bytes, frames * fmt.frame_samples
    )
