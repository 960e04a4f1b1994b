"""Identifiers: every one is chosen by us, before the request that creates the thing.

They are UUID version 7 (RFC 9562): sortable by time, unguessable in the 62 random bits. What the
framework makes on the PBX carries `OWN_PREFIX`, so its channels are recognised in any event, also
after a restart.
"""

from __future__ import annotations

import os
import time

__all__ = ["OWN_PREFIX", "is_own", "new_id", "own_id"]

OWN_PREFIX = "vx-"


def new_id() -> str:
    """Return a new UUIDv7 as 32 lower-case hex digits."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    high = (random >> 62) & 0xFFF
    low = random & 0x3FFF_FFFF_FFFF_FFFF
    value = (milliseconds & 0xFFFF_FFFF_FFFF) << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low
    return f"{value:032x}"


def own_id(kind: str) -> str:
    """Return a new id for something the framework makes on the PBX: `vx-<kind>-<uuid>`."""
    return f"{OWN_PREFIX}{kind}-{new_id()}"


def is_own(pbx_id: str) -> bool:
    """Tell whether a channel, bridge or playback id was chosen by `own_id`."""
    return pbx_id.startswith(OWN_PREFIX)
