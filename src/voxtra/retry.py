"""The one backoff: every retry in the project takes its delays from here."""

from __future__ import annotations

import random
from collections.abc import Iterator

__all__ = ["delays"]


def delays(first: float, *, factor: float = 2.0, cap: float = 60.0) -> Iterator[float]:
    """Yield seconds to wait before try 2, 3, ...: geometric up to `cap`, each drawn from the upper
    half.

    Jitter of half the step keeps many clients of one restarted server apart, while no delay is ever
    close to zero: a server that closes politely at once must not be hammered.
    """
    step = first
    while True:
        yield random.uniform(step / 2, step)  # noqa: S311  # spreading load is no secret
        step = min(step * factor, cap)
