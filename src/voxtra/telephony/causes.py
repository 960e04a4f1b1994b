"""Hang-up causes (ITU-T Q.850, as Asterisk numbers them): what they mean, and what to send."""

from __future__ import annotations

from typing import Final

from voxtra.model import Disposition

__all__ = ["HANGUP_REASONS", "NORMAL_CLEARING", "cause_text", "disposition_of", "reason_code"]

NORMAL_CLEARING: Final = 16

_TEXT: Final[dict[int, str]] = {
    0: "unknown",
    1: "unallocated number",
    2: "no route to network",
    3: "no route to destination",
    16: "normal clearing",
    17: "user busy",
    18: "no user responding",
    19: "no answer",
    20: "subscriber absent",
    21: "call rejected",
    22: "number changed",
    26: "answered elsewhere",
    27: "destination out of order",
    28: "invalid number format",
    29: "facility rejected",
    31: "normal, unspecified",
    34: "no circuit available",
    38: "network out of order",
    41: "temporary failure",
    42: "switch congestion",
    44: "channel not available",
    50: "facility not subscribed",
    58: "bearer capability not available",
    65: "bearer capability not implemented",
    66: "channel type not implemented",
    88: "incompatible destination",
    102: "timer expired",
    111: "protocol error",
    127: "interworking, unspecified",
}

_DISPOSITION: Final[dict[int, Disposition]] = {
    # Asterisk ends an unanswered dial with 16 when the ring time it was given is over.
    16: Disposition.NO_ANSWER,
    17: Disposition.BUSY,
    18: Disposition.NO_ANSWER,
    19: Disposition.NO_ANSWER,
    21: Disposition.REJECTED,
    1: Disposition.UNREACHABLE,
    2: Disposition.UNREACHABLE,
    3: Disposition.UNREACHABLE,
    20: Disposition.UNREACHABLE,
    22: Disposition.UNREACHABLE,
    27: Disposition.UNREACHABLE,
    28: Disposition.UNREACHABLE,
    38: Disposition.UNREACHABLE,
    66: Disposition.UNREACHABLE,
}

HANGUP_REASONS: Final[dict[str, int]] = {
    "normal": 16,
    "busy": 17,
    "no_answer": 19,
    "rejected": 21,
    "unallocated": 1,
    "congestion": 34,
    "answered_elsewhere": 26,
    "failure": 41,
}
"""The reasons that `hangup(reason)` takes, with the cause that the far end is told."""


def cause_text(cause: int) -> str:
    """Return a cause in plain words."""
    return _TEXT.get(cause, f"cause {cause}")


def disposition_of(cause: int) -> Disposition:
    """Return how a dial ended that was never answered, from the cause of its end."""
    return _DISPOSITION.get(cause, Disposition.FAILED)


def reason_code(reason: str) -> int:
    """Return the Q.850 cause of a reason's name; `ValueError` names the valid ones."""
    try:
        return HANGUP_REASONS[reason]
    except KeyError:
        valid = ", ".join(HANGUP_REASONS)
        raise ValueError(f"reason: {reason!r} is no hang-up reason; use one of {valid}") from None
