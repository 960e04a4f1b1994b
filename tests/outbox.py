"""What tests of deliveries begin with: endpoints, events that wait for them, a clock to turn."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import select

from voxtra.events import EventType, VoxtraEvent
from voxtra.store import endpoints, journal
from voxtra.store.database import Database
from voxtra.store.deliveries import COLUMNS, Delivery, of_row
from voxtra.store.endpoints import Endpoint
from voxtra.store.schema import deliveries


class Clock:
    """A time that passes when somebody turns it.

    It begins a minute ahead of what the journal writes down, which takes the time from the system.
    """

    def __init__(self) -> None:
        self.now = datetime.now(UTC) + timedelta(minutes=1)

    def __call__(self) -> datetime:
        return self.now

    def turn(self, **by: float) -> datetime:
        """Let time pass; return what it is then."""
        self.now += timedelta(**by)
        return self.now


async def endpoint(
    database: Database, url: str = "http://127.0.0.1:9/hook", tenant: str = "t", secret: str = ""
) -> Endpoint:
    """Make an endpoint that wants all events of a tenant."""
    async with database.write() as connection:
        return await endpoints.create(
            connection, tenant, url=url, secret=secret, now=datetime.now(UTC)
        )


async def happen(
    database: Database,
    *lanes: str,
    tenant: str = "t",
    kind: EventType = EventType.CALL_STARTED,
    recording_id: str = "",
) -> list[str]:
    """Have an event happen in each of these calls, one after another; return their ids."""
    ids = []
    for lane in lanes:
        event = VoxtraEvent(kind, lane, {"lane": lane})
        async with database.write() as connection:
            await journal.append(connection, event, tenant_id=tenant, recording_id=recording_id)
        ids.append(event.id)
    return ids


async def all_of(database: Database) -> list[Delivery]:
    """Return every delivery in the order of its event."""
    async with database.read() as connection:
        rows = await connection.execute(select(*COLUMNS).order_by(deliveries.c.seq))
        return [of_row(row) for row in rows]
