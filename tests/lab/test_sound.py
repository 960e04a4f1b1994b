"""Sounds made for the lab."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtra.lab import sound
from voxtra.lab.errors import LabError

PEAK = 10 ** (sound.LEVEL / 20)


def loudest_hertz(samples: np.ndarray) -> float:
    """Return the frequency with the most energy."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * sound.RATE / len(samples))


@settings(max_examples=25, deadline=None)
@given(hertz=st.integers(100, 3900), seconds=st.sampled_from([0.5, 1.0, 2.3]))
def test_a_tone_has_its_frequency_length_and_level(
    hertz: int, seconds: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A tone lasts as long as asked, at its frequency, 12 dB below full scale."""
    path = tmp_path_factory.mktemp("tone") / "tone.wav"
    sound.write(f"tone:{hertz}", path, seconds=seconds)
    samples, rate = soundfile.read(path)
    assert rate == 8000
    assert len(samples) == round(seconds * 8000)
    assert loudest_hertz(samples) == pytest.approx(hertz, abs=2)
    assert np.sqrt(np.mean(samples**2)) == pytest.approx(PEAK / np.sqrt(2), rel=0.02)


def test_silence_is_silent(tmp_path: Path) -> None:
    """A silence has the asked length and nothing in it."""
    sound.write("silence", tmp_path / "s.wav", seconds=1)
    samples, _ = soundfile.read(tmp_path / "s.wav")
    assert len(samples) == 8000
    assert not samples.any()


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs espeak-ng")
def test_a_longer_text_takes_longer_to_say(tmp_path: Path) -> None:
    """A text becomes speech at the usual level, even one that looks like an option."""
    sound.write("say:hello", tmp_path / "short.wav", seconds=1)
    sound.write("say:--help me to say this longer text", tmp_path / "long.wav", seconds=1)
    short, rate = soundfile.read(tmp_path / "short.wav")
    long, _ = soundfile.read(tmp_path / "long.wav")
    assert rate == 8000
    assert 0.2 * rate < len(short) < len(long)
    assert np.max(np.abs(long)) == pytest.approx(PEAK, rel=0.01)


def test_say_without_espeak_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without espeak-ng the error says what to install."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(LabError, match="apt-get install espeak-ng"):
        sound.check("say:hello")


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "tone",
        "tone:",
        "tone:loud",
        "tone:0",
        "tone:-5",
        "tone:4000",
        "tone:nan",
        "tone:inf",
        "say:",
        "say:  ",
        "silence:3",
        "music",
    ],
)
def test_a_wrong_sound_is_refused_with_an_example(spec: str) -> None:
    """What is no sound gives an error that shows how to write one."""
    with pytest.raises(LabError, match=r"tone:440|say:hello"):
        sound.check(spec)
