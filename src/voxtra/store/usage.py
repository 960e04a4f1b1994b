"""How much there is: of a whole service for its metrics, of a tenant by day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import ColumnElement, case, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from voxtra.store import deliveries
from voxtra.store.schema import events, jobs, recordings

__all__ = ["Backlog", "Usage", "backlog", "last_event", "on_day"]


@dataclass(frozen=True, slots=True)
class Backlog:
    """What of a service is not finished, all tenants together.

    `live` counts recordings by their state, `jobs` waiting ones by kind; `oldest_delivery` is when
    the oldest waiting delivery was made whose endpoint is not disabled, `events` the number of the
    newest event.
    """

    live: Mapping[str, int]
    jobs: Mapping[str, int]
    deliveries: int
    oldest_delivery: datetime | None
    events: int


@dataclass(frozen=True, slots=True)
class Usage:
    """The recordings of one state; `deleted` of them are tombstones.

    `size` (bytes) is of those that are kept, `duration_ms` of all.
    """

    recordings: int
    deleted: int
    size: int
    duration_ms: int


async def backlog(connection: AsyncConnection) -> Backlog:
    """Count what is not finished. Reads what is unfinished alone, however much is finished."""
    unfinished: ColumnElement[bool] = literal_column(
        "state IN ('starting', 'recording', 'stopping')"
    )
    live = await connection.execute(
        select(recordings.c.state, func.count()).where(unfinished).group_by(recordings.c.state)
    )
    waiting = await connection.execute(
        select(jobs.c.kind, func.count())
        .where(literal_column("state = 'waiting'"))
        .group_by(jobs.c.kind)
    )
    queued = await deliveries.backlog(connection)
    last = await connection.execute(select(func.max(events.c.seq)))
    return Backlog(
        live={row[0]: row[1] for row in live},
        jobs={row[0]: row[1] for row in waiting},
        deliveries=sum(each.waiting for each in queued),
        oldest_delivery=min((each.oldest_at for each in queued if not each.disabled), default=None),
        events=last.scalar() or 0,
    )


async def last_event(connection: AsyncConnection, tenant_id: str) -> int:
    """Return the number of a tenant's newest event, 0 when there is none."""
    query = select(func.max(events.c.seq)).where(events.c.tenant_id == tenant_id)
    return (await connection.execute(query)).scalar() or 0


async def on_day(connection: AsyncConnection, tenant_id: str, day: date) -> dict[str, Usage]:
    """Return a tenant's recordings that were asked for on a day (UTC), by state."""
    kept = recordings.c.deleted_at.is_(None)
    rows = await connection.execute(
        select(
            recordings.c.state,
            func.count(),
            func.count(recordings.c.deleted_at),
            func.coalesce(func.sum(case((kept, recordings.c.size))), 0),
            func.coalesce(func.sum(recordings.c.duration_ms), 0),
        )
        .where(
            recordings.c.tenant_id == tenant_id,
            recordings.c.id >= _first_id(day),
            recordings.c.id < _first_id(day + timedelta(days=1)),
        )
        .group_by(recordings.c.state)
    )
    return {row[0]: Usage(row[1], row[2], int(row[3]), int(row[4])) for row in rows}


def _first_id(day: date) -> str:
    """Return what the ids of a day begin with, or come after: they are sorted by time."""
    midnight = datetime.combine(day, time(), UTC)
    return f"{int(midnight.timestamp()) * 1000:012x}"
