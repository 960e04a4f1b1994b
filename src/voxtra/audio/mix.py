"""Two mono recordings of one call, side by side in one stereo file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from voxtra.audio.decode import BLOCK_FRAMES, read_frames
from voxtra.audio.extent import Extent, find_extent
from voxtra.audio.formats import AudioFormat
from voxtra.audio.wav import virtual_header
from voxtra.exceptions import ConfigurationError, RecordingError

__all__ = ["Pair", "interleave", "open_pair"]


@dataclass(frozen=True, slots=True)
class _Side:
    """One channel: its file (None: silence), and how many samples of silence come before it."""

    file: BinaryIO | None
    extent: Extent | None
    lead: int

    @property
    def end(self) -> int:
        return self.lead + (self.extent.samples if self.extent else 0)

    def samples(self, start: int, count: int) -> NDArray[np.int16]:
        """Return `count` samples from `start` of the result, silence where there are none."""
        if self.file is None or self.extent is None:
            return np.zeros(count, np.int16)
        start -= self.lead
        first, last = max(0, start), min(start + count, self.extent.samples)
        if last - first == count:
            return read_frames(self.file, self.extent, first, count)[:, 0]
        samples = np.zeros(count, np.int16)
        if first < last:
            found = read_frames(self.file, self.extent, first, last - first)[:, 0]
            samples[first - start : last - start] = found
        return samples


class Pair:
    """Two open recordings: the header of their stereo file, and its samples block by block."""

    def __init__(self, left: _Side, right: _Side, fmt: AudioFormat) -> None:
        self._sides = (left, right)
        self.sample_rate = fmt.sample_rate
        self.samples = max(left.end, right.end)
        self.header = virtual_header(fmt, self.samples * 4, channels=2)

    def blocks(self, frames: int = BLOCK_FRAMES) -> Iterator[NDArray[np.int16]]:
        """Yield the samples as [frames, 2] in blocks of `frames`, the last one shorter."""
        for start in range(0, self.samples, frames):
            block = np.empty((min(frames, self.samples - start), 2), "<i2")
            for channel, side in enumerate(self._sides):
                block[:, channel] = side.samples(start, len(block))
            yield block


@contextmanager
def open_pair(
    left: Path | None, right: Path | None, fmt: AudioFormat, *, offset_samples: int = 0
) -> Iterator[Pair]:
    """Open two mono PCM recordings as one stereo recording; None is a side without anything.

    `offset_samples` is how much later the right one began (negative: earlier). Where one side has
    nothing, silence stands. Raises ConfigurationError when `fmt` can't be stereo, RecordingError
    when a file is not mono `fmt` or the result would pass 4 GiB, OSError when it can't be read.
    """
    if not fmt.stereo_capable:
        raise ConfigurationError(
            f"{fmt.name} recordings can't be joined to a stereo file",
            field="layout",
            fix="Record wav, wav16 or sln*, or choose the mono layout",
        )
    with ExitStack() as files:

        def opened(path: Path | None, lead: int) -> _Side:
            if path is None:
                return _Side(None, None, lead)
            file = files.enter_context(path.open("rb"))
            return _Side(file, _mono(file, path, fmt), lead)

        yield Pair(
            opened(left, max(0, -offset_samples)), opened(right, max(0, offset_samples)), fmt
        )


def interleave(
    left: Path, right: Path, out: Path, fmt: AudioFormat, *, offset_samples: int = 0
) -> int:
    """Join two mono PCM recordings to one stereo WAV file; return its samples per channel.

    `out` appears whole and durable or not at all, doing it twice gives the same, and the inputs
    stay. The result is a WAV file whatever `fmt` is: measure it as `wav`. Raises what `open_pair`
    raises.
    """
    part = out.with_name(out.name + ".part")
    for source in (left, right):
        if source in (out, part) or (out.exists() and out.samefile(source)):
            raise RecordingError(f"{out}: would replace the recording it is made of")
    with open_pair(left, right, fmt, offset_samples=offset_samples) as pair:
        try:
            with part.open("wb") as target:
                target.write(pair.header)
                for block in pair.blocks():
                    target.write(block.data)
                target.flush()
                os.fsync(target.fileno())
            part.replace(out)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    _sync_folder(out.parent)
    return pair.samples


def _mono(file: BinaryIO, path: Path, fmt: AudioFormat) -> Extent:
    try:
        extent = find_extent(file, os.fstat(file.fileno()).st_size, fmt)
    except RecordingError as error:
        raise RecordingError(f"{path}: {error}") from error
    found = (extent.channels, extent.encoding, extent.sample_rate)
    if found != (1, fmt.encoding, fmt.sample_rate):
        raise RecordingError(
            f"{path}: holds {found[0]} channels of {found[1]} at {found[2]} Hz, "
            f"where one at {fmt.sample_rate} Hz was recorded"
        )
    return extent


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
