"""Tones: what is made is found again, and nothing else is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxtra.audio.tone import level, sine

RATES = st.sampled_from([8000, 16000, 44100, 48000])


@given(
    hz=st.floats(100, 3400),
    seconds=st.floats(0.2, 1.0),
    rate=RATES,
    dbfs=st.floats(-40, 0),
)
def test_the_level_of_a_made_tone_is_the_level_asked_for(hz, seconds, rate, dbfs):
    """Any tone of the telephone band is measured within 0.05 dB, whole periods or not."""
    tone = sine(hz, seconds, rate, dbfs)
    assert len(tone) == round(seconds * rate)
    assert level(tone, hz, rate) == pytest.approx(dbfs, abs=0.05)


@given(rate=RATES, seconds=st.floats(0.2, 1.0))
def test_two_tones_are_told_apart(rate, seconds):
    """440 and 880 Hz are each found in their sum, and neither hears the other alone."""
    low, high = sine(440, seconds, rate, -12), sine(880, seconds, rate, -20)
    both = low + high
    assert level(both, 440, rate) == pytest.approx(-12, abs=0.05)
    assert level(both, 880, rate) == pytest.approx(-20, abs=0.05)
    assert level(low, 880, rate) < -70
    assert level(high, 440, rate) < -70


def test_silence_and_nothing_have_no_level():
    """No tone is minus infinity, not an error."""
    assert level(np.zeros(800, np.int16), 440, 8000) == -math.inf
    assert level(np.zeros(0, np.int16), 440, 8000) == -math.inf


def test_the_loudest_tone_does_not_overflow():
    """Full scale is 32767 on both sides."""
    tone = sine(1000, 1, 8000, 0)
    assert int(tone.max()) == 32767
    assert int(tone.min()) == -32767
