"""A stored recording in another shape: as WAV by arithmetic, or encoded anew.

A `WavView` is a WAV file that exists nowhere: its length is known beforehand, and any stretch of it
is computed from the few source bytes that stand for it. So a headerless `.ulaw` plays and seeks as
WAV without a byte being converted that nobody asked for. What keeps state between samples (GSM,
ADPCM, Vorbis, Opus) has no such view and is encoded as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from voxtra.audio.decode import decode_blocks, samples_of
from voxtra.audio.extent import Extent, find_extent
from voxtra.audio.formats import FORMATS, AudioFormat, Encoding
from voxtra.audio.wav import virtual_header
from voxtra.exceptions import RecordingError

__all__ = ["VIEWABLE", "Channel", "Stopped", "Target", "WavView", "encode", "view"]

_Samples = NDArray[np.int16]


class Channel(StrEnum):
    """What is taken of a stereo recording: one side, or both added as the PBX itself mixes."""

    LEFT = "left"
    RIGHT = "right"
    MIX = "mix"


class Target(StrEnum):
    """What a recording can be turned into."""

    WAV = "wav"
    MP3 = "mp3"
    OPUS = "opus"


class Stopped(RecordingError):
    """The encoding was given up because it was asked to."""


_SAMPLE_BYTES: Final = {Encoding.PCM16: 2, Encoding.MULAW: 1, Encoding.ALAW: 1}

VIEWABLE: Final = frozenset(_SAMPLE_BYTES)
"""Encodings in which every sample stands for itself."""

_SUBTYPE: Final = {Target.MP3: ("MP3", "MPEG_LAYER_III"), Target.OPUS: ("OGG", "OPUS")}

_RATES: Final = {
    Target.MP3: (8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
    Target.OPUS: (8000, 12_000, 16_000, 24_000, 48_000),
}


@dataclass(frozen=True, slots=True)
class WavView:
    """A WAV file of 16-bit samples over the samples of another file.

    Bytes `start` to `end` of it are those of the `header`, and then what `convert` makes of the
    source bytes `source(start, end)`, less the first `skip(start)` bytes.
    """

    header: bytes
    extent: Extent
    channel: Channel | None

    @property
    def channels(self) -> int:
        """How many channels the view has."""
        return self.extent.channels if self.channel is None else 1

    @property
    def size(self) -> int:
        """Length in bytes, header included."""
        return len(self.header) + self.extent.samples * self._frame

    @property
    def verbatim(self) -> bool:
        """Whether the view's samples are the source's own bytes."""
        return self.extent.encoding is Encoding.PCM16 and self.channel is None

    @property
    def source_frame(self) -> int:
        """Bytes of one source frame: `convert` takes whole frames."""
        return _SAMPLE_BYTES[self.extent.encoding] * self.extent.channels

    @property
    def _frame(self) -> int:
        return 2 * self.channels

    def source(self, start: int, end: int) -> tuple[int, int]:
        """Return the stretch of the source, in whole frames, that a stretch of the view is made of;
        empty when that holds nothing but header.
        """
        first = max(0, start - len(self.header)) // self._frame
        last = -(-max(0, end - len(self.header)) // self._frame)
        offset, frame = self.extent.offset, self.source_frame
        return offset + first * frame, offset + last * frame

    def skip(self, start: int) -> int:
        """Return how many converted bytes lie before `start`: a stretch may begin in a frame."""
        return max(0, start - len(self.header)) % self._frame

    def convert(self, data: bytes) -> bytes:
        """Return whole source frames as bytes of the view."""
        if self.verbatim:
            return data
        return (
            _pick(samples_of(data, self.extent), self.channel).astype("<i2", copy=False).tobytes()
        )


def view(extent: Extent, channel: Channel | None = None) -> WavView:
    """Return the WAV file that stands for the samples of a file.

    Raises RecordingError for encodings without a view (see `VIEWABLE`), for a side of a recording
    that has none, and above 4 GiB.
    """
    if extent.encoding not in VIEWABLE:
        raise RecordingError(f"{extent.encoding} can't be read as WAV without decoding all of it")
    channel = _checked(channel, extent.channels)
    channels = extent.channels if channel is None else 1
    header = _pcm_header(extent.sample_rate, channels, extent.samples * channels * 2)
    return WavView(header, extent, channel)


def encode(
    source: Path,
    fmt: AudioFormat,
    out: Path,
    target: Target,
    *,
    channel: Channel | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Write the recording `source`, stored as `fmt`, anew to `out`, block by block.

    The sample rate is kept where the codec has it; else it becomes 48 kHz. MP3 has a variable bit
    rate (about 16 kbit/s for a mono call), Opus about 21 kbit/s. `stopped` is asked for every
    block; true ends the work with `Stopped`. Raises RecordingError when the source can't be
    decoded, has not the channel, or gives a WAV above 4 GiB. What is left in `out` after an error
    is the caller's to remove.
    """
    with source.open("rb") as file:
        extent = find_extent(file, source.stat().st_size, fmt)
        channel = _checked(channel, extent.channels)
        channels = extent.channels if channel is None else 1
        blocks = _blocks(file, extent, channel, stopped)
        if target is Target.WAV:
            _write_wav(out, extent, channels, blocks)
        else:
            _write_coded(out, target, extent, channels, blocks)


def _checked(channel: Channel | None, channels: int) -> Channel | None:
    """Return the channel to take, None for a mix of one."""
    if channels > 1:
        return channel
    if channel in (Channel.LEFT, Channel.RIGHT):
        raise RecordingError(f"the recording has one channel, and so no {channel} one")
    return None


def _blocks(
    file: BinaryIO, extent: Extent, channel: Channel | None, stopped: Callable[[], bool]
) -> Iterator[_Samples]:
    for block in decode_blocks(file, extent):
        if stopped():
            raise Stopped("the encoding was stopped")
        yield _pick(block, channel)


def _write_wav(out: Path, extent: Extent, channels: int, blocks: Iterator[_Samples]) -> None:
    written = 0
    with out.open("wb") as file:
        file.write(_pcm_header(extent.sample_rate, channels, extent.samples * channels * 2))
        for block in blocks:
            written += file.write(block.astype("<i2", copy=False).tobytes())
        if written != extent.samples * channels * 2:
            # Damaged data can decode to less than was counted; the header tells what there is.
            file.seek(0)
            file.write(_pcm_header(extent.sample_rate, channels, written))


def _write_coded(
    out: Path, target: Target, extent: Extent, channels: int, blocks: Iterator[_Samples]
) -> None:
    container, subtype = _SUBTYPE[target]
    rate = extent.sample_rate if extent.sample_rate in _RATES[target] else 48_000
    shape = {"samplerate": rate, "channels": channels, "format": container, "subtype": subtype}
    try:
        # Opened here: libsndfile would not say why it can't be.
        with (
            out.open("wb") as file,
            soundfile.SoundFile(file.fileno(), "w", closefd=False, **shape) as sound,
        ):
            for block in _resampled(blocks, extent.sample_rate, rate, channels):
                # As integers, half of a stereo MP3 would be noise (libsndfile 1.2.2).
                sound.write(block.astype(np.float32) / 32768)
    except soundfile.LibsndfileError as error:
        raise RecordingError(f"the audio can't be encoded: {error.error_string}") from error


def _resampled(
    blocks: Iterator[_Samples], rate: int, wanted: int, channels: int
) -> Iterator[_Samples]:
    if rate == wanted:
        yield from blocks
        return
    stream = soxr.ResampleStream(rate, wanted, channels, dtype="int16")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.empty((0, channels), np.int16), last=True)


def _pcm_header(rate: int, channels: int, data_bytes: int) -> bytes:
    return virtual_header(replace(FORMATS["wav"], sample_rate=rate), data_bytes, channels=channels)


def _pick(samples: _Samples, channel: Channel | None) -> _Samples:
    """Return what is wanted of samples [frames, channels], as [frames, channels] again."""
    if channel is None:
        return samples
    if channel is Channel.MIX:
        total: NDArray[np.int32] = samples.sum(axis=1, dtype=np.int32, keepdims=True)
        return total.clip(-32768, 32767).astype(np.int16)
    side = 0 if channel is Channel.LEFT else 1
    return samples[:, side : side + 1]
