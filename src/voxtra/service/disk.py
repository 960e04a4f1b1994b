"""How full the disks are, and what is given up for that.

In this order:

1. nothing, but it is said (`LOW`): an event and a metric;
2. what can be made again (`TIGHT`): rendered files are dropped, finished exports expire at once;
3. new exports (`FULL`) are refused;
4. new recordings are refused only when what is free would not last ten minutes for those that run.

Nothing else is ever given up: a recording that is not stored yet, held, unsent or being written is
in no plan.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

from voxtra.audio.formats import lookup
from voxtra.model import Recording

__all__ = [
    "BLOBS",
    "DATABASE",
    "SPOOL",
    "DiskWatch",
    "Plan",
    "Pressure",
    "Volume",
    "growth",
    "plan",
    "sample",
]

SPOOL: Final = "spool"
BLOBS: Final = "blobs"
DATABASE: Final = "database"

RESERVE: Final = 600.0
"""Seconds that the recordings under way must have room for before another one begins."""

FLOOR: Final = 64 * 1024 * 1024
"""Bytes that are never counted on: rows, the database's own log, the kernel's rounding."""

NEXT: Final = 32_000.0
"""Bytes per second of the recording that might begin: stereo wav."""

SLACK: Final = 0.02
"""How far below a mark the used share must fall before the pressure does: at the mark itself, it
would come and go.
"""

_OGG: Final = 16_000.0
"""Bytes per second assumed where the format has no fixed rate: more than Asterisk's ogg or opus."""


class Pressure(IntEnum):
    """How full the fullest disk is; each level includes what is given up at those below."""

    NONE = 0
    LOW = 1
    TIGHT = 2
    FULL = 3


@dataclass(frozen=True, slots=True)
class Volume:
    """One file system: which of our folders are on it, its used share (0 to 1; of its files, where
    that is more), and the bytes that are free for us.
    """

    names: tuple[str, ...]
    used: float
    free: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done: the pressure, the volume that it comes from, and whether there is room
    for another recording. `cause` says it in words, empty when there is nothing to say.
    """

    pressure: Pressure = Pressure.NONE
    volume: Volume | None = None
    refuse_recordings: bool = False
    cause: str = ""

    @property
    def drop_derived(self) -> bool:
        """Whether files that can be made again are dropped, and finished exports expire."""
        return self.pressure >= Pressure.TIGHT

    @property
    def refuse_exports(self) -> bool:
        """Whether new exports are refused."""
        return self.pressure >= Pressure.FULL

    def differs(self, before: Plan) -> bool:
        """Tell whether something else is given up than before, so that it is to be said."""
        mine = (self.pressure, self.refuse_recordings)
        return mine != (before.pressure, before.refuse_recordings)

    def as_data(self) -> dict[str, Any]:
        """Return what the event `disk.low` carries."""
        found: dict[str, Any] = {
            "level": self.pressure.name.lower(),
            "refuse_exports": self.refuse_exports,
            "refuse_recordings": self.refuse_recordings,
            "cause": self.cause,
        }
        if self.volume is not None:
            found |= {
                "volumes": list(self.volume.names),
                "used_percent": round(self.volume.used * 100, 1),
                "free_bytes": self.volume.free,
            }
        return found


def plan(
    volumes: Sequence[Volume],
    rate: float,
    marks: tuple[float, float, float],
    before: Plan = Plan(),
) -> Plan:
    """Decide what to do about disks as they are now.

    `rate` is what the recordings under way write, in bytes per second (`growth`); `marks` are the
    used shares, in per cent, at which the pressure is low, tight and full; `before` is the plan of
    the last look.
    """
    if not volumes:
        return Plan()
    fullest = max(volumes, key=lambda volume: volume.used)
    pressure = max(_pressure(volume.used, marks, before.pressure) for volume in volumes)
    cramped = [volume for volume in volumes if not _has_room(volume, rate, before)]
    cause = ""
    if cramped:
        fullest = min(cramped, key=lambda volume: volume.free)
        cause = (
            f"the disk of {_listed(fullest)} has {fullest.free // 1_000_000} MB left, less than "
            "the recordings under way need in ten minutes: no new recording begins. Free some "
            "space or enlarge the disk"
        )
    elif pressure:
        cause = (
            f"the disk of {_listed(fullest)} is {fullest.used:.0%} full: {_GIVEN_UP[pressure]}. "
            "Free some space or enlarge the disk"
        )
    return Plan(pressure, fullest, bool(cramped), cause)


_GIVEN_UP: Final = {
    Pressure.LOW: "nothing is given up yet",
    Pressure.TIGHT: "what can be made again is removed, finished exports included",
    Pressure.FULL: "what can be made again is removed, and no new export begins",
}


def _pressure(used: float, marks: tuple[float, float, float], before: Pressure) -> Pressure:
    level = Pressure.NONE
    for reached, mark in zip((Pressure.LOW, Pressure.TIGHT, Pressure.FULL), marks, strict=True):
        if used >= mark / 100 - (SLACK if before >= reached else 0):
            level = reached
    return level


def _has_room(volume: Volume, rate: float, before: Plan) -> bool:
    copies = sum(name in (SPOOL, BLOBS) for name in volume.names)
    needed = FLOOR + copies * RESERVE * (rate + NEXT)
    # Once refused, there has to be twice as much, or every second recording would be let in.
    return volume.free >= needed * (2 if before.refuse_recordings else 1)


def _listed(volume: Volume) -> str:
    return " and ".join(volume.names)


def growth(recordings: Iterable[Recording]) -> float:
    """Return how many bytes per second the PBX writes for recordings that are under way."""
    total = 0.0
    for recording in recordings:
        fmt = lookup(recording.format)
        rate = fmt.sample_rate / fmt.frame_samples * fmt.frame_bytes if fmt.frame_bytes else _OGG
        total += rate * max(1, len(recording.tracks))
    return total


def sample(folders: Mapping[str, Path]) -> list[Volume]:
    """Look at the file systems that folders are on, by what they are for (`SPOOL`, `BLOBS`,
    `DATABASE`); a folder that is not there yet counts where it would be made.

    Raises OSError when a folder can't be reached.
    """
    names: dict[int, list[str]] = {}
    places: dict[int, Path] = {}
    for name, folder in folders.items():
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        device = there.stat().st_dev
        names.setdefault(device, []).append(name)
        places[device] = there
    volumes = []
    for device, place in places.items():
        facts = os.statvfs(place)
        used = _share(facts.f_blocks - facts.f_bfree, facts.f_bavail)
        # Some file systems have no fixed number of files, and say 0.
        files = _share(facts.f_files - facts.f_ffree, facts.f_favail) if facts.f_files else 0.0
        free = facts.f_bavail * facts.f_frsize if files < 1 else 0
        volumes.append(Volume(tuple(names[device]), max(used, files), free))
    return volumes


def _share(used: int, available: int) -> float:
    total = used + available
    return used / total if total else 1.0


class DiskWatch:
    """Looks at the disks again and again; `plan` is what the last look came to."""

    def __init__(self, folders: Mapping[str, Path], marks: tuple[float, float, float]) -> None:
        self._folders = dict(folders)
        self._marks = marks
        self.plan = Plan()

    def look(self, rate: float) -> bool:
        """Look now, and tell whether something else is given up than before.

        `rate` is as for `plan`. Blocks as long as the file systems do: call it in a thread. Raises
        OSError; the plan then stays as it was.
        """
        before = self.plan
        self.plan = plan(sample(self._folders), rate, self._marks, before)
        return self.plan.differs(before)
