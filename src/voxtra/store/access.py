"""Tenants, principals and their keys.

A key is `vx_<prefix>_<secret>`: the prefix finds the row, the secret has 256 random bits, so that
its plain SHA-256 is as hard to turn back as any slow hash. The key itself is given out once, when
it is made, and is nowhere afterwards.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from voxtra.exceptions import VoxtraError
from voxtra.ids import new_id
from voxtra.store.database import insert_into
from voxtra.store.schema import keys, principals, tenants

__all__ = [
    "DEFAULT_TENANT",
    "KEY_PATTERN",
    "NewKey",
    "PrincipalExists",
    "create_key",
    "create_tenant",
    "ensure_default",
    "find_key",
    "get_key",
    "list_keys",
    "revoke_key",
    "touch_key",
]

DEFAULT_TENANT: Final = "default"
"""The tenant of a service that has only one; its keys may look after the service itself."""

KEY_PATTERN: Final = re.compile(r"vx_([0-9a-z]{8})_[A-Za-z0-9_-]{43}")

USED_EVERY: Final = timedelta(minutes=1)
"""How exact `used_at` is: more would be a write for each request."""

_LETTERS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


class PrincipalExists(VoxtraError):
    """A principal of this name is there already, with another role."""

    def __init__(self, name: str, role: str) -> None:
        self.name = name
        self.role = role
        super().__init__(f"the principal {name!r} has the role {role}")


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made; `secret` is the whole key, and the only copy of it."""

    id: str
    principal_id: str
    prefix: str
    secret: str = field(repr=False)


async def create_tenant(
    connection: AsyncConnection,
    tenant_id: str,
    *,
    now: datetime,
    name: str = "",
    retention_days: int = 30,
) -> bool:
    """Make a tenant, and tell whether it is new; one that is there is left as it is."""
    made = await connection.execute(
        insert_into(connection, tenants)
        .values(id=tenant_id, name=name or tenant_id, retention_days=retention_days, created_at=now)
        .on_conflict_do_nothing()
        .returning(tenants.c.id)
    )
    return made.first() is not None


async def ensure_default(
    connection: AsyncConnection, now: datetime, *, retention_days: int = 30
) -> bool:
    """Make the tenant that a service with only one tenant has, and tell whether it is new."""
    return await create_tenant(connection, DEFAULT_TENANT, now=now, retention_days=retention_days)


async def create_key(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    name: str,
    role: str,
    now: datetime,
    scopes: Iterable[str] = (),
    principal: str = "",
    expires_at: datetime | None = None,
) -> NewKey:
    """Make a key for a principal of a tenant, and the principal if there is none of that name.

    Without `principal` the key's name is the principal's as well; without `scopes` the key has all
    of its role. Raises `PrincipalExists` when the principal has another role.
    """
    principal_id = await _principal(connection, tenant_id, principal or name, role, now)
    prefix = "".join(secrets.choice(_LETTERS) for _ in range(8))
    made = NewKey(new_id(), principal_id, prefix, f"vx_{prefix}_{secrets.token_urlsafe(32)}")
    await connection.execute(
        keys.insert().values(
            id=made.id,
            tenant_id=tenant_id,
            principal_id=principal_id,
            name=name,
            prefix=prefix,
            hash=_hash(made.secret),
            scopes=sorted(scopes),
            created_at=now,
            expires_at=expires_at,
        )
    )
    return made


async def find_key(connection: AsyncConnection, secret: str) -> Row[Any] | None:
    """Return the row of a key that somebody presents, with `principal`, `role` and `disabled_at` of
    its principal; None if it is no key of ours. Whether it may still be used is not looked at.
    """
    matched = KEY_PATTERN.fullmatch(secret)
    if matched is None:
        return None
    row = (await connection.execute(_keys().where(keys.c.prefix == matched[1]))).first()
    # compared in the same time wherever it differs, also when there is nothing to compare with
    same = hmac.compare_digest(row.hash if row is not None else "0" * 64, _hash(secret))
    return row if same else None


async def get_key(connection: AsyncConnection, tenant_id: str, key_id: str) -> Row[Any] | None:
    """Return a key of a tenant, or None."""
    query = _keys().where(keys.c.tenant_id == tenant_id, keys.c.id == key_id)
    return (await connection.execute(query)).first()


async def list_keys(
    connection: AsyncConnection, tenant_id: str, *, before: str = "", limit: int = 50
) -> Sequence[Row[Any]]:
    """Return a tenant's keys, newest first; `before` is the id where the last page ended."""
    query = _keys().where(keys.c.tenant_id == tenant_id)
    if before:
        query = query.where(keys.c.id < before)
    return (await connection.execute(query.order_by(keys.c.id.desc()).limit(limit))).all()


async def revoke_key(
    connection: AsyncConnection, tenant_id: str, key_id: str, *, now: datetime
) -> bool:
    """Take a key out of use for ever, and tell whether it was in use; one that is revoked already
    keeps its time.
    """
    changed = await connection.execute(
        update(keys)
        .where(keys.c.tenant_id == tenant_id, keys.c.id == key_id, keys.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )
    return changed.rowcount == 1


async def touch_key(connection: AsyncConnection, key_id: str, *, now: datetime) -> None:
    """Note that a key was used, at most once a minute."""
    await connection.execute(
        update(keys)
        .where(
            keys.c.id == key_id,
            or_(keys.c.used_at.is_(None), keys.c.used_at <= now - USED_EVERY),
        )
        .values(used_at=now)
    )


async def _principal(
    connection: AsyncConnection, tenant_id: str, name: str, role: str, now: datetime
) -> str:
    await connection.execute(
        insert_into(connection, principals)
        .values(id=new_id(), tenant_id=tenant_id, name=name, role=role, created_at=now)
        .on_conflict_do_nothing(index_elements=["tenant_id", "name"])
    )
    query = select(principals.c.id, principals.c.role).where(
        principals.c.tenant_id == tenant_id, principals.c.name == name
    )
    row = (await connection.execute(query)).one()
    if row.role != role:
        raise PrincipalExists(name, row.role)
    return str(row.id)


def _keys() -> Any:
    return select(
        keys,
        principals.c.name.label("principal"),
        principals.c.role,
        principals.c.disabled_at,
    ).join(principals, principals.c.id == keys.c.principal_id)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
