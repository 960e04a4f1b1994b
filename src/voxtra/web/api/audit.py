"""The audit trail: who did what to which thing."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from voxtra.store import audit as store
from voxtra.web.auth import Principal, require
from voxtra.web.bodies import example
from voxtra.web.paging import PageSize, PageToken, number_of, token_of
from voxtra.web.site import service_of

__all__ = ["router"]

router = APIRouter(prefix="/v1.0/audit", tags=["audit"])

_EXAMPLE = {
    "number": 812,
    "at": "2026-03-02T09:15:00.214000Z",
    "actor": "0199f3a2c4cf7d0a8c1f0b9e2d4a6c88",
    "action": "recording.deleted",
    "subject_kind": "recording",
    "subject_id": "0199f3a2c4d07c1e9b52a6f0d3e81b47",
    "request_id": "0199f3a2d1aa7b0c8f5e9a6b3c2d1e0f",
    "remote": "192.0.2.7",
    "detail": {"reason": "asked for by the caller"},
}

_Filter = Annotated[str, Query(max_length=200)]


class Act(BaseModel):
    """One act; `actor` is a principal's id, or the name of what acts by itself (`retention`)."""

    model_config = example(_EXAMPLE)

    number: int
    at: datetime
    actor: str
    action: str
    subject_kind: str
    subject_id: str
    request_id: str
    remote: str
    detail: dict[str, Any]


class ActPage(BaseModel):
    """A page of acts, newest first."""

    model_config = example({"result": [_EXAMPLE], "next_page_token": ""})

    result: list[Act]
    next_page_token: str


@router.get("")
async def list_acts(
    request: Request,
    principal: Annotated[Principal, require("audit:read")],
    *,
    actor: _Filter = "",
    action: _Filter = "",
    subject_kind: _Filter = "",
    subject_id: _Filter = "",
    page_size: PageSize = 50,
    page_token: PageToken = "",
) -> ActPage:
    """List what was done in the tenant, newest first."""
    before = number_of(page_token)
    async with service_of(request).database.read() as connection:
        rows = await store.page(
            connection,
            principal.tenant_id,
            actor=actor,
            action=action,
            subject_kind=subject_kind,
            subject_id=subject_id,
            before=before,
            limit=page_size + 1,
        )
    page = [
        Act(
            number=row.seq,
            at=row.at,
            actor=row.actor,
            action=row.action,
            subject_kind=row.subject_kind,
            subject_id=row.subject_id,
            request_id=row.request_id,
            remote=row.remote,
            detail=row.detail,
        )
        for row in rows[:page_size]
    ]
    more = len(rows) > page_size
    return ActPage(result=page, next_page_token=token_of(page[-1].number) if more else "")
