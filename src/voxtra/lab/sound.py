"""Sounds made by us, as 8 kHz WAV files that Asterisk plays without resampling."""

from __future__ import annotations

import io
import shutil
import wave
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from voxtra.audio import tone
from voxtra.lab import process
from voxtra.lab.errors import LabError

__all__ = ["LEVEL", "RATE", "check", "write"]

RATE = 8000
"""Samples per second."""

LEVEL = -12.0
"""Peak of a tone and of speech, in dBFS: it leaves room for mixing."""


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
    elif kind == "tone":
        samples = tone.sine(_hertz(spec), seconds, RATE, LEVEL)
    else:
        samples = np.zeros(round(seconds * RATE), np.int16)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.astype("<i2").tobytes())


def _hertz(spec: str) -> float:
    try:
        hertz = float(spec.partition(":")[2])
    except ValueError:
        hertz = 0.0
    if not 0 < hertz < RATE / 2:
        msg = f"{spec!r}: give a frequency between 0 and {RATE // 2} Hz, for example tone:440"
        raise LabError(msg)
    return hertz


def _speech(text: str) -> NDArray[np.int16]:
    # By standard input, so that no text is ever taken for an option.
    done = process.run(["espeak-ng", "--stdin", "--stdout"], stdin=text.encode())
    if done.returncode != 0 or not done.stdout:
        msg = f"espeak-ng failed: {done.stderr.decode(errors='replace').strip()}"
        raise LabError(msg)
    spoken, rate = soundfile.read(io.BytesIO(done.stdout), dtype="float64")
    # Cutting off the spectrum is exact, and fast enough for a text.
    length = round(len(spoken) * RATE / rate)
    speech = np.fft.irfft(np.fft.rfft(spoken)[: length // 2 + 1], n=length)
    loudest = np.max(np.abs(speech), initial=0.0)
    if loudest == 0:
        msg = f"there is nothing to say in {text!r}"
        raise LabError(msg)
    scaled: NDArray[np.float64] = np.rint(speech * (32767 * 10 ** (LEVEL / 20) / loudest))
    return scaled.astype(np.int16)
