"""How much is really in a recording: counted from its bytes, never taken from an event."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from voxtra.audio.decode import can_decode, decode_blocks
from voxtra.audio.extent import Extent, find_extent
from voxtra.audio.formats import AudioFormat
from voxtra.exceptions import RecordingError

__all__ = ["Measurement", "measure"]

_WINDOWS_PER_SECOND = 50  # 20 ms, one packet of speech
_WINDOWS_PER_BLOCK = 400
_SILENCE = 256  # mean |sample|: Asterisk's own default threshold of silence


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a file holds.

    `samples` are per channel; `size` (bytes) and `sha256` (hex) are of the whole file. `peak` is
    the loudest sample, 0 to 1 of full scale; `silence_ratio` the share of 20 ms windows that are
    quiet in every channel. Both are None when not asked for or not decodable. `problem` says why
    there are no samples, else it is empty.
    """

    samples: int
    sample_rate: int
    channels: int
    size: int
    sha256: str
    peak: float | None = None
    silence_ratio: float | None = None
    problem: str = ""

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.samples / self.sample_rate


def measure(path: Path, fmt: AudioFormat, *, loudness: bool = False) -> Measurement:
    """Hash and count a file recorded as `fmt`; with `loudness`, find its peak and silence too.

    Works on files whose header was never finished. A file that is empty or not what `fmt` says has
    0 samples and a `problem`; the caller decides what that means. Raises OSError when it can't be
    read, and with `loudness` RecordingError when the codec's data is damaged.
    """
    with path.open("rb", buffering=0) as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.tell()
    with path.open("rb") as file:
        try:
            extent = find_extent(file, size, fmt)
        except RecordingError as error:
            problem = str(error) if size else "the file is empty"
            return Measurement(0, fmt.sample_rate, 1, size, sha256, problem=problem)
        problem = "" if extent.samples else "the file holds no audio"
        found = Measurement(
            extent.samples, extent.sample_rate, extent.channels, size, sha256, problem=problem
        )
        if not (loudness and extent.samples and can_decode(fmt)):
            return found
        peak, silence = _loudness(file, extent)
        return replace(found, peak=peak, silence_ratio=silence)


def _loudness(file: BinaryIO, extent: Extent) -> tuple[float, float]:
    window = max(1, extent.sample_rate // _WINDOWS_PER_SECOND)
    peak = 0
    silent = 0
    total = 0
    for block in decode_blocks(file, extent, window * _WINDOWS_PER_BLOCK):
        magnitude = np.abs(block.astype(np.int32))
        peak = max(peak, int(magnitude.max()))
        starts = np.arange(0, len(block), window)
        lengths = np.diff(starts, append=len(block))
        sums = np.add.reduceat(magnitude, starts, axis=0, dtype=np.int64).max(axis=1)
        silent += int(lengths[sums < _SILENCE * lengths].sum())
        total += len(block)
    return peak / 32768, silent / total if total else 1.0
