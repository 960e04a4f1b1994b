"""Deletion: what is refused, what stays, and that nothing known of people does."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from tests.store.making import ENDED, TENANT, add_recording, add_sink, row_of
from voxtra.events import EventType, VoxtraEvent
from voxtra.exceptions import (
    ConfigurationError,
    RecordingActive,
    RecordingHeld,
    RecordingNotReady,
    UnknownRecording,
    VoxtraError,
)
from voxtra.model import Track
from voxtra.store import exports, holds, journal, tombstones
from voxtra.store.database import Database
from voxtra.store.jobs import Queue
from voxtra.store.schema import metadata

NOW = ENDED + timedelta(days=1)
SECRET = "4915550100"


async def delete(
    database: Database, recording_id: str, *, reason: str = "asked by mail", actor: str = "p1"
) -> tombstones.Tombstone:
    """Delete a recording."""
    async with database.write() as connection:
        return await tombstones.delete(
            connection, TENANT, recording_id, actor=actor, reason=reason, now=NOW
        )


async def test_a_tombstone_has_the_hash_and_who_and_why(database: Database):
    """Times, size and hash stay in the row as well."""
    async with database.write() as connection:
        made = await add_recording(connection, size=99, sha256="ab" * 32, duration_ms=60_000)
    stone = await delete(database, made)
    assert stone == tombstones.Tombstone(made, TENANT, 99, "ab" * 32, NOW, "p1", "asked by mail")
    row = await row_of(database, made)
    assert (row.state, row.size, row.sha256, row.duration_ms) == (
        "available",
        99,
        "ab" * 32,
        60_000,
    )
    assert (row.ended_at, row.deleted_at, row.expires_at) == (ENDED, NOW, None)
    assert (row.deleted_by, row.delete_reason) == ("p1", "asked by mail")


async def test_deleting_twice_gives_the_same_tombstone(database: Database):
    """The second one changes nothing and tells nothing."""
    async with database.write() as connection:
        made = await add_recording(connection)
    first = await delete(database, made)
    assert await delete(database, made, reason="again", actor="p2") == first
    async with database.read() as connection:
        assert len(await journal.since(connection, TENANT, 0)) == 1


@pytest.mark.parametrize(
    ("columns", "error"),
    [
        ({"state": "starting", "ended_at": None}, RecordingActive),
        ({"state": "recording", "ended_at": None}, RecordingActive),
        ({"state": "stopping"}, RecordingNotReady),
        ({"tenant_id": "other"}, UnknownRecording),
    ],
)
async def test_what_can_not_be_deleted_stays_whole(
    database: Database, columns: dict[str, Any], error: type[VoxtraError]
):
    """A live one is to be stopped first, one that is finished waited for; a foreign is unknown."""
    async with database.write() as connection:
        made = await add_recording(connection, **columns)
    before = await row_of(database, made)
    with pytest.raises(error):
        await delete(database, made)
    assert await row_of(database, made) == before
    assert await Queue(database, "w").claim([tombstones.JOB]) == []


async def test_a_held_one_is_not_deleted(database: Database):
    """The error has the reason of the hold; released, it can be deleted."""
    async with database.write() as connection:
        made = await add_recording(connection)
        await holds.place(connection, TENANT, made, actor="p", reason="case 7", now=ENDED)
    with pytest.raises(RecordingHeld, match="case 7"):
        await delete(database, made)
    async with database.write() as connection:
        await holds.release(connection, TENANT, made, actor="p", reason="closed", now=NOW)
    assert (await delete(database, made)).recording_id == made


async def test_a_deletion_needs_a_reason(database: Database):
    """An empty one is refused."""
    async with database.write() as connection:
        made = await add_recording(connection)
    with pytest.raises(ConfigurationError, match="reason: is empty"):
        await delete(database, made, reason=" ")


async def test_nothing_known_of_people_is_left(database: Database):
    """When the files are gone the number is in no row of any table."""
    async with database.write() as connection:
        made = await add_recording(
            connection,
            state="failed",
            name=f"from-{SECRET}",
            caller=f"+{SECRET}",
            callee=SECRET,
            agent=SECRET,
            queue=SECRET,
            note=SECRET,
            tags=[SECRET],
            sink=SECRET,
            cause=f"nothing in from-{SECRET}.wav",
            extra={"file_path": f"/spool/{SECRET}.wav"},
            tracks=[{"name": f"from-{SECRET}", "side": "mixed", "channel_id": ""}],
        )
        await add_sink(connection, made, state="delivered")
        event = VoxtraEvent(
            EventType.RECORDING_FAILED,
            "call-1",
            {"recording_id": made, "name": f"from-{SECRET}", "more": [{"who": SECRET}], "n": 1},
        )
        await journal.append(connection, event, tenant_id=TENANT, recording_id=made)
        await exports.create(
            connection,
            TENANT,
            [made],
            created_by="p",
            now=ENDED,
            wanted={"filter": {"caller": "somebody"}},
        )
    await delete(database, made)
    async with database.write() as connection:
        await tombstones.forget(connection, made)
    async with database.read() as connection:
        for table in metadata.sorted_tables:
            for row in await connection.execute(select(table)):
                assert SECRET not in repr(row), table.name
        told = await journal.since(connection, TENANT, 0)
    assert told[0].data == {"recording_id": made, "name": "", "more": [], "n": 1}


async def test_messages_keep_their_shape(database: Database):
    """What was sent can be read as before, numbers and ids are still in it."""
    async with database.write() as connection:
        made = await add_recording(connection)
        await add_sink(connection, made, state="delivered")
    await delete(database, made)
    async with database.read() as connection:
        deliveries = metadata.tables["deliveries"]
        body = (await connection.execute(select(deliveries.c.body))).scalar_one()
    assert body == '{"name":"","duration_seconds":60.0,"format":"wav"}'


async def test_a_sink_that_waits_is_not_told_any_more(database: Database):
    """There is no file for it; webhooks, and the sinks of others, still wait."""
    async with database.write() as connection:
        made, other = [await add_recording(connection) for _ in range(2)]
        sink = await add_sink(connection, made)
        webhook = await add_sink(connection, made, kind="webhook")
        others = await add_sink(connection, other)
    await delete(database, made)
    async with database.read() as connection:
        rows = await connection.execute(select(metadata.tables["deliveries"]))
        found = {row.id: (row.state, row.problem, row.finished_at) for row in rows}
    assert found == {
        sink: ("dead", "the recording was deleted", NOW),
        webhook: ("waiting", "", None),
        others: ("waiting", "", None),
    }


async def test_the_deletion_is_told_and_queued(database: Database):
    """An event names the recording, its hash and the reason; a job will remove the files."""
    async with database.write() as connection:
        made = await add_recording(connection, sha256="ab" * 32)
    await delete(database, made)
    async with database.read() as connection:
        (told,) = await journal.since(connection, TENANT, 0)
    assert (told.type, told.session_id, told.recording_id) == (
        "recording.deleted",
        "call-1",
        made,
    )
    assert told.data == {
        "recording_id": made,
        "sha256": "ab" * 32,
        "by": "p1",
        "reason": "asked by mail",
    }
    (job,) = await Queue(database, "w").claim([tombstones.JOB])
    assert (job.subject_id, job.tenant_id) == (made, TENANT)


async def test_remains_are_known_until_they_are_forgotten(database: Database):
    """Where the files are stays in the tombstone for who removes them, and no longer."""
    async with database.write() as connection:
        made = await add_recording(
            connection,
            node="n1",
            blob_key="recordings/a.wav",
            peaks_key="recordings/a.peaks",
            tracks=[{"name": "x-in", "side": "in", "channel_id": "c1"}],
        )
        assert await tombstones.remains(connection, TENANT, made) is None
    await delete(database, made)
    async with database.write() as connection:
        left = await tombstones.remains(connection, TENANT, made)
        assert await tombstones.remains(connection, "other", made) is None
        await tombstones.forget(connection, made)
        assert await tombstones.remains(connection, TENANT, made) is None
    assert left == tombstones.Remains(
        made,
        TENANT,
        ("recordings/a.peaks", "recordings/a.wav"),
        f"rec-{made}",
        "wav",
        "n1",
        (Track("x-in", "in", "c1"),),
    )


async def test_only_what_is_deleted_is_forgotten(database: Database):
    """Where the file of a living recording is can't be lost this way."""
    async with database.write() as connection:
        made = await add_recording(connection, blob_key="recordings/a.wav")
        await tombstones.forget(connection, made)
    assert (await row_of(database, made)).blob_key == "recordings/a.wav"
