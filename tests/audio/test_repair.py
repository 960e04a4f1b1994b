"""Repair: lengths become true, audio stays as it is, and once is enough."""

from __future__ import annotations

import struct

import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from voxtra.audio.formats import lookup
from voxtra.audio.measure import measure
from voxtra.audio.repair import repair
from voxtra.audio.wav import read_header, virtual_header

from .asterisk_bytes import (
    AU,
    KILLED_AU_HEADER,
    KILLED_WAV49_HEADER,
    KILLED_WAV_HEADER,
    WAV49,
    WAV_HEADER_OF_1_SECOND,
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """Return the path of a file that the examples of one test write again and again."""
    return tmp_path_factory.mktemp("repair") / "file"


@given(audio=st.binary(max_size=300))
def test_a_killed_wav_gets_the_header_asterisk_would_have_written(scratch, audio):
    """The lengths cover the whole samples; a torn one is left out, every audio byte stays."""
    scratch.write_bytes(KILLED_WAV_HEADER + audio)
    assert repair(scratch, lookup("wav"))
    whole = len(audio) // 2 * 2
    assert scratch.read_bytes() == virtual_header(lookup("wav"), whole) + audio
    assert not repair(scratch, lookup("wav"))


@given(audio=st.binary(max_size=300))
def test_a_killed_wav49_gets_the_header_asterisk_would_have_written(scratch, audio):
    """Also the sample count of the fact chunk, in blocks of 65 bytes and without a pad byte."""
    scratch.write_bytes(KILLED_WAV49_HEADER + audio)
    assert repair(scratch, lookup("wav49"))
    whole = len(audio) // 65 * 65
    assert scratch.read_bytes() == virtual_header(lookup("wav49"), whole) + audio
    assert not repair(scratch, lookup("wav49"))


@given(audio=st.binary(max_size=100))
def test_a_killed_au_gets_its_length(scratch, audio):
    """The one length field of an .au file becomes true."""
    scratch.write_bytes(KILLED_AU_HEADER + audio)
    assert repair(scratch, lookup("au")) == bool(audio)
    assert scratch.read_bytes()[24:] == audio
    assert int.from_bytes(scratch.read_bytes()[8:12], "big") == len(audio)
    assert not repair(scratch, lookup("au"))


def test_players_play_all_of_a_repaired_file(tmp_path):
    """To libsndfile a killed file is empty, and a repaired one has every sample."""
    for name, header, samples in [
        ("wav", KILLED_WAV_HEADER, 400),
        ("wav49", KILLED_WAV49_HEADER, 3840),
        ("au", KILLED_AU_HEADER, 780),
    ]:
        path = tmp_path / name
        path.write_bytes(header + bytes(780 + (20 if name == "wav" else 0)))
        assert soundfile.info(path).frames == 0
        assert repair(path, lookup(name))
        assert soundfile.info(path).frames == samples


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("wav", WAV_HEADER_OF_1_SECOND + bytes(16000)),
        ("wav49", WAV49[:60] + bytes(1625)),
        ("au", AU[:8] + (len(AU) - 24).to_bytes(4, "big") + AU[12:]),
    ],
)
def test_a_closed_file_is_left_alone(tmp_path, name, data):
    """What Asterisk closed is not even opened for writing: a read-only file will do."""
    path = tmp_path / name
    path.write_bytes(data)
    before = path.stat().st_mtime_ns
    assert not repair(path, lookup(name))
    assert path.read_bytes() == data
    assert path.stat().st_mtime_ns == before


@given(
    riff=st.integers(0, 0xFFFFFFFF),
    data=st.one_of(st.integers(0, 400), st.integers(0, 0xFFFFFFFF)),
    audio=st.binary(max_size=300),
)
def test_any_lengths_become_true_and_stay(scratch, riff, data, audio):
    """Whatever the two fields hold, one repair makes them consistent and the next finds no work."""
    start = bytearray(KILLED_WAV_HEADER)
    struct.pack_into("<I", start, 4, riff)
    struct.pack_into("<I", start, 40, data)
    scratch.write_bytes(bytes(start) + audio)
    counted = measure(scratch, lookup("wav")).samples
    repair(scratch, lookup("wav"))
    repaired = scratch.read_bytes()
    assert repaired[44:] == audio
    with scratch.open("rb") as file:
        head = read_header(file, len(repaired))
    assert head.declared_data <= len(audio)
    assert head.declared_data // 2 == head.samples == counted
    assert head.data_offset + head.data_bytes <= head.declared_riff + 8 <= len(repaired)
    assert not repair(scratch, lookup("wav"))


@given(cut=st.integers(0, 43))
def test_a_file_cut_inside_its_header_is_left_alone(scratch, cut):
    """Half a header can't be repaired, and is not written to."""
    scratch.write_bytes(WAV_HEADER_OF_1_SECOND[:cut])
    assert not repair(scratch, lookup("wav"))
    assert scratch.read_bytes() == WAV_HEADER_OF_1_SECOND[:cut]


@pytest.mark.parametrize("name", ["wav", "wav49", "au", "sln", "ogg", "gsm"])
def test_what_has_no_such_header_is_left_alone(tmp_path, name):
    """16000 zeros, as a full disk leaves them, stay 16000 zeros."""
    path = tmp_path / "zeros"
    path.write_bytes(bytes(16000))
    assert not repair(path, lookup(name))
    assert path.read_bytes() == bytes(16000)


def test_a_missing_file_is_an_error(tmp_path):
    """No file is not the same as nothing to repair."""
    with pytest.raises(FileNotFoundError):
        repair(tmp_path / "none.wav", lookup("wav"))


def test_a_fact_chunk_left_at_zero_gets_its_count(tmp_path):
    """Where only the sample count of a wav49 is missing, it alone is written."""
    path = tmp_path / "file.WAV"
    path.write_bytes(WAV49[:48] + bytes(4) + WAV49[52:60] + bytes(1625))
    assert repair(path, lookup("WAV"))
    assert path.read_bytes() == WAV49[:60] + bytes(1625)


def test_chunks_behind_the_data_stay_inside_the_riff(tmp_path):
    """Where only the outer length is wrong, it is set to the whole file, later chunks included."""
    path = tmp_path / "listed.wav"
    listed = virtual_header(lookup("wav"), 4) + b"\1\2\3\4" + b"LIST\4\0\0\0INFO"
    path.write_bytes(listed[:4] + bytes(4) + listed[8:])
    assert repair(path, lookup("wav"))
    assert path.read_bytes() == listed[:4] + struct.pack("<I", len(listed) - 8) + listed[8:]
