"""Give a file that Asterisk never closed the lengths its header lacks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from voxtra.audio import au, wav
from voxtra.audio.formats import AudioFormat, Container
from voxtra.exceptions import RecordingError

__all__ = ["missing_lengths", "repair"]


def repair(path: Path, fmt: AudioFormat) -> bool:
    """Write true lengths into the header of an ended file, durably; tell whether any changed.

    Only header fields are written, never audio, and a sample torn at the end is left out of the
    lengths, not cut off. Doing it twice changes nothing. A file without a header to repair (raw,
    ogg, or not what `fmt` says) is left alone. Hash the file afterwards. Raises OSError when the
    file can't be opened or written.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            fields = missing_lengths(file, size, fmt)
        except RecordingError:
            return False  # measure() says why
    if not fields:
        return False
    with path.open("r+b") as file:
        for offset, value in fields.items():
            file.seek(offset)
            file.write(value)
        file.flush()
        os.fsync(file.fileno())
    return True


def missing_lengths(file: BinaryIO, size: int, fmt: AudioFormat) -> dict[int, bytes]:
    """Return what has to be written where, all of it before the audio, so that the header of an
    ended file of `size` bytes is right; nothing where it is.

    Raises RecordingError when the file has not the header it should have.
    """
    if fmt.container is Container.RIFF:
        return _wav_fields(wav.read_header(file, size), size)
    if fmt.container is Container.AU:
        head = au.read_header(file, size)
        if head.declared_data == head.data_bytes:
            return {}
        return {au.SIZE_OFFSET: min(head.data_bytes, wav.MAX_SIZE).to_bytes(4, "big")}
    return {}


def _wav_fields(head: wav.WavHeader, size: int) -> dict[int, bytes]:
    end = head.data_offset + head.data_bytes
    fits = 0 < head.declared_data <= size - head.data_offset
    wanted: list[tuple[int, int, int]] = []  # offset, value now, value it should have
    if not fits:
        wanted.append((head.data_offset - 4, head.declared_data, head.data_bytes))
    if not end <= head.declared_riff + 8 <= size:
        # Only data of a true length has chunks behind it; else the last whole frame is the end.
        wanted.append((4, head.declared_riff, (size if fits else end) - 8))
    if head.fact_offset is not None and (not fits or head.fact_samples == 0):
        wanted.append((head.fact_offset, head.fact_samples, head.samples))
    limited = [(at, now, min(value, wav.MAX_SIZE)) for at, now, value in wanted]
    return {at: value.to_bytes(4, "little") for at, now, value in limited if now != value}
