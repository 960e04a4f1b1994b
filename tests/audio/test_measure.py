"""Measuring: counted from bytes, hashed in the same pass, right on broken files too."""

from __future__ import annotations

import hashlib
import io
import tracemalloc

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from voxtra.audio.formats import FORMATS, Container, lookup
from voxtra.audio.measure import measure
from voxtra.audio.repair import repair
from voxtra.audio.tone import sine
from voxtra.audio.wav import virtual_header

from .asterisk_bytes import KILLED_AU_HEADER, KILLED_WAV49_HEADER, KILLED_WAV_HEADER

HEADERLESS = sorted(name for name, found in FORMATS.items() if found.container is Container.RAW)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """Return the path of a file that the examples of one test write again and again."""
    return tmp_path_factory.mktemp("measure") / "file"


@given(name=st.sampled_from(HEADERLESS), frames=st.integers(0, 30), torn=st.integers(0, 200))
def test_headerless_recordings_count_by_their_packing(scratch, name, frames, torn):
    """Whole frames count, a torn one does not, and size and hash are of the whole file."""
    fmt = lookup(name)
    data = bytes(frames * fmt.frame_bytes + torn % fmt.frame_bytes)
    scratch.write_bytes(data)
    found = measure(scratch, fmt)
    assert found.samples == frames * fmt.frame_samples
    assert found.seconds == frames * fmt.frame_samples / fmt.sample_rate
    assert (found.sample_rate, found.channels) == (fmt.sample_rate, 1)
    assert (found.size, found.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert bool(found.problem) == (frames == 0)


@pytest.mark.parametrize(
    ("name", "header", "frame"),
    [("wav", KILLED_WAV_HEADER, 2), ("WAV", KILLED_WAV49_HEADER, 65), ("au", KILLED_AU_HEADER, 1)],
)
def test_an_unrepaired_file_measures_as_the_repaired_one(tmp_path, name, header, frame):
    """The count does not depend on the lengths in the header; only the hash changes."""
    path = tmp_path / "file"
    path.write_bytes(header + bytes(frame * 7))
    before = measure(path, lookup(name))
    assert repair(path, lookup(name))
    after = measure(path, lookup(name))
    assert before.samples == after.samples == 7 * lookup(name).frame_samples
    assert before.size == after.size
    assert before.sha256 != after.sha256


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("wav", b"", "empty"),
        ("ogg", b"", "empty"),
        ("sln", b"", "no audio"),
        ("wav", bytes(16000), "no RIFF header"),
        ("wav", KILLED_WAV_HEADER, "no audio"),
        ("wav", KILLED_WAV_HEADER[:30], "header"),
        ("au", bytes(100), "no au header"),
        ("au", KILLED_AU_HEADER[:23], "no au header"),
        ("au", KILLED_AU_HEADER[:12] + b"\0\0\0\3" + KILLED_AU_HEADER[16:], "no sense"),
        ("au", KILLED_AU_HEADER[:4] + b"\0\0\1\0" + KILLED_AU_HEADER[8:], "no sense"),
        ("au", KILLED_AU_HEADER[:4] + b"\0\0\0\4" + KILLED_AU_HEADER[8:], "no sense"),
        ("opus", bytes(100), "no Ogg header"),
    ],
)
def test_nothing_is_measured_as_nothing_with_the_reason(tmp_path, name, data, problem):
    """A file without audio has 0 samples, its size and hash, and says why."""
    path = tmp_path / "file"
    path.write_bytes(data)
    found = measure(path, lookup(name))
    assert found.samples == found.seconds == 0
    assert problem in found.problem
    assert (found.size, found.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_a_big_file_needs_no_more_memory_than_a_small_one(tmp_path):
    """Counting and hashing of 48 MB stay within a few blocks of memory."""
    path = tmp_path / "big.wav"
    size = 48_000_000
    with path.open("wb") as file:
        file.write(virtual_header(lookup("wav"), size))
        block = sine(440, 10).astype("<i2").tobytes()
        for _ in range(size // len(block)):
            file.write(block)
    tracemalloc.start()
    try:
        found = measure(path, lookup("wav"))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.seconds == size / 16000
    assert most < 4_000_000


def test_a_file_that_is_missing_is_an_error(tmp_path):
    """No file is not the same as an empty one."""
    with pytest.raises(FileNotFoundError):
        measure(tmp_path / "none.wav", lookup("wav"))


def test_the_rate_of_the_header_wins(tmp_path):
    """A stereo result or a foreign file measures by what it says of itself."""
    file = io.BytesIO()
    soundfile.write(file, np.zeros((4800, 2), np.int16), 48000, format="WAV", subtype="PCM_16")
    path = tmp_path / "file.wav"
    path.write_bytes(file.getvalue())
    assert measure(path, lookup("wav")).seconds == 0.1
