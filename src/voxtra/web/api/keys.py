"""Keys: who may use the API, and for what. For admins alone."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import AwareDatetime, BaseModel, Field

from voxtra.service.access import ROLES, SCOPES, granted
from voxtra.store import access as store
from voxtra.web.auth import Principal, note, require
from voxtra.web.bodies import Body, example
from voxtra.web.idempotency import keep_secret
from voxtra.web.paging import PageSize, PageToken, position_of, token_of
from voxtra.web.problems import Problem, problems
from voxtra.web.site import service_of

__all__ = ["router"]

router = APIRouter(prefix="/v1.0/keys", tags=["keys"])

Admin = Annotated[Principal, require("admin")]

_EXAMPLE = {
    "id": "0199f3a2c4d07c1e9b52a6f0d3e81b47",
    "name": "crm",
    "principal_id": "0199f3a2c4cf7d0a8c1f0b9e2d4a6c88",
    "principal": "crm",
    "role": "agent",
    "scopes": ["calls:read", "recordings:download", "recordings:read"],
    "prefix": "vx_k3v9q0ab",
    "created_at": "2026-03-02T09:15:00Z",
    "expires_at": "2027-03-02T00:00:00Z",
    "used_at": None,
    "revoked_at": None,
}


class KeyToMake(Body):
    """A key to be made."""

    model_config = example({"name": "crm", "role": "agent", "expires_at": "2027-03-02T00:00:00Z"})

    name: Annotated[str, Field(min_length=1, max_length=100)]
    role: Literal["admin", "supervisor", "agent", "auditor"]
    scopes: Annotated[list[str], Field(max_length=len(SCOPES))] = Field(
        default=[], description="Those of the role that the key has; empty: all of them."
    )
    principal: Annotated[str, Field(max_length=100)] = Field(
        default="", description="Whose key it is; empty: a principal with the key's name."
    )
    expires_at: AwareDatetime | None = Field(
        default=None, description="From when on it is refused; null: never."
    )


class Key(BaseModel):
    """A key, without its secret. `scopes` are all that it grants."""

    model_config = example(_EXAMPLE)

    id: str
    name: str
    principal_id: str
    principal: str
    role: str
    scopes: list[str]
    prefix: str
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None
    revoked_at: datetime | None


class MadeKey(Key):
    """A key that was just made; `key` is what to send, and is shown this once."""

    model_config = example({**_EXAMPLE, "key": "vx_k3v9q0ab_" + "x" * 43})

    key: str = Field(repr=False)


class KeyPage(BaseModel):
    """A page of keys, newest first."""

    model_config = example({"result": [_EXAMPLE], "next_page_token": ""})

    result: list[Key]
    next_page_token: str


@router.get("")
async def list_keys(
    request: Request, principal: Admin, page_size: PageSize = 50, page_token: PageToken = ""
) -> KeyPage:
    """List the tenant's keys, newest first."""
    before = position_of(page_token)
    async with service_of(request).database.read() as connection:
        rows = await store.list_keys(
            connection, principal.tenant_id, before=before, limit=page_size + 1
        )
    page = [_shown(row) for row in rows[:page_size]]
    return KeyPage(
        result=page, next_page_token=token_of(page[-1].id) if len(rows) > page_size else ""
    )


@router.post("", status_code=201, responses=problems("principal_exists", "answer_not_kept"))
async def create_key(
    request: Request, response: Response, principal: Admin, wanted: KeyToMake
) -> MadeKey:
    """Make a key. The answer holds its secret, which can't be shown again."""
    service = service_of(request)
    now = service.clock()
    _check(wanted, principal, now)
    keep_secret(request)
    async with service.database.write() as connection:
        made = await store.create_key(
            connection,
            tenant_id=principal.tenant_id,
            name=wanted.name,
            role=wanted.role,
            scopes=wanted.scopes,
            principal=wanted.principal,
            expires_at=wanted.expires_at,
            now=now,
        )
        await note(connection, request, principal, "key.created", made.id, role=wanted.role)
        row = await store.get_key(connection, principal.tenant_id, made.id)
    response.headers["Location"] = f"/v1.0/keys/{made.id}"
    return MadeKey(**_shown(row).model_dump(), key=made.secret)


@router.get("/{key_id}", responses=problems("key_not_found"))
async def get_key(request: Request, principal: Admin, key_id: str) -> Key:
    """Get a key, without its secret."""
    async with service_of(request).database.read() as connection:
        row = await store.get_key(connection, principal.tenant_id, key_id)
    if row is None:
        raise Problem("key_not_found")
    return _shown(row)


@router.delete("/{key_id}", responses=problems("key_not_found"))
async def revoke_key(request: Request, principal: Admin, key_id: str) -> Key:
    """Revoke a key, from this moment on and for ever; once more changes nothing."""
    service = service_of(request)
    async with service.database.write() as connection:
        if await store.revoke_key(connection, principal.tenant_id, key_id, now=service.clock()):
            await note(connection, request, principal, "key.revoked", key_id)
        row = await store.get_key(connection, principal.tenant_id, key_id)
    if row is None:
        raise Problem("key_not_found")
    return _shown(row)


def _check(wanted: KeyToMake, principal: Principal, now: datetime) -> None:
    """Refuse a key that could do more than its role or its maker, or that is over already."""
    outside = sorted(set(wanted.scopes) - ROLES[wanted.role])
    if outside:
        raise Problem(
            "invalid_request",
            f"scopes: {outside[0]!r} is no scope of the role {wanted.role}; it has "
            f"{', '.join(sorted(ROLES[wanted.role]))}.",
            field="scopes",
        )
    more = sorted(granted(wanted.role, wanted.scopes) - principal.scopes)
    if more:
        raise Problem(
            "forbidden",
            f"The key would have the scope {more[0]}, which yours has not.",
            missing_scope=more[0],
        )
    if wanted.expires_at is not None and wanted.expires_at <= now:
        raise Problem(
            "invalid_request", "expires_at: Is over already; give a later time.", field="expires_at"
        )


def _shown(row: Any) -> Key:
    return Key(
        id=row.id,
        name=row.name,
        principal_id=row.principal_id,
        principal=row.principal,
        role=row.role,
        scopes=sorted(granted(row.role, row.scopes)),
        prefix=f"vx_{row.prefix}",
        created_at=row.created_at,
        expires_at=row.expires_at,
        used_at=row.used_at,
        revoked_at=row.revoked_at,
    )
