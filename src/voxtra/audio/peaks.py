"""The picture of a recording: its smallest and largest sample in each of many short stretches.

The file is the `.dat` of BBC's audiowaveform, version 2 with 8 bits, which waveform-data.js and
peaks.js read as it is: a header of 24 bytes (little-endian: version, flags, sample rate, samples
per point, points, channels), and for each point and each channel the minimum and the maximum, a
signed byte each. There are as many points as make 0.08 % of the recording's own size, but no fewer
than 1000 (or one for each sample) and hardly more than 20 000, which is 0.2 s each in an hour.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from voxtra.exceptions import RecordingError

__all__ = ["Peaks", "PeaksMaker"]

FEWEST: Final = 1000
MOST: Final = 20_000
SHARE: Final = 1250
"""A byte of peaks for so many bytes of audio."""

_HEADER: Final = struct.Struct("<iIiiIi")
_VERSION: Final = 2
_EIGHT_BITS: Final = 1


@dataclass(frozen=True, slots=True)
class Peaks:
    """Minima and maxima as [points, channels, 2], -128 to 127; the last point may be of fewer
    samples.
    """

    sample_rate: int
    samples_per_point: int
    values: NDArray[np.int8]

    @property
    def channels(self) -> int:
        """How many channels there are."""
        return int(self.values.shape[1])

    def encode(self) -> bytes:
        """Return the file."""
        points, channels, _ = self.values.shape
        header = _HEADER.pack(
            _VERSION, _EIGHT_BITS, self.sample_rate, self.samples_per_point, points, channels
        )
        return header + self.values.tobytes()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a file. Raises RecordingError when it is none of ours, or cut."""
        if len(data) < _HEADER.size:
            raise RecordingError("the peaks have no header")
        version, flags, rate, step, points, channels = _HEADER.unpack_from(data)
        if version != _VERSION or flags != _EIGHT_BITS or min(rate, step, channels) < 1:
            raise RecordingError("the peaks have a header that makes no sense")
        if len(data) != _HEADER.size + points * channels * 2:
            raise RecordingError("the peaks are cut")
        values = np.frombuffer(data, np.int8, offset=_HEADER.size)
        return cls(rate, step, values.reshape(points, channels, 2))

    def reduced(self, points: int) -> Self:
        """Return at most so many points, each of several of ours; these, when they are as few."""
        have = len(self.values)
        if have <= points:
            return self
        merged = -(-have // max(1, points))
        starts = np.arange(0, have, merged)
        values = np.empty((len(starts), self.channels, 2), np.int8)
        values[:, :, 0] = np.minimum.reduceat(self.values[:, :, 0], starts)
        values[:, :, 1] = np.maximum.reduceat(self.values[:, :, 1], starts)
        return type(self)(self.sample_rate, self.samples_per_point * merged, values)

    def as_json(self) -> dict[str, Any]:
        """Return audiowaveform's JSON form: `data` has minimum and maximum of each channel of the
        first point, then of the second.
        """
        return {
            "version": _VERSION,
            "channels": self.channels,
            "sample_rate": self.sample_rate,
            "samples_per_pixel": self.samples_per_point,
            "bits": 8,
            "length": len(self.values),
            "data": self.values.ravel().tolist(),
        }


class PeaksMaker:
    """Takes the samples of a recording of a known length, in blocks of any length.

    `samples` are per channel, `size` the bytes of the recording's file.
    """

    def __init__(self, sample_rate: int, channels: int, samples: int, size: int) -> None:
        points = min(MOST, max(FEWEST, (size // SHARE - _HEADER.size) // (2 * channels)))
        self._rate = sample_rate
        self._step = max(1, samples // points)
        shape = (channels, -(-samples // self._step))
        self._low = np.full(shape, np.iinfo(np.int16).max, np.int16)
        self._high = np.full(shape, np.iinfo(np.int16).min, np.int16)
        self._at = 0

    def hear(self, sides: NDArray[np.int16]) -> None:
        """Take the next samples, as [channels, frames]."""
        frames = sides.shape[1]
        if not frames:
            return
        first, behind = divmod(self._at, self._step)
        starts = np.arange(-behind, frames, self._step)
        starts[0] = 0
        for mine, better in ((self._low, np.minimum), (self._high, np.maximum)):
            part = mine[:, first : first + len(starts)]
            better(part, better.reduceat(sides, starts, axis=1), out=part)
        self._at += frames

    def peaks(self) -> Peaks:
        """Return what was found; stretches that no sample came for are silent."""
        pair = np.stack([self._low.T, self._high.T], axis=2)
        pair[pair[:, :, 0] > pair[:, :, 1]] = 0
        # Towards zero, as audiowaveform does: what is quieter than a step is drawn as silence.
        return Peaks(self._rate, self._step, np.trunc(pair / 256).astype(np.int8))
