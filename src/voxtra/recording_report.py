"""What is told of a recording: events to everybody, metadata to its sink."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from voxtra.events import EventType, VoxtraEvent
from voxtra.model import EndReason, Recording, RecordingState
from voxtra.recording import RecordingMetadata

__all__ = ["event_of", "metadata_of", "news"]


def event_of(kind: EventType, recording: Recording, **data: object) -> VoxtraEvent:
    """Return an event about a recording as it stands."""
    reason = {"end_reason": recording.end_reason.value} if recording.end_reason else {}
    return VoxtraEvent(
        kind,
        recording.call_id or recording.conference_id,
        {
            "recording_id": recording.id,
            "name": recording.name,
            "format": recording.format,
            **reason,
            **data,
        },
    )


def news(old: Recording, new: Recording) -> Iterator[VoxtraEvent]:
    """Yield the events that a change of a recording is worth."""
    if old.state.is_final:
        return
    if old.started_at is None and new.started_at is not None:
        yield event_of(EventType.RECORDING_STARTED, new)
    if old.paused is not new.paused:
        kind = EventType.RECORDING_PAUSED if new.paused else EventType.RECORDING_RESUMED
        yield event_of(kind, new)
    if new.state is RecordingState.FAILED:
        yield event_of(EventType.RECORDING_FAILED, new, cause=new.cause, **new.extra)
        return
    if old.ended_at is None and new.ended_at is not None:
        yield event_of(EventType.RECORDING_FINISHED, new)
    if new.state is RecordingState.AVAILABLE:
        yield event_of(EventType.RECORDING_AVAILABLE, new, **new.extra)


def metadata_of(recording: Recording, path: Path | None = None) -> RecordingMetadata:
    """Return what a sink is told; `path` is where the PBX puts the file, if the file itself was not
    found.
    """
    facts = dict(recording.extra)
    found = facts.pop("file_path", "") or path or ""
    seconds = facts.pop("duration_seconds", None)
    extra: dict[str, Any] = {
        "recording_id": recording.id,
        "state": recording.state.value,
        "cause": recording.cause,
        "end_reason": (recording.end_reason or EndReason.UNKNOWN).value,
        "layout": recording.layout.value,
        "target": recording.target.value,
        "started_at": _iso(recording.started_at),
        "ended_at": _iso(recording.ended_at),
        **facts,
    }
    return RecordingMetadata(
        session_id=recording.call_id,
        name=recording.name,
        file_path=str(found),
        duration_seconds=seconds if isinstance(seconds, float) else None,
        format=recording.format,
        extra=extra,
    )


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
