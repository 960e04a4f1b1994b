"""How loud a recording is, found while its samples go by.

Quiet is what Asterisk calls silence (`dsp.conf`: a mean magnitude below 256, about -42 dBFS), in
windows of 20 ms, one packet of speech: the ratio then agrees with what ends a recording by
`end_of_silence`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["FLOOR_DBFS", "Levels", "Meter", "Side", "dbfs"]

FLOOR_DBFS: Final = -96.33
"""What stands for the level of nothing but zeros: half of the smallest step of 16 bits."""

_WINDOWS_PER_SECOND: Final = 50
_SILENCE: Final = 256


@dataclass(frozen=True, slots=True)
class Side:
    """One channel: its loudest sample, and the share of its time that is quiet (0 to 1)."""

    peak_dbfs: float
    silence_ratio: float


@dataclass(frozen=True, slots=True)
class Levels:
    """A recording: the loudest sample of any channel, the share of time in which all channels are
    quiet, and each channel by itself, left first.
    """

    peak_dbfs: float
    silence_ratio: float
    sides: tuple[Side, ...]


class Meter:
    """Takes the samples of a recording block by block, each but the last of whole windows.

    `window` is the length of a window in samples.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        self.window = max(1, sample_rate // _WINDOWS_PER_SECOND)
        self._peaks = np.zeros(channels, np.int64)
        self._silent = np.zeros(channels, np.int64)
        self._all_silent = 0
        self._total = 0

    def hear(self, sides: NDArray[np.int16]) -> None:
        """Take the next samples, as [channels, frames]."""
        frames = sides.shape[1]
        if not frames:
            return
        # Seen as unsigned, the magnitude of -32768 is what it should be.
        magnitude = np.abs(sides).view(np.uint16)
        self._peaks = np.maximum(self._peaks, magnitude.max(axis=1))
        starts = np.arange(0, frames, self.window)
        lengths = np.diff(starts, append=frames)
        quiet = np.add.reduceat(magnitude, starts, axis=1, dtype=np.int64) < _SILENCE * lengths
        self._silent += quiet @ lengths
        self._all_silent += int(lengths[quiet.all(axis=0)].sum())
        self._total += frames

    def levels(self) -> Levels:
        """Return what was found so far."""
        total = self._total or 1
        sides = tuple(
            Side(dbfs(int(peak)), float(silent / total) if self._total else 1.0)
            for peak, silent in zip(self._peaks, self._silent, strict=True)
        )
        ratio = self._all_silent / total if self._total else 1.0
        return Levels(max(side.peak_dbfs for side in sides), ratio, sides)


def dbfs(magnitude: int) -> float:
    """Return the level of a sample of this magnitude (0 to 32768) in dBFS, to two digits."""
    return round(20 * math.log10(magnitude / 32768), 2) if magnitude else FLOOR_DBFS
