"""What the API shows of calls and conferences; made as `voxtra.web.resources` says."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel, Field
from sqlalchemy import Row

from voxtra.store import calls, conferences
from voxtra.store.library import Recorded
from voxtra.web.bodies import example
from voxtra.web.resources import Recording, recording_resource

__all__ = [
    "Call",
    "CallPage",
    "Conference",
    "ConferencePage",
    "Participant",
    "ParticipantList",
    "call_resource",
    "conference_resource",
    "participant_resource",
]

_RECORDING_ID: Final = "0199f3a2c4d07c1e9b52a6f0d3e81b47"
_CALL: Final = "1772442900.17"
_CONFERENCE: Final = "vx-conference-0199f3a2c4cf7d0a8c1f0b9e2d4a6c88"
_AT: Final = "2026-03-02T09:15:00.214000Z"

_CALL_EXAMPLE: Final[dict[str, Any]] = {
    "id": _CALL,
    "direction": "inbound",
    "caller": "+4930123456",
    "callee": "200",
    "state": "answered",
    "queue": "sales",
    "agent": "anna",
    "tags": ["vip"],
    "metadata": {},
    "created_at": _AT,
    "answered_at": "2026-03-02T09:15:02.004000Z",
    "ended_at": None,
    "end_cause": 0,
    "end_reason": "",
    "recording_id": _RECORDING_ID,
    "recording_ids": [_RECORDING_ID],
}

_CONFERENCE_EXAMPLE: Final[dict[str, Any]] = {
    "id": _CONFERENCE,
    "name": "weekly",
    "state": "active",
    "metadata": {},
    "created_at": _AT,
    "ended_at": None,
    "end_reason": "",
    "recording_id": "",
    "recording_ids": [],
}

_PARTICIPANT: Final[dict[str, Any]] = {
    "call_id": _CALL,
    "joined_at": _AT,
    "left_at": None,
}


class Call(BaseModel):
    """A call. `recording` is there in the answers of the recording verbs alone."""

    model_config = example(_CALL_EXAMPLE)

    id: str
    direction: str
    caller: str
    callee: str
    state: str = Field(
        description="ringing, answered, in_progress, on_hold, transferring, completed or failed."
    )
    queue: str
    agent: str
    tags: list[str]
    metadata: dict[str, Any]
    created_at: datetime
    answered_at: datetime | None
    ended_at: datetime | None
    end_cause: int = Field(description="The Q.850 cause, 0 when unknown.")
    end_reason: str
    recording_id: str = Field(description="The recording that is being made; empty: none.")
    recording_ids: list[str] = Field(description="All its recordings, the oldest first.")
    recording: Recording | None = None


class CallPage(BaseModel):
    """A page of calls, newest first."""

    model_config = example({"result": [_CALL_EXAMPLE], "next_page_token": ""})

    result: list[Call]
    next_page_token: str


class Conference(BaseModel):
    """A conference. `recording` is there in the answers of the recording verbs alone."""

    model_config = example(_CONFERENCE_EXAMPLE)

    id: str
    name: str
    state: str = Field(description="active or ended.")
    metadata: dict[str, Any]
    created_at: datetime
    ended_at: datetime | None
    end_reason: str
    recording_id: str = Field(description="The recording that is being made; empty: none.")
    recording_ids: list[str] = Field(description="All its recordings, the oldest first.")
    recording: Recording | None = None


class ConferencePage(BaseModel):
    """A page of conferences, newest first."""

    model_config = example({"result": [_CONFERENCE_EXAMPLE], "next_page_token": ""})

    result: list[Conference]
    next_page_token: str


class Participant(BaseModel):
    """A call that is, or was, in a conference."""

    model_config = example(_PARTICIPANT)

    call_id: str
    joined_at: datetime
    left_at: datetime | None


class ParticipantList(BaseModel):
    """All who were in a conference, in the order in which they came; it is not paged."""

    model_config = example({"result": [_PARTICIPANT], "next_page_token": ""})

    result: list[Participant]
    next_page_token: str


def call_resource(
    call: calls.Call, recorded: Recorded, recording: Row[Any] | None = None
) -> dict[str, Any]:
    """Return what is shown of a call, with the recording that was asked for."""
    shown = {
        "id": call.id,
        "direction": call.direction,
        "caller": call.caller,
        "callee": call.callee,
        "state": call.state,
        "queue": call.queue,
        "agent": call.agent,
        "tags": call.tags,
        "metadata": call.metadata,
        "created_at": call.created_at,
        "answered_at": call.answered_at,
        "ended_at": call.ended_at,
        "end_cause": call.end_cause,
        "end_reason": call.end_reason,
    }
    return shown | _recorded(recorded, recording)


def conference_resource(
    conference: conferences.Conference, recorded: Recorded, recording: Row[Any] | None = None
) -> dict[str, Any]:
    """Return what is shown of a conference, with the recording that was asked for."""
    shown = {
        "id": conference.id,
        "name": conference.name,
        "state": conference.state,
        "metadata": conference.metadata,
        "created_at": conference.created_at,
        "ended_at": conference.ended_at,
        "end_reason": conference.end_reason,
    }
    return shown | _recorded(recorded, recording)


def participant_resource(participant: conferences.Participant) -> dict[str, Any]:
    """Return what is shown of a participant's participant."""
    return {
        "call_id": participant.call_id,
        "joined_at": participant.joined_at,
        "left_at": participant.left_at,
    }


def _recorded(recorded: Recorded, recording: Row[Any] | None) -> dict[str, Any]:
    shown: dict[str, Any] = {"recording_id": recorded.active, "recording_ids": recorded.ids}
    return shown if recording is None else shown | {"recording": recording_resource(recording)}
