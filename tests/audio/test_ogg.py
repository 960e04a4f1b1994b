"""Ogg: the pages count the samples, also when the end was never written."""

from __future__ import annotations

import io

import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtra.audio.formats import Encoding
from voxtra.audio.ogg import read_stream
from voxtra.audio.tone import sine
from voxtra.exceptions import RecordingError


def made(subtype: str, rate: int, seconds: float) -> bytes:
    """Let libsndfile write an Ogg file with a tone."""
    file = io.BytesIO()
    soundfile.write(file, sine(440, seconds, rate), rate, format="OGG", subtype=subtype)
    return file.getvalue()


def samples(data: bytes) -> int:
    """Count the samples of a file with these bytes."""
    return read_stream(io.BytesIO(data), len(data)).samples


@given(subtype=st.sampled_from(["VORBIS", "OPUS"]), frames=st.integers(480, 48000))
@settings(max_examples=30, deadline=None)
def test_the_count_is_libsndfiles(subtype, frames):
    """A finished file has as many samples as libsndfile finds, whatever the length."""
    rate = 48000 if subtype == "OPUS" else 8000
    data = made(subtype, rate, frames / rate)
    stream = read_stream(io.BytesIO(data), len(data))
    assert stream.samples == frames == soundfile.info(io.BytesIO(data)).frames
    assert (stream.sample_rate, stream.channels) == (rate, 1)
    assert stream.encoding is Encoding(subtype.lower())


LONG = {"VORBIS": made("VORBIS", 8000, 60), "OPUS": made("OPUS", 48000, 10)}


@given(subtype=st.sampled_from(["VORBIS", "OPUS"]), data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_cut_file_counts_its_complete_pages(subtype, data):
    """Cut at any byte, it never counts more than before, nor more than can be decoded."""
    whole = LONG[subtype]
    cut = data.draw(st.integers(2000, len(whole)))
    counted = samples(whole[:cut])
    assert counted <= samples(whole)
    readable = len(soundfile.read(io.BytesIO(whole[:cut]))[0]) if counted else 0
    assert counted <= readable + 120  # libsndfile may end one short block of Vorbis earlier


def test_a_page_of_another_stream_does_not_count():
    """Bytes that look like a page but carry another serial number are passed over."""
    whole = LONG["VORBIS"]
    last = whole.rindex(b"OggS")
    foreign = bytearray(whole[last:])
    foreign[6:14] = (10**9).to_bytes(8, "little")
    foreign[14:18] = bytes(byte ^ 0xFF for byte in foreign[14:18])
    assert samples(whole + bytes(foreign)) == samples(whole)


def test_a_file_of_only_headers_has_no_samples():
    """A recording that ended before its first page of audio holds nothing."""
    for subtype, whole in LONG.items():
        second = whole.index(b"OggS", 4)
        assert samples(whole[:second]) == 0, subtype


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no Ogg header"),
        (bytes(16000), "no Ogg header"),
        (LONG["OPUS"][:20], "no Ogg header"),
        (LONG["OPUS"][:30], "neither"),
        (LONG["OPUS"].replace(b"OpusHead", b"Speex   "), "neither"),
    ],
)
def test_what_is_no_ogg_says_why(data, reason):
    """Anything else is refused with a reason."""
    with pytest.raises(RecordingError, match=reason):
        samples(data)


@given(st.binary(max_size=400))
def test_no_input_breaks_the_reader(data):
    """Whatever follows a first page is counted as nothing or refused, never a crash."""
    first = LONG["VORBIS"][:58]
    assert samples(first + data) >= 0
