"""Calls and their legs, as the domain events tell them.

An event may come twice, and late: every function here can be repeated, and the first word about an
end counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, case, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from voxtra.model import CallDirection, CallState
from voxtra.store.database import insert_into
from voxtra.store.pages import newest_first
from voxtra.store.schema import calls, legs

__all__ = [
    "LOST",
    "Call",
    "Leg",
    "active",
    "answered",
    "begin",
    "end_lost",
    "ended",
    "ended_at",
    "get",
    "legs_of",
    "page",
    "transferred",
]

LOST: Final = "its process ended without a word"
"""The reason of a call whose end nobody saw."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call; `end_cause` is a Q.850 number, 0 while it is unknown."""

    id: str
    tenant_id: str
    node: str
    direction: str
    caller: str
    callee: str
    state: str
    queue: str
    agent: str
    tags: tuple[str, ...]
    metadata: dict[str, Any]
    created_at: datetime
    answered_at: datetime | None
    ended_at: datetime | None
    end_cause: int
    end_reason: str


@dataclass(frozen=True, slots=True)
class Leg:
    """One channel of a call; `endpoint` is what was dialled, empty when it called us."""

    id: str
    call_id: str
    direction: str
    endpoint: str
    created_at: datetime
    answered_at: datetime | None
    ended_at: datetime | None
    end_cause: int


async def begin(
    connection: AsyncConnection,
    *,
    call_id: str,
    tenant_id: str,
    node: str,
    direction: CallDirection,
    caller: str,
    callee: str,
    metadata: Mapping[str, Any],
    at: datetime,
) -> None:
    """Note that a call began; `queue`, `agent` and `tags` of its metadata are its own, too."""
    tags = metadata.get("tags")
    await _add(
        connection,
        {
            "id": call_id,
            "tenant_id": tenant_id,
            "node": node,
            "direction": direction.value,
            "caller": caller,
            "callee": callee,
            "state": CallState.RINGING.value,
            "queue": str(metadata.get("queue", "")),
            "agent": str(metadata.get("agent", "")),
            "tags": [str(each) for each in tags] if isinstance(tags, list | tuple | set) else [],
            "metadata": dict(metadata),
            "created_at": at,
        },
    )


async def answered(connection: AsyncConnection, call_id: str, at: datetime) -> None:
    """Note that a call is up; the first time counts."""
    await connection.execute(
        update(calls)
        .where(calls.c.id == call_id, calls.c.answered_at.is_(None))
        .values(
            answered_at=at,
            state=case(
                (calls.c.state == CallState.RINGING.value, CallState.ANSWERED.value),
                else_=calls.c.state,
            ),
        )
    )
    await connection.execute(
        update(legs)
        .where(legs.c.id == call_id, legs.c.answered_at.is_(None))
        .values(answered_at=at)
    )


async def ended(
    connection: AsyncConnection,
    call_id: str,
    at: datetime,
    *,
    cause: int,
    reason: str,
    state: CallState,
) -> None:
    """Note that a call is over; the first word counts."""
    await connection.execute(
        update(calls)
        .where(calls.c.id == call_id, calls.c.ended_at.is_(None))
        .values(state=state.value, ended_at=at, end_cause=cause, end_reason=reason)
    )
    await connection.execute(
        update(legs)
        .where(legs.c.id == call_id, legs.c.ended_at.is_(None))
        .values(ended_at=at, end_cause=cause)
    )


async def transferred(
    connection: AsyncConnection, call_id: str, to_call_id: str, at: datetime
) -> None:
    """Note that a call goes on with another one's leg, which belongs to both from then on.

    A leg that a phone has put in its place was no call of its own before: it becomes one.
    """
    origin = await _one(connection, calls.c.id == call_id)
    if origin is None:
        return
    await _add(
        connection,
        {
            "id": to_call_id,
            "tenant_id": origin.tenant_id,
            "node": origin.node,
            "direction": CallDirection.OUTBOUND.value,
            "caller": origin.caller,
            "callee": origin.callee,
            "state": CallState.ANSWERED.value,
            "metadata": {"transferred_from": call_id},
            "created_at": at,
            "answered_at": at,
        },
    )
    copied = [each for each in legs.c if each.name != "call_id"]
    source = select(literal(call_id), *copied).where(
        legs.c.id == to_call_id, legs.c.call_id == to_call_id
    )
    statement = insert_into(connection, legs).from_select(
        ["call_id", *(each.name for each in copied)], source
    )
    await connection.execute(statement.on_conflict_do_nothing())


async def get(connection: AsyncConnection, tenant_id: str, call_id: str) -> Call | None:
    """Return a call of a tenant's."""
    return await _one(connection, calls.c.id == call_id, calls.c.tenant_id == tenant_id)


async def legs_of(connection: AsyncConnection, tenant_id: str, call_id: str) -> list[Leg]:
    """Return the legs of a tenant's call, its own first."""
    rows = await connection.execute(
        select(*(legs.c[each.name] for each in fields(Leg)))
        .where(legs.c.call_id == call_id, legs.c.tenant_id == tenant_id)
        .order_by(legs.c.created_at, legs.c.id)
    )
    return [Leg(*row) for row in rows]


async def ended_at(connection: AsyncConnection, call_id: str) -> datetime | None:
    """Return when a call of any tenant's ended, None while it has not, or is unknown."""
    found = await connection.execute(select(calls.c.ended_at).where(calls.c.id == call_id))
    return found.scalar_one_or_none()


async def active(connection: AsyncConnection, node: str) -> list[Call]:
    """Return the calls of a node that are not over, of all tenants."""
    rows = await connection.execute(
        select(calls).where(calls.c.node == node, calls.c.ended_at.is_(None)).order_by(calls.c.id)
    )
    return [_call(row) for row in rows]


async def page(
    connection: AsyncConnection,
    tenant_id: str,
    *,
    before: tuple[datetime, str] | None = None,
    limit: int = 50,
    active: bool | None = None,
    direction: str = "",
    caller: str = "",
    callee: str = "",
    queue: str = "",
    agent: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Call]:
    """Return calls of a tenant, newest first, from `created_at` and `id` of the last one seen on.

    `since` is the first moment of the time in which they began, `until` the first after it.
    """
    query = select(calls).where(calls.c.tenant_id == tenant_id)
    if active is not None:
        query = query.where(calls.c.ended_at.is_(None) if active else calls.c.ended_at.is_not(None))
    wanted = {
        "direction": direction,
        "caller": caller,
        "callee": callee,
        "queue": queue,
        "agent": agent,
    }
    for name, value in wanted.items():
        if value:
            query = query.where(calls.c[name] == value)
    if since is not None:
        query = query.where(calls.c.created_at >= since)
    if until is not None:
        query = query.where(calls.c.created_at < until)
    rows = await connection.execute(newest_first(query, calls, before, limit))
    return [_call(row) for row in rows]


async def end_lost(
    connection: AsyncConnection, node: str, known: Callable[[], set[str]], at: datetime
) -> list[Call]:
    """End the calls of a node that are in nobody's hands: not over, and not `known` to it.

    What it knows is asked when the rows are read: a call that begins meanwhile is not among them.
    Returns them as they were.
    """
    rows = await active(connection, node)
    held = known()
    lost = [each for each in rows if each.id not in held]
    for each in lost:
        was_up = each.answered_at is not None
        state = CallState.COMPLETED if was_up else CallState.FAILED
        await ended(connection, each.id, at, cause=0, reason=LOST, state=state)
    return lost


async def _add(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    """Write a call with its own leg, unless it is there."""
    made = await connection.execute(
        insert_into(connection, calls)
        .values(**values)
        .on_conflict_do_nothing()
        .returning(calls.c.id)
    )
    if made.first() is None:
        return
    is_ours = values["direction"] == CallDirection.OUTBOUND.value
    await connection.execute(
        insert(legs).values(
            id=values["id"],
            call_id=values["id"],
            tenant_id=values["tenant_id"],
            direction=values["direction"],
            endpoint=values["callee"] if is_ours else "",
            created_at=values["created_at"],
            answered_at=values.get("answered_at"),
        )
    )


async def _one(connection: AsyncConnection, *wanted: ColumnElement[bool]) -> Call | None:
    row = (await connection.execute(select(calls).where(*wanted))).first()
    return None if row is None else _call(row)


def _call(row: Row[Any]) -> Call:
    values = {each.name: getattr(row, each.name) for each in fields(Call)}
    return Call(**{**values, "tags": tuple(row.tags)})
