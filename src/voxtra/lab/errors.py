"""What can go wrong with the lab."""

from __future__ import annotations

from voxtra.exceptions import VoxtraError

__all__ = ["LabError"]


class LabError(VoxtraError):
    """The lab can't be had, started or used; the text says what to do about it."""
