"""The one vocabulary of domain events.

The telephony adapter translates what the PBX says into these values once; the session, the
recorder, webhooks and every later consumer speak nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from voxtra.ids import new_id

__all__ = ["EventType", "VoxtraEvent"]


class EventType(StrEnum):
    """Names of the domain events, as they travel in webhooks."""

    CALL_STARTED = "call.started"
    CALL_RINGING = "call.ringing"
    CALL_ANSWERED = "call.answered"
    CALL_ENDED = "call.ended"
    CALL_FAILED = "call.failed"
    CALL_TRANSFERRED = "call.transferred"
    DTMF_RECEIVED = "dtmf.received"
    RECORDING_STARTED = "recording.started"
    RECORDING_PAUSED = "recording.paused"
    RECORDING_RESUMED = "recording.resumed"
    RECORDING_FINISHED = "recording.finished"
    RECORDING_FAILED = "recording.failed"
    RECORDING_AVAILABLE = "recording.available"
    USER_TRANSCRIPT = "user.transcript"
    AGENT_RESPONSE = "agent.response"
    BARGE_IN = "barge_in"
    ERROR = "error"


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class VoxtraEvent:
    """One thing that happened.

    `session_id` is the id of the call it belongs to, `data` holds JSON values only (the keys of
    each type are listed in `docs/reference/events.md`), `id` is unique and serves as idempotency
    key, `timestamp` is UTC.
    """

    type: EventType
    session_id: str
    data: dict[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=new_id)
    timestamp: datetime = field(default_factory=_now)
