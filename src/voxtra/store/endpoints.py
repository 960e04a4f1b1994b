"""Webhook endpoints: where a tenant's events are posted to, and the secrets that sign them.

A deleted one stays as a row without its secrets, so that its deliveries can still be read.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, case, insert, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from voxtra.events import EventType
from voxtra.exceptions import ConfigurationError
from voxtra.ids import new_id
from voxtra.signing import Signer
from voxtra.store.database import wake
from voxtra.store.schema import UtcTime, webhook_endpoints

__all__ = [
    "OLD_SECRET_LIVES",
    "Endpoint",
    "change",
    "create",
    "delete",
    "disable",
    "enable",
    "get",
    "give_up",
    "of_row",
    "page",
    "rest",
    "rotate",
]

OLD_SECRET_LIVES: Final = timedelta(hours=24)
"""How long a replaced secret signs as well, unless somebody says otherwise."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One webhook endpoint; it wants the types in `events`, or all when there are none.

    Until `rests_until` nothing is sent, because the receiver asked for it (`Retry-After`).
    """

    id: str
    tenant_id: str
    url: str = field(repr=False)  # it often holds a token
    events: tuple[str, ...]
    description: str
    created_at: datetime
    secret: str = field(repr=False)
    old_secret: str = field(repr=False)
    old_secret_until: datetime | None
    rests_until: datetime | None
    disabled_at: datetime | None
    disabled_reason: str
    deleted_at: datetime | None

    def signer(self, now: datetime) -> Signer:
        """Return what signs at this moment: the secret, and the one before it while it lives."""
        old_lives = self.old_secret_until is not None and now < self.old_secret_until
        return Signer(self.secret, self.old_secret if old_lives else "")


async def create(
    connection: AsyncConnection,
    tenant_id: str,
    *,
    url: str,
    now: datetime,
    events: Iterable[str] = (),
    secret: str = "",
    description: str = "",
) -> Endpoint:
    """Make an endpoint; without a `secret` one is generated. Raises `ConfigurationError`.

    Whether `url` may be reached is for the caller to check first
    (`voxtra.service.addresses.AddressGuard`).
    """
    made = await connection.execute(
        insert(webhook_endpoints)
        .values(
            id=new_id(),
            tenant_id=tenant_id,
            url=url,
            events=_known(events),
            secret=_usable(secret),
            description=description,
            created_at=now,
        )
        .returning(webhook_endpoints)
    )
    return of_row(made.one())


async def get(connection: AsyncConnection, tenant_id: str, endpoint_id: str) -> Endpoint | None:
    """Return an endpoint, None when the tenant has none of this id."""
    query = select(webhook_endpoints).where(_its(tenant_id, endpoint_id))
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else of_row(row)


async def page(
    connection: AsyncConnection, tenant_id: str, *, after: str = "", limit: int = 50
) -> list[Endpoint]:
    """Return the tenant's endpoints in the order of their making, from behind an id on."""
    rows = await connection.execute(
        select(webhook_endpoints)
        .where(
            webhook_endpoints.c.tenant_id == tenant_id,
            webhook_endpoints.c.id > after,
            webhook_endpoints.c.deleted_at.is_(None),
        )
        .order_by(webhook_endpoints.c.id)
        .limit(limit)
    )
    return [of_row(row) for row in rows]


async def change(
    connection: AsyncConnection,
    tenant_id: str,
    endpoint_id: str,
    *,
    url: str | None = None,
    events: Iterable[str] | None = None,
    description: str | None = None,
) -> Endpoint | None:
    """Change what is given; None when there is no such endpoint. Raises `ConfigurationError`.

    What waits goes to the new `url`.
    """
    values: dict[str, Any] = {}
    if url is not None:
        values |= {"url": url, "rests_until": None}  # the rest was for the old one
    if events is not None:
        values["events"] = _known(events)
    if description is not None:
        values["description"] = description
    if not values:
        return await get(connection, tenant_id, endpoint_id)
    return await _set(connection, _its(tenant_id, endpoint_id), values)


async def rotate(
    connection: AsyncConnection,
    tenant_id: str,
    endpoint_id: str,
    *,
    now: datetime,
    secret: str = "",
    keep: timedelta = OLD_SECRET_LIVES,
) -> Endpoint | None:
    """Replace the secret, by a generated one unless one is given; for `keep` both sign.

    None when there is no such endpoint. Raises `ConfigurationError`.
    """
    values = {
        "secret": _usable(secret),
        "old_secret": webhook_endpoints.c.secret,
        "old_secret_until": now + keep,
    }
    return await _set(connection, _its(tenant_id, endpoint_id), values)


async def disable(
    connection: AsyncConnection, tenant_id: str, endpoint_id: str, reason: str, *, now: datetime
) -> Endpoint | None:
    """Send nothing more; what waits stays until it is enabled again, and nothing new is queued.

    One that is disabled already keeps its time and reason. None when there is no such endpoint.
    """
    fresh = webhook_endpoints.c.disabled_at.is_(None)
    values = {
        "disabled_at": case(
            (fresh, literal(now, UtcTime())), else_=webhook_endpoints.c.disabled_at
        ),
        "disabled_reason": case((fresh, reason), else_=webhook_endpoints.c.disabled_reason),
    }
    return await _set(connection, _its(tenant_id, endpoint_id), values)


async def give_up(
    connection: AsyncConnection, endpoint: Endpoint, reason: str, *, now: datetime
) -> bool:
    """Disable an endpoint for what its URL answered; False when it is disabled already, or has
    another URL by now.
    """
    unchanged = (webhook_endpoints.c.url == endpoint.url) & (
        webhook_endpoints.c.disabled_at.is_(None)
    )
    values = {"disabled_at": now, "disabled_reason": reason}
    condition = _its(endpoint.tenant_id, endpoint.id) & unchanged
    return await _set(connection, condition, values) is not None


async def enable(connection: AsyncConnection, tenant_id: str, endpoint_id: str) -> Endpoint | None:
    """Send again, what has waited first; None when there is no such endpoint."""
    values = {"disabled_at": None, "disabled_reason": "", "rests_until": None}
    return await _set(connection, _its(tenant_id, endpoint_id), values)


async def delete(
    connection: AsyncConnection, tenant_id: str, endpoint_id: str, *, now: datetime
) -> bool:
    """Delete an endpoint and forget its secrets; False when there is no such endpoint.

    What waits for it is noted as dead by whoever sends.
    """
    values = {"deleted_at": now, "secret": "", "old_secret": "", "old_secret_until": None}
    return await _set(connection, _its(tenant_id, endpoint_id), values) is not None


async def rest(connection: AsyncConnection, endpoint_id: str, until: datetime) -> None:
    """Send nothing until then: the receiver asked for it."""
    column = webhook_endpoints.c.rests_until
    await connection.execute(
        update(webhook_endpoints)
        .where(webhook_endpoints.c.id == endpoint_id, or_(column.is_(None), column < until))
        .values(rests_until=until)
    )


def of_row(row: Row[Any]) -> Endpoint:
    """Return the endpoint that a row tells of; it may have other columns as well."""
    values = {name: getattr(row, name) for name in _FIELDS}
    return Endpoint(**values | {"events": tuple(row.events)})


_FIELDS: Final = tuple(each.name for each in fields(Endpoint))


async def _set(
    connection: AsyncConnection, condition: ColumnElement[bool], values: dict[str, Any]
) -> Endpoint | None:
    changed = await connection.execute(
        update(webhook_endpoints).where(condition).values(**values).returning(webhook_endpoints)
    )
    row = changed.one_or_none()
    wake(connection, "deliveries")
    return None if row is None else of_row(row)


def _its(tenant_id: str, endpoint_id: str) -> ColumnElement[bool]:
    return (
        (webhook_endpoints.c.tenant_id == tenant_id)
        & (webhook_endpoints.c.id == endpoint_id)
        & webhook_endpoints.c.deleted_at.is_(None)
    )


def _known(events: Iterable[str]) -> list[str]:
    wanted = list(dict.fromkeys(events))
    known = {event.value for event in EventType}
    unknown = [event for event in wanted if event not in known]
    if unknown:
        raise ConfigurationError(
            f"there is no event {unknown[0]!r}",
            field="events",
            fix=f"Leave it empty for all, or choose from {', '.join(sorted(known))}",
        )
    return wanted


def _usable(secret: str) -> str:
    if not secret:
        return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    try:
        Signer(secret)
    except ConfigurationError as error:
        raise ConfigurationError(error.problem, field="secret", fix=error.fix) from None
    return secret
