"""One pass over what the PBX recorded: the bytes of the finished file, for whoever stores them, and
what is in it.

The files of the PBX are only read. A header that lacks its lengths is completed on the way, two
sides are joined on the way, and no copy is made in between.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from voxtra.audio.decode import can_decode, decode_blocks, holds_samples, samples_of
from voxtra.audio.extent import Extent, find_extent
from voxtra.audio.formats import AudioFormat
from voxtra.audio.levels import Levels, Meter
from voxtra.audio.mix import open_pair
from voxtra.audio.peaks import Peaks, PeaksMaker
from voxtra.audio.repair import missing_lengths
from voxtra.audio.wav import virtual_header
from voxtra.exceptions import RecordingError

__all__ = ["Passage"]

_WINDOWS: Final = 400
"""Windows of the meter in a block: 128 kB of an 8 kHz wav."""

CHUNK: Final = 262_144


class Passage:
    """Iterate over it once, in any thread; what it found is true when the iteration has ended.

    `samples` are per channel, in the result. `levels` and `peaks` stay None where nothing here can
    decode the format; `repaired` tells whether the header had to be completed; `problems` say what
    is wrong with a recording that is of use all the same.
    """

    def __init__(self) -> None:
        self.samples = 0
        self.sample_rate = 0
        self.channels = 1
        self.repaired = False
        self.levels: Levels | None = None
        self.peaks: Peaks | None = None
        self.problems: list[str] = []

    def of_one(self, path: Path, fmt: AudioFormat) -> Iterator[bytes]:
        """Yield a file recorded as `fmt`, its header complete.

        Raises RecordingError, before anything is yielded, when there is no audio in it; OSError
        when it can't be read.
        """
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if not size:
                raise RecordingError("the file is empty")
            extent = find_extent(file, size, fmt)
            if not extent.samples:
                raise RecordingError("the file holds no audio")
            lengths = missing_lengths(file, size, fmt)
            self.repaired = bool(lengths)
            listener = self._begin(extent.sample_rate, extent.channels, extent.samples, size)
            if can_decode(fmt) and not holds_samples(extent):
                self._listen(listener, file, extent)
            file.seek(0)
            head = bytearray(_exactly(file, extent.offset))
            for at, value in lengths.items():
                head[at : at + len(value)] = value
            if head:
                yield bytes(head)
            at = extent.offset
            if holds_samples(extent):
                frame_bytes = extent.data_bytes // extent.samples
                step = listener.frames * frame_bytes
                for at in range(extent.offset, extent.offset + extent.data_bytes, step):
                    end = min(at + step, extent.offset + extent.data_bytes)
                    data = _exactly(file, end - at)
                    listener.hear(samples_of(data, extent))
                    yield data
                at = extent.offset + extent.data_bytes
                self._end(listener)
            for start in range(at, size, CHUNK):
                yield _exactly(file, min(CHUNK, size - start))

    def of_two(
        self, left: Path | None, right: Path | None, fmt: AudioFormat, *, offset: float = 0.0
    ) -> Iterator[bytes]:
        """Yield the stereo WAV file of two sides recorded as `fmt`, None being a side that is not
        there; the right one began `offset` seconds after the left.

        Raises RecordingError, before anything is yielded, when neither has any audio; otherwise as
        `voxtra.audio.mix.open_pair`.
        """
        sides: list[Path | None] = []
        for side, path in (("left", left), ("right", right)):
            problem = self._unusable(path, fmt) if path is not None else ""
            if problem:
                self.problems.append(f"the {side} side is silence: {problem}")
            sides.append(None if problem else path)
        if sides == [None, None]:
            raise RecordingError("neither side has any audio in it")
        shift = round(offset * fmt.sample_rate)
        with open_pair(sides[0], sides[1], fmt, offset_samples=shift) as pair:
            size = len(pair.header) + pair.samples * 4
            listener = self._begin(pair.sample_rate, 2, pair.samples, size)
            yield pair.header
            for block in pair.blocks(listener.frames):
                listener.hear(block)
                yield block.tobytes()
            self._end(listener)

    def _unusable(self, path: Path, fmt: AudioFormat) -> str:
        """Tell why there is no audio in a side; what holds something else raises."""
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < len(virtual_header(fmt, 0)):
                return "the file is empty"  # or has less than a header: no audio ever got there
            try:
                extent = find_extent(file, size, fmt)
            except RecordingError as error:
                raise RecordingError(f"{path.name}: {error}") from error
            if not extent.samples:
                return "the file holds no audio"
            self.repaired |= bool(missing_lengths(file, size, fmt))
            return ""

    def _begin(self, rate: int, channels: int, samples: int, size: int) -> _Listener:
        self.sample_rate, self.channels, self.samples = rate, channels, samples
        return _Listener(rate, channels, samples, size)

    def _listen(self, listener: _Listener, file: BinaryIO, extent: Extent) -> None:
        try:
            for block in decode_blocks(file, extent, listener.frames):
                listener.hear(block)
        except RecordingError as error:
            self.problems.append(f"its levels are unknown: {error}")
        else:
            self._end(listener)

    def _end(self, listener: _Listener) -> None:
        self.levels, self.peaks = listener.meter.levels(), listener.maker.peaks()


class _Listener:
    """All that is found out from samples; it wants blocks of `frames`, the last one shorter."""

    def __init__(self, rate: int, channels: int, samples: int, size: int) -> None:
        self.meter = Meter(rate, channels)
        self.maker = PeaksMaker(rate, channels, samples, size)
        self.frames = self.meter.window * _WINDOWS

    def hear(self, block: NDArray[np.int16]) -> None:
        sides = np.ascontiguousarray(block.T)  # numpy goes along a row many times faster
        self.meter.hear(sides)
        self.maker.hear(sides)


def _exactly(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise RecordingError("the file was cut while it was being read")
    return data
