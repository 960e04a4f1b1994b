"""Recordings as people use them: what belongs to a call, what is written on one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import insert

from voxtra.exceptions import RecordingExpired, UnknownRecording
from voxtra.ids import new_id
from voxtra.store import library
from voxtra.store.database import Database
from voxtra.store.library import Recorded
from voxtra.store.schema import recordings

NOW = datetime(2026, 3, 2, 9, 15, tzinfo=UTC)


async def _add(database: Database, **columns: Any) -> str:
    recording_id = new_id()
    values = {
        "id": recording_id,
        "tenant_id": "ours",
        "name": recording_id,
        "holder_id": recording_id,
        "target": "snoop",
        "target_id": recording_id,
        "format": "wav",
        "layout": "mono",
        "state": "available",
        "requested_at": NOW,
        "ended_at": NOW,
    }
    async with database.write() as connection:
        await connection.execute(insert(recordings).values(values | columns))
    return recording_id


async def test_a_call_has_its_recordings_in_their_order(database):
    """Those in its bridges count too, active is only the one of the call itself, and another
    tenant's call of the same id has none of them.
    """
    first = await _add(database, call_id="a", holder_id="a")
    bridged = await _add(database, call_id="a", holder_id="bridge", ended_at=None)
    gone = await _add(database, call_id="a", holder_id="a", deleted_at=NOW)
    live = await _add(database, call_id="b", holder_id="b", ended_at=None, state="recording")
    await _add(database, call_id="a", tenant_id="theirs")
    async with database.read() as connection:
        found = await library.of_calls(connection, "ours", ["a", "b", "c"])
        assert await library.of_calls(connection, "ours", []) == {}
    assert found == {
        "a": Recorded("", (first, bridged, gone)),
        "b": Recorded(live, (live,)),
        "c": Recorded(),
    }


async def test_a_conference_has_its_recordings(database):
    """They are found by the conference, with the one that is being made."""
    old = await _add(database, conference_id="c", holder_id="c")
    live = await _add(database, conference_id="c", holder_id="c", ended_at=None, state="starting")
    async with database.read() as connection:
        found = await library.of_conferences(connection, "ours", ["c"])
    assert found == {"c": Recorded(live, (old, live))}


async def test_nothing_is_written_on_what_is_not_ours_or_gone(database):
    """A foreign recording is unknown, and a tombstone stays as it is, whatever is to be changed."""
    foreign = await _add(database, tenant_id="theirs")
    gone = await _add(database, deleted_at=NOW, delete_reason="its time was over")
    for changes in ({"note": "x"}, {"tags": ["x"]}, {}):
        async with database.write() as connection:
            with pytest.raises(UnknownRecording):
                await library.annotate(connection, "ours", foreign, **changes)
            with pytest.raises(RecordingExpired, match="its time was over"):
                await library.annotate(connection, "ours", gone, **changes)


async def test_what_is_kept_is_told_from_what_is_gone(database):
    """Of some ids those are returned whose recording is there, whoever's it is."""
    ours, theirs = await _add(database), await _add(database, tenant_id="theirs")
    gone = await _add(database, deleted_at=NOW)
    async with database.read() as connection:
        assert await library.kept(connection, [ours, theirs, gone, "never"]) == {ours, theirs}
