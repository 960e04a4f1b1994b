"""Whether the process lives, whether it can work, and how it is doing."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from typing import Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError

from voxtra.blobs.base import BlobError
from voxtra.exceptions import ConfigurationError
from voxtra.service.context import Service
from voxtra.store.access import DEFAULT_TENANT
from voxtra.store.migrate import check
from voxtra.web.auth import Principal
from voxtra.web.bodies import example
from voxtra.web.metrics import CONTENT_TYPE, Metrics
from voxtra.web.problems import Problem, problems
from voxtra.web.site import service_of

__all__ = ["router"]

log = logging.getLogger(__name__)

router = APIRouter(tags=["service"])

PATIENCE: Final = 5.0
"""Seconds that a part may take to show that it works."""

PROBED_EVERY: Final = 30.0
"""Seconds that a write to the store of blobs proves it for: in the cloud each one costs."""

_FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


class Health(BaseModel):
    """What a part of the service says; `problems` names every part that does not work."""

    model_config = example({"status": "ok", "problems": {}})

    status: str
    problems: dict[str, str]


@router.get("/healthz")
async def healthz() -> Health:
    """Tell that the process lives. It looks at nothing else: restarting helps nobody else."""
    return Health(status="ok", problems={})


@router.get(
    "/readyz",
    responses={503: {"model": Health, "description": "Not ready; `problems` says why."}},
)
async def readyz(request: Request, response: Response) -> Health:
    """Tell whether requests can be served: the database, the stored audio and the PBX are there."""
    service = service_of(request)
    found = {
        "database": await _database(service),
        "storage": await _storage(request, service),
        "pbx": "" if service.control.connected is not False else "Is not connected.",
    }
    faults = {name: fault for name, fault in found.items() if fault}
    response.status_code = 503 if faults else 200
    return Health(status="not ready" if faults else "ok", problems=faults)


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {
            "description": "The metrics, as text for Prometheus.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
        **problems("unauthenticated", "forbidden"),
    },
    openapi_extra={"security": [{}, {"key": ["metrics:read"]}, {"token": ["metrics:read"]}]},
)
async def metrics(request: Request) -> Response:
    """Give the metrics: to this machine as it is, to others by a key with `metrics:read`.

    They are of the whole service, so that the key has to be one of the first tenant.
    """
    if not _is_local(request):
        _check(request)
    found: Metrics = request.app.state.metrics
    return Response(await found.text(), media_type=CONTENT_TYPE)


async def _database(service: Service) -> str:
    try:
        async with asyncio.timeout(PATIENCE):
            await check(service.database)
    except ConfigurationError as error:
        return str(error)
    except (SQLAlchemyError, OSError) as error:
        log.warning("the database is not ready: %s", error)
        return "Can't be reached; the log has the cause."
    return ""


async def _storage(request: Request, service: Service) -> str:
    """Write a small blob and remove it, unless that was shown a moment ago."""
    state = request.app.state
    if time.monotonic() - getattr(state, "storage_shown", -PROBED_EVERY) < PROBED_EVERY:
        return ""
    key = f"probes/{service.node}"
    try:
        async with asyncio.timeout(PATIENCE):
            await service.blobs.write(key, [b"voxtra"])
            await service.blobs.delete(key)
    except (BlobError, TimeoutError) as error:
        log.warning("the store of blobs is not ready: %s", error)
        return "Can't be written; the log has the cause."
    state.storage_shown = time.monotonic()
    return ""


def _is_local(request: Request) -> bool:
    """Tell whether somebody on this machine asks, and not a proxy here for somebody elsewhere."""
    if request.client is None or any(name in request.headers for name in _FORWARDED):
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def _check(request: Request) -> None:
    principal: Principal | None = request.state.principal
    if principal is None:
        raise request.state.refusal
    if "metrics:read" not in principal.scopes or principal.tenant_id != DEFAULT_TENANT:
        raise Problem(
            "forbidden",
            f"Metrics are for keys of the tenant {DEFAULT_TENANT} with the scope metrics:read.",
            missing_scope="metrics:read",
        )
