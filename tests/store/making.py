"""Rows for tests, as they are after everything before them went well."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from voxtra.ids import new_id
from voxtra.store.database import Database
from voxtra.store.schema import deliveries, recordings, tenants

__all__ = ["ENDED", "TENANT", "add_recording", "add_sink", "add_tenant", "row_of"]

TENANT: Final = "acme"

ENDED: Final = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


async def add_tenant(connection: AsyncConnection, tenant_id: str = TENANT, days: int = 30) -> None:
    """Add a tenant."""
    await connection.execute(
        insert(tenants).values(id=tenant_id, retention_days=days, created_at=ENDED)
    )


async def add_recording(connection: AsyncConnection, **columns: Any) -> str:
    """Add an available recording of a minute that ended at `ENDED`, and return its id."""
    ended = columns.get("ended_at", ENDED)
    begun = (ended or ENDED) - timedelta(minutes=1)
    recording_id = columns.pop("id", "") or new_id()
    values = {
        "tenant_id": TENANT,
        "name": f"rec-{recording_id}",
        "call_id": "call-1",
        "target": "snoop",
        "target_id": recording_id,
        "holder_id": recording_id,
        "format": "wav",
        "layout": "mono",
        "state": "available",
        "direction": "inbound",
        "caller": "+4915550100",
        "callee": "200",
        "requested_at": begun,
        "started_at": begun,
        "ended_at": ended,
        **columns,
    }
    await connection.execute(insert(recordings).values(id=recording_id, **values))
    return recording_id


async def add_sink(
    connection: AsyncConnection, recording_id: str, *, state: str = "waiting", kind: str = "sink"
) -> str:
    """Add a delivery about a recording and return its id."""
    delivery_id = new_id()
    await connection.execute(
        insert(deliveries).values(
            id=delivery_id,
            message_id=recording_id,
            tenant_id=TENANT,
            kind=kind,
            lane=recording_id,
            type="recording.available",
            recording_id=recording_id,
            body='{"name":"from +4915550100","duration_seconds":60.0,"format":"wav"}',
            state=state,
            created_at=ENDED,
            next_at=ENDED,
        )
    )
    return delivery_id


async def row_of(database: Database, recording_id: str) -> Row[Any]:
    """Return a recording as it stands."""
    async with database.read() as connection:
        found = await connection.execute(select(recordings).where(recordings.c.id == recording_id))
        return found.one()
