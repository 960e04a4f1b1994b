"""The pass over a recording: the bytes that are stored, and what is said of them, are the same."""

from __future__ import annotations

import hashlib
import tracemalloc

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from voxtra.audio.decode import decode
from voxtra.audio.formats import FORMATS, Container, lookup
from voxtra.audio.levels import Meter, dbfs
from voxtra.audio.measure import measure
from voxtra.audio.mix import interleave
from voxtra.audio.passage import Passage
from voxtra.audio.repair import repair
from voxtra.audio.tone import sine
from voxtra.audio.wav import virtual_header
from voxtra.exceptions import RecordingError

from .asterisk_bytes import (
    G726,
    GSM,
    KILLED_AU_HEADER,
    KILLED_WAV49_HEADER,
    KILLED_WAV_HEADER,
    VOX,
    WAV49,
)

PCM = st.binary(min_size=2, max_size=3000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder that the examples of one test fill again and again."""
    return tmp_path_factory.mktemp("passage")


@given(
    kind=st.sampled_from(
        [
            ("wav", KILLED_WAV_HEADER),
            ("au", KILLED_AU_HEADER),
            ("WAV", KILLED_WAV49_HEADER),
            ("ulaw", b""),
            ("sln16", b""),
            ("g722", b""),
        ]
    ),
    audio=PCM,
)
def test_what_passes_is_the_repaired_file_and_the_source_stays(folder, kind, audio):
    """The bytes are those that a repair in place would leave; the PBX's own are not touched."""
    name, header = kind
    fmt = lookup(name)
    audio = audio * (65 if name == "WAV" else 1)
    source, copy = folder / "source", folder / "copy"
    source.write_bytes(header + audio)
    copy.write_bytes(header + audio)
    passage = Passage()
    passed = b"".join(passage.of_one(source, fmt))
    assert source.read_bytes() == header + audio
    assert passage.repaired == repair(copy, fmt) == bool(header)
    assert passed == copy.read_bytes()
    counted = measure(copy, fmt)
    assert (passage.samples, passage.sample_rate, passage.channels) == (
        counted.samples,
        counted.sample_rate,
        counted.channels,
    )
    assert hashlib.sha256(passed).hexdigest() == counted.sha256


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_levels_and_peaks_are_those_of_the_decoded_audio(tmp_path, name):
    """Whatever the format, both are found from the samples that decoding gives; G.722 has none."""
    fmt = lookup(name)
    path = tmp_path / "file"
    if fmt.container is Container.OGG:
        subtype = fmt.encoding.value.upper()
        soundfile.write(
            path, sine(440, 2, fmt.sample_rate), fmt.sample_rate, format="OGG", subtype=subtype
        )
    elif fmt.canonical == "wav49":
        path.write_bytes(WAV49)
    elif fmt.canonical in ("wav", "wav16"):
        data = sine(440, 2, fmt.sample_rate).tobytes()
        path.write_bytes(virtual_header(fmt, len(data)) + data)
    elif fmt.container is Container.AU:
        path.write_bytes(KILLED_AU_HEADER + bytes(range(256)) * 20)
    else:
        packed = {"gsm": GSM, "vox": VOX, "g726": G726}.get(fmt.encoding.value)
        path.write_bytes(packed or sine(440, 2).tobytes())
    passage = Passage()
    passed = b"".join(passage.of_one(path, fmt))
    assert passage.problems == []
    assert len(passed) == path.stat().st_size
    if name == "g722":
        assert passage.levels is None
        assert passage.peaks is None
        return
    samples, rate = decode(path, fmt)
    meter = Meter(rate, samples.shape[1])
    meter.hear(samples.T)
    assert passage.levels == meter.levels()
    assert passage.levels is not None
    assert passage.levels.peak_dbfs == dbfs(int(np.abs(samples.astype(int)).max()))
    assert passage.peaks is not None
    assert passage.peaks.values.max() == int(samples.max() / 256)
    assert passage.peaks.values.min() == int(samples.min() / 256)


@pytest.mark.parametrize("offset", [0.0, 0.02, -0.5])
def test_two_sides_pass_as_their_stereo_file(tmp_path, offset):
    """The bytes are those that interleaving writes; levels are told for each side."""
    fmt = lookup("wav")
    for name, samples in (("l", sine(440, 12)), ("r", np.zeros(90_000, np.int16))):
        data = samples.tobytes()
        (tmp_path / name).write_bytes(virtual_header(fmt, len(data)) + data)
    left, right, out = tmp_path / "l", tmp_path / "r", tmp_path / "out"
    total = interleave(left, right, out, fmt, offset_samples=round(offset * 8000))
    passage = Passage()
    passed = b"".join(passage.of_two(left, right, fmt, offset=offset))
    assert passed == out.read_bytes()
    assert (passage.samples, passage.channels, passage.sample_rate) == (total, 2, 8000)
    assert passage.levels is not None
    assert passage.levels.sides[0].peak_dbfs == pytest.approx(-6, abs=0.1)
    assert passage.levels.sides[1].silence_ratio == 1
    assert passage.peaks is not None
    assert passage.peaks.values[:, 0].any()
    assert not passage.peaks.values[:, 1].any()


@pytest.mark.parametrize("empty", ["missing", "no bytes", "half a header", "no samples"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_side_without_audio_is_silence_and_said(tmp_path, side, empty):
    """What the other side holds is kept whole; the problem names the side."""
    fmt = lookup("wav")
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_bytes(KILLED_WAV_HEADER + sine(440, 1).tobytes())
    contents = {"no bytes": b"", "half a header": KILLED_WAV_HEADER[:20]}
    bad.write_bytes(contents.get(empty, KILLED_WAV_HEADER))
    other = None if empty == "missing" else bad
    passage = Passage()
    left, right = (other, good) if side == "left" else (good, other)
    passed = b"".join(passage.of_two(left, right, fmt))
    frames = np.frombuffer(passed[44:], "<i2").reshape(-1, 2)
    assert (frames[:, int(side == "left")] == sine(440, 1)).all()
    assert not frames[:, int(side == "right")].any()
    assert passage.repaired
    assert [problem.startswith(f"the {side} side") for problem in passage.problems] == (
        [] if other is None else [True]
    )


def test_a_side_that_is_something_else_stops_the_pass(tmp_path):
    """Bytes that are not understood are no silence: nobody may take them for nothing."""
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_bytes(KILLED_WAV_HEADER + sine(440, 1).tobytes())
    bad.write_bytes(bytes(5000))
    with pytest.raises(RecordingError, match="bad: no RIFF header"):
        next(Passage().of_two(good, bad, lookup("wav")))


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("wav", b"", "empty"),
        ("wav", KILLED_WAV_HEADER, "no audio"),
        ("wav", bytes(1000), "no RIFF header"),
        ("sln", b"\0", "no audio"),
        ("g722", b"", "empty"),
    ],
)
def test_no_audio_is_an_error_before_anything_passes(tmp_path, name, data, problem):
    """Not a byte is given out of a file that holds nothing."""
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(RecordingError, match=problem):
        next(Passage().of_one(path, lookup(name)))
    with pytest.raises(RecordingError, match="neither side"):
        next(Passage().of_two(None, None, lookup("wav")))


def test_damaged_audio_is_kept_without_levels(tmp_path):
    """A file that only its codec does not understand passes whole, and the problem is said."""
    path = tmp_path / "file.ogg"
    soundfile.write(path, sine(440, 60, 8000), 8000, format="OGG", subtype="VORBIS")
    data = bytearray(path.read_bytes())
    first_page = 27 + data[26] + sum(data[27 : 27 + data[26]])
    second = data.index(b"OggS", first_page)
    data[second + 60 : second + 3000] = bytes(2940)
    path.write_bytes(data)
    passage = Passage()
    assert b"".join(passage.of_one(path, lookup("ogg"))) == bytes(data)
    assert passage.levels is None
    assert passage.peaks is None
    assert "levels are unknown" in passage.problems[0]
    assert passage.samples > 0


def test_a_file_that_is_cut_meanwhile_is_an_error(tmp_path):
    """What was promised by its length has to come."""
    path = tmp_path / "file.sln"
    path.write_bytes(bytes(1_000_000))
    passing = Passage().of_one(path, lookup("sln"))
    next(passing)
    with path.open("r+b") as file:
        file.truncate(200_000)
    with pytest.raises(RecordingError, match="cut while"):
        list(passing)


def test_a_long_call_needs_no_more_memory_than_a_short_one(tmp_path):
    """Half an hour of stereo passes within a few blocks of memory."""
    for name in ("l.sln", "r.sln"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(30 * 60 * 16000)
    passage = Passage()
    tracemalloc.start()
    try:
        for _ in passage.of_two(tmp_path / "l.sln", tmp_path / "r.sln", lookup("sln")):
            pass
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert passage.samples == 30 * 60 * 8000
    assert most < 6_000_000
