"""Rendering: a view is the file it stands for, byte by byte; an encoding sounds like its source."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from voxtra.audio.decode import decode, decode_blocks
from voxtra.audio.extent import Extent, find_extent
from voxtra.audio.formats import FORMATS, Encoding
from voxtra.audio.render import Channel, Stopped, Target, WavView, encode, view
from voxtra.audio.tone import level, sine
from voxtra.audio.wav import virtual_header
from voxtra.exceptions import RecordingError

from .asterisk_bytes import AU, G726, GSM, VOX, WAV49

VIEWED = {
    "ulaw": (FORMATS["ulaw"], b"", 1),
    "alaw": (FORMATS["alaw"], b"", 1),
    "sln16": (FORMATS["sln16"], b"", 1),
    "au": (FORMATS["au"], AU[:24], 1),
    "wav": (FORMATS["wav"], None, 1),
    "stereo wav": (FORMATS["wav16"], None, 2),
}


def _stored(name: str, data: bytes) -> tuple[bytes, Extent]:
    """Return a stored file of a kind with `data` for its samples, and where they lie."""
    fmt, header, channels = VIEWED[name]
    width = 2 if fmt.encoding is Encoding.PCM16 else 1
    data = data[: len(data) // (width * channels) * width * channels]
    if header is None:
        header = virtual_header(fmt, len(data), channels=channels)
    file = header + data
    return file, find_extent(io.BytesIO(file), len(file), fmt)


def _rendered(one: WavView, file: bytes, start: int, end: int) -> bytes:
    """Compute a stretch of a view from the source bytes that it names, and from no others."""
    first, last = one.source(start, end)
    assert 0 <= first <= last <= len(file)
    body = one.convert(file[first:last])[one.skip(start) :]
    return (one.header[start:end] + body)[: end - start]


def _expected(file: bytes, extent: Extent, channel: Channel | None) -> bytes:
    """Return the view as a whole file, made by decoding everything."""
    blocks = list(decode_blocks(io.BytesIO(file), extent))
    samples = np.concatenate(blocks) if blocks else np.zeros((0, extent.channels), np.int16)
    if extent.channels == 2 and channel is Channel.MIX:
        samples = np.clip(samples.astype(int).sum(axis=1), -32768, 32767).astype(np.int16)[:, None]
    elif extent.channels == 2 and channel is not None:
        samples = samples[:, [0 if channel is Channel.LEFT else 1]]
    made = io.BytesIO()
    soundfile.write(made, samples, extent.sample_rate, format="WAV", subtype="PCM_16")
    return made.getvalue()


def _channels(name: str) -> list[Channel | None]:
    return [None, *Channel] if VIEWED[name][2] == 2 else [None, Channel.MIX]


@given(
    name=st.sampled_from(sorted(VIEWED)),
    data=st.binary(min_size=8, max_size=200),
    pick=st.data(),
)
def test_any_stretch_of_a_view_is_that_of_the_whole_decoded_file(name, data, pick):
    """Every range of bytes, cut anywhere, equals the range of a WAV written by libsndfile."""
    file, extent = _stored(name, data)
    channel = pick.draw(st.sampled_from(_channels(name)))
    one = view(extent, channel)
    whole = _expected(file, extent, channel)
    assert one.size == len(whole)
    start = pick.draw(st.integers(0, one.size - 1))
    end = pick.draw(st.integers(start + 1, one.size))
    assert _rendered(one, file, start, end) == whole[start:end]


@given(data=st.binary(min_size=40, max_size=400), cuts=st.lists(st.integers(1, 60), min_size=1))
def test_stretches_put_together_are_the_view(data, cuts):
    """A player that seeks through a mu-law recording in pieces of any size gets the whole of it."""
    file, extent = _stored("ulaw", data)
    one = view(extent)
    pieces: list[bytes] = []
    at = 0
    while at < one.size:
        end = min(at + cuts[len(pieces) % len(cuts)], one.size)
        pieces.append(_rendered(one, file, at, end))
        at = end
    assert b"".join(pieces) == _expected(file, extent, None)


def test_a_headerless_recording_plays_as_wav():
    """A mu-law recording of a tone is, through its view, a WAV file with that tone."""
    samples = sine(440, 0.5)
    file = soundfile_bytes(samples, 8000, "RAW", "ULAW")
    one = view(find_extent(io.BytesIO(file), len(file), FORMATS["ulaw"]))
    heard, rate = soundfile.read(io.BytesIO(_rendered(one, file, 0, one.size)), dtype="int16")
    assert rate == 8000
    assert level(heard, 440, rate) == pytest.approx(-6, abs=0.2)


def soundfile_bytes(samples, rate: int, container: str, subtype: str) -> bytes:
    """Return samples as a file that libsndfile writes."""
    made = io.BytesIO()
    soundfile.write(made, samples, rate, format=container, subtype=subtype)
    return made.getvalue()


@pytest.mark.parametrize("name", ["gsm", "vox", "g726-32", "g722", "wav49"])
def test_a_codec_with_memory_has_no_view(name):
    """Where a sample depends on those before it, no byte can be computed by itself."""
    fmt = FORMATS[name]
    extent = Extent(fmt.encoding, fmt.sample_rate, 1, 0, fmt.frame_bytes, fmt.frame_samples)
    with pytest.raises(RecordingError, match="without decoding all of it"):
        view(extent)


def test_a_mono_recording_has_no_sides():
    """Left or right of one channel is refused; the mix of one channel is that channel."""
    extent = Extent(Encoding.PCM16, 8000, 1, 0, 20, 10)
    for side in (Channel.LEFT, Channel.RIGHT):
        with pytest.raises(RecordingError, match=f"no {side} one"):
            view(extent, side)
    assert view(extent, Channel.MIX).verbatim


def test_a_view_above_4_gib_is_refused():
    """A WAV file can't be that long, and says so instead of lying about its length."""
    extent = Extent(Encoding.MULAW, 8000, 1, 0, 2**31, 2**31)
    with pytest.raises(RecordingError, match="4 GiB"):
        view(extent)


def _stereo(path: Path, rate: int, seconds: float = 2.0) -> Path:
    """Write a stereo WAV file: 440 Hz on the left, 1000 Hz on the right."""
    sides = np.stack([sine(440, seconds, rate, -12), sine(1000, seconds, rate, -12)], axis=1)
    soundfile.write(path, sides, rate, subtype="PCM_16")
    return path


@pytest.mark.parametrize("target", list(Target))
@pytest.mark.parametrize("channel", [None, *Channel])
def test_an_encoding_has_the_channels_that_were_asked_for(tmp_path, target, channel):
    """Left has only the left tone, right only the right, the mix has both in one channel."""
    out = tmp_path / "out"
    encode(_stereo(tmp_path / "in.wav", 8000), FORMATS["wav"], out, target, channel=channel)
    heard, rate = soundfile.read(out, dtype="int16", always_2d=True)
    middle = heard[rate // 2 : -rate // 2]
    assert rate == 8000
    assert len(heard) == pytest.approx(2 * rate, abs=rate * 0.15)
    loud = [[level(side, hz, rate) > -14 for hz in (440, 1000)] for side in middle.T]
    assert (
        loud
        == {
            None: [[True, False], [False, True]],
            Channel.LEFT: [[True, False]],
            Channel.RIGHT: [[False, True]],
            Channel.MIX: [[True, True]],
        }[channel]
    )


@pytest.mark.parametrize(
    ("name", "target", "expected"),
    [
        ("sln16", Target.OPUS, 16_000),
        ("sln44", Target.OPUS, 48_000),
        ("sln44", Target.MP3, 44_100),
        ("sln192", Target.MP3, 48_000),
        ("sln192", Target.OPUS, 48_000),
    ],
)
def test_only_rates_that_the_codec_lacks_are_resampled(tmp_path, name, target, expected):
    """The tone keeps its pitch, its length and its level, at the recording's rate or at 48 kHz."""
    fmt = FORMATS[name]
    source, out = tmp_path / "in", tmp_path / "out"
    source.write_bytes(sine(440, 1.0, fmt.sample_rate).tobytes())
    encode(source, fmt, out, target)
    heard, rate = soundfile.read(out, dtype="int16")
    assert rate == expected
    assert len(heard) == pytest.approx(rate, rel=0.15)
    assert level(heard[rate // 4 : rate * 3 // 4], 440, rate) == pytest.approx(-6, abs=0.5)


@pytest.mark.parametrize(
    ("name", "data"),
    [("gsm", GSM), ("vox", VOX), ("g726-32", G726), ("wav49", WAV49), ("au", AU)],
)
def test_what_asterisk_recorded_becomes_pcm_wav(tmp_path, name, data):
    """The WAV encoding of every decodable format holds exactly its decoded samples."""
    source, out = tmp_path / "in", tmp_path / "out"
    source.write_bytes(data)
    encode(source, FORMATS[name], out, Target.WAV)
    decoded, rate = decode(source, FORMATS[name])
    heard, heard_rate = soundfile.read(out, dtype="int16", always_2d=True)
    assert heard_rate == rate
    assert np.array_equal(heard, decoded)


def test_what_cannot_be_decoded_is_not_encoded(tmp_path):
    """G.722 is refused with the reason."""
    source = tmp_path / "in"
    source.write_bytes(bytes(100))
    with pytest.raises(RecordingError, match="g722 can't be decoded here"):
        encode(source, FORMATS["g722"], tmp_path / "out", Target.MP3)


def test_an_encoding_ends_when_it_is_asked_to(tmp_path):
    """The question comes with every block, so that a long recording does not hold up an exit."""
    source = tmp_path / "in"
    source.write_bytes(bytes(2 * 65_536 * 3))
    asked = iter([False, True])
    with pytest.raises(Stopped):
        encode(source, FORMATS["sln"], tmp_path / "out", Target.MP3, stopped=lambda: next(asked))
    assert next(asked, None) is None


def test_the_wav_header_tells_what_was_decoded(tmp_path):
    """Where a damaged file holds less than its pages count, the header has the true length."""
    source, out = tmp_path / "in", tmp_path / "out"
    data = bytearray(soundfile_bytes(sine(440, 20.0), 8000, "OGG", "VORBIS"))
    middle = data.index(b"OggS", len(data) // 2)
    data[middle + 100 : middle + 200] = bytes(100)
    source.write_bytes(data)
    encode(source, FORMATS["ogg"], out, Target.WAV)
    head = out.read_bytes()[:44]
    assert 0 < int.from_bytes(head[40:44], "little") == out.stat().st_size - 44 < 20 * 8000 * 2
    assert int.from_bytes(head[4:8], "little") == out.stat().st_size - 8
