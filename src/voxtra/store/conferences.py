"""Conferences and who is in them, as the domain events tell.

As with calls, an event may come twice, and late, and the first word about an end counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from voxtra.ids import new_id
from voxtra.store.database import insert_into
from voxtra.store.pages import newest_first
from voxtra.store.schema import UtcTime, conferences, participants

__all__ = [
    "Conference",
    "Participant",
    "active",
    "create",
    "end",
    "get",
    "joined",
    "left",
    "page",
    "participants_of",
]

ACTIVE: Final = "active"
ENDED: Final = "ended"


@dataclass(frozen=True, slots=True)
class Conference:
    """One conference; `state` is active or ended."""

    id: str
    tenant_id: str
    node: str
    name: str
    state: str
    metadata: dict[str, Any]
    created_at: datetime
    ended_at: datetime | None
    end_reason: str


@dataclass(frozen=True, slots=True)
class Participant:
    """A call in a conference, from when until when; one that comes back is another participant."""

    id: str
    call_id: str
    joined_at: datetime
    left_at: datetime | None


async def create(
    connection: AsyncConnection,
    *,
    conference_id: str,
    tenant_id: str,
    node: str,
    name: str,
    at: datetime,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Note that a conference began."""
    await connection.execute(
        insert_into(connection, conferences)
        .values(
            id=conference_id,
            tenant_id=tenant_id,
            node=node,
            name=name,
            state=ACTIVE,
            metadata=dict(metadata or {}),
            created_at=at,
        )
        .on_conflict_do_nothing()
    )


async def end(
    connection: AsyncConnection, conference_id: str, at: datetime, reason: str = ""
) -> None:
    """Note that a conference is over, and nobody in it any more; the first word counts."""
    await connection.execute(
        update(conferences)
        .where(conferences.c.id == conference_id, conferences.c.ended_at.is_(None))
        .values(state=ENDED, ended_at=at, end_reason=reason)
    )
    await connection.execute(
        update(participants)
        .where(participants.c.conference_id == conference_id, participants.c.left_at.is_(None))
        .values(left_at=at)
    )


async def joined(
    connection: AsyncConnection, conference_id: str, call_id: str, at: datetime
) -> None:
    """Note that a call came in; one that is in already stays as it is.

    Word that comes after the end says that the call was in until then.
    """
    source = select(
        literal(new_id()),
        conferences.c.tenant_id,
        conferences.c.id,
        literal(call_id),
        literal(at, UtcTime()),
        conferences.c.ended_at,
    ).where(conferences.c.id == conference_id)
    columns = ["id", "tenant_id", "conference_id", "call_id", "joined_at", "left_at"]
    statement = insert_into(connection, participants).from_select(columns, source)
    await connection.execute(statement.on_conflict_do_nothing())


async def left(connection: AsyncConnection, conference_id: str, call_id: str, at: datetime) -> None:
    """Note that a call went out."""
    await connection.execute(
        update(participants)
        .where(
            participants.c.conference_id == conference_id,
            participants.c.call_id == call_id,
            participants.c.left_at.is_(None),
            participants.c.joined_at <= at,
        )
        .values(left_at=at)
    )


async def get(connection: AsyncConnection, tenant_id: str, conference_id: str) -> Conference | None:
    """Return a conference of a tenant's."""
    found = await connection.execute(
        select(conferences).where(
            conferences.c.id == conference_id, conferences.c.tenant_id == tenant_id
        )
    )
    row = found.first()
    return None if row is None else _conference(row)


async def active(connection: AsyncConnection, node: str) -> list[Conference]:
    """Return the conferences of a node that are not over, of all tenants."""
    rows = await connection.execute(
        select(conferences)
        .where(conferences.c.node == node, conferences.c.ended_at.is_(None))
        .order_by(conferences.c.id)
    )
    return [_conference(row) for row in rows]


async def page(
    connection: AsyncConnection,
    tenant_id: str,
    *,
    before: tuple[datetime, str] | None = None,
    limit: int = 50,
    active: bool | None = None,
) -> list[Conference]:
    """Return conferences of a tenant, newest first, from `created_at` and `id` of the last one seen
    on.
    """
    query = select(conferences).where(conferences.c.tenant_id == tenant_id)
    if active is not None:
        over = conferences.c.ended_at.is_not(None)
        query = query.where(~over if active else over)
    rows = await connection.execute(newest_first(query, conferences, before, limit))
    return [_conference(row) for row in rows]


async def participants_of(
    connection: AsyncConnection, tenant_id: str, conference_id: str
) -> list[Participant]:
    """Return who is and was in a tenant's conference, in the order of their coming."""
    rows = await connection.execute(
        select(*(participants.c[each.name] for each in fields(Participant)))
        .where(participants.c.conference_id == conference_id, participants.c.tenant_id == tenant_id)
        .order_by(participants.c.joined_at, participants.c.id)
    )
    return [Participant(*row) for row in rows]


def _conference(row: Row[Any]) -> Conference:
    return Conference(**{each.name: getattr(row, each.name) for each in fields(Conference)})
