"""The journal: every domain event as a row, written in the transaction of what it tells, with a
delivery for each webhook endpoint that wants it.

Events are numbered in the order of their commits, so that a reader who has seen number n never
finds a smaller one later.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Row, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from voxtra.events import EventType, VoxtraEvent
from voxtra.ids import new_id
from voxtra.posting import encode_json
from voxtra.store.database import wake
from voxtra.store.schema import deliveries, events, utc_now, webhook_endpoints

__all__ = ["append", "queue_sink", "since"]

_ORDER_LOCK: Final = 0x766F7874
"""PostgreSQL gives numbers out before the commit: without this lock 6 could be seen before 5."""


async def append(
    connection: AsyncConnection, event: VoxtraEvent, *, tenant_id: str, recording_id: str = ""
) -> int:
    """Write one event and queue its webhooks; return its number.

    From here to the commit everybody else who appends waits, so change rows before, not after: two
    transactions that do it in different orders would wait for each other.
    """
    if connection.dialect.name == "postgresql":
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ORDER_LOCK})
    inserted = await connection.execute(
        insert(events)
        .values(
            id=event.id,
            tenant_id=tenant_id,
            type=event.type.value,
            session_id=event.session_id,
            recording_id=recording_id,
            data=event.data,
            at=event.timestamp,
        )
        .returning(events.c.seq)
    )
    seq = int(inserted.scalar_one())
    await _queue_webhooks(connection, event, tenant_id, recording_id)
    wake(connection, "events")
    return seq


async def queue_sink(
    connection: AsyncConnection,
    *,
    tenant_id: str,
    node: str,
    call_id: str,
    recording_id: str,
    body: bytes,
) -> None:
    """Queue what the sink of a recording is to be told, in the process that has the sink."""
    now = utc_now()
    await connection.execute(
        insert(deliveries).values(
            id=new_id(),
            message_id=recording_id,
            tenant_id=tenant_id,
            kind="sink",
            node=node,
            lane=recording_id,
            type=EventType.RECORDING_AVAILABLE.value,
            session_id=call_id,
            recording_id=recording_id,
            body=body.decode(),
            state="waiting",
            created_at=now,
            next_at=now,
        )
    )
    wake(connection, "deliveries")


async def since(
    connection: AsyncConnection,
    tenant_id: str,
    after: int,
    *,
    limit: int = 200,
    types: Sequence[str] = (),
) -> Sequence[Row[Any]]:
    """Return a tenant's events after a number, oldest first."""
    query = select(events).where(events.c.tenant_id == tenant_id, events.c.seq > after)
    if types:
        query = query.where(events.c.type.in_(types))
    return (await connection.execute(query.order_by(events.c.seq).limit(limit))).all()


async def _queue_webhooks(
    connection: AsyncConnection,
    event: VoxtraEvent,
    tenant_id: str,
    recording_id: str,
) -> None:
    wanted = await connection.execute(
        select(webhook_endpoints.c.id, webhook_endpoints.c.events).where(
            webhook_endpoints.c.tenant_id == tenant_id,
            webhook_endpoints.c.disabled_at.is_(None),
            webhook_endpoints.c.deleted_at.is_(None),
        )
    )
    endpoints = [row.id for row in wanted if not row.events or event.type.value in row.events]
    if not endpoints:
        return
    body = encode_json(
        {
            "id": event.id,
            "type": event.type,
            "session_id": event.session_id,
            "timestamp": event.timestamp,
            "data": event.data,
        }
    ).decode()
    now = utc_now()
    await connection.execute(
        insert(deliveries),
        [
            {
                "id": new_id(),
                "message_id": event.id,
                "tenant_id": tenant_id,
                "kind": "webhook",
                "endpoint_id": endpoint,
                "lane": event.session_id or recording_id or event.id,
                "type": event.type.value,
                "session_id": event.session_id,
                "recording_id": recording_id,
                "body": body,
                "state": "waiting",
                "created_at": now,
                "next_at": now,
            }
            for endpoint in endpoints
        ],
    )
    wake(connection, "deliveries")
