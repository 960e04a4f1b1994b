"""Who may do what: scopes, roles as bundles of them, and whose key it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from voxtra.exceptions import VoxtraError
from voxtra.store import access as store

__all__ = [
    "ADMIN",
    "ROLES",
    "SCOPES",
    "NotAuthenticated",
    "Principal",
    "authenticate",
    "granted",
    "is_valid",
]

ADMIN: Final = "admin"
"""The scope that includes every other one."""

SCOPES: Final = {
    "recordings:read": "list and look at recordings",
    "recordings:download": "hear recordings: their files and peaks",
    "recordings:write": "change tags and notes, place and release holds",
    "recordings:delete": "delete recordings",
    "recordings:export": "make exports and download them",
    "calls:read": "list and look at calls and conferences, follow the events",
    "calls:control": "make and end calls and conferences, record them",
    "audit:read": "read the audit trail",
    "metrics:read": "read the metrics of the service",
    ADMIN: "everything, and keys, webhook endpoints and retention",
}
"""Every scope with what it allows."""

_AGENT: Final = frozenset({"recordings:read", "recordings:download", "calls:read"})

ROLES: Final = {
    "admin": frozenset(SCOPES),
    "supervisor": frozenset(SCOPES) - {ADMIN},
    "agent": _AGENT,
    "auditor": _AGENT | {"audit:read"},
}
"""Every role with its scopes."""


class NotAuthenticated(VoxtraError):
    """What was presented is no key that may be used; the text says why, as far as the holder of the
    right secret may know.
    """


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: a person or a program of one tenant, with what the key in use allows it.

    `scopes` are all that are granted: `admin` stands beside what it includes.
    """

    id: str
    tenant_id: str
    name: str
    role: str
    scopes: frozenset[str]
    key_id: str = ""


def granted(role: str, scopes: Iterable[str] = ()) -> frozenset[str]:
    """Return what a key grants: all that its role has, or those `scopes` of it that it names.

    An unknown role has nothing.
    """
    bundle = ROLES.get(role, frozenset())
    named = frozenset(scopes)
    return bundle if not named or ADMIN in named else bundle & named


async def authenticate(connection: AsyncConnection, secret: str, now: datetime) -> Principal:
    """Return whose key it is. Raises `NotAuthenticated`."""
    row = await store.find_key(connection, secret)
    if row is None:
        raise NotAuthenticated("The key is not known.")
    fault = _fault(row, now)
    if fault:
        raise NotAuthenticated(fault)
    return Principal(
        id=row.principal_id,
        tenant_id=row.tenant_id,
        name=row.principal,
        role=row.role,
        scopes=granted(row.role, row.scopes),
        key_id=row.id,
    )


async def is_valid(connection: AsyncConnection, principal: Principal, now: datetime) -> bool:
    """Tell whether the key that a principal came with may still be used."""
    row = await store.get_key(connection, principal.tenant_id, principal.key_id)
    return row is not None and not _fault(row, now)


def _fault(row: Row[Any], now: datetime) -> str:
    if row.revoked_at is not None:
        return "The key was revoked."
    if row.expires_at is not None and row.expires_at <= now:
        return "The key has expired."
    if row.disabled_at is not None:
        return "The principal of the key is disabled."
    return ""
