"""Tones: make one, and find one in a recording. Levels are dBFS; a full-scale sine has 0."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["level", "sine"]


def sine(
    hz: float, seconds: float, rate: int = 8000, level_dbfs: float = -6.0
) -> NDArray[np.int16]:
    """Return `seconds` of a sine of `hz` at `rate` samples per second, beginning at phase 0."""
    amplitude = 32767 * 10 ** (level_dbfs / 20)
    phase = 2 * math.pi * hz / rate * np.arange(round(seconds * rate))
    wave: NDArray[np.float64] = np.rint(amplitude * np.sin(phase))
    return wave.astype(np.int16)


def level(samples: NDArray[np.int16], hz: float, rate: int) -> float:
    """Return how loud the frequency `hz` is in mono samples, in dBFS (minus infinity: absent).

    The Goertzel measure, under a Hann window: tones 4/duration Hz apart (20 Hz in 0.2 s) do not
    disturb each other.
    """
    mono = samples.reshape(-1)
    window = np.hanning(len(mono) + 2)[1:-1]
    turn = np.exp(-2j * math.pi * hz / rate * np.arange(len(mono)))
    total = float(window.sum())
    if total == 0:
        return -math.inf
    amplitude = 2 * abs(complex(np.dot(mono * window, turn))) / total / 32767
    return 20 * math.log10(amplitude) if amplitude > 0 else -math.inf
