"""Levels: peak and silence follow their definition, side by side and together."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxtra.audio.levels import FLOOR_DBFS, Levels, Meter, dbfs
from voxtra.audio.tone import sine


def levels_of(samples: np.ndarray, rate: int = 8000, block: int = 400) -> Levels:
    """Return the levels of [frames, channels], heard in blocks of so many windows."""
    meter = Meter(rate, samples.shape[1])
    for start in range(0, len(samples), block * meter.window):
        meter.hear(samples[start : start + block * meter.window].T)
    return meter.levels()


STEREO = st.lists(
    st.tuples(st.integers(-32768, 32767), st.integers(-32768, 32767)), min_size=1, max_size=700
)


@given(samples=STEREO, loud=st.booleans(), block=st.integers(1, 5))
def test_peak_and_silence_follow_their_definition(samples, loud, block):
    """Peak is the largest magnitude; a window of 20 ms is quiet when its mean magnitude is < 256,
    and silent when all channels are quiet.
    """
    if not loud:
        samples = [(left // 100, right // 130) for left, right in samples]
    found = levels_of(np.array(samples, np.int16), block=block)
    windows = [samples[at : at + 160] for at in range(0, len(samples), 160)]

    def quiet(window: list[tuple[int, int]], side: int) -> bool:
        return sum(abs(both[side]) for both in window) < 256 * len(window)

    for side in (0, 1):
        silent = sum(len(one) for one in windows if quiet(one, side))
        assert found.sides[side].silence_ratio == silent / len(samples)
        assert found.sides[side].peak_dbfs == dbfs(max(abs(both[side]) for both in samples))
    both = sum(len(one) for one in windows if quiet(one, 0) and quiet(one, 1))
    assert found.silence_ratio == both / len(samples)
    assert found.peak_dbfs == max(side.peak_dbfs for side in found.sides)


@pytest.mark.parametrize(("magnitude", "ratio"), [(255, 1.0), (256, 0.0)])
def test_silence_begins_below_256(magnitude, ratio):
    """The threshold itself is sound, as it is for Asterisk."""
    assert levels_of(np.full((800, 1), -magnitude, np.int16)).silence_ratio == ratio


def test_one_loud_side_is_no_silence():
    """A side that says nothing is seen by itself, and does not make the call silent."""
    tone = sine(440, 1)
    found = levels_of(np.column_stack([np.zeros_like(tone), tone]))
    assert found.silence_ratio == 0
    assert found.sides[0].silence_ratio == 1
    assert found.sides[0].peak_dbfs == FLOOR_DBFS
    assert found.peak_dbfs == found.sides[1].peak_dbfs == pytest.approx(-6, abs=0.1)


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 192_000])
def test_windows_are_20_ms_at_every_rate(rate):
    """Three seconds of silence before one of tone are three quarters."""
    samples = np.concatenate([np.zeros(3 * rate, np.int16), sine(440, 1, rate)])
    assert levels_of(samples[:, None], rate).silence_ratio == 0.75


def test_the_scale_ends_at_full_scale():
    """The largest negative sample is 0 dBFS, nothing but zeros the floor, no sample silence."""
    assert dbfs(32768) == 0
    assert dbfs(1) == round(-20 * math.log10(32768), 2)
    assert dbfs(0) == FLOOR_DBFS < dbfs(1)
    assert levels_of(np.array([[-32768]], np.int16)).peak_dbfs == 0
    assert Meter(8000, 1).levels() == Levels(FLOOR_DBFS, 1.0, Meter(8000, 1).levels().sides)
