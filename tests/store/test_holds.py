"""Legal holds: placed and released with a reason, and true in the row of the recording."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from tests.store.making import ENDED, TENANT, add_recording, row_of
from voxtra.exceptions import (
    ConfigurationError,
    RecordingExpired,
    RecordingHeld,
    UnknownRecording,
)
from voxtra.store import holds, journal, tombstones
from voxtra.store.database import Database

LATER = ENDED + timedelta(days=1)


@pytest.fixture
async def recording_id(database: Database) -> str:
    """Return an available recording."""
    async with database.write() as connection:
        return await add_recording(connection)


async def place(
    database: Database, recording_id: str, reason: str = "case 7", now: datetime = ENDED
) -> holds.Hold:
    """Hold a recording."""
    async with database.write() as connection:
        return await holds.place(
            connection, TENANT, recording_id, actor="p1", reason=reason, now=now
        )


async def release(database: Database, recording_id: str) -> holds.Hold | None:
    """Release a recording."""
    async with database.write() as connection:
        return await holds.release(
            connection, TENANT, recording_id, actor="p2", reason="closed", now=LATER
        )


async def test_a_hold_lasts_from_placing_to_releasing(database: Database, recording_id: str):
    """The row of the recording says whether it is held, the history who, when and why."""
    await place(database, recording_id)
    assert (await row_of(database, recording_id)).held is True
    await release(database, recording_id)
    assert (await row_of(database, recording_id)).held is False
    async with database.read() as connection:
        (hold,) = await holds.history(connection, TENANT, recording_id)
    assert (hold.reason, hold.placed_by, hold.placed_at) == ("case 7", "p1", ENDED)
    assert (hold.release_reason, hold.released_by, hold.released_at) == ("closed", "p2", LATER)


async def test_a_recording_can_be_held_again(database: Database, recording_id: str):
    """The history has all holds, the oldest first."""
    await place(database, recording_id, "case 7")
    await release(database, recording_id)
    await place(database, recording_id, "case 8", LATER)
    async with database.read() as connection:
        history = await holds.history(connection, TENANT, recording_id)
    assert [hold.reason for hold in history] == ["case 7", "case 8"]
    assert [hold.released_at for hold in history] == [LATER, None]


async def test_a_second_hold_is_refused_with_the_reason_of_the_first(
    database: Database, recording_id: str
):
    """Nobody believes that a second reason is noted when it is not."""
    await place(database, recording_id, "case 7")
    with pytest.raises(RecordingHeld, match="case 7"):
        await place(database, recording_id, "case 8")


async def test_releasing_what_is_not_held_does_nothing(database: Database, recording_id: str):
    """The answer says that there was no hold, and no event tells of one."""
    assert await release(database, recording_id) is None
    async with database.read() as connection:
        assert await journal.since(connection, TENANT, 0) == []


async def test_a_live_recording_can_be_held(database: Database):
    """Who knows early need not wait for the end of the call."""
    async with database.write() as connection:
        live = await add_recording(connection, state="recording", ended_at=None)
    await place(database, live)
    assert (await row_of(database, live)).held is True


async def test_a_deleted_recording_can_not_be_held(database: Database, recording_id: str):
    """There is nothing left to hold, and the error says why it was deleted."""
    async with database.write() as connection:
        await tombstones.delete(
            connection, TENANT, recording_id, actor="p1", reason="asked to", now=ENDED
        )
    with pytest.raises(RecordingExpired, match="asked to"):
        await place(database, recording_id)


async def test_both_acts_are_told(database: Database, recording_id: str):
    """An event tells who held or released a recording, and why."""
    await place(database, recording_id)
    await release(database, recording_id)
    async with database.read() as connection:
        told = await journal.since(connection, TENANT, 0)
    assert [row.type for row in told] == ["recording.held", "recording.released"]
    assert [row.data["by"] for row in told] == ["p1", "p2"]
    assert [row.data["reason"] for row in told] == ["case 7", "closed"]
    assert {row.recording_id for row in told} == {recording_id}


async def test_another_tenants_recording_is_unknown(database: Database):
    """Neither verb, nor the history, tells that it exists."""
    async with database.write() as connection:
        foreign = await add_recording(connection, tenant_id="other")
    with pytest.raises(UnknownRecording):
        await place(database, foreign)
    with pytest.raises(UnknownRecording):
        await release(database, foreign)
    async with database.write() as connection:
        await holds.place(connection, "other", foreign, actor="p", reason="theirs", now=ENDED)
    async with database.read() as connection:
        assert await holds.history(connection, TENANT, foreign) == []
    assert (await row_of(database, foreign)).held is True


@pytest.mark.parametrize("reason", ["", "  "])
async def test_a_hold_needs_a_reason(database: Database, recording_id: str, reason: str):
    """An empty one is refused, and nothing is held."""
    with pytest.raises(ConfigurationError, match="reason: is empty"):
        await place(database, recording_id, reason)
    assert (await row_of(database, recording_id)).held is False


async def test_of_many_at_once_one_holds(database: Database, recording_id: str):
    """All others learn that it is held."""
    answers = await asyncio.gather(
        *(place(database, recording_id, f"case {n}") for n in range(6)), return_exceptions=True
    )
    assert sum(isinstance(answer, holds.Hold) for answer in answers) == 1
    assert sum(isinstance(answer, RecordingHeld) for answer in answers) == 5


async def test_a_hold_and_a_deletion_at_once_agree(database: Database):
    """Either it is held and there, or deleted and not held: whoever comes second is refused."""
    async with database.write() as connection:
        made = [await add_recording(connection) for _ in range(12)]

    async def remove(recording_id: str) -> object:
        async with database.write() as connection:
            return await tombstones.delete(
                connection, TENANT, recording_id, actor="p2", reason="asked", now=LATER
            )

    answers = await asyncio.gather(
        *(act(each) for each in made for act in (lambda r: place(database, r), remove)),
        return_exceptions=True,
    )
    for number, each in enumerate(made):
        held, removed = answers[2 * number : 2 * number + 2]
        row = await row_of(database, each)
        assert row.held is (row.deleted_at is None)
        if row.held:
            assert isinstance(held, holds.Hold)
            assert isinstance(removed, RecordingHeld)
        else:
            assert isinstance(held, RecordingExpired)
            assert isinstance(removed, tombstones.Tombstone)
