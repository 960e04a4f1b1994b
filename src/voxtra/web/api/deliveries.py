"""Deliveries: what was sent to webhook endpoints and sinks, every try of it, and once more."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from voxtra.events import EventType
from voxtra.store import deliveries as store
from voxtra.store.deliveries import Delivery
from voxtra.web.auth import Principal, note, require
from voxtra.web.bodies import example
from voxtra.web.paging import PageSize, PageToken, number_of, token_of
from voxtra.web.problems import Problem, problems
from voxtra.web.site import service_of

__all__ = ["router"]

router = APIRouter(prefix="/v1.0/deliveries", tags=["deliveries"])

Admin = Annotated[Principal, require("admin")]

_Filter = Annotated[str, Query(max_length=200)]

_EXAMPLE: Final = {
    "id": "0199f3a2d1aa7b0c8f5e9a6b3c2d1e0f",
    "message_id": "0199f3a2d1a97e5b8c0d4f6a1b2c3d4e",
    "kind": "webhook",
    "endpoint_id": "0199f3a2c4d07c1e9b52a6f0d3e81b47",
    "type": "recording.available",
    "session_id": "0199f3a2c4cf7d0a8c1f0b9e2d4a6c88",
    "recording_id": "0199f3a2c4ce7f3b9d0e1a2b3c4d5e6f",
    "state": "waiting",
    "attempts": 2,
    "created_at": "2026-03-02T09:15:00.214000Z",
    "next_at": "2026-03-02T09:20:31.871000Z",
    "last_status": 503,
    "problem": "HTTP 503",
    "finished_at": None,
}
_LOGGED: Final = {
    **_EXAMPLE,
    "body": {"id": "0199f3a2d1a97e5b8c0d4f6a1b2c3d4e", "type": "recording.available"},
    "log": [
        {
            "number": 1,
            "at": "2026-03-02T09:15:00.231000Z",
            "status": 503,
            "problem": "HTTP 503",
            "duration_ms": 41,
        }
    ],
}


class DeliveryResource(BaseModel):
    """One message for one endpoint, or for the sink of a recording.

    `attempts` counts the tries since it was queued or replayed; `next_at` is null where nothing is
    to come, and behind an earlier one of the same call.
    """

    model_config = example(_EXAMPLE)

    id: str
    message_id: str
    kind: Literal["webhook", "sink"]
    endpoint_id: str
    type: str
    session_id: str
    recording_id: str
    state: Literal["waiting", "delivered", "dead"]
    attempts: int
    created_at: datetime
    next_at: datetime | None
    last_status: int
    problem: str
    finished_at: datetime | None


class Try(BaseModel):
    """One try: `status` is 0 without an answer, `problem` empty when it was delivered."""

    number: int
    at: datetime
    status: int
    problem: str
    duration_ms: int


class LoggedDelivery(DeliveryResource):
    """A delivery with what is sent, and the log of all its tries."""

    model_config = example(_LOGGED)

    body: Any
    log: list[Try]


class DeliveryPage(BaseModel):
    """A page of deliveries, newest first."""

    model_config = example({"result": [_EXAMPLE], "next_page_token": ""})

    result: list[DeliveryResource]
    next_page_token: str


@router.get("")
async def list_deliveries(
    request: Request,
    principal: Admin,
    *,
    endpoint_id: _Filter = "",
    state: Literal["", "waiting", "delivered", "dead"] = "",
    type: EventType | None = None,  # noqa: A002  # its name in the query
    recording_id: _Filter = "",
    page_size: PageSize = 50,
    page_token: PageToken = "",
) -> DeliveryPage:
    """List the tenant's deliveries, newest first; what never arrived has the state `dead`."""
    before = number_of(page_token)
    async with service_of(request).database.read() as connection:
        found = await store.page(
            connection,
            principal.tenant_id,
            before=before,
            limit=page_size + 1,
            endpoint_id=endpoint_id,
            state=state,
            type=type or "",
            recording_id=recording_id,
        )
    page = [_shown(each) for each in found[:page_size]]
    more = len(found) > page_size
    return DeliveryPage(
        result=page, next_page_token=token_of(found[page_size - 1].seq) if more else ""
    )


@router.get("/{delivery_id}", responses=problems("delivery_not_found"))
async def get_delivery(request: Request, principal: Admin, delivery_id: str) -> LoggedDelivery:
    """Get a delivery with its body and the log of its tries."""
    tenant = principal.tenant_id
    async with service_of(request).database.read() as connection:
        found = await store.get(connection, tenant, delivery_id)
        tries = await store.attempts(connection, tenant, delivery_id)
    if found is None:
        raise Problem("delivery_not_found")
    return LoggedDelivery(
        **_shown(found).model_dump(),
        body=json.loads(found.body),
        log=[
            Try(
                number=each.number,
                at=each.at,
                status=each.status,
                problem=each.problem,
                duration_ms=each.duration_ms,
            )
            for each in tries
        ],
    )


@router.post("/{delivery_id}/replay", status_code=202, responses=problems("delivery_not_found"))
async def replay_delivery(request: Request, principal: Admin, delivery_id: str) -> DeliveryResource:
    """Send a delivery once more, with the message id that it had."""
    service = service_of(request)
    async with service.database.write() as connection:
        found = await store.replay(
            connection, principal.tenant_id, delivery_id, now=service.clock()
        )
        if found is None:
            raise Problem("delivery_not_found")
        await note(connection, request, principal, "delivery.replayed", delivery_id)
    return _shown(found)


def _shown(delivery: Delivery) -> DeliveryResource:
    values = {name: getattr(delivery, name) for name in DeliveryResource.model_fields}
    return DeliveryResource(**values)
