"""Webhook endpoints: where the tenant's events are posted to. For admins alone."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Request, Response
from pydantic import AwareDatetime, BaseModel, Field

from voxtra.events import EventType
from voxtra.service.addresses import AddressGuard
from voxtra.store import deliveries
from voxtra.store import endpoints as store
from voxtra.store.endpoints import Endpoint
from voxtra.web.auth import Principal, note, require
from voxtra.web.bodies import Body, example
from voxtra.web.idempotency import keep_secret
from voxtra.web.paging import PageSize, PageToken, position_of, token_of
from voxtra.web.problems import Problem, problems
from voxtra.web.site import service_of

__all__ = ["router"]

router = APIRouter(prefix="/v1.0/webhooks", tags=["webhooks"])

Admin = Annotated[Principal, require("admin")]

_Url = Annotated[str, Field(min_length=1, max_length=2000)]
_Events = Annotated[list[EventType], Field(max_length=100, description="Empty: all.")]
_Text = Annotated[str, Field(max_length=500)]
_Secret = Annotated[
    str, Field(max_length=200, repr=False, description="Empty: a generated one, `whsec_...`.")
]

_EXAMPLE: Final = {
    "id": "0199f3a2c4d07c1e9b52a6f0d3e81b47",
    "url": "https://crm.example.com/hooks/voxtra",
    "events": ["recording.available", "recording.failed"],
    "description": "CRM",
    "created_at": "2026-03-02T09:15:00Z",
    "old_secret_until": None,
    "rests_until": None,
    "enabled": True,
    "disabled_at": None,
    "disabled_reason": "",
}
_SECRET: Final = "whsec_" + "A" * 43 + "="


class EndpointToMake(Body):
    """An endpoint to be made."""

    model_config = example(
        {
            "url": "https://crm.example.com/hooks/voxtra",
            "events": ["recording.available", "recording.failed"],
            "description": "CRM",
        }
    )

    url: _Url
    events: _Events = Field(default=[])
    description: _Text = ""
    secret: _Secret = ""


class EndpointChange(Body):
    """What is to be changed of an endpoint; what is left out stays."""

    model_config = example({"enabled": False})

    url: _Url | None = None
    events: _Events | None = None
    description: _Text | None = None
    enabled: bool | None = None


class Rotation(Body):
    """How a secret is replaced: for `keep_seconds` (a day) the old one signs as well."""

    model_config = example({"keep_seconds": 86_400})

    secret: _Secret = ""
    keep_seconds: Annotated[int, Field(ge=0, le=30 * 86_400)] = 86_400


class Replay(Body):
    """Which deliveries are sent once more: those queued from `since` to before `until`."""

    model_config = example(
        {"since": "2026-03-02T00:00:00Z", "until": "2026-03-03T00:00:00Z", "state": "dead"}
    )

    since: AwareDatetime
    until: AwareDatetime
    state: Literal["", "delivered", "dead"] = Field(default="", description="Empty: any.")


class Replayed(BaseModel):
    """How many deliveries are sent once more."""

    model_config = example({"replayed": 17})

    replayed: int


class WebhookEndpoint(BaseModel):
    """A webhook endpoint, without its secret.

    A disabled one gets nothing; what was queued before waits for it. Until `rests_until` nothing is
    sent, because the receiver asked for it.
    """

    model_config = example(_EXAMPLE)

    id: str
    url: str
    events: list[str]
    description: str
    created_at: datetime
    old_secret_until: datetime | None
    rests_until: datetime | None
    enabled: bool
    disabled_at: datetime | None
    disabled_reason: str


class MadeEndpoint(WebhookEndpoint):
    """An endpoint with the secret that signs from now on, shown this once."""

    model_config = example({**_EXAMPLE, "secret": _SECRET})

    secret: str = Field(repr=False)


class EndpointPage(BaseModel):
    """A page of endpoints, oldest first."""

    model_config = example({"result": [_EXAMPLE], "next_page_token": ""})

    result: list[WebhookEndpoint]
    next_page_token: str


@router.get("")
async def list_endpoints(
    request: Request, principal: Admin, page_size: PageSize = 50, page_token: PageToken = ""
) -> EndpointPage:
    """List the tenant's webhook endpoints, oldest first."""
    after = position_of(page_token)
    async with service_of(request).database.read() as connection:
        found = await store.page(connection, principal.tenant_id, after=after, limit=page_size + 1)
    page = [_shown(each) for each in found[:page_size]]
    more = len(found) > page_size
    return EndpointPage(result=page, next_page_token=token_of(page[-1].id) if more else "")


@router.post("", status_code=201, responses=problems("answer_not_kept"))
async def create_endpoint(
    request: Request, response: Response, principal: Admin, wanted: EndpointToMake
) -> MadeEndpoint:
    """Make an endpoint. The answer holds its secret, which can't be shown again."""
    service = service_of(request)
    _check_url(request, wanted.url)
    keep_secret(request)
    async with service.database.write() as connection:
        made = await store.create(
            connection,
            principal.tenant_id,
            url=wanted.url,
            events=wanted.events,
            secret=wanted.secret,
            description=wanted.description,
            now=service.clock(),
        )
        await note(connection, request, principal, "webhook.created", made.id)
    response.headers["Location"] = f"/v1.0/webhooks/{made.id}"
    return _with_secret(made)


@router.get("/{endpoint_id}", responses=problems("webhook_endpoint_not_found"))
async def get_endpoint(request: Request, principal: Admin, endpoint_id: str) -> WebhookEndpoint:
    """Get an endpoint, without its secret."""
    async with service_of(request).database.read() as connection:
        return _shown(_found(await store.get(connection, principal.tenant_id, endpoint_id)))


@router.patch("/{endpoint_id}", responses=problems("webhook_endpoint_not_found"))
async def change_endpoint(
    request: Request, principal: Admin, endpoint_id: str, wanted: EndpointChange
) -> WebhookEndpoint:
    """Change an endpoint, disable it or enable it again; what waits goes to a new `url`."""
    service = service_of(request)
    tenant = principal.tenant_id
    if wanted.url is not None:
        _check_url(request, wanted.url)
    async with service.database.write() as connection:
        changed = _found(
            await store.change(
                connection,
                tenant,
                endpoint_id,
                url=wanted.url,
                events=wanted.events,
                description=wanted.description,
            )
        )
        if wanted.enabled:
            changed = _found(await store.enable(connection, tenant, endpoint_id))
        elif wanted.enabled is not None:
            reason, now = f"by {principal.name}", service.clock()
            changed = _found(await store.disable(connection, tenant, endpoint_id, reason, now=now))
        await note(
            connection,
            request,
            principal,
            "webhook.changed",
            endpoint_id,
            fields=sorted(wanted.model_fields_set),
        )
    return _shown(changed)


@router.delete("/{endpoint_id}", status_code=204, responses=problems("webhook_endpoint_not_found"))
async def delete_endpoint(request: Request, principal: Admin, endpoint_id: str) -> None:
    """Delete an endpoint; what waits for it is not sent any more. Its deliveries can be read."""
    service = service_of(request)
    async with service.database.write() as connection:
        if not await store.delete(
            connection, principal.tenant_id, endpoint_id, now=service.clock()
        ):
            raise Problem("webhook_endpoint_not_found")
        await note(connection, request, principal, "webhook.deleted", endpoint_id)


@router.post(
    "/{endpoint_id}/rotate-secret",
    responses=problems("webhook_endpoint_not_found", "answer_not_kept"),
)
async def rotate_secret(
    request: Request,
    response: Response,
    principal: Admin,
    endpoint_id: str,
    wanted: Rotation | None = None,
) -> MadeEndpoint:
    """Replace the secret. The answer holds the new one, which can't be shown again."""
    service = service_of(request)
    wanted = wanted or Rotation()
    keep_secret(request)
    async with service.database.write() as connection:
        rotated = _found(
            await store.rotate(
                connection,
                principal.tenant_id,
                endpoint_id,
                now=service.clock(),
                secret=wanted.secret,
                keep=timedelta(seconds=wanted.keep_seconds),
            )
        )
        await note(connection, request, principal, "webhook.rotated", endpoint_id)
    response.headers["Location"] = f"/v1.0/webhooks/{endpoint_id}"
    return _with_secret(rotated)


@router.post(
    "/{endpoint_id}/replay",
    status_code=202,
    responses=problems("webhook_endpoint_not_found"),
)
async def replay_deliveries(
    request: Request, principal: Admin, endpoint_id: str, wanted: Replay
) -> Replayed:
    """Send the deliveries of a time range once more, with the ids that they had."""
    if wanted.until <= wanted.since:
        raise Problem("invalid_request", "until: Is not later than since.", field="until")
    service = service_of(request)
    async with service.database.write() as connection:
        _found(await store.get(connection, principal.tenant_id, endpoint_id))
        number = await deliveries.replay_range(
            connection,
            principal.tenant_id,
            endpoint_id,
            since=wanted.since,
            until=wanted.until,
            now=service.clock(),
            state=wanted.state,
        )
        await note(
            connection,
            request,
            principal,
            "webhook.replayed",
            endpoint_id,
            since=wanted.since,
            until=wanted.until,
            state=wanted.state,
            replayed=number,
        )
    return Replayed(replayed=number)


def _check_url(request: Request, url: str) -> None:
    AddressGuard(service_of(request).config.delivery.allow).check_url(url)


def _found(endpoint: Endpoint | None) -> Endpoint:
    if endpoint is None:
        raise Problem("webhook_endpoint_not_found")
    return endpoint


def _shown(endpoint: Endpoint) -> WebhookEndpoint:
    return WebhookEndpoint(
        id=endpoint.id,
        url=endpoint.url,
        events=list(endpoint.events),
        description=endpoint.description,
        created_at=endpoint.created_at,
        old_secret_until=endpoint.old_secret_until,
        rests_until=endpoint.rests_until,
        enabled=endpoint.disabled_at is None,
        disabled_at=endpoint.disabled_at,
        disabled_reason=endpoint.disabled_reason,
    )


def _with_secret(endpoint: Endpoint) -> MadeEndpoint:
    return MadeEndpoint(**_shown(endpoint).model_dump(), secret=endpoint.secret)
