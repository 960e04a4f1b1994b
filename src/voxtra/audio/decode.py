"""Any recording as 16-bit samples, whole or block by block.

G.722 is the one format nothing here can decode: libsndfile has no decoder for it.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from voxtra.audio import au, g711
from voxtra.audio.extent import Extent, find_extent
from voxtra.audio.formats import FORMATS, AudioFormat, Encoding
from voxtra.audio.wav import virtual_header
from voxtra.exceptions import RecordingError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = [
    "can_decode",
    "decode",
    "decode_blocks",
    "holds_samples",
    "read_frames",
    "samples_of",
]

BLOCK_FRAMES = 65_536

_Samples = NDArray[np.int16]


def _pcm16(data: bytes) -> _Samples:
    return np.frombuffer(data, "<i2").astype(np.int16, copy=False)


_DIRECT: dict[Encoding, tuple[int, Callable[[bytes], _Samples]]] = {
    Encoding.PCM16: (2, _pcm16),
    Encoding.MULAW: (1, g711.decode_mulaw),
    Encoding.ALAW: (1, g711.decode_alaw),
}

_RAW_SUBTYPE = {Encoding.GSM: "GSM610", Encoding.VOX: "VOX_ADPCM"}


def can_decode(fmt: AudioFormat) -> bool:
    """Tell whether `decode` and `decode_blocks` work for the format."""
    return fmt.encoding is not Encoding.G722


def decode(path: Path, fmt: AudioFormat) -> tuple[_Samples, int]:
    """Return a whole file as int16 samples [frames, channels], and its sample rate in Hz.

    Raises RecordingError when the format can't be decoded or the file is not what `fmt` says.
    """
    with path.open("rb") as file:
        extent = find_extent(file, os.fstat(file.fileno()).st_size, fmt)
        blocks = list(decode_blocks(file, extent, BLOCK_FRAMES))
    if not blocks:
        return np.zeros((0, extent.channels), np.int16), extent.sample_rate
    return np.concatenate(blocks), extent.sample_rate


def decode_blocks(file: BinaryIO, extent: Extent, frames: int = BLOCK_FRAMES) -> Iterator[_Samples]:
    """Yield an extent as samples [frames, channels] in blocks of `frames`, the last one shorter.

    Compressed audio comes in even blocks: an odd `frames` is one more there.

    Raises RecordingError when the encoding can't be decoded or its data is damaged.
    """
    if holds_samples(extent):
        for start in range(0, extent.samples, frames):
            yield read_frames(file, extent, start, min(frames, extent.samples - start))
        return
    frames += frames % 2  # libsndfile loses a sample of vox at every odd read
    left = extent.samples
    try:
        part, raw = _sound_source(file, extent)
        with soundfile.SoundFile(part, **raw) as sound:
            # `left` is needed: libsndfile reads an odd number of wav49 blocks as one more.
            while left > 0:
                block = sound.read(min(frames, left), dtype="float32", always_2d=True)
                if not len(block):
                    return
                # Vorbis and Opus overshoot full scale; as integers libsndfile would wrap them.
                yield np.clip(np.rint(block * 32768), -32768, 32767).astype(np.int16)
                left -= len(block)
    except soundfile.LibsndfileError as error:
        raise RecordingError(f"the audio can't be decoded: {error.error_string}") from error


def read_frames(file: BinaryIO, extent: Extent, start: int, count: int) -> _Samples:
    """Return `count` frames from frame `start` of PCM or G.711 samples, as [frames, channels].

    Raises RecordingError when the file is shorter than its extent.
    """
    frame_bytes = _DIRECT[extent.encoding][0] * extent.channels
    file.seek(extent.offset + start * frame_bytes)
    data = file.read(count * frame_bytes)
    if len(data) != count * frame_bytes:
        raise RecordingError("the file was cut while it was being read")
    return samples_of(data, extent)


def holds_samples(extent: Extent) -> bool:
    """Tell whether each sample stands by itself in the file (PCM, G.711), so that any piece of it
    can be read: `read_frames` and `samples_of` work.
    """
    return extent.encoding in _DIRECT


def samples_of(data: bytes, extent: Extent) -> _Samples:
    """Return the samples of a piece of an extent, whole frames of it, as [frames, channels]."""
    return _DIRECT[extent.encoding][1](data).reshape(-1, extent.channels)


def _sound_source(file: BinaryIO, extent: Extent) -> tuple[_Part, dict[str, object]]:
    """Return the file to give to libsndfile, and what it must be told about it."""
    header = b""
    raw: dict[str, object] = {}
    if extent.encoding is Encoding.MS_GSM:
        # Our own header: the file's may still hold the zero lengths of a killed Asterisk.
        header = virtual_header(FORMATS["wav49"], extent.data_bytes)
    elif extent.encoding is Encoding.G726:
        header = au.header(au.G721, extent.sample_rate, extent.data_bytes)
    elif extent.encoding in _RAW_SUBTYPE:
        raw = {
            "format": "RAW",
            "subtype": _RAW_SUBTYPE[extent.encoding],
            "samplerate": extent.sample_rate,
            "channels": extent.channels,
        }
    elif extent.encoding is Encoding.G722:
        raise RecordingError("g722 can't be decoded here")
    return _Part(file, header, extent.offset, extent.data_bytes), raw


class _Part(io.RawIOBase):
    """A read-only file made of a header of ours and a stretch of another file."""

    def __init__(self, file: BinaryIO, header: bytes, offset: int, length: int) -> None:
        self._file = file
        self._header = header
        self._offset = offset
        self._size = len(header) + length
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), max(0, self._size - self._at))
        data = self._header[self._at : self._at + wanted]
        if len(data) < wanted:
            self._file.seek(self._offset + self._at + len(data) - len(self._header))
            data += self._file.read(wanted - len(data))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)
