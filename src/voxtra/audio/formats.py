"""Every format Asterisk can record, in one table.

Measured on Asterisk 22.10: each name was recorded from a 440 Hz tone and the file read back. Names
are case-sensitive there (`WAV` is wav49, `Wav` is refused), and an alias is also the file's
extension: `ul` makes `name.ul`. Both g726 names hold 32 kbit/s, the only rate Asterisk encodes, low
nibble first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches
from enum import StrEnum

from voxtra.exceptions import ConfigurationError

__all__ = ["FORMATS", "WITHOUT_ENCODER", "AudioFormat", "Container", "Encoding", "lookup"]


class Encoding(StrEnum):
    """How samples become bytes."""

    PCM16 = "pcm16"
    MULAW = "mulaw"
    ALAW = "alaw"
    GSM = "gsm"
    MS_GSM = "ms-gsm"
    G722 = "g722"
    G726 = "g726"
    VOX = "vox"
    VORBIS = "vorbis"
    OPUS = "opus"


class Container(StrEnum):
    """What surrounds the samples in the file; RAW is nothing at all."""

    RAW = "raw"
    RIFF = "riff"
    AU = "au"
    OGG = "ogg"


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """One recordable format.

    `name` is what Asterisk is asked for, `canonical` the name it shares with its aliases,
    `extension` what Asterisk appends to the recording's name. `frame_bytes` bytes hold
    `frame_samples` samples of one channel (0 bytes: ogg, where pages carry the count). `wav_tag` is
    the codec's number in a WAV header, None where players know none. `stereo_capable`: two
    recordings of it can be interleaved without decoding.
    """

    name: str
    canonical: str
    extension: str
    encoding: Encoding
    container: Container
    sample_rate: int
    frame_bytes: int
    frame_samples: int
    wav_tag: int | None
    stereo_capable: bool


# encoding: bytes per frame, samples per frame, tag in a WAV header
_PACKING: dict[Encoding, tuple[int, int, int | None]] = {
    Encoding.PCM16: (2, 1, 0x0001),
    Encoding.MULAW: (1, 1, 0x0007),
    Encoding.ALAW: (1, 1, 0x0006),
    Encoding.GSM: (33, 160, None),
    Encoding.MS_GSM: (65, 320, 0x0031),
    Encoding.G722: (1, 2, None),
    Encoding.G726: (1, 2, None),
    Encoding.VOX: (1, 2, None),
    Encoding.VORBIS: (0, 0, None),
    Encoding.OPUS: (0, 0, None),
}

_ALIASES = {
    "wav49": ("WAV",),
    "ulaw": ("ul", "mu", "ulw", "pcm"),
    "alaw": ("al", "alw"),
    "sln": ("slin", "raw"),
}


def _table() -> dict[str, AudioFormat]:
    formats: dict[str, AudioFormat] = {}

    def add(name: str, encoding: Encoding, rate: int, container: Container) -> None:
        frame_bytes, frame_samples, tag = _PACKING[encoding]
        one = AudioFormat(
            name=name,
            canonical=name,
            extension="WAV" if name == "wav49" else name,
            encoding=encoding,
            container=container,
            sample_rate=rate,
            frame_bytes=frame_bytes,
            frame_samples=frame_samples,
            wav_tag=tag,
            stereo_capable=encoding is Encoding.PCM16,
        )
        formats[name] = one
        for alias in _ALIASES.get(name, ()):
            formats[alias] = replace(one, name=alias, extension=alias)

    add("wav", Encoding.PCM16, 8000, Container.RIFF)
    add("wav16", Encoding.PCM16, 16000, Container.RIFF)
    add("wav49", Encoding.MS_GSM, 8000, Container.RIFF)
    add("gsm", Encoding.GSM, 8000, Container.RAW)
    add("ulaw", Encoding.MULAW, 8000, Container.RAW)
    add("alaw", Encoding.ALAW, 8000, Container.RAW)
    add("au", Encoding.MULAW, 8000, Container.AU)
    add("sln", Encoding.PCM16, 8000, Container.RAW)
    for kilohertz in (12, 16, 24, 32, 44, 48, 96, 192):
        rate = 44_100 if kilohertz == 44 else kilohertz * 1000
        add(f"sln{kilohertz}", Encoding.PCM16, rate, Container.RAW)
    add("g722", Encoding.G722, 16000, Container.RAW)
    add("g726-16", Encoding.G726, 8000, Container.RAW)
    add("g726-32", Encoding.G726, 8000, Container.RAW)
    add("ogg", Encoding.VORBIS, 8000, Container.OGG)
    add("opus", Encoding.OPUS, 48000, Container.OGG)
    add("vox", Encoding.VOX, 8000, Container.RAW)
    return formats


FORMATS: dict[str, AudioFormat] = _table()
"""Every name Asterisk takes and fills, aliases included."""

WITHOUT_ENCODER = frozenset(
    {"g719", "g723", "g723sf", "g726-24", "g726-40", "g729", "h263", "h264", "ilbc"}
    | {"siren7", "siren14", "spx", "spx16", "spx32", "vp8"}
)
"""Names Asterisk takes and then writes 0 bytes for: it can play these, not encode them."""


def lookup(name: str, *, field: str = "fmt") -> AudioFormat:
    """Return the format called `name`, with the exact spelling Asterisk wants.

    Raises ConfigurationError, naming `field`, for anything Asterisk refuses or would leave empty.
    """
    found = FORMATS.get(name)
    if found is not None:
        return found
    valid = ", ".join(sorted({one.canonical for one in FORMATS.values()}))
    if name in WITHOUT_ENCODER:
        problem = f"Asterisk has no encoder for {name} and would write an empty file"
        raise ConfigurationError(problem, field=field, fix=f"Use one of: {valid}")
    near = get_close_matches(name.lower(), FORMATS, n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    problem = f"{name!r} is no recording format"
    raise ConfigurationError(problem, field=field, fix=f"{hint}Use one of: {valid}")
