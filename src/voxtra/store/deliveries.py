"""Deliveries as those see them who ask: the list, the log of tries, what waits, and replays.

How they are sent is in `voxtra.store.outbox`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Row,
    and_,
    case,
    func,
    literal,
    literal_column,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from voxtra.store.database import wake
from voxtra.store.schema import UtcTime, deliveries, delivery_attempts, webhook_endpoints

__all__ = [
    "COLUMNS",
    "Attempt",
    "Backlog",
    "Delivery",
    "attempts",
    "backlog",
    "get",
    "of_row",
    "page",
    "replay",
    "replay_range",
    "waiting",
]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message for one endpoint or sink; `state` is waiting, delivered or dead.

    `attempts` counts the tries since it was queued or replayed, `last_status` and `problem` are of
    the last one. `next_at` is None behind an earlier one of its lane, and where nothing is to come.
    """

    seq: int
    id: str
    message_id: str
    tenant_id: str
    kind: str
    endpoint_id: str
    node: str
    lane: str
    type: str
    session_id: str
    recording_id: str
    body: str
    state: str
    attempts: int
    created_at: datetime
    next_at: datetime | None
    last_status: int
    problem: str
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try: `status` is 0 without an answer, `problem` empty when it was delivered."""

    number: int
    at: datetime
    status: int
    problem: str
    duration_ms: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """How much waits for an endpoint, or for the sinks of a node, and since when.

    Of an endpoint that is disabled it waits until somebody enables it.
    """

    tenant_id: str
    endpoint_id: str
    node: str
    disabled: bool
    waiting: int
    oldest_at: datetime


COLUMNS: Final = tuple(deliveries.c[each.name] for each in fields(Delivery))
"""What a query selects that makes values of its rows with `of_row`."""


def of_row(row: Row[Any]) -> Delivery:
    """Return the delivery that a row tells of."""
    return Delivery(*(getattr(row, column.name) for column in COLUMNS))


def waiting(table: FromClause = deliveries) -> ColumnElement[bool]:
    """Return the condition of what waits.

    It is a literal: SQLite uses a partial index only when the query itself says the same.
    """
    return table.c.state == literal_column("'waiting'")


async def page(
    connection: AsyncConnection,
    tenant_id: str,
    *,
    before: int | None = None,
    limit: int = 50,
    endpoint_id: str = "",
    state: str = "",
    type: str = "",  # noqa: A002  # the column's name
    recording_id: str = "",
) -> list[Delivery]:
    """Return a tenant's deliveries, newest first, from before a `seq` on; empty filters fit all.

    The dead letters are those of the state `dead`.
    """
    wanted = {
        deliveries.c.endpoint_id: endpoint_id,
        deliveries.c.state: state,
        deliveries.c.type: type,
        deliveries.c.recording_id: recording_id,
    }
    query = select(*COLUMNS).where(deliveries.c.tenant_id == tenant_id)
    for column, value in wanted.items():
        if value:
            query = query.where(column == value)
    if before is not None:
        query = query.where(deliveries.c.seq < before)
    rows = await connection.execute(query.order_by(deliveries.c.seq.desc()).limit(limit))
    return [of_row(row) for row in rows]


async def get(connection: AsyncConnection, tenant_id: str, delivery_id: str) -> Delivery | None:
    """Return a delivery, None when the tenant has none of this id."""
    query = select(*COLUMNS).where(
        deliveries.c.tenant_id == tenant_id, deliveries.c.id == delivery_id
    )
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else of_row(row)


async def attempts(connection: AsyncConnection, tenant_id: str, delivery_id: str) -> list[Attempt]:
    """Return every try of a delivery, oldest first: those before a replay as well."""
    rows = await connection.execute(
        select(delivery_attempts)
        .join(deliveries, deliveries.c.id == delivery_attempts.c.delivery_id)
        .where(deliveries.c.tenant_id == tenant_id, deliveries.c.id == delivery_id)
        .order_by(delivery_attempts.c.number)
    )
    return [Attempt(r.number, r.at, r.status, r.problem, r.duration_ms) for r in rows]


async def replay(
    connection: AsyncConnection, tenant_id: str, delivery_id: str, *, now: datetime
) -> Delivery | None:
    """Send a delivery once more, or now if it waits; None when the tenant has none of this id.

    It is the same delivery with the same message id, with all its tries before it once more, in
    its old place: before the later ones of its lane that still wait.
    """
    await _replay(connection, deliveries.c.id == delivery_id, tenant_id, now)
    return await get(connection, tenant_id, delivery_id)


async def replay_range(
    connection: AsyncConnection,
    tenant_id: str,
    endpoint_id: str,
    *,
    since: datetime,
    until: datetime,
    now: datetime,
    state: str = "",
) -> int:
    """Replay what was queued for an endpoint from `since` to before `until`; return how many.

    With a `state` only deliveries that are in it: `dead` for what never arrived.
    """
    condition = and_(
        deliveries.c.endpoint_id == endpoint_id,
        deliveries.c.created_at >= since,
        deliveries.c.created_at < until,
    )
    if state:
        condition &= deliveries.c.state == state
    return await _replay(connection, condition, tenant_id, now)


async def backlog(connection: AsyncConnection) -> list[Backlog]:
    """Return what waits, by tenant and endpoint or node."""
    # In the order of the index of what waits, or SQLite reads what is done as well.
    by = (deliveries.c.endpoint_id, deliveries.c.node, deliveries.c.tenant_id)
    rows = await connection.execute(
        select(
            *by,
            func.max(webhook_endpoints.c.disabled_at).label("disabled_at"),
            func.count().label("waiting"),
            func.min(deliveries.c.created_at).label("oldest_at"),
        )
        .outerjoin(webhook_endpoints, webhook_endpoints.c.id == deliveries.c.endpoint_id)
        .where(waiting())
        .group_by(*by)
    )
    return [
        Backlog(
            r.tenant_id, r.endpoint_id, r.node, r.disabled_at is not None, r.waiting, r.oldest_at
        )
        for r in rows
    ]


async def _replay(
    connection: AsyncConnection, condition: ColumnElement[bool], tenant_id: str, now: datetime
) -> int:
    # Locked in their order, as everybody does who locks several.
    chosen = (
        select(deliveries.c.seq)
        .where(condition, deliveries.c.tenant_id == tenant_id)
        .order_by(deliveries.c.seq)
        .with_for_update()
    )
    # What is on its way stays there, and what is behind another of its lane behind it.
    stays = waiting() & ((deliveries.c.leased_by != "") | deliveries.c.next_at.is_(None))
    replayed = await connection.execute(
        update(deliveries)
        .where(deliveries.c.seq.in_(chosen))
        .values(
            state="waiting",
            attempts=0,
            next_at=case((stays, deliveries.c.next_at), else_=literal(now, UtcTime())),
            finished_at=None,
        )
    )
    wake(connection, "deliveries")
    return replayed.rowcount
