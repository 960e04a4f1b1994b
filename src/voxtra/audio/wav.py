"""RIFF/WAVE headers: read any, also a broken one; make one for samples that have none.

Asterisk writes the lengths when it closes the file. Killed before that, it leaves 0 in all of them
(measured for wav, wav16 and wav49, also when appending), so a length of 0 or beyond the end of the
file means "up to the end". A length that fits is trusted, whatever follows the data.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from voxtra.audio.formats import AudioFormat, Encoding
from voxtra.exceptions import RecordingError

__all__ = ["MAX_SIZE", "WavHeader", "read_header", "virtual_header"]

MAX_SIZE = 0xFFFF_FFFF
"""The largest length a RIFF field holds; also what a writer to a pipe puts for "unknown"."""

_ENCODINGS = {
    0x0001: Encoding.PCM16,
    0x0006: Encoding.ALAW,
    0x0007: Encoding.MULAW,
    0x0031: Encoding.MS_GSM,
}
_EXTENSIBLE = 0xFFFE
_GSM_BLOCK = (65, 320)  # bytes, samples
_MAX_CHUNKS = 64


@dataclass(frozen=True, slots=True)
class WavHeader:
    """What a WAVE header says, and where the samples really are.

    `data_offset`, `data_bytes` and `samples` (per channel) cover the whole frames that the file
    holds. The `declared_*` values are the header's own length fields; `fact_offset` is where the
    fact chunk's sample count stands, None where there is no fact chunk.
    """

    encoding: Encoding
    sample_rate: int
    channels: int
    data_offset: int
    data_bytes: int
    samples: int
    declared_riff: int
    declared_data: int
    fact_offset: int | None
    fact_samples: int


def read_header(file: BinaryIO, size: int) -> WavHeader:
    """Read the header of a WAVE file of `size` bytes, complete or not.

    Raises RecordingError with the reason when it has no RIFF header, no fmt or data chunk, or an
    unknown codec.
    """
    file.seek(0)
    start = file.read(12)
    if len(start) < 12 or start[:4] != b"RIFF" or start[8:] != b"WAVE":
        raise RecordingError("no RIFF header")
    form = b""
    fact_offset: int | None = None
    fact_samples = 0
    position = 12
    for _ in range(_MAX_CHUNKS):
        file.seek(position)
        chunk = file.read(8)
        if len(chunk) < 8:
            break
        name, length = chunk[:4], int.from_bytes(chunk[4:], "little")
        if name == b"data":
            encoding, rate, frame_bytes, frame_samples, channels = _codec(form)
            available = size - position - 8
            held = available if length in (0, MAX_SIZE) else min(length, available)
            frames = held // frame_bytes
            return WavHeader(
                encoding=encoding,
                sample_rate=rate,
                channels=channels,
                data_offset=position + 8,
                data_bytes=frames * frame_bytes,
                samples=frames * frame_samples,
                declared_riff=int.from_bytes(start[4:8], "little"),
                declared_data=length,
                fact_offset=fact_offset,
                fact_samples=fact_samples,
            )
        if name == b"fmt ":
            form = file.read(min(length, 40))
        elif name == b"fact" and length >= 4 and len(value := file.read(4)) == 4:
            fact_offset, fact_samples = position + 8, int.from_bytes(value, "little")
        position += 8 + length + (length & 1)
    raise RecordingError("the RIFF header has no data chunk")


def _codec(form: bytes) -> tuple[Encoding, int, int, int, int]:
    """Return encoding, rate, bytes and samples per frame, and channels of a fmt chunk."""
    if len(form) < 16:
        raise RecordingError("the RIFF header has no fmt chunk")
    tag, channels, rate, _, _, bits = struct.unpack("<HHIIHH", form[:16])
    if tag == _EXTENSIBLE and len(form) >= 26:
        tag = int.from_bytes(form[24:26], "little")
    encoding = _ENCODINGS.get(tag)
    if encoding is None or (encoding is Encoding.PCM16 and bits != 16):
        raise RecordingError(f"the RIFF header names an unknown codec: {tag:#06x}, {bits} bits")
    if rate == 0 or channels == 0 or (encoding is Encoding.MS_GSM and channels != 1):
        raise RecordingError(f"the RIFF header makes no sense: {channels} channels at {rate} Hz")
    if encoding is Encoding.MS_GSM:
        return encoding, rate, *_GSM_BLOCK, channels
    width = 2 if encoding is Encoding.PCM16 else 1
    return encoding, rate, width * channels, 1, channels


def virtual_header(fmt: AudioFormat, data_bytes: int, *, channels: int = 1) -> bytes:
    """Return a WAVE header that turns `data_bytes` bytes of samples in `fmt` into a playable file.

    Works for PCM (wav, wav16, sln*), mu-law (ulaw, au), A-law and wav49, whose samples a WAVE file
    can hold as they are. Raises RecordingError for the rest (gsm, g722, g726, vox, ogg, opus) and
    above 4 GiB.
    """
    if fmt.wav_tag is None:
        raise RecordingError(f"{fmt.name} can't be played as WAV without transcoding")
    frame_bytes = fmt.frame_bytes * channels
    byte_rate = fmt.sample_rate * frame_bytes // fmt.frame_samples
    bits = {Encoding.PCM16: 16, Encoding.MS_GSM: 0}.get(fmt.encoding, 8)
    form = struct.pack(
        "<HHIIHH", fmt.wav_tag, channels, fmt.sample_rate, byte_rate, frame_bytes, bits
    )
    fact = b""
    if fmt.encoding is not Encoding.PCM16:
        extra = struct.pack("<H", fmt.frame_samples) if fmt.encoding is Encoding.MS_GSM else b""
        form += struct.pack("<H", len(extra)) + extra
        samples = data_bytes // frame_bytes * fmt.frame_samples
        fact = struct.pack("<4sII", b"fact", 4, samples)
    body = struct.pack("<4sI", b"fmt ", len(form)) + form + fact
    riff = 4 + len(body) + 8 + data_bytes
    if riff > MAX_SIZE:
        raise RecordingError(f"{data_bytes} bytes of audio do not fit in a WAV file (4 GiB)")
    start = struct.pack("<4sI4s", b"RIFF", riff, b"WAVE")
    return start + body + struct.pack("<4sI", b"data", data_bytes)
