"""What shows that the demo's call was recorded as it should be."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from voxtra.audio.decode import decode
from voxtra.audio.formats import lookup
from voxtra.audio.measure import measure
from voxtra.audio.tone import level
from voxtra.lab.call import PlacedCall

__all__ = ["CALLER_HZ", "PROMPT_HZ", "PROMPT_SECONDS", "problems_of"]

CALLER_HZ: Final = 440
PROMPT_HZ: Final = 880
PROMPT_SECONDS: Final = 3.0

LATE: Final = 1.0
"""Seconds of the call that may pass before a request has it recorded."""


def problems_of(
    recording: dict[str, Any], path: Path, digest: str, placed: PlacedCall
) -> list[str]:
    """Compare what is said of a recording, and its downloaded file, with the call that was placed.

    `digest` is the SHA-256 of the file at `path`.
    """
    fmt = lookup(recording["format"])
    found = measure(path, fmt)
    if found.problem:
        return [f"{path}: {found.problem}"]
    if found.channels != 2:
        return [f"{path}: has {found.channels} channel instead of two"]
    problems = []
    if recording["sha256"] != digest:
        problems.append(f"its SHA-256 is {digest}, its row says {recording['sha256']}")
    if recording["call_id"] != placed.call_id:
        problems.append(f"it names call {recording['call_id']}, not {placed.call_id}")
    if not -LATE <= found.seconds - placed.seconds <= 0.3:
        problems.append(f"it has {found.seconds:.2f} s of a call of {placed.seconds:.2f} s")
    if abs(recording["duration"] - found.seconds) > 0.001:
        problems.append(f"its row says {recording['duration']} s, its file {found.seconds:.3f} s")
    samples, rate = decode(path, fmt)
    both = samples[rate // 2 : rate * 2]  # both sides sound then, however late it began
    for side, channel, own, other in (
        ("left (the caller)", 0, CALLER_HZ, PROMPT_HZ),
        ("right (the prompt)", 1, PROMPT_HZ, CALLER_HZ),
    ):
        loud, leaked = (level(both[:, channel], hertz, rate) for hertz in (own, other))
        if loud < -20:
            problems.append(f"{own} Hz is not on the {side}: {loud:.0f} dBFS")
        if leaked > loud - 30:
            problems.append(f"{other} Hz is on the {side}: {leaked:.0f} dBFS")
    return problems
