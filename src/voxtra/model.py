"""Frozen values of the domain: calls and recordings, free of any I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

__all__ = [
    "DEFAULT_TENANT",
    "CallDirection",
    "CallState",
    "Disposition",
    "EndReason",
    "Layout",
    "Pause",
    "Recording",
    "RecordingSource",
    "RecordingState",
    "RecordingTarget",
    "Subject",
    "Track",
]


DEFAULT_TENANT: Final = "default"
"""The tenant of calls whose route names no other."""


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


class RecordingSource(StrEnum):
    """How a recording came to be known: we made it, or found what the PBX had made."""

    RECORDED = "recorded"
    RECOVERED = "recovered"


@dataclass(frozen=True, slots=True)
class Subject:
    """What is to be recorded, and all that is known of whose conversation it is.

    `holder_id` is the call, bridge or conference whose one active recording it is, `target_id` the
    channel or bridge on the PBX.
    """

    holder_id: str
    call_id: str
    target_id: str
    conference_id: str = ""
    tenant_id: str = DEFAULT_TENANT
    direction: CallDirection | None = None
    caller: str = ""
    callee: str = ""
    queue: str = ""
    agent: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pause:
    """A part of a conversation that its recording lacks (`muted`: that is silence in it).

    Times are UTC; `until` None: it lasts, or lasted to the end of the recording.
    """

    since: datetime
    until: datetime | None = None
    muted: bool = False


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

    `target_id` is the channel or bridge being recorded, `holder_id` the call, bridge or conference
    whose one active recording it is. Times are UTC. `cause` explains `failed`; `max_duration` and
    `max_silence` are seconds, 0 means no limit of the caller's. `sink` says who is told: "app" its
    own sink, "call" one that was given for this recording, "" nobody. `version` grows with each
    change.
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
    holder_id: str = ""
    conference_id: str = ""
    tenant_id: str = DEFAULT_TENANT
    source: RecordingSource = RecordingSource.RECORDED
    direction: CallDirection | None = None
    caller: str = ""
    callee: str = ""
    queue: str = ""
    agent: str = ""
    tags: tuple[str, ...] = ()
    sink: str = ""
    pauses: tuple[Pause, ...] = ()
    version: int = 0
