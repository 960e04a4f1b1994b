"""Exports as rows: asked for, made, had, ended."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Row

from tests.store.making import ENDED, TENANT, add_recording
from voxtra.exceptions import ConfigurationError
from voxtra.store import exports, journal, tombstones
from voxtra.store.database import Database
from voxtra.store.jobs import Queue

NOW = ENDED + timedelta(days=1)


async def create(database: Database, ids: list[str], tenant_id: str = TENANT) -> str:
    """Ask for an export."""
    async with database.write() as connection:
        return await exports.create(connection, tenant_id, ids, created_by="p1", now=NOW)


async def get(database: Database, export_id: str) -> Row[Any]:
    """Return an export as it stands."""
    async with database.read() as connection:
        row = await exports.get(connection, TENANT, export_id)
    assert row is not None
    return row


async def finish(database: Database, export_id: str, key: str = "exports/x.zip") -> bool:
    """Make an export, as far as rows are concerned."""
    async with database.write() as connection:
        await exports.begin(connection, TENANT, export_id)
        return await exports.finish(
            connection,
            TENANT,
            export_id,
            done=1,
            failed=2,
            size=9,
            sha256="ab",
            blob_key=key,
            now=NOW,
        )


async def test_what_is_asked_for_waits_with_a_job(database: Database):
    """Each id is one item, however often it was named."""
    export_id = await create(database, ["b", "a", "b"])
    row = await get(database, export_id)
    assert (row.state, row.total, row.done, row.created_by) == ("waiting", 2, 0, "p1")
    async with database.read() as connection:
        assert await exports.items(connection, export_id, "", 9) == ["a", "b"]
        assert await exports.items(connection, export_id, "a", 9) == ["b"]
        assert await exports.items(connection, export_id, "", 1) == ["a"]
    (job,) = await Queue(database, "w").claim([exports.JOB])
    assert (job.subject_id, job.tenant_id) == (export_id, TENANT)


@pytest.mark.parametrize("count", [0, exports.MOST + 1])
async def test_none_and_too_many_are_refused(database: Database, count: int):
    """The error names the field, and nothing is queued."""
    with pytest.raises(ConfigurationError) as caught:
        await create(database, [str(n) for n in range(count)])
    assert caught.value.field == "recording_ids"
    assert await Queue(database, "w").claim([exports.JOB]) == []


async def test_as_many_as_are_allowed_are_taken(database: Database):
    """The limit itself is no error."""
    export_id = await create(database, [f"{n:05}" for n in range(exports.MOST)])
    assert (await get(database, export_id)).total == exports.MOST


async def test_an_export_is_its_tenants(database: Database):
    """Another tenant can neither see, make, end nor fail it."""
    export_id = await create(database, ["a"])
    async with database.write() as connection:
        assert await exports.get(connection, "other", export_id) is None
        assert await exports.page(connection, "other") == []
        assert await exports.begin(connection, "other", export_id) is None
        assert await exports.remove(connection, "other", export_id, now=NOW) is False
        await exports.fail(connection, "other", export_id, cause="no", now=NOW)
    assert (await get(database, export_id)).state == "waiting"


async def test_pages_go_back_in_time(database: Database):
    """The greatest id comes first, each page begins below the last one."""
    made = [await create(database, ["a"]) for _ in range(3)]
    async with database.read() as connection:
        first = await exports.page(connection, TENANT, limit=2)
        second = await exports.page(connection, TENANT, before=first[-1].id, limit=2)
    assert [row.id for row in (*first, *second)] == sorted(made, reverse=True)


async def test_a_finished_export_can_be_had_for_some_days(database: Database):
    """The row has what the file is, an event says that it is there."""
    export_id = await create(database, ["a", "b", "c"])
    assert await finish(database, export_id) is True
    row = await get(database, export_id)
    assert (row.state, row.done, row.failed, row.size) == ("available", 1, 2, 9)
    assert (row.finished_at, row.expires_at) == (NOW, NOW + exports.LIFETIME)
    async with database.read() as connection:
        (told,) = await journal.since(connection, TENANT, 0)
    assert told.type == "export.available"
    assert (told.data["export_id"], told.data["total"], told.data["sha256"]) == (
        export_id,
        3,
        "ab",
    )


async def test_a_failed_export_says_why(database: Database):
    """Cause and event are there; what is over can't fail any more."""
    export_id, done = await create(database, ["a"]), await create(database, ["a"])
    await finish(database, done)
    async with database.write() as connection:
        for each in (export_id, done):
            await exports.fail(connection, TENANT, each, cause="the disk is full", now=NOW)
    row = await get(database, export_id)
    assert (row.state, row.cause, row.finished_at) == ("failed", "the disk is full", NOW)
    assert (await get(database, done)).state == "available"
    async with database.read() as connection:
        told = await journal.since(connection, TENANT, 0)
    assert [row.type for row in told] == ["export.available", "export.failed"]


async def test_making_it_again_begins_at_nothing(database: Database):
    """What an earlier attempt counted is gone; what is not running counts nothing."""
    export_id = await create(database, ["a", "b"])
    async with database.write() as connection:
        await exports.progress(connection, export_id, done=1, failed=0)
    assert (await get(database, export_id)).done == 0
    async with database.write() as connection:
        await exports.begin(connection, TENANT, export_id)
        await exports.progress(connection, export_id, done=1, failed=1)
    row = await get(database, export_id)
    assert (row.state, row.done, row.failed) == ("running", 1, 1)
    async with database.write() as connection:
        assert await exports.begin(connection, TENANT, export_id) is not None
    row = await get(database, export_id)
    assert (row.state, row.done, row.failed) == ("running", 0, 0)


async def test_an_export_ends_when_its_time_is_over(database: Database):
    """Not a moment before; its archive is left to be removed, and then forgotten."""
    export_id = await create(database, ["a"])
    await finish(database, export_id)
    over = NOW + exports.LIFETIME
    async with database.write() as connection:
        assert await exports.expire(connection, over - timedelta(microseconds=1)) == 0
        assert await exports.leftovers(connection) == []
        assert await exports.expire(connection, over) == 1
        assert await exports.leftovers(connection) == [(export_id, "exports/x.zip")]
        await exports.forget_blob(connection, export_id)
        assert await exports.leftovers(connection) == []
    assert (await get(database, export_id)).state == "expired"


async def test_an_export_can_be_removed_at_any_time(database: Database):
    """One that is not made yet never will be; removing it again changes nothing."""
    waiting, available = await create(database, ["a"]), await create(database, ["a"])
    await finish(database, available)
    async with database.write() as connection:
        for export_id in (waiting, available, available):
            assert await exports.remove(connection, TENANT, export_id, now=NOW) is True
        assert await exports.leftovers(connection) == [(available, "exports/x.zip")]
        assert await exports.begin(connection, TENANT, waiting) is None
    assert await finish(database, waiting) is False
    assert (await get(database, waiting)).state == "expired"


async def test_a_deleted_recording_ends_the_exports_that_hold_it(database: Database):
    """Others are left alone, also another tenant's that named the same id."""
    async with database.write() as connection:
        made = await add_recording(connection)
    with_it = await create(database, [made, "a"])
    without = await create(database, ["a"])
    foreign = await create(database, [made], tenant_id="other")
    for each in (with_it, without):
        await finish(database, each, f"exports/{each}.zip")
    async with database.write() as connection:
        await tombstones.delete(connection, TENANT, made, actor="p", reason="asked", now=NOW)
        found = await exports.leftovers(connection, recording_id=made)
        none = await exports.leftovers(connection, recording_id="a-different-one")
        other = await exports.get(connection, "other", foreign)
    assert found == [(with_it, f"exports/{with_it}.zip")]
    assert none == []
    assert (await get(database, with_it)).state == "expired"
    assert (await get(database, without)).state == "available"
    assert other is not None
    assert other.state == "waiting"


async def test_finishing_and_deleting_at_once_agree(database: Database):
    """Whoever comes second knows of the first: no archive with a deleted recording can be had."""
    pairs = []
    for _ in range(8):
        async with database.write() as connection:
            made = await add_recording(connection)
        pairs.append((made, await create(database, [made])))
        async with database.write() as connection:
            await exports.begin(connection, TENANT, pairs[-1][1])

    async def publish(recording_id: str, export_id: str) -> bool:
        async with database.write() as connection:
            done = await exports.finish(
                connection,
                TENANT,
                export_id,
                done=1,
                failed=0,
                size=1,
                sha256="",
                blob_key="exports/x.zip",
                now=NOW,
            )
            if recording_id in await exports.deleted_of(connection, export_id):
                raise LookupError(recording_id)
        return done

    async def remove(recording_id: str, _: str) -> None:
        async with database.write() as connection:
            await tombstones.delete(
                connection, TENANT, recording_id, actor="p", reason="asked", now=NOW
            )

    answers = await asyncio.gather(
        *(act(*pair) for pair in pairs for act in (publish, remove)), return_exceptions=True
    )
    assert {type(answer) for answer in answers} <= {bool, LookupError, type(None)}
    for _, export_id in pairs:
        assert (await get(database, export_id)).state in ("expired", "running")
