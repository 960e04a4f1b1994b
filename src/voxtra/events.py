"""The one vocabulary of domain events.

The telephony adapter translates what the PBX says into these values once; the session, the
recorder, webhooks and every later consumer speak nothing else.
"""

from __future__ import annotations

import time
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
    RECORDING_DELETED = "recording.deleted"
    RECORDING_HELD = "recording.held"
    RECORDING_RELEASED = "recording.released"
    CONFERENCE_STARTED = "conference.started"
    CONFERENCE_JOINED = "conference.joined"
    CONFERENCE_LEFT = "conference.left"
    CONFERENCE_ENDED = "conference.ended"
    EXPORT_AVAILABLE = "export.available"
    EXPORT_FAILED = "export.failed"
    WEBHOOK_DISABLED = "webhook.disabled"
    DISK_LOW = "disk.low"
    USER_TRANSCRIPT = "user.transcript"
    AGENT_RESPONSE = "agent.response"
    BARGE_IN = "barge_in"
    ERROR = "error"


class VoxtraEvent:
    """One thing that happened; a value, never changed.

    `session_id` is the id of the call it belongs to, `data` holds JSON values only (the keys of
    each type are listed in `docs/reference/events.md`), `id` is unique and serves as idempotency
    key, `timestamp` is UTC.

    Five are made for every call, so this is no dataclass: with the id and the time as an object
    made only for those who read them it takes a fifth of the time.
    """

    __slots__ = ("_at", "_id", "data", "session_id", "type")

    def __init__(
        self,
        type: EventType,  # noqa: A002  # its name in the contract
        session_id: str,
        data: dict[str, Any] | None = None,
        *,
        id: str = "",  # noqa: A002  # likewise
        timestamp: datetime | None = None,
    ) -> None:
        self.type = type
        self.session_id = session_id
        self.data: dict[str, Any] = {} if data is None else data
        self._id = id
        self._at = time.time() if timestamp is None else timestamp.timestamp()

    @property
    def id(self) -> str:
        """The unique id."""
        self._id = self._id or new_id()
        return self._id

    @property
    def timestamp(self) -> datetime:
        """When it happened (UTC)."""
        return datetime.fromtimestamp(self._at, UTC)

    @property
    def age(self) -> float:
        """Seconds since it happened: more than none when the PBX had queued the word of it."""
        return max(0.0, time.time() - self._at)

    def dated(self, timestamp: datetime) -> VoxtraEvent:
        """Return the same event with another time."""
        return VoxtraEvent(self.type, self.session_id, self.data, id=self._id, timestamp=timestamp)

    def __repr__(self) -> str:
        return f"<VoxtraEvent {self.type} {self.session_id} {self.data}>"
