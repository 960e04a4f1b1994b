"""Decoding: the tone that went in comes out, from every format that can be decoded."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from voxtra.audio import g711
from voxtra.audio.decode import can_decode, decode, decode_blocks
from voxtra.audio.extent import find_extent
from voxtra.audio.formats import FORMATS, lookup
from voxtra.audio.tone import level, sine
from voxtra.audio.wav import virtual_header
from voxtra.exceptions import RecordingError

from .asterisk_bytes import AU, G726, GSM, KILLED_WAV49_HEADER, VOX, WAV49


@pytest.mark.parametrize(
    ("name", "data", "samples"),
    [
        ("gsm", GSM, 1280),
        ("vox", VOX, 480),
        ("g726-16", G726, 480),
        ("g726-32", G726, 480),
        ("WAV", WAV49, 960),
        ("WAV", KILLED_WAV49_HEADER + WAV49[60:], 960),
        ("au", AU, 320),
    ],
)
def test_what_asterisk_recorded_holds_its_tone(tmp_path, name, data, samples):
    """Files of a real Asterisk decode to the 440 Hz at -6 dBFS they were recorded from."""
    path = tmp_path / "file"
    path.write_bytes(data)
    heard, rate = decode(path, lookup(name))
    assert heard.shape == (samples, 1)
    assert heard.dtype == np.int16
    steady = heard[-320:, 0]
    assert level(steady, 440, rate) == pytest.approx(-6, abs=1.2)  # 40 ms in, ADPCM still adapts
    assert level(steady, 1320, rate) < -25


@pytest.mark.parametrize("name", ["wav", "wav16", "sln", "sln12", "sln44", "sln192", "raw"])
def test_pcm_decodes_exactly(tmp_path, name):
    """Uncompressed samples come back bit by bit, at the rate of the format."""
    fmt = lookup(name)
    tone = sine(440, 0.3, fmt.sample_rate)
    data = tone.astype("<i2").tobytes()
    header = virtual_header(fmt, len(data)) if name.startswith("wav") else b""
    path = tmp_path / "file"
    path.write_bytes(header + data)
    heard, rate = decode(path, fmt)
    assert rate == fmt.sample_rate
    assert np.array_equal(heard[:, 0], tone)


@pytest.mark.parametrize(
    ("name", "encode", "decode_codes"),
    [
        ("mu", g711.encode_mulaw, g711.decode_mulaw),
        ("alw", g711.encode_alaw, g711.decode_alaw),
    ],
)
def test_g711_decodes_to_its_codes(tmp_path, name, encode, decode_codes):
    """Headerless G.711 gives the sample of each code."""
    data = encode(sine(440, 0.3))
    path = tmp_path / "file"
    path.write_bytes(data)
    heard, _ = decode(path, lookup(name))
    assert np.array_equal(heard[:, 0], decode_codes(data))


@pytest.mark.parametrize(
    ("name", "subtype", "rate"), [("ogg", "VORBIS", 8000), ("opus", "OPUS", 48000)]
)
def test_ogg_decodes(tmp_path, name, subtype, rate):
    """Vorbis and Opus give the tone at the rate the file says."""
    path = tmp_path / "file"
    soundfile.write(path, sine(440, 1, rate), rate, format="OGG", subtype=subtype)
    heard, found = decode(path, lookup(name))
    assert found == rate
    assert len(heard) == rate
    assert level(heard[:, 0], 440, rate) == pytest.approx(-6, abs=0.5)


def test_a_lossy_codec_above_full_scale_is_clipped_not_wrapped(tmp_path):
    """A full-scale square wave, which Vorbis overshoots, keeps its sign everywhere."""
    path = tmp_path / "file"
    square = np.repeat(np.tile([32767, -32768], 100), 40).astype(np.int16)
    soundfile.write(path, square, 8000, format="OGG", subtype="VORBIS")
    floats, _ = soundfile.read(path)
    heard, _ = decode(path, lookup("ogg"))
    assert np.abs(floats).max() > 1
    assert np.abs(heard[:, 0] / 32768 - np.clip(floats, -1, 1)).max() < 1e-4


def test_g722_is_the_only_format_that_can_not_be_decoded(tmp_path):
    """What can't be decoded is said beforehand, and refused when tried."""
    assert {one.canonical for one in FORMATS.values() if not can_decode(one)} == {"g722"}
    path = tmp_path / "file"
    path.write_bytes(bytes(800))
    with pytest.raises(RecordingError, match="g722"):
        decode(path, lookup("g722"))


@pytest.mark.parametrize("name", ["wav", "wav49", "au", "ogg", "opus"])
def test_a_file_that_is_not_the_format_is_refused(tmp_path, name):
    """Zeros are not taken for audio of a format that has a header."""
    path = tmp_path / "file"
    path.write_bytes(bytes(16000))
    with pytest.raises(RecordingError, match="header"):
        decode(path, lookup(name))


def test_damaged_data_is_an_error_with_a_reason(tmp_path):
    """An Ogg file that begins well and goes on as nothing is refused, not half decoded."""
    path = tmp_path / "file"
    soundfile.write(path, sine(440, 1), 8000, format="OGG", subtype="VORBIS")
    whole = bytearray(path.read_bytes())
    whole[58:3000] = bytes(2942)
    path.write_bytes(whole)
    with pytest.raises(RecordingError, match="can't be decoded"):
        decode(path, lookup("ogg"))


@pytest.mark.parametrize("name", ["wav", "sln16", "ulaw", "gsm", "vox"])
def test_an_empty_recording_decodes_to_nothing(tmp_path, name):
    """No samples is an array of no frames, not an error."""
    fmt = lookup(name)
    path = tmp_path / "file"
    path.write_bytes(virtual_header(fmt, 0) if name == "wav" else b"")
    heard, rate = decode(path, fmt)
    assert heard.shape == (0, 1)
    assert rate == fmt.sample_rate


@given(
    name=st.sampled_from(["sln", "ulaw", "gsm", "vox", "g726-32", "wav49"]),
    frames=st.integers(1, 2000),
)
def test_blocks_are_the_whole_in_pieces(name, frames):
    """However it is cut into blocks, the audio is the same."""
    source = {"gsm": GSM, "vox": VOX, "g726-32": G726, "wav49": WAV49}.get(name, AU[24:])
    file = io.BytesIO(source)
    extent = find_extent(file, len(source), lookup(name))
    whole = np.concatenate(list(decode_blocks(file, extent)))
    blocks = list(decode_blocks(file, extent, frames))
    size = frames if name in ("sln", "ulaw") else frames + frames % 2
    assert all(len(block) == size for block in blocks[:-1])
    assert np.array_equal(np.concatenate(blocks), whole)
    assert len(whole) == extent.samples
