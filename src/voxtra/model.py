"""Frozen values of the domain: calls and recordings, free of any I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

__all__ = [
    "CallDirection",
    "CallState",
    "Disposition",
    "EndReason",
    "Layout",
    "Recording",
    "RecordingState",
    "RecordingTarget",
    "Track",
]


class CallDirection(StrEnum):
    """Who began the call: the far end (inbound) or we (outbound)."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


class CallState(StrEnum):
    """Where a call stands; `completed` and `failed` are final."""

    RINGING = "ringing"
    ANSWERED = "answered"
    IN_PROGRESS = "in_progress"
    ON_HOLD = "on_hold"
    TRANSFERRING = "transferring"
    COMPLETED = "completed"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """Whether the call is over."""
        return self is CallState.COMPLETED or self is CallState.FAILED


class Disposition(StrEnum):
    """How an attempt to reach somebody ended."""

    ANSWERED = "answered"
    BUSY = "busy"
    NO_ANSWER = "no_answer"
    REJECTED = "rejected"
    UNREACHABLE = "unreachable"
    FAILED = "failed"


class RecordingState(StrEnum):
    """The lifecycle, forward only: starting → recording → stopping → available, or failed."""

    STARTING = "starting"
    RECORDING = "recording"
    STOPPING = "stopping"
    AVAILABLE = "available"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """Whether nothing can change the recording any more."""
        return self is RecordingState.AVAILABLE or self is RecordingState.FAILED


class RecordingTarget(StrEnum):
    """What is recorded: both directions of one leg, a bridge, or a channel's own voice alone."""

    SNOOP = "snoop"
    BRIDGE = "bridge"
    CHANNEL = "channel"


class Layout(StrEnum):
    """Mono mixes the sides; stereo puts the caller left and everything the caller hears right."""

    MONO = "mono"
    STEREO = "stereo"


class EndReason(StrEnum):
    """Why a recording stopped being written."""

    STOPPED = "stopped"
    HANGUP = "hangup"
    MAX_DURATION = "max_duration"
    SILENCE = "silence"
    KEY = "key"
    CANCELLED = "cancelled"
    SHUTDOWN = "shutdown"
    PBX_LOST = "pbx_lost"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Track:
    """One file that the PBX writes for a recording.

    `name` is the PBX's recording name, `side` is "mixed", "in" (what the caller says) or "out"
    (what the caller hears), `channel_id` the snoop channel it is taken from ("" when the target
    itself is recorded).
    """

    name: str
    side: str = "mixed"
    channel_id: str = ""


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording: what was asked, what is true now, and how it ended.

    `target_id` is the channel or bridge being recorded. Times are UTC. `cause` explains `failed`;
    `max_duration` and `max_silence` are seconds, 0 means no limit of the caller's.
    """

    id: str
    name: str
    call_id: str
    target: RecordingTarget
    target_id: str
    format: str = "wav"
    layout: Layout = Layout.MONO
    state: RecordingState = RecordingState.STARTING
    tracks: tuple[Track, ...] = ()
    max_duration: int = 0
    max_silence: int = 0
    terminate_on: str = "none"
    paused: bool = False
    muted: bool = False
    requested_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    end_reason: EndReason | None = None
    cause: str = ""
    extra: dict[str, object] = field(default_factory=dict)
