"""The table of formats: spelling, aliases, packing, and what is refused."""

from __future__ import annotations

import pytest

from voxtra.audio.formats import FORMATS, WITHOUT_ENCODER, Container, Encoding, lookup
from voxtra.exceptions import ConfigurationError


@pytest.mark.parametrize(
    ("name", "canonical", "extension", "rate"),
    [
        ("wav", "wav", "wav", 8000),
        ("wav16", "wav16", "wav16", 16000),
        ("wav49", "wav49", "WAV", 8000),
        ("WAV", "wav49", "WAV", 8000),
        ("ul", "ulaw", "ul", 8000),
        ("pcm", "ulaw", "pcm", 8000),
        ("alw", "alaw", "alw", 8000),
        ("slin", "sln", "slin", 8000),
        ("raw", "sln", "raw", 8000),
        ("sln44", "sln44", "sln44", 44100),
        ("sln192", "sln192", "sln192", 192000),
        ("g722", "g722", "g722", 16000),
        ("g726-32", "g726-32", "g726-32", 8000),
        ("ogg", "ogg", "ogg", 8000),
        ("opus", "opus", "opus", 48000),
    ],
)
def test_a_name_gives_its_file(name, canonical, extension, rate):
    """A name, alias or not, leads to the extension and the rate that Asterisk really uses."""
    found = lookup(name)
    assert (found.name, found.canonical) == (name, canonical)
    assert (found.extension, found.sample_rate) == (extension, rate)


def test_every_name_is_its_own_key_and_every_canonical_exists():
    """No alias points nowhere, and none of the names is one Asterisk leaves empty."""
    for name, found in FORMATS.items():
        assert found.name == name
        assert FORMATS[found.canonical].canonical == found.canonical
        assert FORMATS[found.canonical].encoding is found.encoding
    assert not WITHOUT_ENCODER & FORMATS.keys()


def test_the_packing_adds_up_to_the_bit_rates_of_the_codecs():
    """Bytes and samples per frame give the known bytes per second of each codec."""
    bytes_per_second = {
        name: found.sample_rate * found.frame_bytes / found.frame_samples
        for name, found in FORMATS.items()
        if found.container is not Container.OGG
    }
    assert bytes_per_second["wav"] == 16000
    assert bytes_per_second["wav16"] == 32000
    assert bytes_per_second["sln48"] == 96000
    assert bytes_per_second["ulaw"] == bytes_per_second["au"] == bytes_per_second["g722"] == 8000
    assert bytes_per_second["g726-16"] == bytes_per_second["vox"] == 4000
    assert bytes_per_second["gsm"] == 1650
    assert bytes_per_second["wav49"] == 1625


def test_stereo_is_for_uncompressed_samples_only():
    """Exactly the PCM formats can be interleaved."""
    stereo = {found.canonical for found in FORMATS.values() if found.stereo_capable}
    rates = (12, 16, 24, 32, 44, 48, 96, 192)
    assert stereo == {"wav", "wav16", "sln"} | {f"sln{rate}" for rate in rates}
    assert all(FORMATS[name].encoding is Encoding.PCM16 for name in stereo)


@pytest.mark.parametrize("name", sorted(WITHOUT_ENCODER))
def test_a_format_asterisk_would_leave_empty_is_refused_with_the_reason(name):
    """Formats without an encoder are named as such, with the field and what to use."""
    with pytest.raises(ConfigurationError, match="no encoder") as caught:
        lookup(name)
    assert caught.value.field == "fmt"
    assert "wav16" in caught.value.fix


@pytest.mark.parametrize(
    ("name", "near"), [("Wav", "wav"), ("slin16", "sln16"), ("ULAW", "ulaw"), ("pcmu", "pcm")]
)
def test_an_unknown_name_suggests_the_nearest(name, near):
    """A misspelt name (also by its case, which Asterisk minds) is refused with the nearest one."""
    with pytest.raises(ConfigurationError, match="no recording format") as caught:
        lookup(name, field="recording.format")
    assert caught.value.field == "recording.format"
    assert caught.value.fix.startswith(f"Did you mean {near}?")


@pytest.mark.parametrize("name", ["", "mp3", "wav|gsm", "../wav", "VP8"])
def test_anything_else_lists_what_is_valid(name):
    """What resembles nothing is refused with the whole list."""
    with pytest.raises(ConfigurationError) as caught:
        lookup(name)
    assert "Use one of: alaw, au, g722" in caught.value.fix
