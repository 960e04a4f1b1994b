"""Calls: listed, made, ended and recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from pydantic import AwareDatetime, Field
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import Response

from voxtra.exceptions import UnknownCall
from voxtra.model import CallDirection
from voxtra.record_options import RecordOptions
from voxtra.store import calls as store
from voxtra.store import library
from voxtra.web.auth import Principal, note, require
from voxtra.web.bodies import Body, example
from voxtra.web.call_resources import Call, CallPage, call_resource
from voxtra.web.holders import Active, Start, Verb, moment_of, record, settled, token_of_moment
from voxtra.web.paging import PageSize, PageToken
from voxtra.web.problems import Problem, problems
from voxtra.web.resources import json_response
from voxtra.web.site import service_of

__all__ = ["router"]

router = APIRouter(prefix="/v1.0/calls", tags=["calls"])

_Reader = Annotated[Principal, require("calls:read")]
_Controller = Annotated[Principal, require("calls:control")]
_Text = Annotated[str, Query(max_length=200)]

_PBX: Final = ("pbx_refused", "pbx_unreachable", "pbx_timeout", "node_unreachable", "not_supported")
_VERB: Final = problems("call_not_found", "call_not_active", "recording_not_active", *_PBX)
_START: Final = problems(
    "call_not_found", "call_not_active", "recording_active", "recording_not_started", *_PBX
)


class CallToMake(Body):
    """Whom to call, and what happens then."""

    model_config = example(
        {"destination": "PJSIP/200", "caller_id": "+4930123456", "extension": "survey"}
    )

    destination: Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S")] = Field(
        description="The endpoint, as the PBX dials it: PJSIP/200, PJSIP/+49301234@trunk."
    )
    caller_id: Annotated[str, Field(max_length=200)] = ""
    timeout: Annotated[float, Field(ge=1, le=600)] = Field(
        default=30.0, description="Seconds that it rings."
    )
    extension: Annotated[str, Field(max_length=200)] = Field(
        default="",
        description="The route whose handler serves the call when it is answered; empty: none.",
    )
    variables: Annotated[
        dict[Annotated[str, Field(min_length=1, max_length=200)], Annotated[str, Field()]],
        Field(max_length=100),
    ] = Field(default={}, description="Channel variables.")
    metadata: Annotated[dict[str, Any], Field(max_length=100)] = Field(
        default={},
        description="Yours; queue, agent and tags in it are what recordings are found by.",
    )


@router.get("", response_model=CallPage)
async def list_calls(
    request: Request,
    principal: _Reader,
    *,
    active: Active = None,
    direction: CallDirection | None = None,
    caller: _Text = "",
    callee: _Text = "",
    queue: _Text = "",
    agent: _Text = "",
    since: AwareDatetime | None = None,
    until: AwareDatetime | None = None,
    page_size: PageSize = 50,
    page_token: PageToken = "",
) -> Response:
    """List calls, newest first; `since` and `until` (not included) are about when they began."""
    before = moment_of(page_token)
    async with service_of(request).database.read() as connection:
        found = await store.page(
            connection,
            principal.tenant_id,
            before=before,
            limit=page_size + 1,
            active=active,
            direction=direction or "",
            caller=caller,
            callee=callee,
            queue=queue,
            agent=agent,
            since=since,
            until=until,
        )
        page = found[:page_size]
        shown = await _shown(connection, principal, page)
    more = len(found) > page_size
    token = token_of_moment(page[-1].created_at, page[-1].id) if more else ""
    return json_response({"result": shown, "next_page_token": token})


@router.post(
    "", status_code=201, response_model=Call, responses=problems(*_PBX, "store_unavailable")
)
async def make_call(request: Request, principal: _Controller, wanted: CallToMake) -> Response:
    """Call somebody. The answer comes when it rings; how it goes on is told by webhooks."""
    service = service_of(request)
    call_id = await service.control.originate(
        principal.tenant_id,
        endpoint=wanted.destination,
        caller_id=wanted.caller_id,
        timeout=wanted.timeout,
        extension=wanted.extension,
        variables=wanted.variables,
        metadata=wanted.metadata,
    )
    async with service.database.write() as connection:
        detail = {"destination": wanted.destination}
        await note(connection, request, principal, "call.originated", call_id, **detail)

    async def read(connection: AsyncConnection) -> store.Call | None:
        return await store.get(connection, principal.tenant_id, call_id)

    call = await settled(service.database, read, lambda found: found is not None)
    if call is None:
        raise Problem(
            "store_unavailable",
            f"The call {call_id} was made, but is not written down yet.",
            headers={"Retry-After": "5"},
            call_id=call_id,
        )
    shown = call_resource(call, library.Recorded())
    return json_response(shown, 201, {"Location": f"/v1.0/calls/{call_id}"})


@router.get("/{call_id}", response_model=Call, responses=problems("call_not_found"))
async def get_call(request: Request, principal: _Reader, call_id: str) -> Response:
    """Get a call."""
    async with service_of(request).database.read() as connection:
        call = await _get(connection, principal, call_id)
        (shown,) = await _shown(connection, principal, [call])
    return json_response(shown)


@router.post("/{call_id}/hangup", response_model=Call, responses=problems("call_not_found", *_PBX))
@router.delete(
    "/{call_id}",
    name="end_call",
    response_model=Call,
    responses=problems("call_not_found", *_PBX),
)
async def hang_up(request: Request, principal: _Controller, call_id: str) -> Response:
    """Hang up. A call that is over already is a success."""
    service = service_of(request)
    async with service.database.read() as connection:
        call = await _get(connection, principal, call_id)
    if call.ended_at is None:
        await service.control.hangup(principal.tenant_id, call_id)
        async with service.database.write() as connection:
            await note(connection, request, principal, "call.ended", call_id)

    async def read(connection: AsyncConnection) -> store.Call:
        return await _get(connection, principal, call_id)

    call = await settled(service.database, read, lambda found: found.ended_at is not None)
    async with service.database.read() as connection:
        (shown,) = await _shown(connection, principal, [call])
    return json_response(shown)


@router.post("/{call_id}/recording_start", response_model=Call, responses=_START)
async def start_call_recording(
    request: Request, principal: _Controller, call_id: str, wanted: Start | None = None
) -> Response:
    """Record a call. One that is ringing is waited for, for some seconds."""
    options = (wanted or Start()).options(of_call=True)
    return await _recorded(request, principal, call_id, "start", options)


@router.post("/{call_id}/recording_stop", response_model=Call, responses=_VERB)
async def stop_call_recording(request: Request, principal: _Controller, call_id: str) -> Response:
    """Stop the recording of a call; its audio is available some moments later."""
    return await _recorded(request, principal, call_id, "stop")


@router.post("/{call_id}/recording_pause", response_model=Call, responses=_VERB)
async def pause_call_recording(request: Request, principal: _Controller, call_id: str) -> Response:
    """Pause the recording of a call: what is said until it is resumed is not in it."""
    return await _recorded(request, principal, call_id, "pause")


@router.post("/{call_id}/recording_resume", response_model=Call, responses=_VERB)
async def resume_call_recording(request: Request, principal: _Controller, call_id: str) -> Response:
    """Go on with the paused recording of a call."""
    return await _recorded(request, principal, call_id, "resume")


async def _recorded(
    request: Request,
    principal: Principal,
    call_id: str,
    verb: Verb,
    options: RecordOptions | None = None,
) -> Response:
    database = service_of(request).database
    async with database.read() as connection:
        await _get(connection, principal, call_id)
    recording = await record(request, principal, call_id, verb, options)
    async with database.read() as connection:
        call = await _get(connection, principal, call_id)
        (shown,) = await _shown(connection, principal, [call], recording)
    return json_response(shown)


async def _get(connection: AsyncConnection, principal: Principal, call_id: str) -> store.Call:
    call = await store.get(connection, principal.tenant_id, call_id)
    if call is None:
        raise UnknownCall(call_id)
    return call


async def _shown(
    connection: AsyncConnection,
    principal: Principal,
    found: Sequence[store.Call],
    recording: Row[Any] | None = None,
) -> list[dict[str, Any]]:
    ids = [call.id for call in found]
    recorded = await library.of_calls(connection, principal.tenant_id, ids)
    return [call_resource(call, recorded[call.id], recording) for call in found]
