"""Two mono recordings of one call, side by side in one stereo file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from voxtra.audio.decode import BLOCK_FRAMES, read_frames
from voxtra.audio.extent import Extent, find_extent
from voxtra.audio.formats import AudioFormat
from voxtra.audio.wav import virtual_header
from voxtra.exceptions import ConfigurationError, RecordingError

__all__ = ["interleave"]


def interleave(
    left: Path, right: Path, out: Path, fmt: AudioFormat, *, offset_samples: int = 0
) -> int:
    """Join two mono PCM recordings to one stereo WAV file; return its samples per channel.

    `offset_samples` is how much later the right one began (negative: earlier). Where one side has
    nothing, silence stands. `out` appears whole and durable or not at all; the inputs stay. The
    result is a WAV file whatever `fmt` is: measure it as `wav`. Raises ConfigurationError when
    `fmt` can't be stereo, RecordingError when a file is not mono `fmt`, the rates differ or the
    result would pass 4 GiB.
    """
    if not fmt.stereo_capable:
        raise ConfigurationError(
            f"{fmt.name} recordings can't be joined to a stereo file",
            field="layout",
            fix="Record wav, wav16 or sln*, or choose the mono layout",
        )
    part = out.with_name(out.name + ".part")
    for source in (left, right):
        if source in (out, part) or (out.exists() and out.samefile(source)):
            raise RecordingError(f"{out}: would replace the recording it is made of")
    with left.open("rb") as left_file, right.open("rb") as right_file:
        left_extent = _mono(left_file, left, fmt)
        right_extent = _mono(right_file, right, fmt)
        if left_extent.sample_rate != right_extent.sample_rate:
            raise RecordingError(
                f"{left} has {left_extent.sample_rate} Hz and {right} {right_extent.sample_rate} Hz"
            )
        left_lead, right_lead = max(0, -offset_samples), max(0, offset_samples)
        total = max(left_extent.samples + left_lead, right_extent.samples + right_lead)
        header = virtual_header(fmt, total * 4, channels=2)
        try:
            with part.open("wb") as target:
                target.write(header)
                for start in range(0, total, BLOCK_FRAMES):
                    count = min(BLOCK_FRAMES, total - start)
                    block = np.empty((count, 2), "<i2")
                    block[:, 0] = _slice(left_file, left_extent, start - left_lead, count)
                    block[:, 1] = _slice(right_file, right_extent, start - right_lead, count)
                    target.write(block.tobytes())
                target.flush()
                os.fsync(target.fileno())
            part.replace(out)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    _sync_folder(out.parent)
    return total


def _mono(file: BinaryIO, path: Path, fmt: AudioFormat) -> Extent:
    try:
        extent = find_extent(file, os.fstat(file.fileno()).st_size, fmt)
    except RecordingError as error:
        raise RecordingError(f"{path}: {error}") from error
    if extent.channels != 1 or extent.encoding is not fmt.encoding:
        raise RecordingError(f"{path}: holds {extent.channels} channels of {extent.encoding}")
    return extent


def _slice(file: BinaryIO, extent: Extent, start: int, count: int) -> NDArray[np.int16]:
    """Return `count` samples from `start` (may be negative), silence where there are none."""
    samples = np.zeros(count, np.int16)
    first, last = max(0, start), min(start + count, extent.samples)
    if first < last:
        samples[first - start : last - start] = read_frames(file, extent, first, last - first)[:, 0]
    return samples


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
