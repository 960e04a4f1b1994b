"""Sounds made by us, as 8 kHz WAV files that Asterisk plays without resampling."""

from __future__ import annotations

import io
import shutil
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from voxtra.lab import process
from voxtra.lab.errors import LabError

__all__ = ["PEAK", "RATE", "check", "write"]

RATE = 8000
"""Samples per second."""

PEAK = 10 ** (-12 / 20)
"""Peak of every sound, as a part of full scale: -12 dBFS leaves room for mixing."""

Samples = npt.NDArray[np.float64]


def check(spec: str) -> None:
    """Raise LabError, naming the fix, unless `spec` is a sound that `write` can make here."""
    kind, _, rest = spec.partition(":")
    match kind:
        case "silence" if not rest:
            return
        case "tone":
            _hertz(spec)
        case "say":
            if not rest.strip():
                msg = f"{spec!r} has no text; write for example say:hello"
                raise LabError(msg)
            if shutil.which("espeak-ng") is None:
                msg = "say: needs espeak-ng, which is not installed: apt-get install espeak-ng"
                raise LabError(msg)
        case _:
            msg = f"{spec!r} is no sound; write tone:440 (hertz), silence or say:some text"
            raise LabError(msg)


def write(spec: str, path: Path, *, seconds: float) -> None:
    """Write the sound `spec` ("tone:440", "silence", "say:hello") to the WAV file `path`.

    A tone and a silence last `seconds`, a text as long as it takes to say it. Raises LabError.
    """
    check(spec)
    kind, _, rest = spec.partition(":")
    if kind == "say":
        samples = _speech(rest)
    else:
        time = np.arange(round(seconds * RATE)) / RATE
        hertz = _hertz(spec) if kind == "tone" else 0.0
        samples = np.sin(2 * np.pi * hertz * time)
    loudest = float(np.max(np.abs(samples), initial=0.0))
    scaled = samples * (PEAK / loudest) if kind == "say" and loudest > 0 else samples * PEAK
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((scaled * 32767).round().astype("<i2").tobytes())


def _hertz(spec: str) -> float:
    try:
        hertz = float(spec.partition(":")[2])
    except ValueError:
        hertz = 0.0
    if not 0 < hertz < RATE / 2:
        msg = f"{spec!r}: give a frequency between 0 and {RATE // 2} Hz, for example tone:440"
        raise LabError(msg)
    return hertz


def _speech(text: str) -> Samples:
    # By standard input, so that no text is ever taken for an option.
    done = process.run(["espeak-ng", "--stdin", "--stdout"], stdin=text.encode())
    if done.returncode != 0 or not done.stdout:
        msg = f"espeak-ng failed: {done.stderr.decode(errors='replace').strip()}"
        raise LabError(msg)
    spoken, rate = soundfile.read(io.BytesIO(done.stdout), dtype="float64")
    return _resample(spoken, rate)


def _resample(samples: Samples, rate: int) -> Samples:
    """Bring samples to `RATE` by cutting off their spectrum: exact, and fast enough for a text."""
    length = round(len(samples) * RATE / rate)
    spectrum = np.fft.rfft(samples)[: length // 2 + 1]
    return np.fft.irfft(spectrum, n=length) * (length / len(samples))
