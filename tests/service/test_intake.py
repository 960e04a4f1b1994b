"""The ingest job: from the PBX's file to an available recording, cut short at any step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from tests.service.place import Office, away, rows
from tests.system.support import Collector, eventually
from voxtra.blobs.base import BlobError
from voxtra.exceptions import TelephonyConnectionError
from voxtra.model import EndReason, Pause, Recording, RecordingTarget, Track
from voxtra.service import intake as module
from voxtra.service.ingest import ingest
from voxtra.service.intake import Intake, end_reason_of
from voxtra.store.database import Database
from voxtra.store.jobs import Job, LeaseLost, Queue
from voxtra.store.recordings import blob_key
from voxtra.store.schema import calls, deliveries, jobs, recordings, utc_now


@pytest.fixture
async def office(database: Database, tmp_path: Path) -> AsyncIterator[Office]:
    """Return a node that serves calls."""
    async with Office(database, tmp_path, sink=Collector()).open() as opened:
        yield opened


async def recorded(office: Office, name: str = "", **options: Any) -> str:
    """Record a call and stop; return the recording's id."""
    call = office.app.get_session("call-1") or await office.call()
    await call.record_start(name, **options)
    assert call.recording is not None
    recording_id = call.recording.id
    await call.record_stop()
    return recording_id


async def claim(office: Office, worker: str = "w", after: float = 0.0) -> Job:
    """Take the one job that is due in some seconds."""
    queue = Queue(office.database, worker, clock=lambda: utc_now() + timedelta(seconds=after))
    (job,) = await queue.claim(["ingest"], limit=9)
    return job


def intake_of(office: Office, worker: str = "w") -> Intake:
    """Return what brings recordings home."""
    return Intake(office.database, Queue(office.database, worker), office.sources, office.blobs)


def stored(office: Office) -> list[str]:
    """Return the names of the blobs."""
    return sorted(path.name for path in office.blobs.root.rglob("*") if path.is_file())


async def test_what_an_end_leads_to(office: Office, database: Database) -> None:
    """Blob, peaks, columns, events, what the sink is told, and at last the PBX's file is freed."""
    recording_id = await recorded(office, "x")
    assert office.pbx.path("x").exists()
    await intake_of(office).run(await claim(office))
    row = await office.row(recording_id)
    assert (row.state, row.duration_ms, row.samples, row.sample_rate) == (
        "available",
        100,
        800,
        8000,
    )
    assert row.available_at is not None
    assert stored(office) == [f"{recording_id}.peaks", f"{recording_id}.wav"]
    assert await office.blobs.size(row.blob_key) == row.size == 1644
    assert not office.pbx.path("x").exists()
    assert [kind for kind, _ in await office.told() if kind.startswith("recording.")] == [
        "recording.started",
        "recording.finished",
        "recording.available",
    ]
    (sink,) = await rows(database, deliveries)
    assert (sink.kind, sink.node, sink.recording_id) == ("sink", "n1", recording_id)
    assert [job.state for job in await rows(database, jobs)] == ["done"]


async def test_two_sides(office: Office) -> None:
    """A stereo recording is one blob of both, and both of its files are freed."""
    recording_id = await recorded(office, "x", layout="stereo")
    await intake_of(office).run(await claim(office))
    row = await office.row(recording_id)
    assert (row.state, row.channels) == ("available", 2)
    assert list(office.pbx.folder.iterdir()) == []


async def test_doing_it_twice_changes_nothing(office: Office, database: Database) -> None:
    """A job of a recording that is over is done at once."""
    recording_id = await recorded(office)
    await intake_of(office).run(await claim(office))
    before, told = await office.row(recording_id), await office.told()
    async with database.write() as connection:
        await connection.execute(update(jobs).values(state="waiting", leased_until=None))
    await intake_of(office).run(await claim(office))
    assert (await office.row(recording_id), await office.told()) == (before, told)
    assert len(await rows(database, deliveries)) == 1


async def test_a_job_without_a_recording(office: Office, database: Database) -> None:
    """One that nobody knows is over."""
    await recorded(office)
    async with database.write() as connection:
        await connection.execute(recordings.delete())
    await intake_of(office).run(await claim(office))
    assert [job.state for job in await rows(database, jobs)] == ["done"]


async def test_no_file(office: Office, database: Database) -> None:
    """What the PBX has no file of has failed, with the cause, once; its sink is told."""
    office.pbx.writes_files = False
    recording_id = await recorded(office)
    await intake_of(office).run(await claim(office))
    row = await office.row(recording_id)
    assert row.state == "failed"
    assert "has no file" in row.cause
    assert [job.state for job in await rows(database, jobs)] == ["done"]
    assert len(await rows(database, deliveries)) == 1
    assert stored(office) == []


async def test_nothing_in_it(office: Office) -> None:
    """A file without audio has failed, and stays where it is for whoever wants to look."""
    office.pbx.seconds = 0
    recording_id = await recorded(office, "x")
    await intake_of(office).run(await claim(office))
    assert (await office.row(recording_id)).state == "failed"
    assert office.pbx.path("x").exists()


@pytest.mark.parametrize(
    "error", [BlobError("k", "the disk is full"), TelephonyConnectionError("the PBX has gone")]
)
async def test_a_store_that_is_away(
    office: Office, database: Database, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """It is tried again, for as long as it takes; the PBX's file stays meanwhile."""

    async def broken(*_: object) -> None:
        raise error

    recording_id = await recorded(office, "x")
    with monkeypatch.context() as patch:
        patch.setattr(office.blobs, "write", broken)
        for attempt in range(1, 9):
            job = await claim(office, after=attempt * 100.0)
            assert job.attempts == attempt
            await intake_of(office).run(job)
            (row,) = await rows(database, jobs)
            assert (row.state, row.problem) == ("waiting", str(error))
            assert row.run_at - utc_now() <= timedelta(seconds=module.RETRY_CAP)
            assert office.pbx.path("x").exists()
    assert (await office.row(recording_id)).state == "stopping"
    assert await office.bring_home() == 1
    assert (await office.row(recording_id)).state == "available"


async def test_a_pbx_that_is_away(office: Office, database: Database) -> None:
    """A file on another machine waits there until it can be fetched."""
    recording_id = await recorded(office, "x")
    far = office.folder / "far"
    far.mkdir()
    office.pbx.path("x").rename(far / "x.wav")
    office.pbx.folder = far
    office.pbx.reachable = False
    await intake_of(office).run(await claim(office))
    assert (await office.row(recording_id)).state == "stopping"
    office.pbx.reachable = True
    assert await office.bring_home() == 1
    assert (await office.row(recording_id)).state == "available"
    assert list(far.iterdir()) == []


async def test_what_can_not_be_freed_yet(
    office: Office, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that stays on the PBX keeps the recording from nothing."""

    async def away(*_: object) -> None:
        raise TelephonyConnectionError("the PBX has gone")

    recording_id = await recorded(office)
    monkeypatch.setattr(office.sources, "free_tracks", away)
    await intake_of(office).run(await claim(office))
    assert (await office.row(recording_id)).state == "available"
    assert "is freed later: the PBX has gone" in caplog.text


# -- cut short


async def test_the_database_goes_away_before_the_commit(office: Office, database: Database) -> None:
    """Nothing shows, nothing is freed, and the next try finds what was stored."""
    recording_id = await recorded(office, "x")
    job = await claim(office)
    with away(database), pytest.raises(Exception, match="disk is away"):
        await intake_of(office).run(job)
    assert (await office.row(recording_id)).state == "stopping"
    assert office.pbx.path("x").exists()
    assert f"{recording_id}.wav" in stored(office)
    assert await office.bring_home() == 1
    assert (await office.row(recording_id)).state == "available"
    assert not office.pbx.path("x").exists()


async def test_a_lease_that_is_lost_on_the_way(office: Office, database: Database) -> None:
    """Who was too slow must not count: neither a second event nor a second deletion is his."""
    recording_id = await recorded(office, "x")
    slow = await claim(office, "slow")
    fast = await claim(office, "fast", after=3600.0)
    await intake_of(office, "fast").run(fast)
    before, told = await office.row(recording_id), await office.told()
    assert before.state == "available"
    # The slow one has read the row before it was available.
    taken = replace_state(before)
    with pytest.raises(LeaseLost):
        await intake_of(office, "slow")._end(slow, taken, *await _found(office, taken))
    assert (await office.row(recording_id), await office.told()) == (before, told)


def replace_state(row: Any) -> Recording:
    """Return the recording as it was before it was available."""
    return Recording(
        row.id,
        row.name,
        row.call_id,
        RecordingTarget(row.target),
        row.target_id,
        tracks=(Track(row.name),),
        requested_at=row.requested_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        end_reason=EndReason.STOPPED,
    )


async def _found(office: Office, recording: Recording) -> Any:
    office.write(recording.name)
    found = await ingest(
        recording,
        office.sources,
        office.blobs,
        blob_key(recording, "wav"),
        blob_key(recording, "peaks"),
    )
    return await intake_of(office)._available(recording, found)


async def test_cancelled_anywhere(office: Office, database: Database) -> None:
    """However far it came when it was cancelled, the next try ends it, and the audio is there."""
    for step in range(1, 60, 3):
        recording_id = await recorded(office, f"x{step}")
        task = asyncio.create_task(intake_of(office).run(await claim(office)))
        for _ in range(step):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await office.bring_home()
        row = await office.row(recording_id)
        assert row.state == "available", step
        assert await office.blobs.size(row.blob_key) == row.size
    told = [kind for kind, _ in await office.told()]
    made = await rows(database, recordings)
    assert told.count("recording.available") == len(made)
    assert len(await rows(database, deliveries)) == len(made)
    assert list((office.folder / "downloads").glob("*")) == []


# -- why it ended


async def test_a_recording_that_ended_with_its_call(office: Office) -> None:
    """A hang-up is one, although word of the recording's end comes first."""
    call = await office.call()
    await call.record_start()
    assert call.recording is not None
    recording_id = call.recording.id
    office.pbx.end("call-1")
    await eventually(lambda: _ended(office, recording_id))
    await intake_of(office).run(await claim(office))
    assert (await office.row(recording_id)).end_reason == "hangup"


async def _ended(office: Office, recording_id: str) -> bool:
    return (await office.row(recording_id)).ended_at is not None


async def test_word_of_the_call_s_end_is_waited_for_and_not_long(
    office: Office, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A PBX whose clock is an hour ahead does not keep a worker for an hour."""
    monkeypatch.setattr(module, "HANGUP_WINDOW", timedelta(milliseconds=50))
    call = await office.call()
    await call.record_start()
    assert call.recording is not None
    recording = call.recording
    office.pbx.finish(recording)
    await eventually(lambda: _ended(office, recording.id))
    async with database.write() as connection:
        ahead = utc_now() + timedelta(hours=1)
        await connection.execute(update(recordings).values(ended_at=ahead))
    async with asyncio.timeout(10):
        await intake_of(office).run(await claim(office))
    assert (await office.row(recording.id)).end_reason == "unknown"


async def test_a_call_that_ends_later_is_not_why(office: Office, database: Database) -> None:
    """Only an end at the same moment explains the recording's."""
    call = await office.call()
    await call.record_start(max_silence=2)
    assert call.recording is not None
    recording = call.recording
    office.pbx.finish(recording)
    await eventually(lambda: _ended(office, recording.id))
    office.pbx.end("call-1")
    await office.call_log.written()
    async with database.write() as connection:
        later = utc_now() + timedelta(seconds=2)
        await connection.execute(update(calls).values(ended_at=later))
        await connection.execute(
            update(recordings).values(ended_at=utc_now() - timedelta(seconds=2))
        )
    await intake_of(office).run(await claim(office))
    assert (await office.row(recording.id)).end_reason == "silence"


NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ENDED = Recording("r", "x", "c", RecordingTarget.SNOOP, "c", started_at=NOW, ended_at=NOW)


@pytest.mark.parametrize(
    ("changes", "seconds", "hung_up", "reason"),
    [
        ({"end_reason": EndReason.STOPPED}, 60.0, True, "stopped"),
        ({"max_duration": 60}, 60.0, True, "max_duration"),
        ({"max_duration": 60}, 59.9, True, "hangup"),
        ({"max_duration": 60}, None, False, "unknown"),
        ({"target": RecordingTarget.BRIDGE}, 1.0, False, "hangup"),
        ({"max_silence": 2, "terminate_on": "#"}, 1.0, False, "silence"),
        ({"terminate_on": "#"}, 1.0, False, "key"),
        ({}, 1.0, True, "hangup"),
        ({}, 1.0, False, "unknown"),
    ],
)
def test_reasons(
    changes: dict[str, Any], seconds: float | None, hung_up: bool, reason: str
) -> None:
    """What was noted wins; then the file's length, the call's end, and what was asked for."""
    assert end_reason_of(replace(ENDED, **changes), seconds, hung_up=hung_up).value == reason


@given(
    length=st.floats(0, 100),
    seconds=st.floats(0, 100),
    pauses=st.lists(st.tuples(st.floats(0, 40), st.floats(0, 40)), max_size=3),
)
def test_what_is_lost_is_never_negative_and_pauses_are_no_loss(
    length: float, seconds: float, pauses: list[tuple[float, float]]
) -> None:
    """With a PBX that was lost, what the file lacks is the time less the pauses less the file;
    muted parts are in the file.
    """
    end = NOW + timedelta(seconds=length)
    cut = tuple(
        Pause(NOW + timedelta(seconds=a), NOW + timedelta(seconds=a + b)) for a, b in pauses
    )
    muted = Pause(NOW, end, muted=True)
    lost = replace(ENDED, ended_at=end, end_reason=EndReason.PBX_LOST, pauses=(*cut, muted))
    found = module._lost_ms(lost, seconds)
    assert found is not None
    wall = length - sum(b for _, b in pauses)
    assert found == pytest.approx(max(0.0, (wall - seconds) * 1000), abs=1.01)
    assert module._lost_ms(replace(lost, end_reason=EndReason.HANGUP), seconds) is None


def test_a_pause_that_lasted_to_the_end() -> None:
    """Of a call that was paused when the PBX was lost, nothing after the pause began is missing."""
    end = NOW + timedelta(seconds=10)
    pause = Pause(NOW + timedelta(seconds=4))
    lost = replace(ENDED, ended_at=end, end_reason=EndReason.PBX_LOST, pauses=(pause,))
    assert module._lost_ms(lost, 3.0) == 1000
