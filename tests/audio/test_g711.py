"""G.711 against libsndfile: every code and every sample."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from voxtra.audio import g711

EVERY_CODE = bytes(range(256))
EVERY_SAMPLE = np.arange(-32768, 32768, dtype=np.int16)
LAWS = [
    pytest.param("ULAW", g711.encode_mulaw, g711.decode_mulaw, id="mulaw"),
    pytest.param("ALAW", g711.encode_alaw, g711.decode_alaw, id="alaw"),
]


@pytest.mark.parametrize(("subtype", "_encode", "decode"), LAWS)
def test_all_256_codes_decode_as_libsndfile_decodes_them(subtype, _encode, decode):
    """Every code of the law becomes the sample libsndfile gives."""
    raw = io.BytesIO(EVERY_CODE)
    oracle, _ = soundfile.read(
        raw, dtype="int16", format="RAW", subtype=subtype, samplerate=8000, channels=1
    )
    assert np.array_equal(decode(EVERY_CODE), oracle)


@pytest.mark.parametrize(("subtype", "encode", "_decode"), LAWS)
def test_all_65536_samples_encode_as_libsndfile_encodes_them(subtype, encode, _decode):
    """Every 16-bit sample becomes the code libsndfile gives."""
    raw = io.BytesIO()
    soundfile.write(raw, EVERY_SAMPLE, 8000, format="RAW", subtype=subtype)
    assert encode(EVERY_SAMPLE) == raw.getvalue()


@pytest.mark.parametrize(("_subtype", "encode", "decode"), LAWS)
def test_a_decoded_code_encodes_to_itself(_subtype, encode, decode):
    """Decoding and encoding again is lossless, but for the two zeros of mu-law being one."""
    samples = decode(EVERY_CODE)
    again = decode(encode(samples))
    assert np.array_equal(again, samples)


def test_nothing_becomes_nothing():
    """Empty input is no special case."""
    empty = np.zeros(0, np.int16)
    assert g711.encode_mulaw(empty) == g711.encode_alaw(empty) == b""
    assert len(g711.decode_mulaw(b"")) == len(g711.decode_alaw(b"")) == 0
