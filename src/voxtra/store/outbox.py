"""The outbox: what webhooks and sinks are still to be told, as the worker sees it that sends it.

The deliveries of one lane (a call with its recordings) to one endpoint go out one after another.
One that is due while an earlier one of its lane waits is set behind it (`next_at` becomes NULL),
and whatever takes a delivery out of `waiting` makes the next of its lane due. So a claim reads only
what is due: neither a long lane nor a hundred thousand rows of a dead endpoint cost anything until
their time has come.

A worker has a delivery by lease: `leased_by`, and `next_at` for when the lease runs out. One that
dies loses it by time alone, and what it was sending is sent again under the same message id.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Row,
    ScalarSelect,
    Update,
    and_,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from voxtra.store import endpoints
from voxtra.store.database import wake
from voxtra.store.deliveries import COLUMNS, Delivery, of_row, waiting
from voxtra.store.endpoints import Endpoint
from voxtra.store.schema import deliveries, delivery_attempts, webhook_endpoints

__all__ = [
    "LEASE",
    "Claimed",
    "Destination",
    "bury",
    "claim",
    "due",
    "note",
    "release",
    "renew",
]

LEASE: Final = timedelta(seconds=60)
"""How long a worker may be silent before what it was sending is another's."""

LOOKED_AT: Final = 100
"""Rows of one destination that a claim looks at: what it may have to set behind others."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where something waits to go to, and from when on: an endpoint, or the sinks of a node.

    What waits for one that is `deleted` is to be buried.
    """

    due: datetime
    endpoint_id: str = ""
    node: str = ""
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a claim took, with its endpoint (none: sinks).

    `looked_at` is 0 when nothing was due that others do not have.
    """

    deliveries: list[Delivery]
    endpoint: Endpoint | None
    looked_at: int


async def due(connection: AsyncConnection, *, sinks_of: str | None = None) -> list[Destination]:
    """Return where something has to go now or later: endpoints, and the sinks of a node.

    A disabled endpoint is left out; a deleted one is not: what waits for it is to be buried.
    """
    # From one endpoint's first entry in the index to the next one's: what is in between, be it a
    # hundred thousand rows, is not read.
    first = select(func.min(deliveries.c.endpoint_id).label("id"))
    busy = first.where(waiting(), deliveries.c.endpoint_id > "").cte("busy", recursive=True)
    following = select(func.min(deliveries.c.endpoint_id)).where(
        waiting(), deliveries.c.endpoint_id > busy.c.id
    )
    busy = busy.union_all(
        select(following.scalar_subquery()).select_from(busy).where(busy.c.id.is_not(None))
    )
    each = webhook_endpoints.c
    rows = await connection.execute(
        select(each.id, each.rests_until, each.deleted_at, _earliest(busy.c.id, "").label("due"))
        .join(busy, busy.c.id == each.id)
        .where(each.disabled_at.is_(None) | each.deleted_at.is_not(None))
    )
    found = [
        Destination(
            max(row.due, row.rests_until or row.due), row.id, "", row.deleted_at is not None
        )
        for row in rows
        if row.due is not None
    ]
    if sinks_of is not None:
        earliest = (await connection.execute(select(_earliest("", sinks_of)))).scalar_one()
        if earliest is not None:
            found.append(Destination(earliest, node=sinks_of))
    return found


async def claim(
    connection: AsyncConnection,
    destination: Destination,
    *,
    worker: str,
    now: datetime,
    limit: int,
) -> Claimed:
    """Take up to `limit` deliveries, due and the first of their lanes, longest due first."""
    key, endpoint = destination.endpoint_id, None
    if key:
        chosen = select(webhook_endpoints).where(webhook_endpoints.c.id == key)
        endpoint = endpoints.of_row((await connection.execute(chosen)).one())
        if endpoint.disabled_at is not None or endpoint.deleted_at is not None:
            return Claimed([], endpoint, 0)
    earlier = deliveries.alias()
    before = (
        select(earlier.c.seq)
        .where(
            waiting(earlier),
            earlier.c.endpoint_id == key,
            earlier.c.lane == deliveries.c.lane,
            earlier.c.seq < deliveries.c.seq,
        )
        .order_by(earlier.c.seq.desc())
        .limit(1)
        .scalar_subquery()
        .label("before")
    )
    found = await connection.execute(
        select(deliveries.c.seq, before)
        .where(
            _is_due(),
            deliveries.c.endpoint_id == key,
            deliveries.c.node == destination.node,
            deliveries.c.next_at <= now,
        )
        .order_by(deliveries.c.next_at, deliveries.c.seq)
        .limit(LOOKED_AT)
        .with_for_update(of=deliveries, skip_locked=True)
    )
    rows = found.all()
    await _set_behind(connection, {row.seq: row.before for row in rows if row.before is not None})
    first = [row.seq for row in rows if row.before is None][:limit]
    if not first:
        return Claimed([], endpoint, len(rows))
    taken = await connection.execute(
        update(deliveries)
        .where(deliveries.c.seq.in_(first))
        .values(next_at=now + LEASE, leased_by=worker)
        .returning(*COLUMNS)
    )
    made = {row.seq: of_row(row) for row in taken}
    return Claimed([made[seq] for seq in first], endpoint, len(rows))


async def note(
    connection: AsyncConnection,
    delivery_id: str,
    *,
    worker: str,
    at: datetime,
    now: datetime,
    status: int = 0,
    problem: str = "",
    retry_at: datetime | None = None,
) -> str:
    """Log one try that began `at` and ended `now`, and say how it goes on; return the state.

    Without a `problem` it is delivered, whoever has the lease by now: the receiver has it. With one
    it is due again at `retry_at`, or dead; but a worker that lost its lease has no say in that.
    """
    locked = select(deliveries).where(deliveries.c.id == delivery_id).with_for_update()
    row = (await connection.execute(locked)).one()
    logged = select(func.coalesce(func.max(delivery_attempts.c.number), 0)).where(
        delivery_attempts.c.delivery_id == delivery_id
    )
    await connection.execute(
        insert(delivery_attempts).values(
            delivery_id=delivery_id,
            number=(await connection.execute(logged)).scalar_one() + 1,
            at=at,
            status=status,
            problem=problem,
            duration_ms=(now - at) // timedelta(milliseconds=1),
        )
    )
    state = str(row.state)
    values: dict[str, Any] = {"attempts": row.attempts + 1}
    if state != "delivered" and (not problem or (state == "waiting" and row.leased_by == worker)):
        state = "delivered" if not problem else "dead" if retry_at is None else "waiting"
        values |= {
            "state": state,
            "last_status": status,
            "problem": problem,
            "leased_by": "",
            "next_at": retry_at if state == "waiting" else None,
            "finished_at": None if state == "waiting" else now,
        }
    await connection.execute(update(deliveries).where(deliveries.c.seq == row.seq).values(**values))
    if row.state == "waiting" and state != "waiting":
        await _make_next_due(connection, row, now)
    return state


async def renew(
    connection: AsyncConnection, ids: Collection[str], *, worker: str, now: datetime
) -> None:
    """Keep what a worker is still sending."""
    await connection.execute(_leased(ids, worker).values(next_at=now + LEASE))


async def release(
    connection: AsyncConnection, ids: Collection[str], *, worker: str, now: datetime
) -> None:
    """Give back what a worker will not finish: it is due at once."""
    await connection.execute(_leased(ids, worker).values(next_at=now, leased_by=""))
    wake(connection, "deliveries")


async def bury(connection: AsyncConnection, endpoint_id: str, *, now: datetime) -> None:
    """Note that nobody can be told what waits for a deleted endpoint."""
    chosen = (
        select(deliveries.c.seq)
        .where(waiting(), deliveries.c.endpoint_id == endpoint_id)
        .order_by(deliveries.c.seq)
        .with_for_update()
    )
    await connection.execute(
        update(deliveries)
        .where(deliveries.c.seq.in_(chosen))
        .values(
            state="dead",
            problem="the endpoint was deleted",
            next_at=None,
            leased_by="",
            finished_at=now,
        )
    )


def _is_due(table: FromClause = deliveries) -> ColumnElement[bool]:
    return and_(waiting(table), table.c.next_at.is_not(None))


def _earliest(endpoint_id: ColumnElement[str] | str, node: str) -> ScalarSelect[Any]:
    each = deliveries.alias()
    return (
        select(func.min(each.c.next_at))
        .where(_is_due(each), each.c.endpoint_id == endpoint_id, each.c.node == node)
        .scalar_subquery()
    )


def _leased(ids: Collection[str], worker: str) -> Update:
    return update(deliveries).where(
        waiting(), deliveries.c.id.in_(ids), deliveries.c.leased_by == worker
    )


async def _set_behind(connection: AsyncConnection, before: dict[int, int]) -> None:
    """Set deliveries behind the earlier ones of their lanes (`before`: theirs by seq).

    Only where the earlier one can be locked: then it is not being noted as finished at this moment,
    and whoever does that afterwards sees what is behind it and makes it due.
    """
    if not before:
        return
    held = await connection.execute(
        select(deliveries.c.seq)
        .where(waiting(), deliveries.c.seq.in_(set(before.values())))
        .with_for_update(skip_locked=True)
    )
    still = set(held.scalars())
    behind = [seq for seq, earlier in before.items() if earlier in still]
    if behind:
        await connection.execute(
            update(deliveries)
            .where(deliveries.c.seq.in_(behind))
            .values(next_at=None, leased_by="")
        )


async def _make_next_due(connection: AsyncConnection, row: Row[Any], now: datetime) -> None:
    following = (
        select(deliveries.c.seq)
        .where(
            waiting(),
            deliveries.c.endpoint_id == row.endpoint_id,
            deliveries.c.lane == row.lane,
            deliveries.c.seq > row.seq,
        )
        .order_by(deliveries.c.seq)
        .limit(1)
        .scalar_subquery()
    )
    await connection.execute(
        update(deliveries)
        .where(waiting(), deliveries.c.next_at.is_(None), deliveries.c.seq == following)
        .values(next_at=now)
    )
