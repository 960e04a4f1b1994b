"""Conferences: made, filled, emptied, ended and recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Request
from pydantic import Field
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import Response

from voxtra.exceptions import UnknownConference
from voxtra.record_options import RecordOptions
from voxtra.store import conferences as store
from voxtra.store import library
from voxtra.web.auth import Principal, note, require
from voxtra.web.bodies import Body, example
from voxtra.web.call_resources import (
    Conference,
    ConferencePage,
    Participant,
    ParticipantList,
    conference_resource,
    participant_resource,
)
from voxtra.web.holders import Active, Start, Verb, moment_of, record, settled, token_of_moment
from voxtra.web.paging import PageSize, PageToken
from voxtra.web.problems import Problem, problems
from voxtra.web.resources import json_response
from voxtra.web.site import service_of

__all__ = ["router"]

router = APIRouter(prefix="/v1.0/conferences", tags=["conferences"])

_Reader = Annotated[Principal, require("calls:read")]
_Controller = Annotated[Principal, require("calls:control")]

_PBX: Final = ("pbx_refused", "pbx_unreachable", "pbx_timeout", "node_unreachable", "not_supported")
_KNOWN: Final = problems("conference_not_found")
_VERB: Final = problems(
    "conference_not_found", "conference_not_active", "recording_not_active", *_PBX
)
_START: Final = problems(
    "conference_empty",
    "conference_not_found",
    "conference_not_active",
    "recording_active",
    "recording_not_started",
    *_PBX,
)


class ConferenceToMake(Body):
    """A conference to be made; everything has a default."""

    model_config = example({"name": "weekly"})

    name: Annotated[str, Field(max_length=200)] = ""
    metadata: Annotated[dict[str, Any], Field(max_length=100)] = Field(default={})


class ParticipantToAdd(Body):
    """Which call is put into a conference."""

    model_config = example({"call_id": "1772442900.17"})

    call_id: Annotated[str, Field(min_length=1, max_length=200)]


@router.get("", response_model=ConferencePage)
async def list_conferences(
    request: Request,
    principal: _Reader,
    active: Active = None,
    page_size: PageSize = 50,
    page_token: PageToken = "",
) -> Response:
    """List conferences, newest first."""
    before = moment_of(page_token)
    async with service_of(request).database.read() as connection:
        found = await store.page(
            connection, principal.tenant_id, before=before, limit=page_size + 1, active=active
        )
        page = found[:page_size]
        shown = await _shown(connection, principal, page)
    more = len(found) > page_size
    token = token_of_moment(page[-1].created_at, page[-1].id) if more else ""
    return json_response({"result": shown, "next_page_token": token})


@router.post(
    "", status_code=201, response_model=Conference, responses=problems(*_PBX, "store_unavailable")
)
async def make_conference(
    request: Request, principal: _Controller, wanted: ConferenceToMake | None = None
) -> Response:
    """Make a conference, which lasts until it is deleted, whoever is in it."""
    service, wanted = service_of(request), wanted or ConferenceToMake()
    conference_id = await service.control.create_conference(
        principal.tenant_id, name=wanted.name, metadata=wanted.metadata
    )
    async with service.database.write() as connection:
        await note(connection, request, principal, "conference.created", conference_id)

    async def read(connection: AsyncConnection) -> store.Conference | None:
        return await store.get(connection, principal.tenant_id, conference_id)

    made = await settled(service.database, read, lambda found: found is not None)
    if made is None:
        raise Problem(
            "store_unavailable",
            f"The conference {conference_id} was made, but is not written down yet.",
            headers={"Retry-After": "5"},
            conference_id=conference_id,
        )
    shown = conference_resource(made, library.Recorded())
    return json_response(shown, 201, {"Location": f"/v1.0/conferences/{conference_id}"})


@router.get("/{conference_id}", response_model=Conference, responses=_KNOWN)
async def get_conference(request: Request, principal: _Reader, conference_id: str) -> Response:
    """Get a conference."""
    async with service_of(request).database.read() as connection:
        conference = await _get(connection, principal, conference_id)
        (shown,) = await _shown(connection, principal, [conference])
    return json_response(shown)


@router.delete(
    "/{conference_id}",
    response_model=Conference,
    responses=problems("conference_not_found", *_PBX),
)
async def end_conference(request: Request, principal: _Controller, conference_id: str) -> Response:
    """End a conference: its recording is finished, the calls in it go on by themselves.

    One that is over already is a success.
    """
    service = service_of(request)
    async with service.database.read() as connection:
        conference = await _get(connection, principal, conference_id)
    if conference.ended_at is None:
        await service.control.end_conference(principal.tenant_id, conference_id)
        async with service.database.write() as connection:
            await note(connection, request, principal, "conference.ended", conference_id)

    async def read(connection: AsyncConnection) -> store.Conference:
        return await _get(connection, principal, conference_id)

    conference = await settled(service.database, read, lambda found: found.ended_at is not None)
    async with service.database.read() as connection:
        (shown,) = await _shown(connection, principal, [conference])
    return json_response(shown)


@router.get("/{conference_id}/participants", response_model=ParticipantList, responses=_KNOWN)
async def list_participants(request: Request, principal: _Reader, conference_id: str) -> Response:
    """List who is and was in a conference, in the order in which they came."""
    async with service_of(request).database.read() as connection:
        await _get(connection, principal, conference_id)
        found = await store.participants_of(connection, principal.tenant_id, conference_id)
    shown = [participant_resource(each) for each in found]
    return json_response({"result": shown, "next_page_token": ""})


@router.post(
    "/{conference_id}/participants",
    status_code=201,
    response_model=Participant,
    responses=problems(
        "conference_not_found",
        "conference_not_active",
        "call_not_found",
        "call_not_active",
        "store_unavailable",
        *_PBX,
    ),
)
async def add_participant(
    request: Request, principal: _Controller, conference_id: str, wanted: ParticipantToAdd
) -> Response:
    """Put a call into a conference; one that is in it already stays."""
    service, tenant_id = service_of(request), principal.tenant_id
    async with service.database.read() as connection:
        await _active(connection, principal, conference_id)
    await service.control.add_participant(tenant_id, conference_id, wanted.call_id)
    async with service.database.write() as connection:
        detail = {"call_id": wanted.call_id}
        await note(connection, request, principal, "conference.joined", conference_id, **detail)

    async def read(connection: AsyncConnection) -> store.Participant | None:
        found = await store.participants_of(connection, tenant_id, conference_id)
        of_call = [each for each in found if each.call_id == wanted.call_id]
        return of_call[-1] if of_call else None

    participant = await settled(
        service.database, read, lambda found: found is not None and found.left_at is None
    )
    if participant is None:
        raise Problem(
            "store_unavailable",
            f"The call {wanted.call_id} was added, but that is not written down yet.",
            headers={"Retry-After": "5"},
        )
    return json_response(participant_resource(participant), 201)


@router.delete(
    "/{conference_id}/participants/{call_id}",
    status_code=204,
    responses=problems("conference_not_found", "conference_not_active", "call_not_found", *_PBX),
)
async def remove_participant(
    request: Request, principal: _Controller, conference_id: str, call_id: str
) -> None:
    """Take a call out of a conference; it goes on by itself. One that is not in it is a success."""
    service, tenant_id = service_of(request), principal.tenant_id
    async with service.database.read() as connection:
        await _active(connection, principal, conference_id)
    await service.control.remove_participant(tenant_id, conference_id, call_id)
    async with service.database.write() as connection:
        await note(
            connection, request, principal, "conference.left", conference_id, call_id=call_id
        )


@router.post("/{conference_id}/recording_start", response_model=Conference, responses=_START)
async def start_conference_recording(
    request: Request, principal: _Controller, conference_id: str, wanted: Start | None = None
) -> Response:
    """Record a conference, everybody in it mixed."""
    options = (wanted or Start()).options(of_call=False)
    return await _recorded(request, principal, conference_id, "start", options)


@router.post("/{conference_id}/recording_stop", response_model=Conference, responses=_VERB)
async def stop_conference_recording(
    request: Request, principal: _Controller, conference_id: str
) -> Response:
    """Stop the recording of a conference; its audio is available some moments later."""
    return await _recorded(request, principal, conference_id, "stop")


@router.post("/{conference_id}/recording_pause", response_model=Conference, responses=_VERB)
async def pause_conference_recording(
    request: Request, principal: _Controller, conference_id: str
) -> Response:
    """Pause the recording of a conference: what is said until it is resumed is not in it."""
    return await _recorded(request, principal, conference_id, "pause")


@router.post("/{conference_id}/recording_resume", response_model=Conference, responses=_VERB)
async def resume_conference_recording(
    request: Request, principal: _Controller, conference_id: str
) -> Response:
    """Go on with the paused recording of a conference."""
    return await _recorded(request, principal, conference_id, "resume")


async def _recorded(
    request: Request,
    principal: Principal,
    conference_id: str,
    verb: Verb,
    options: RecordOptions | None = None,
) -> Response:
    database = service_of(request).database
    async with database.read() as connection:
        await _active(connection, principal, conference_id)
    recording = await record(request, principal, conference_id, verb, options)
    async with database.read() as connection:
        conference = await _get(connection, principal, conference_id)
        (shown,) = await _shown(connection, principal, [conference], recording)
    return json_response(shown)


async def _get(
    connection: AsyncConnection, principal: Principal, conference_id: str
) -> store.Conference:
    conference = await store.get(connection, principal.tenant_id, conference_id)
    if conference is None:
        raise UnknownConference(conference_id)
    return conference


async def _active(connection: AsyncConnection, principal: Principal, conference_id: str) -> None:
    """Raise the problem that a conference has when it is unknown or over."""
    conference = await _get(connection, principal, conference_id)
    if conference.ended_at is not None:
        raise Problem("conference_not_active", f"The conference {conference_id} is over.")


async def _shown(
    connection: AsyncConnection,
    principal: Principal,
    found: Sequence[store.Conference],
    recording: Row[Any] | None = None,
) -> list[dict[str, Any]]:
    ids = [conference.id for conference in found]
    recorded = await library.of_conferences(connection, principal.tenant_id, ids)
    return [conference_resource(each, recorded[each.id], recording) for each in found]
