"""What the API shows of recordings and exports.

The models are for the OpenAPI document; what is sent is made of the row by the function beside each
and encoded at once, for lists are asked for often. A test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from pydantic import BaseModel, Field
from sqlalchemy import Row
from starlette.responses import Response

from voxtra.model import RecordingState
from voxtra.web.bodies import example

__all__ = [
    "Export",
    "ExportPage",
    "Recording",
    "RecordingPage",
    "export_resource",
    "json_response",
    "recording_resource",
]

_ID: Final = "0199f3a2c4d07c1e9b52a6f0d3e81b47"
_CALL: Final = "1772442900.17"
_AT: Final = "2026-03-02T09:15:00.214000Z"

_RECORDING: Final[dict[str, Any]] = {
    "id": _ID,
    "name": f"voxtra-{_ID}",
    "state": "available",
    "call_id": _CALL,
    "conference_id": "",
    "reference_type": "call",
    "reference_id": _CALL,
    "source": "recorded",
    "format": "wav",
    "layout": "mono",
    "direction": "inbound",
    "caller": "+4930123456",
    "callee": "200",
    "queue": "sales",
    "agent": "anna",
    "tags": ["vip"],
    "note": "",
    "requested_at": _AT,
    "started_at": "2026-03-02T09:15:00.301000Z",
    "ended_at": "2026-03-02T09:16:12.104000Z",
    "available_at": "2026-03-02T09:16:12.377000Z",
    "end_reason": "hangup",
    "cause": "",
    "paused": False,
    "muted": False,
    "pauses": [],
    "max_duration": 86400,
    "duration": 71.8,
    "size": 1148844,
    "sha256": "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
    "samples": 574400,
    "sample_rate": 8000,
    "channels": 1,
    "silence_ratio": 0.31,
    "peak_dbfs": -4.2,
    "lost_seconds": 0.0,
    "retention_days": None,
    "expires_at": "2026-04-01T09:16:12.104000Z",
    "held": False,
    "deleted_at": None,
    "deleted_by": "",
    "delete_reason": "",
    "file": f"/v1.0/recordings/{_ID}/file",
    "peaks": f"/v1.0/recordings/{_ID}/peaks",
}

_EXPORT: Final[dict[str, Any]] = {
    "id": "0199f3a2d1aa7b0c8f5e9a6b3c2d1e0f",
    "state": "available",
    "total": 3,
    "done": 2,
    "failed": 1,
    "progress": 1.0,
    "size": 2298012,
    "sha256": "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
    "cause": "",
    "created_by": "0199f3a2c4cf7d0a8c1f0b9e2d4a6c88",
    "created_at": _AT,
    "finished_at": "2026-03-02T09:15:03.120000Z",
    "expires_at": "2026-03-09T09:15:03.120000Z",
    "file": "/v1.0/recordings/exports/0199f3a2d1aa7b0c8f5e9a6b3c2d1e0f/file",
}


class Pause(BaseModel):
    """A part of the conversation that the recording lacks (`muted`: that is silence in it)."""

    since: datetime
    until: datetime | None
    muted: bool


class Recording(BaseModel):
    """A recording. What only its file says (from `duration` to `lost_seconds`) is null before it is
    available; of a deleted one only what the tombstone keeps is left.
    """

    model_config = example(_RECORDING)

    id: str
    name: str = Field(description="Its name on the PBX; empty when its files are removed.")
    state: str = Field(description="starting, recording, stopping, available or failed.")
    call_id: str
    conference_id: str
    reference_type: str = Field(description="What was recorded: call, conference or empty.")
    reference_id: str
    source: str = Field(description="recorded, or recovered: found on the PBX without a row.")
    format: str
    layout: str = Field(description="mono, or stereo: the caller left, what they hear right.")
    direction: str
    caller: str
    callee: str
    queue: str
    agent: str
    tags: list[str]
    note: str
    requested_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    available_at: datetime | None
    end_reason: str
    cause: str = Field(description="Why it failed, in plain words.")
    paused: bool
    muted: bool
    pauses: list[Pause]
    max_duration: int = Field(description="Seconds after which it ends by itself.")
    duration: float | None = Field(description="Seconds of audio, counted in the file.")
    size: int | None = Field(description="Bytes of the stored file.")
    sha256: str = Field(description="Of the stored file: what `format=original` gives.")
    samples: int | None = Field(description="Per channel.")
    sample_rate: int | None
    channels: int | None
    silence_ratio: float | None = Field(description="The share of it that is silence, 0 to 1.")
    peak_dbfs: float | None
    lost_seconds: float | None = Field(description="Audio that was lost, where that is known.")
    retention_days: int | None = Field(description="Of this recording; null: as the rules say.")
    expires_at: datetime | None
    held: bool = Field(description="Whether a legal hold keeps it.")
    deleted_at: datetime | None
    deleted_by: str
    delete_reason: str
    file: str = Field(description="Where its audio is; empty while there is none.")
    peaks: str = Field(description="Where its waveform is; empty when there is none.")


class RecordingPage(BaseModel):
    """A page of recordings, newest first."""

    model_config = example({"result": [_RECORDING], "next_page_token": ""})

    result: list[Recording]
    next_page_token: str


class Export(BaseModel):
    """An export. `done` recordings are in the archive, `failed` ones can't be: its manifest says
    why of each.
    """

    model_config = example(_EXPORT)

    id: str
    state: str = Field(description="waiting, running, available, failed or expired.")
    total: int
    done: int
    failed: int
    progress: float = Field(description="0 to 1.")
    size: int | None
    sha256: str
    cause: str = Field(description="Why it failed, or ended before its time.")
    created_by: str
    created_at: datetime
    finished_at: datetime | None
    expires_at: datetime | None
    file: str = Field(description="Where the archive is; empty while there is none.")


class ExportPage(BaseModel):
    """A page of exports, newest first."""

    model_config = example({"result": [_EXPORT], "next_page_token": ""})

    result: list[Export]
    next_page_token: str


def recording_resource(row: Row[Any]) -> dict[str, Any]:
    """Return what is shown of a recording's row."""
    kind = "conference" if row.conference_id else "call" if row.call_id else ""
    there = row.state == RecordingState.AVAILABLE and row.deleted_at is None
    address = f"/v1.0/recordings/{row.id}"
    return {
        "id": row.id,
        "name": row.name,
        "state": row.state,
        "call_id": row.call_id,
        "conference_id": row.conference_id,
        "reference_type": kind,
        "reference_id": row.conference_id or row.call_id,
        "source": row.source,
        "format": row.format,
        "layout": row.layout,
        "direction": row.direction,
        "caller": row.caller,
        "callee": row.callee,
        "queue": row.queue,
        "agent": row.agent,
        "tags": row.tags,
        "note": row.note,
        "requested_at": row.requested_at,
        "started_at": row.started_at,
        "ended_at": row.ended_at,
        "available_at": row.available_at,
        "end_reason": row.end_reason,
        "cause": row.cause,
        "paused": row.paused,
        "muted": row.muted,
        "pauses": row.pauses,
        "max_duration": row.max_duration,
        "duration": _seconds(row.duration_ms),
        "size": row.size,
        "sha256": row.sha256,
        "samples": row.samples,
        "sample_rate": row.sample_rate,
        "channels": row.channels,
        "silence_ratio": row.silence_ratio,
        "peak_dbfs": row.peak_dbfs,
        "lost_seconds": _seconds(row.lost_ms),
        "retention_days": row.retention_days,
        "expires_at": row.expires_at,
        "held": row.held,
        "deleted_at": row.deleted_at,
        "deleted_by": row.deleted_by,
        "delete_reason": row.delete_reason,
        "file": f"{address}/file" if there else "",
        "peaks": f"{address}/peaks" if there and row.peaks_key else "",
    }


def export_resource(row: Row[Any]) -> dict[str, Any]:
    """Return what is shown of an export's row."""
    there = row.state == "available"
    return {
        "id": row.id,
        "state": row.state,
        "total": row.total,
        "done": row.done,
        "failed": row.failed,
        "progress": (row.done + row.failed) / row.total,
        "size": row.size,
        "sha256": row.sha256,
        "cause": row.cause,
        "created_by": row.created_by,
        "created_at": row.created_at,
        "finished_at": row.finished_at,
        "expires_at": row.expires_at,
        "file": f"/v1.0/recordings/exports/{row.id}/file" if there else "",
    }


def json_response(
    content: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an answer of JSON."""
    return Response(msgspec.json.encode(content), status, headers, media_type="application/json")


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
