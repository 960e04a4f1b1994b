"""Recordings: found, heard, annotated, held and deleted."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Query, Request
from pydantic import Field
from sqlalchemy import Row
from starlette.responses import Response

from voxtra.audio.peaks import Peaks
from voxtra.audio.render import Channel
from voxtra.blobs.base import BlobNotFound
from voxtra.exceptions import RecordingNotReady
from voxtra.model import RecordingState
from voxtra.service.files import Audio, NotRenderable, Shape
from voxtra.store import holds, library, listing, retention, tombstones
from voxtra.web.auth import Principal, note, require
from voxtra.web.bodies import Body, example
from voxtra.web.files import safe_name, serve
from voxtra.web.filtering import RecordingQuery
from voxtra.web.paging import position_of, token_of
from voxtra.web.problems import Problem, problems
from voxtra.web.resources import Recording, RecordingPage, json_response, recording_resource
from voxtra.web.site import service_of

__all__ = ["check_there", "router"]

router = APIRouter(prefix="/v1.0/recordings", tags=["recordings"])

HEARD_AGAIN: Final = timedelta(minutes=5)
"""A player asks for many ranges: within this time they are one act of the audit."""

_REMEMBERED: Final = 10_000

_Reader = Annotated[Principal, require("recordings:read")]
_Listener = Annotated[Principal, require("recordings:download")]
_Writer = Annotated[Principal, require("recordings:write")]
_Deleter = Annotated[Principal, require("recordings:delete")]

_GONE: Final = ("recording_not_found", "recording_deleted", "recording_expired")
_NO_FILE: Final = (*_GONE, "recording_not_ready", "recording_failed", "blob_unavailable")

_PEAKS: Final = {
    "version": 2,
    "channels": 1,
    "sample_rate": 8000,
    "samples_per_pixel": 400,
    "bits": 8,
    "length": 3,
    "data": [-4, 5, -61, 58, -12, 9],
}
_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
_AUDIO: Final = dict.fromkeys(("audio/wav", "audio/mpeg", "audio/ogg"), _BINARY)
_FILE_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The audio.", "content": _AUDIO},
    206: {"description": "The part of it that Range asks for.", "content": _AUDIO},
    304: {"description": "It is what If-None-Match names."},
    **problems(*_NO_FILE, "not_acceptable", "range_not_satisfiable"),
}


_Tag = Annotated[str, Field(min_length=1, max_length=100)]


class Change(Body):
    """What is to be changed; what is left out stays."""

    model_config = example({"tags": ["vip", "complaint"], "note": "wants a refund"})

    tags: Annotated[list[_Tag], Field(max_length=50)] | None = None
    note: Annotated[str, Field(max_length=4000)] | None = None
    retention_days: Annotated[int, Field(ge=0, le=retention.LONGEST)] | None = Field(
        default=None,
        description="Days that it stays (0: for ever); null: as the rules say. Needs the scope "
        "recordings:delete, because it may end it.",
    )


class Reason(Body):
    """Why something is done, for those who ask in years."""

    model_config = example({"reason": "case 2026-118"})

    reason: Annotated[str, Field(min_length=1, max_length=500, pattern=r"\S")]


@router.get("", response_model=RecordingPage)
async def list_recordings(
    request: Request, principal: _Reader, query: Annotated[RecordingQuery, Query()]
) -> Response:
    """List the recordings that have all of what is given, newest first."""
    wanted, after = query.filter(), position_of(query.page_token)
    async with service_of(request).database.read() as connection:
        page = await listing.page(
            connection, principal.tenant_id, wanted, size=query.page_size, after=after
        )
    token = token_of(page.next_after) if page.next_after else ""
    shown = [recording_resource(row) for row in page.rows]
    return json_response({"result": shown, "next_page_token": token})


@router.get("/{recording_id}", response_model=Recording, responses=problems("recording_not_found"))
async def get_recording(request: Request, principal: _Reader, recording_id: str) -> Response:
    """Get a recording; a deleted one is shown as its tombstone."""
    return json_response(recording_resource(await _get(request, principal, recording_id)))


@router.patch("/{recording_id}", response_model=Recording, responses=problems(*_GONE))
async def change_recording(
    request: Request, principal: _Writer, recording_id: str, change: Change
) -> Response:
    """Change the tags, the note, or how long it stays."""
    tenant_id, changed = principal.tenant_id, change.model_fields_set
    if "retention_days" in changed and "recordings:delete" not in principal.scopes:
        raise Problem(
            "forbidden",
            "retention_days: The key has no scope recordings:delete.",
            missing_scope="recordings:delete",
        )
    async with service_of(request).database.write() as connection:
        await library.annotate(
            connection, tenant_id, recording_id, tags=change.tags, note=change.note
        )
        if "retention_days" in changed:
            await retention.set_days(connection, tenant_id, recording_id, change.retention_days)
        if changed:
            fields = sorted(changed)
            await note(
                connection, request, principal, "recording.changed", recording_id, fields=fields
            )
        row = await library.get(connection, tenant_id, recording_id)
    return json_response(recording_resource(row))


@router.post(
    "/{recording_id}/hold",
    response_model=Recording,
    responses=problems(*_GONE, "recording_held"),
)
async def hold_recording(
    request: Request, principal: _Writer, recording_id: str, body: Reason
) -> Response:
    """Put a legal hold on a recording: nobody and nothing removes it until the release."""
    service, tenant_id = service_of(request), principal.tenant_id
    async with service.database.write() as connection:
        await holds.place(
            connection,
            tenant_id,
            recording_id,
            actor=principal.id,
            reason=body.reason,
            now=service.clock(),
        )
        await note(
            connection, request, principal, "recording.held", recording_id, reason=body.reason
        )
        row = await library.get(connection, tenant_id, recording_id)
    return json_response(recording_resource(row))


@router.post(
    "/{recording_id}/release",
    response_model=Recording,
    responses=problems("recording_not_found", "recording_not_held"),
)
async def release_recording(
    request: Request, principal: _Writer, recording_id: str, body: Reason
) -> Response:
    """End the legal hold of a recording; one whose time is over goes with the next purge."""
    service, tenant_id = service_of(request), principal.tenant_id
    async with service.database.write() as connection:
        released = await holds.release(
            connection,
            tenant_id,
            recording_id,
            actor=principal.id,
            reason=body.reason,
            now=service.clock(),
        )
        if released is None:
            raise Problem("recording_not_held")
        await note(
            connection, request, principal, "recording.released", recording_id, reason=body.reason
        )
        row = await library.get(connection, tenant_id, recording_id)
    return json_response(recording_resource(row))


@router.delete(
    "/{recording_id}",
    response_model=Recording,
    responses=problems(
        "recording_not_found", "recording_held", "recording_active", "recording_not_ready"
    ),
)
async def delete_recording(
    request: Request,
    principal: _Deleter,
    recording_id: str,
    reason: Annotated[
        str, Query(max_length=500, pattern=r"\S", description="For the tombstone and the audit.")
    ] = "no reason was given",
) -> Response:
    """Delete a recording with all that was made of it; its tombstone stays and is the answer.

    Once more changes nothing. One that is held, recorded or being finished is refused.
    """
    service, tenant_id = service_of(request), principal.tenant_id
    async with service.database.write() as connection:
        was = await library.get(connection, tenant_id, recording_id)
        await tombstones.delete(
            connection,
            tenant_id,
            recording_id,
            actor=principal.id,
            reason=reason,
            now=service.clock(),
        )
        if was.deleted_at is None:
            await note(
                connection, request, principal, "recording.deleted", recording_id, reason=reason
            )
        row = await library.get(connection, tenant_id, recording_id)
    return json_response(recording_resource(row))


@router.get("/{recording_id}/file", response_class=Response, responses=_FILE_ANSWERS)
@router.head("/{recording_id}/file", response_class=Response, responses=_FILE_ANSWERS)
async def get_file(
    request: Request,
    principal: _Listener,
    recording_id: str,
    shape: Annotated[
        Shape | None,
        Query(
            alias="format",
            description="Without it: the stored file if browsers play that, else a WAV of it.",
        ),
    ] = None,
    channel: Annotated[
        Channel | None, Query(description="Of a stereo recording: one side, or both as one.")
    ] = None,
) -> Response:
    """Get the audio, whole or in ranges, in the form that is asked for.

    `original` is the stored file, whose SHA-256 the recording has. WAV is computed by range, MP3
    and Opus are made once, which takes a second for about five minutes of a call.
    """
    row = await _get(request, principal, recording_id)
    check_there(row)
    audio = await _audio(request, principal, row, shape, channel)
    answer = serve(request, audio, f"{_human_name(row)}.{audio.extension}")
    if request.method == "GET" and answer.status_code in (200, 206):
        await _note_hearing(request, principal, recording_id)
    return answer


@router.get(
    "/{recording_id}/peaks",
    response_class=Response,
    responses={
        200: {
            "description": "The waveform, as audiowaveform writes it.",
            "content": {
                "application/json": {"schema": {"type": "object"}, "example": _PEAKS},
                "application/octet-stream": _BINARY,
            },
        },
        **problems(*_NO_FILE, "peaks_not_found"),
    },
)
async def get_peaks(
    request: Request,
    principal: _Listener,
    recording_id: str,
    points: Annotated[int, Query(ge=1, le=20_000, description="How many, at most.")] = 2000,
    form: Annotated[
        Literal["json", "dat"], Query(alias="format", description="dat: the binary form.")
    ] = "json",
) -> Response:
    """Get the smallest and the largest sample of each of many short stretches, to draw them."""
    service = service_of(request)
    row = await _get(request, principal, recording_id)
    check_there(row)
    if not row.peaks_key:
        raise Problem("peaks_not_found")
    stored = await service.blobs.read(row.peaks_key, 0, await service.blobs.size(row.peaks_key))
    peaks = Peaks.decode(stored).reduced(points)
    headers = {"cache-control": "private, no-cache"}
    if form == "dat":
        return Response(peaks.encode(), 200, headers, "application/octet-stream")
    return Response(msgspec.json.encode(peaks.as_json()), 200, headers, "application/json")


def check_there(row: Row[Any]) -> None:
    """Raise the problem that a recording has when there is no audio of it."""
    if row.deleted_at is not None:
        code = "recording_expired" if row.deleted_by == retention.ACTOR else "recording_deleted"
        raise Problem(
            code,
            f"Deleted {row.deleted_at:%Y-%m-%dT%H:%M:%SZ}: {row.delete_reason}.",
            deleted_at=row.deleted_at,
            deleted_by=row.deleted_by,
            delete_reason=row.delete_reason,
        )
    state = RecordingState(row.state)
    if state is RecordingState.FAILED:
        raise Problem("recording_failed", f"The recording failed: {row.cause}", cause=row.cause)
    if state is not RecordingState.AVAILABLE:
        raise RecordingNotReady(row.id, state)


async def _get(request: Request, principal: Principal, recording_id: str) -> Row[Any]:
    async with service_of(request).database.read() as connection:
        return await library.get(connection, principal.tenant_id, recording_id)


async def _audio(
    request: Request,
    principal: Principal,
    row: Row[Any],
    shape: Shape | None,
    channel: Channel | None,
) -> Audio:
    """Return the audio of a recording, unless it is deleted by the time that it is made."""
    service = service_of(request)
    try:
        audio = await service.audio.open(row, shape, channel)
    except NotRenderable as error:
        raise Problem("not_acceptable", str(error)) from error
    except BlobNotFound:
        check_there(await _get(request, principal, row.id))
        raise
    if audio.made:
        now = await _get(request, principal, row.id)
        if now.deleted_at is not None:
            await service.audio.remove(row.id)
        check_there(now)
    return audio


async def _note_hearing(request: Request, principal: Principal, recording_id: str) -> None:
    """Note in the audit who hears what, before the first byte goes out."""
    service = service_of(request)
    heard: dict[tuple[str, str], datetime] = _memory(request)
    key, now = (principal.key_id, recording_id), service.clock()
    if key in heard and now - heard[key] < HEARD_AGAIN:
        return
    async with service.database.write() as connection:
        await note(connection, request, principal, "recording.downloaded", recording_id)
    if len(heard) >= _REMEMBERED:
        heard.clear()
    heard[key] = now


def _memory(request: Request) -> dict[tuple[str, str], datetime]:
    state = request.app.state
    if not hasattr(state, "heard"):
        state.heard = {}
    memory: dict[tuple[str, str], datetime] = state.heard
    return memory


def _human_name(row: Row[Any]) -> str:
    """Return what a person would call the file: when, who, whom."""
    at = row.started_at or row.requested_at
    parties = " to ".join(party for party in (row.caller, row.callee) if party)
    return safe_name(f"{at:%Y-%m-%d %H-%M} {parties or row.conference_id or row.id}")
