"""WAVE headers: read whole, broken and foreign ones; make the ones Asterisk would have made."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from voxtra.audio import g711
from voxtra.audio.formats import FORMATS, Encoding, lookup
from voxtra.audio.tone import sine
from voxtra.audio.wav import MAX_SIZE, WavHeader, read_header, virtual_header
from voxtra.exceptions import RecordingError

from .asterisk_bytes import (
    KILLED_WAV49_HEADER,
    KILLED_WAV_HEADER,
    WAV16_HEADER_OF_1_SECOND,
    WAV49,
    WAV_HEADER_OF_1_SECOND,
)


def read(data: bytes) -> WavHeader:
    """Read the header of a file with these bytes."""
    return read_header(io.BytesIO(data), len(data))


def chunk(name: bytes, body: bytes) -> bytes:
    """Make a RIFF chunk, padded to even length."""
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) & 1)


def test_our_headers_are_asterisks_byte_for_byte():
    """A header made for wav, wav16 or wav49 equals the one Asterisk wrote for the same length."""
    assert virtual_header(lookup("wav"), 16000) == WAV_HEADER_OF_1_SECOND
    assert virtual_header(lookup("wav16"), 32000) == WAV16_HEADER_OF_1_SECOND
    assert virtual_header(lookup("wav49"), 1625) == WAV49[:60]


@pytest.mark.parametrize(
    ("header", "fmt"), [(KILLED_WAV_HEADER, "wav"), (KILLED_WAV49_HEADER, "wav49")]
)
@given(frames=st.integers(0, 40), torn=st.integers(0, 1000))
def test_zero_lengths_of_a_killed_asterisk_mean_up_to_the_end(header, fmt, frames, torn):
    """Without lengths the whole frames that are there count, and a torn one does not."""
    one = FORMATS[fmt]
    torn %= one.frame_bytes
    head = read(header + bytes(frames * one.frame_bytes + torn))
    assert head.data_offset == len(header)
    assert head.data_bytes == frames * one.frame_bytes
    assert head.samples == frames * one.frame_samples


@given(st.integers(0, 43))
def test_a_file_cut_inside_its_header_is_refused(length):
    """A header cut at any byte is an error with a reason, never a crash or a wrong count."""
    with pytest.raises(RecordingError, match="header"):
        read(WAV_HEADER_OF_1_SECOND[:length])


@given(st.integers(0, 64))
def test_a_file_cut_inside_its_data_counts_what_is_left(length):
    """A length beyond the end of the file is not believed."""
    head = read(WAV_HEADER_OF_1_SECOND + bytes(length))
    assert head.samples == length // 2
    assert head.declared_data == 16000


@given(extra=st.binary(max_size=50), samples=st.integers(1, 50))
def test_what_follows_data_of_a_true_length_is_not_audio(extra, samples):
    """A length that fits is trusted, whatever stands behind the data."""
    header = virtual_header(lookup("wav"), samples * 2)
    assert read(header + bytes(samples * 2) + extra).samples == samples


@given(
    before=st.lists(
        st.tuples(st.sampled_from([b"LIST", b"bext", b"JUNK"]), st.binary(max_size=33)), max_size=5
    ),
    after=st.binary(max_size=33),
)
def test_other_chunks_are_stepped_over(before, after):
    """Chunks before and after, of odd length too, do not disturb."""
    form = struct.pack("<HHIIHH", 1, 2, 16000, 64000, 4, 16)
    body = chunk(b"fmt ", form) + b"".join(chunk(name, data) for name, data in before)
    body += chunk(b"data", bytes(40)) + chunk(b"LIST", after)
    head = read(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body)
    assert (head.channels, head.sample_rate, head.samples) == (2, 16000, 10)


@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        ("WAV", "PCM_16"),
        ("WAV", "ULAW"),
        ("WAV", "ALAW"),
        ("WAV", "GSM610"),
        ("WAVEX", "PCM_16"),
        ("WAVEX", "ULAW"),
        ("WAVEX", "ALAW"),
    ],
)
def test_files_of_libsndfile_are_understood(container, subtype):
    """What libsndfile writes is read with its codec, rate and length."""
    file = io.BytesIO()
    soundfile.write(file, sine(440, 0.4), 8000, format=container, subtype=subtype)
    head = read(file.getvalue())
    names = {
        "PCM_16": Encoding.PCM16,
        "ULAW": Encoding.MULAW,
        "ALAW": Encoding.ALAW,
        "GSM610": Encoding.MS_GSM,
    }
    assert (head.encoding, head.sample_rate, head.channels) == (names[subtype], 8000, 1)
    assert head.samples == 3200


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no RIFF"),
        (bytes(16000), "no RIFF"),
        (b"RIFX" + WAV_HEADER_OF_1_SECOND[4:], "no RIFF"),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0", "no fmt"),
        (b"RIFF\0\0\0\0WAVE" + bytes(1000), "no data"),
        (b"RIFF\0\0\0\0WAVELIST\xff\xff\xff\xffxyz", "no data"),
    ],
)
def test_what_is_no_wave_file_says_why(data, reason):
    """Zeros instead of a header (a full disk leaves that), or half a header: a plain reason."""
    with pytest.raises(RecordingError, match=reason):
        read(data)


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        (struct.pack("<HHIIHH", 3, 1, 8000, 32000, 4, 32), "unknown codec"),
        (struct.pack("<HHIIHH", 1, 1, 8000, 24000, 3, 24), "unknown codec"),
        (struct.pack("<HHIIHH", 1, 0, 8000, 16000, 2, 16), "no sense"),
        (struct.pack("<HHIIHH", 1, 1, 0, 16000, 2, 16), "no sense"),
        (struct.pack("<HHIIHH", 0x31, 2, 8000, 1625, 65, 0), "no sense"),
    ],
)
def test_a_codec_we_never_record_is_refused(form, reason):
    """A header that would be counted wrongly is refused instead."""
    body = chunk(b"fmt ", form) + chunk(b"data", bytes(8))
    with pytest.raises(RecordingError, match=reason):
        read(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body)


@given(data=st.binary(max_size=200))
def test_no_input_breaks_the_reader(data):
    """Whatever follows a RIFF signature is read or refused, and never counts beyond the file."""
    whole = b"RIFF\0\0\0\0WAVE" + data
    try:
        head = read(whole)
    except RecordingError:
        return
    assert 0 <= head.data_bytes <= len(whole) - head.data_offset


@pytest.mark.parametrize("name", ["ulaw", "alaw", "au", "sln", "sln16", "sln48", "wav", "wav16"])
def test_a_virtual_header_makes_samples_playable(name):
    """Behind our header, libsndfile plays the samples of a headerless recording exactly."""
    fmt = lookup(name)
    tone = sine(440, 0.25, fmt.sample_rate)
    encode = {Encoding.MULAW: g711.encode_mulaw, Encoding.ALAW: g711.encode_alaw}
    data = encode[fmt.encoding](tone) if fmt.encoding in encode else tone.astype("<i2").tobytes()
    decode = {Encoding.MULAW: g711.decode_mulaw, Encoding.ALAW: g711.decode_alaw}
    heard = decode[fmt.encoding](data) if fmt.encoding in decode else tone
    header = virtual_header(fmt, len(data))
    played, rate = soundfile.read(io.BytesIO(header + data), dtype="int16")
    assert rate == fmt.sample_rate
    assert np.array_equal(played, heard)


@given(
    name=st.sampled_from(["wav", "wav16", "sln44", "ulaw", "alaw"]),
    frames=st.integers(1, 500),
    channels=st.integers(1, 2),
)
def test_a_virtual_header_reads_back(name, frames, channels):
    """The reader finds in a made header what went into it."""
    fmt = lookup(name)
    size = frames * channels * fmt.frame_bytes
    head = read(virtual_header(fmt, size, channels=channels) + bytes(size))
    assert head.encoding is fmt.encoding
    assert (head.sample_rate, head.channels, head.samples) == (fmt.sample_rate, channels, frames)
    assert head.declared_riff == head.data_offset + size - 8
    assert head.declared_data == size


@pytest.mark.parametrize("name", ["gsm", "g722", "g726-32", "vox", "ogg", "opus"])
def test_what_a_wave_file_can_not_hold_is_refused(name):
    """Codecs that players do not know inside a WAV get no header."""
    with pytest.raises(RecordingError, match="can't be played as WAV"):
        virtual_header(lookup(name), 1000)


def test_no_header_claims_more_than_4_gib():
    """A length that does not fit is refused, not wrapped."""
    assert len(virtual_header(lookup("wav"), MAX_SIZE - 36)) == 44
    with pytest.raises(RecordingError, match="4 GiB"):
        virtual_header(lookup("wav"), MAX_SIZE - 35)
