"""What holds in the tables whoever writes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError, StatementError

from voxtra.store.database import Database
from voxtra.store.schema import recordings, tenants

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)


async def write_time(database: Database, moment: datetime) -> datetime:
    """Write a time and read it."""
    async with database.write() as connection:
        await connection.execute(insert(tenants).values(id="a", created_at=moment))
        found = (await connection.execute(select(tenants.c.created_at))).scalar_one()
        await connection.execute(tenants.delete())
    assert isinstance(found, datetime)
    return found


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    moment=st.datetimes(
        min_value=datetime(1900, 1, 1),  # the zone is drawn apart
        timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45))]),
    )
)
async def test_a_time_is_kept_to_the_microsecond(database: Database, moment: datetime) -> None:
    """A time of any zone is read as the same moment, in UTC."""
    found = await write_time(database, moment)
    assert found == moment
    assert found.utcoffset() == timedelta(0)


async def test_a_time_without_a_zone_is_refused(database: Database) -> None:
    """A time that could be any moment is an error, not a guess."""
    with pytest.raises(StatementError, match="offset-naive"):
        await write_time(database, NOW.replace(tzinfo=None))


async def record(database: Database, recording_id: str, **values: Any) -> None:
    """Write the row of a recording that begins."""
    row = {
        "id": recording_id,
        "tenant_id": "t",
        "name": recording_id,
        "target": "snoop",
        "target_id": f"target of {recording_id}",
        "holder_id": f"holder of {recording_id}",
        "format": "wav",
        "layout": "mono",
        "state": "starting",
        "requested_at": NOW,
        **values,
    }
    async with database.write() as connection:
        await connection.execute(insert(recordings).values(**row))


@pytest.mark.parametrize("column", ["target_id", "holder_id"])
async def test_there_is_one_active_recording_of_a_thing(database: Database, column: str) -> None:
    """A second recording of the same target or holder is refused until the first has ended."""
    await record(database, "r1", **{column: "c1"})
    with pytest.raises(IntegrityError):
        await record(database, "r2", **{column: "c1"})
    async with database.write() as connection:
        await connection.execute(
            update(recordings).where(recordings.c.id == "r1").values(ended_at=NOW)
        )
    await record(database, "r2", **{column: "c1"})
    with pytest.raises(IntegrityError):
        await record(database, "r3", **{column: "c1"})
