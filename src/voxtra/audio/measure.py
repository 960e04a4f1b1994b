"""How much is really in a recording: counted from its bytes, never taken from an event."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from voxtra.audio.extent import find_extent
from voxtra.audio.formats import AudioFormat
from voxtra.exceptions import RecordingError

__all__ = ["Measurement", "measure"]


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a file holds.

    `samples` are per channel; `size` (bytes) and `sha256` (hex) are of the whole file. `problem`
    says why there are no samples, else it is empty. How loud it is, `voxtra.audio.levels` finds.
    """

    samples: int
    sample_rate: int
    channels: int
    size: int
    sha256: str
    problem: str = ""

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.samples / self.sample_rate


def measure(path: Path, fmt: AudioFormat) -> Measurement:
    """Hash and count a file recorded as `fmt`.

    Works on files whose header was never finished. A file that is empty or not what `fmt` says has
    0 samples and a `problem`; the caller decides what that means. Raises OSError when it can't be
    read.
    """
    with path.open("rb", buffering=0) as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.tell()
    with path.open("rb") as file:
        try:
            extent = find_extent(file, size, fmt)
        except RecordingError as error:
            problem = str(error) if size else "the file is empty"
            return Measurement(0, fmt.sample_rate, 1, size, sha256, problem)
    problem = "" if extent.samples else "the file holds no audio"
    return Measurement(extent.samples, extent.sample_rate, extent.channels, size, sha256, problem)
