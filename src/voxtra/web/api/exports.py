"""Exports: many recordings in one archive."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final, Self

from fastapi import APIRouter, Request
from pydantic import Field, model_validator
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import Response

from voxtra.store import exports as store
from voxtra.store import listing
from voxtra.store.database import Database
from voxtra.store.filters import Filter
from voxtra.web.auth import Principal, note, require
from voxtra.web.bodies import Body, example
from voxtra.web.files import serve
from voxtra.web.filtering import RecordingFilter
from voxtra.web.paging import PageSize, PageToken, position_of, token_of
from voxtra.web.problems import Problem, problems
from voxtra.web.resources import Export, ExportPage, export_resource, json_response
from voxtra.web.site import service_of

__all__ = ["router"]

router = APIRouter(prefix="/v1.0/recordings", tags=["exports"])

SOON: Final = "2"
"""Seconds after which an unfinished export is worth another look."""

FOUND_AT_ONCE: Final = 500

_Exporter = Annotated[Principal, require("recordings:export")]

_ARCHIVE: Final = {"application/zip": {"schema": {"type": "string", "format": "binary"}}}
_FILE_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The archive.", "content": _ARCHIVE},
    206: {"description": "The part of it that Range asks for.", "content": _ARCHIVE},
    304: {"description": "It is what If-None-Match names."},
    **problems(
        "export_not_found",
        "export_not_ready",
        "export_failed",
        "export_expired",
        "blob_unavailable",
        "range_not_satisfiable",
    ),
}


class ExportToMake(Body):
    """Which recordings are exported: those of some ids, or all that a filter finds now."""

    model_config = example({"recording_ids": ["0199f3a2c4d07c1e9b52a6f0d3e81b47"]})

    recording_ids: (
        Annotated[
            list[Annotated[str, Field(min_length=1, max_length=200)]],
            Field(min_length=1, max_length=store.MOST),
        ]
        | None
    ) = None
    filter: RecordingFilter | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.recording_ids is None) == (self.filter is None):
            raise ValueError("Give either recording_ids or a filter")
        return self


@dataclass(frozen=True, slots=True)
class _Archive:
    """The archive of an export, to be served."""

    size: int
    etag: str
    modified: datetime
    stream: Callable[[int, int], AsyncGenerator[bytes, None]]
    media_type: str = "application/zip"


@router.post("/export", status_code=202, response_model=Export, responses=problems("disk_full"))
async def create_export(request: Request, principal: _Exporter, wanted: ExportToMake) -> Response:
    """Ask for an archive of recordings, which is made in the background.

    Recordings that can't be had fail nothing: the manifest in the archive says so of each. When it
    is ready the webhook export.available tells.
    """
    service = service_of(request)
    if service.disk.plan.refuse_exports:
        raise Problem("disk_full", service.disk.plan.cause)
    recording_ids, found_by = wanted.recording_ids or [], {}
    if wanted.filter is not None:
        found_by = {"filter": wanted.filter.model_dump(mode="json", exclude_defaults=True)}
        recording_ids = await _found(service.database, principal.tenant_id, wanted.filter.filter())
    async with service.database.write() as connection:
        export_id = await store.create(
            connection,
            principal.tenant_id,
            recording_ids,
            created_by=principal.id,
            now=service.clock(),
            wanted=found_by,
        )
        row = await _get(connection, principal, export_id)
        await note(connection, request, principal, "export.created", export_id, total=row.total)
    location = {"Location": f"/v1.0/recordings/exports/{export_id}"}
    return json_response(export_resource(row), 202, location)


@router.get("/exports", response_model=ExportPage)
async def list_exports(
    request: Request, principal: _Exporter, page_size: PageSize = 50, page_token: PageToken = ""
) -> Response:
    """List the tenant's exports, newest first."""
    before = position_of(page_token)
    async with service_of(request).database.read() as connection:
        rows = await store.page(connection, principal.tenant_id, before=before, limit=page_size + 1)
    token = token_of(rows[page_size - 1].id) if len(rows) > page_size else ""
    shown = [export_resource(row) for row in rows[:page_size]]
    return json_response({"result": shown, "next_page_token": token})


@router.get("/exports/{export_id}", response_model=Export, responses=problems("export_not_found"))
async def get_export(request: Request, principal: _Exporter, export_id: str) -> Response:
    """Get an export and how far it is."""
    async with service_of(request).database.read() as connection:
        return json_response(export_resource(await _get(connection, principal, export_id)))


@router.delete(
    "/exports/{export_id}", response_model=Export, responses=problems("export_not_found")
)
async def delete_export(request: Request, principal: _Exporter, export_id: str) -> Response:
    """End an export, also one that is being made; its archive is removed. Recordings stay."""
    service = service_of(request)
    async with service.database.write() as connection:
        was = await _get(connection, principal, export_id)
        await store.remove(connection, principal.tenant_id, export_id, now=service.clock())
        if was.state != "expired":
            await note(connection, request, principal, "export.deleted", export_id)
        row = await _get(connection, principal, export_id)
    return json_response(export_resource(row))


@router.get("/exports/{export_id}/file", response_class=Response, responses=_FILE_ANSWERS)
@router.head("/exports/{export_id}/file", response_class=Response, responses=_FILE_ANSWERS)
async def get_export_file(request: Request, principal: _Exporter, export_id: str) -> Response:
    """Get the archive, whole or in ranges."""
    service = service_of(request)
    async with service.database.read() as connection:
        row = await _get(connection, principal, export_id)
    if row.state == "expired":
        raise Problem("export_expired", f"The export has ended: {row.cause}.", cause=row.cause)
    if row.state == "failed":
        raise Problem("export_failed", f"The export failed: {row.cause}.", cause=row.cause)
    if row.state != "available":
        raise Problem(
            "export_not_ready",
            f"{row.done + row.failed} of {row.total} recordings are done.",
            headers={"Retry-After": SOON},
            state=row.state,
        )
    stream = partial(service.audio.read, row.blob_key)
    archive = _Archive(row.size, row.sha256, row.finished_at, stream)
    answer = serve(request, archive, f"voxtra export {row.created_at:%Y-%m-%d %H-%M}.zip")
    if request.method == "GET" and answer.status_code in (200, 206):
        async with service.database.write() as connection:
            await note(connection, request, principal, "export.downloaded", export_id)
    return answer


async def _found(database: Database, tenant_id: str, wanted: Filter) -> list[str]:
    """Return the ids that a filter finds. Raises `Problem` for none and for too many."""
    ids: list[str] = []
    after = ""
    async with database.read() as connection:
        while len(ids) <= store.MOST:
            page = await listing.page(
                connection, tenant_id, wanted, size=FOUND_AT_ONCE, after=after
            )
            ids += [row.id for row in page.rows]
            after = page.next_after
            if not after:
                break
    if 0 < len(ids) <= store.MOST:
        return ids
    problem = f"Finds more than {store.MOST} recordings; narrow it." if ids else "Finds nothing."
    raise Problem("invalid_request", f"filter: {problem}", field="filter")


async def _get(connection: AsyncConnection, principal: Principal, export_id: str) -> Row[Any]:
    row = await store.get(connection, principal.tenant_id, export_id)
    if row is None:
        raise Problem("export_not_found")
    return row
