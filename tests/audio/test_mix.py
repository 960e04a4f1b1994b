"""Interleaving: left stays left, time stays time, and nothing half-made is ever seen."""

from __future__ import annotations

import resource
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from voxtra.audio.decode import decode
from voxtra.audio.formats import FORMATS, AudioFormat, lookup
from voxtra.audio.measure import measure
from voxtra.audio.mix import interleave
from voxtra.audio.tone import level, sine
from voxtra.audio.wav import virtual_header
from voxtra.exceptions import ConfigurationError, RecordingError

from .asterisk_bytes import KILLED_WAV_HEADER

STEREO = sorted(name for name, found in FORMATS.items() if found.stereo_capable)
SAMPLES = st.lists(st.integers(-32768, 32767), max_size=300)


def mono(path: Path, fmt: AudioFormat, samples: Sequence[int] | NDArray[np.int16]) -> Path:
    """Write a mono recording as Asterisk would."""
    data = np.array(samples, "<i2").tobytes()
    header = virtual_header(fmt, len(data)) if fmt.name.startswith("wav") else b""
    path.write_bytes(header + data)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder that the examples of one test fill again and again."""
    return tmp_path_factory.mktemp("mix")


@given(name=st.sampled_from(STEREO), left=SAMPLES, right=SAMPLES, offset=st.integers(-400, 400))
def test_every_sample_is_where_it_belongs(folder, name, left, right, offset):
    """Sample n of the right file stands beside sample n + offset of the left, silence elsewhere."""
    fmt = lookup(name)
    inputs = mono(folder / "l", fmt, left), mono(folder / "r", fmt, right)
    before = [path.read_bytes() for path in inputs]
    out = folder / "out.wav"
    total = interleave(*inputs, out, fmt, offset_samples=offset)
    left_lead, right_lead = max(0, -offset), max(0, offset)
    assert total == max(len(left) + left_lead, len(right) + right_lead)
    expected = np.zeros((total, 2), np.int16)
    expected[left_lead : left_lead + len(left), 0] = left
    expected[right_lead : right_lead + len(right), 1] = right
    heard, rate = soundfile.read(out, dtype="int16", always_2d=True)
    assert rate == fmt.sample_rate
    assert np.array_equal(heard, expected)
    assert [path.read_bytes() for path in inputs] == before
    assert sorted(folder.iterdir()) == sorted([*inputs, out])


def test_two_tones_stand_each_on_its_side(tmp_path):
    """The caller's 440 Hz is left and only left, the other's 880 Hz right, in more than a block."""
    fmt = lookup("wav")
    left = mono(tmp_path / "l.wav", fmt, sine(440, 12))
    right = mono(tmp_path / "r.wav", fmt, sine(880, 11))
    out = tmp_path / "out.wav"
    interleave(left, right, out, fmt, offset_samples=160)
    heard, rate = decode(out, fmt)
    found = measure(out, fmt)
    assert (found.channels, found.samples, found.seconds) == (2, 96000, 12.0)
    for side, mine, other in [(0, 440, 880), (1, 880, 440)]:
        middle = heard[8000:80000, side]
        assert level(middle, mine, rate) == pytest.approx(-6, abs=0.1)
        assert level(middle, other, rate) < -70
    assert not heard[:160, 1].any()
    assert not heard[160 + 88000 :, 1].any()


def test_an_unrepaired_side_is_used_whole(tmp_path):
    """A side without lengths, from a killed Asterisk, counts to its end but for the torn byte."""
    left = mono(tmp_path / "l.wav", lookup("wav"), [1, 2, 3])
    right = tmp_path / "r.wav"
    right.write_bytes(KILLED_WAV_HEADER + np.array([4, 5, 6, 7], "<i2").tobytes() + b"\x09")
    out = tmp_path / "out.wav"
    assert interleave(left, right, out, lookup("wav")) == 4
    heard, _ = decode(out, lookup("wav"))
    assert heard.tolist() == [[1, 4], [2, 5], [3, 6], [0, 7]]


@pytest.mark.parametrize("name", ["gsm", "ulaw", "wav49", "g722", "ogg", "opus"])
def test_compressed_recordings_are_refused(tmp_path, name):
    """What can't be joined without loss is refused before anything is written."""
    with pytest.raises(ConfigurationError, match="stereo") as caught:
        interleave(tmp_path / "l", tmp_path / "r", tmp_path / "out.wav", lookup(name))
    assert caught.value.field == "layout"
    assert list(tmp_path.iterdir()) == []


def test_sides_that_do_not_match_are_refused_and_named(tmp_path):
    """Two rates, a stereo side, or a side without a header: an error that names the file."""
    fmt = lookup("wav")
    good = mono(tmp_path / "good.wav", fmt, [1, 2])
    fast = mono(tmp_path / "fast.wav", lookup("wav16"), [1, 2])
    zeros = tmp_path / "zeros.wav"
    zeros.write_bytes(bytes(16000))
    wide = tmp_path / "wide.wav"
    wide.write_bytes(virtual_header(fmt, 8, channels=2) + bytes(8))
    for bad, reason in [(fast, "16000 Hz"), (zeros, "no RIFF"), (wide, "2 channels")]:
        with pytest.raises(RecordingError, match=reason) as caught:
            interleave(good, bad, tmp_path / "out.wav", fmt)
        assert str(bad) in str(caught.value)
    assert not list(tmp_path.glob("out*"))


def test_an_input_is_never_the_output(tmp_path):
    """Writing over an input, directly or through a link, is refused."""
    fmt = lookup("wav")
    left = mono(tmp_path / "l.wav", fmt, [1])
    right = mono(tmp_path / "r.wav", fmt, [2])
    (tmp_path / "link.wav").hardlink_to(left)
    part = mono(tmp_path / "x.wav.part", fmt, [3])
    for one, other, out in [
        (left, right, left),
        (left, right, right),
        (left, right, tmp_path / "link.wav"),
        (part, right, tmp_path / "x.wav"),
    ]:
        before = [one.read_bytes(), other.read_bytes()]
        with pytest.raises(RecordingError, match="would replace"):
            interleave(one, other, out, fmt)
        assert [one.read_bytes(), other.read_bytes()] == before


def test_a_missing_side_leaves_no_output(tmp_path):
    """Without both inputs there is no output, nor a part of one."""
    left = mono(tmp_path / "l.wav", lookup("wav"), [1])
    with pytest.raises(FileNotFoundError):
        interleave(left, tmp_path / "none.wav", tmp_path / "out.wav", lookup("wav"))
    assert list(tmp_path.iterdir()) == [left]


def test_a_full_disk_leaves_the_old_output(tmp_path):
    """When the output can't be written to its end, an earlier one stays and the part is removed."""
    fmt = lookup("wav")
    left = mono(tmp_path / "l.wav", fmt, [1] * 50_000)
    right = mono(tmp_path / "r.wav", fmt, [2])
    out = tmp_path / "out.wav"
    out.write_bytes(b"before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            interleave(left, right, out, fmt)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert out.read_bytes() == b"before"
    assert sorted(tmp_path.iterdir()) == sorted([left, right, out])


def test_a_result_above_4_gib_is_refused(tmp_path):
    """A stereo file that no WAV header can describe is refused before it is written."""
    fmt = lookup("sln")
    huge = tmp_path / "huge.sln"
    with huge.open("wb") as file:
        file.truncate(3 * 2**30)
    small = mono(tmp_path / "r.sln", fmt, [1])
    with pytest.raises(RecordingError, match="4 GiB"):
        interleave(huge, small, tmp_path / "out.wav", fmt)
    assert not list(tmp_path.glob("out*"))


def test_a_big_pair_needs_no_more_memory_than_a_small_one(tmp_path):
    """Half an hour a side is joined within a few blocks of memory."""
    fmt = lookup("sln")
    left, right = tmp_path / "l.sln", tmp_path / "r.sln"
    for path in (left, right):
        with path.open("wb") as file:
            file.truncate(30 * 60 * 16000)
    tracemalloc.start()
    try:
        total = interleave(left, right, tmp_path / "out.wav", fmt)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total == 30 * 60 * 8000
    assert most < 4_000_000
