"""Names of recordings, which become file names on the PBX."""

from __future__ import annotations

from typing import Final

from voxtra.exceptions import InvalidRecordingName

__all__ = ["DEFAULT_PREFIX", "checked_name", "prefix_of"]

DEFAULT_PREFIX: Final = "voxtra"

LONGEST: Final = 200
"""Bytes. A file name of 252 and more is answered with 201 and a recording that is not there."""


def prefix_of(app_name: str) -> str:
    """Return what the names begin with that an app gives to its recordings, followed by `-` and the
    recording's id: by it an app knows its own files in a folder that it shares with others.
    """
    return app_name.replace(".", "_")[:100] or DEFAULT_PREFIX


def checked_name(name: str) -> str:
    """Return a recording's name if it stays in the recording folder and can be a file there.

    Asterisk's own check lets `../recording-x/y` through when such a folder stands beside its own:
    it reads, writes, copies and deletes there. Raises `InvalidRecordingName`.
    """
    if not name:
        raise InvalidRecordingName(name, "it can't be empty")
    if any(part in ("", ".", "..") for part in name.split("/")):
        raise InvalidRecordingName(name, "no part of it may be empty, `.` or `..`")
    if not name.isprintable():
        raise InvalidRecordingName(name, "it may not contain control characters")
    if len(name.encode()) > LONGEST:
        raise InvalidRecordingName(name, f"it may have {LONGEST} bytes at most")
    return name
