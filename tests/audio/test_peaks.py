"""Peaks: every sample is under one point, and the file is what audiowaveform describes."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxtra.audio.formats import FORMATS
from voxtra.audio.peaks import Peaks, PeaksMaker
from voxtra.exceptions import RecordingError


def peaks_of(samples: np.ndarray, size: int, cuts: list[int] | None = None) -> Peaks:
    """Return the peaks of [frames, channels], heard in blocks that end at `cuts`."""
    maker = PeaksMaker(8000, samples.shape[1], len(samples), size)
    ends = sorted({min(cut, len(samples)) for cut in cuts or []} | {len(samples)})
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        maker.hear(samples[start:end].T)
    return maker.peaks()


@given(
    frames=st.integers(1, 5000),
    channels=st.integers(1, 2),
    size=st.integers(0, 10_000_000),
    cuts=st.lists(st.integers(0, 5000), max_size=4),
    seed=st.integers(0, 1000),
)
def test_each_point_has_the_extremes_of_its_samples(frames, channels, size, cuts, seed):
    """However the samples are cut into blocks, point n is about samples n * step and after."""
    samples = np.random.default_rng(seed).integers(-32768, 32768, (frames, channels), np.int16)
    found = peaks_of(samples, size, cuts)
    step = found.samples_per_point
    assert len(found.values) == -(-frames // step)
    for point, pair in enumerate(found.values):
        low, high = pair.T
        part = samples[point * step : (point + 1) * step].astype(int)
        assert low.tolist() == np.trunc(part.min(axis=0) / 256).tolist()
        assert high.tolist() == np.trunc(part.max(axis=0) / 256).tolist()


@pytest.mark.parametrize("name", sorted({one.canonical for one in FORMATS.values()}))
@pytest.mark.parametrize("seconds", [1, 20, 600, 3600, 24 * 3600])
@pytest.mark.parametrize("channels", [1, 2])
def test_points_are_few_but_enough(name, seconds, channels):
    """The file takes at most 0.1 % of the recording's, or is the smallest that can be drawn."""
    fmt = FORMATS[name]
    samples = seconds * fmt.sample_rate
    bytes_ = fmt.frame_bytes or 1
    size = samples // fmt.frame_samples * bytes_ * channels if fmt.frame_bytes else seconds * 2000
    made = PeaksMaker(fmt.sample_rate, channels, samples, size).peaks()
    points = len(made.values)
    assert points >= 1000
    assert points <= 20_100
    assert len(made.encode()) <= max(size / 1000, 24 + 2000 * 2 * channels)


def test_the_file_is_audiowaveforms():
    """Header and data stand as the format's description has them; JSON has the same numbers."""
    samples = np.array([[-32768, 256], [32767, -513], [0, 0]], np.int16)
    made = peaks_of(samples, 0)
    data = made.encode()
    assert struct.unpack("<iIiiIi", data[:24]) == (2, 1, 8000, 1, 3, 2)
    numbers = [-128, -128, 1, 1, 127, 127, -2, -2, 0, 0, 0, 0]
    assert struct.unpack("12b", data[24:]) == tuple(numbers)
    assert made.as_json() == {
        "version": 2,
        "channels": 2,
        "sample_rate": 8000,
        "samples_per_pixel": 1,
        "bits": 8,
        "length": 3,
        "data": numbers,
    }
    again = Peaks.decode(data)
    assert again.as_json() == made.as_json()


@given(points=st.integers(1, 3000), wanted=st.integers(1, 4000), channels=st.integers(1, 2))
def test_fewer_points_are_made_of_more(points, wanted, channels):
    """Reducing merges neighbours, loses no extreme, and never gives more than was asked for."""
    values = np.random.default_rng(points).integers(-128, 128, (points, channels, 2), np.int8)
    full = Peaks(8000, 7, values)
    less = full.reduced(wanted)
    assert len(less.values) <= max(wanted, 1)
    merged = less.samples_per_point // 7
    assert len(less.values) == -(-points // merged)
    for at in range(len(less.values)):
        part = values[at * merged : (at + 1) * merged]
        assert (less.values[at, :, 0] == part[:, :, 0].min(axis=0)).all()
        assert (less.values[at, :, 1] == part[:, :, 1].max(axis=0)).all()


def test_audio_that_ends_early_is_silent_to_its_end():
    """A codec that decodes to fewer samples than were counted leaves points at zero."""
    maker = PeaksMaker(8000, 1, 2000, 0)
    maker.hear(np.full((1, 10), 5000, np.int16))
    values = maker.peaks().values
    assert values[:5].min() == 19
    assert not values[5:].any()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "no header"),
        (bytes(24), "no sense"),
        (struct.pack("<iIiiIi", 1, 1, 8000, 1, 0, 1), "no sense"),
        (struct.pack("<iIiiIi", 2, 0, 8000, 1, 0, 1), "no sense"),
        (struct.pack("<iIiiIi", 2, 1, 8000, 1, 2, 1) + bytes(3), "cut"),
    ],
)
def test_what_is_no_peaks_file_is_refused(data, problem):
    """A file of another kind, or a part of one, is an error and no picture."""
    with pytest.raises(RecordingError, match=problem):
        Peaks.decode(data)
