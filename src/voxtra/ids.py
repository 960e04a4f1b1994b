"""Identifiers: every one is chosen by us, before the request that creates the thing.

They are UUID version 7 (RFC 9562): sortable by time, unguessable in their 74 random bits. What the
framework makes on the PBX carries `OWN_PREFIX`, so its channels are recognised in any event, also
after a restart.
"""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Iterator
from typing import Final

__all__ = ["OWN_PREFIX", "is_own", "new_id", "own_id"]

OWN_PREFIX: Final = "vx-"
_OWN: Final = re.compile(r"vx-[a-z]+-[0-9a-f]{32}")

_DRAWN: Final = 256
"""Ids whose random digits are drawn at once: a system call and big-number arithmetic for each id
were a quarter of the price of dispatching an event.
"""

_tails: Final[deque[str]] = deque()
os.register_at_fork(after_in_child=_tails.clear)  # or parent and child would use the same ones


def new_id() -> str:
    """Return a new UUIDv7 as 32 lower-case hex digits."""
    while True:
        try:
            return f"{time.time_ns() // 1_000_000:012x}{_tails.pop()}"
        except IndexError:
            _tails.extend(_draw())


def _draw() -> Iterator[str]:
    """Yield what follows the time: version, 12 random bits, variant, 62 random bits."""
    drawn = os.urandom(10 * _DRAWN).hex()
    for at in range(0, len(drawn), 20):
        digits = drawn[at : at + 20]
        yield f"7{digits[:3]}{'89ab'[int(digits[3], 16) & 3]}{digits[4:19]}"


def own_id(kind: str) -> str:
    """Return a new id for something the framework makes on the PBX: `vx-<kind>-<uuid>`."""
    return f"{OWN_PREFIX}{kind}-{new_id()}"


def is_own(pbx_id: str) -> bool:
    """Tell whether a channel, bridge or playback id was chosen by us.

    The prefix alone does not say it: with `systemname = vx` every channel of a PBX would have it.
    """
    return pbx_id.startswith(OWN_PREFIX) and _OWN.match(pbx_id) is not None
