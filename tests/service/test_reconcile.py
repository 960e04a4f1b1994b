"""Rows, the PBX and its files are brought to agree, whatever was lost between them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from tests.service.place import Office, away, rows
from tests.store.making import TENANT, add_recording
from tests.system.support import eventually
from voxtra import outcome
from voxtra.events import EventType
from voxtra.exceptions import TelephonyConnectionError
from voxtra.ids import new_id
from voxtra.model import CallDirection, Recording, RecordingTarget, Track
from voxtra.service import reconcile as module
from voxtra.store import calls as call_rows
from voxtra.store import conferences, tombstones
from voxtra.store.database import Database
from voxtra.store.schema import calls, jobs, recordings, utc_now
from voxtra.telephony.base import BaseTelephonyAdapter, Gap


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome, "EVENT_GRACE", 0.05)
    monkeypatch.setattr(outcome, "PROBE_CAP", 0.05)


class Two:
    """A node, and the same one after it was killed in the middle of its work.

    The first one's app is left as it is, deaf and dumb, like a process that hangs for ever.
    """

    def __init__(self, database: Database, folder: Path, another: Callable[[], Database]) -> None:
        self.first = Office(database, folder)
        self.second = Office(another(), folder, pbx=self.first.pbx)


async def start(office: Office) -> list[asyncio.Task[Any]]:
    """Begin a node that nobody ends in good order."""
    tasks: list[asyncio.Task[Any]] = [
        asyncio.create_task(office.call_log.run()),
        asyncio.create_task(office.app.start()),
    ]
    await eventually(lambda: office.app.is_running)
    return tasks


async def kill(office: Office, tasks: list[asyncio.Task[Any]]) -> None:
    """Let a node hear and write nothing any more, as a killed process; its handlers wait for ends
    that nobody tells them.
    """
    mine = {*tasks, *office.app.recorder._tasks}
    office.app._shut_down = _nothing  # type: ignore[method-assign]  # a killed process ends nothing
    for task in mine:
        task.cancel()
    await asyncio.gather(*mine, return_exceptions=True)
    office.blobs.close()


async def _nothing() -> None:
    """Do what a killed process does at its end."""


async def test_a_recording_goes_on_after_a_crash(
    database: Database, tmp_path: Path, another: Callable[[], Database]
) -> None:
    """What still records at the start is taken over, and its end is heard of."""
    two = Two(database, tmp_path, another)
    tasks = await start(two.first)
    call = await two.first.call()
    await call.record_start("x")
    assert call.recording is not None
    recording_id = call.recording.id
    await kill(two.first, tasks)
    async with two.second.open() as office:
        await office.reconciler.rows()
        assert (await office.row(recording_id)).state == "recording"
        await eventually(lambda: office.app.get_session("call-1"))
        office.pbx.end("call-1")
        await eventually(lambda: _is(office, recording_id, "stopping"))
        await office.call_log.written()
        assert await office.bring_home() == 1
        row = await office.row(recording_id)
        assert (row.state, row.end_reason) == ("available", "hangup")


async def _is(office: Office, recording_id: str, state: str) -> bool:
    return bool((await office.row(recording_id)).state == state)


@pytest.mark.parametrize("file", [True, False])
async def test_what_ended_while_nobody_looked(
    database: Database, tmp_path: Path, another: Callable[[], Database], file: bool
) -> None:
    """A recording that the PBX ended meanwhile is brought home; without a file it has failed."""
    two = Two(database, tmp_path, another)
    tasks = await start(two.first)
    call = await two.first.call()
    await call.record_start("x")
    assert call.recording is not None
    recording_id = call.recording.id
    await kill(two.first, tasks)
    two.first.pbx.lost = {EventType.RECORDING_FINISHED}
    two.first.pbx.writes_files = file
    two.first.pbx.finish(call.recording)
    async with two.second.open() as office:
        await eventually(lambda: _over(office, recording_id))
        assert await office.bring_home() == file
        row = await office.row(recording_id)
        assert row.state == ("available" if file else "failed")
        assert file or "neither the recording nor a file" in row.cause


async def _over(office: Office, recording_id: str) -> bool:
    return (await office.row(recording_id)).ended_at is not None


async def test_a_row_that_was_written_and_never_begun(database: Database, tmp_path: Path) -> None:
    """A crash between the row and the request leaves a row that ends in the next pass, and frees
    its call.
    """
    async with Office(database, tmp_path).open() as office:
        call = await office.call()
        async with database.write() as connection:
            made = await add_recording(
                connection,
                tenant_id="default",
                node="n1",
                name="x",
                tracks=[{"name": "x"}],
                target_id="call-1",
                holder_id="call-1",
                state="starting",
                started_at=None,
                ended_at=None,
                requested_at=utc_now(),
                max_duration=60,
            )
        await office.reconciler.rows()
        await eventually(lambda: _over(office, made))
        row = await office.row(made)
        assert (row.state, row.cause) == ("failed", "the PBX never began it")
        await call.record_start()


async def test_a_start_under_way_is_left_alone(database: Database, tmp_path: Path) -> None:
    """What is just being asked of the PBX, which has nothing of it yet, is not taken for lost."""
    async with Office(database, tmp_path).open() as office:
        call = await office.call()
        go_on, asked = asyncio.Event(), asyncio.Event()
        begin = office.pbx.start_capture

        async def slow(recording: Any) -> None:
            asked.set()
            await go_on.wait()
            await begin(recording)

        office.pbx.start_capture = slow  # type: ignore[method-assign]  # a PBX under load
        starting = asyncio.create_task(call.record_start())
        await asked.wait()
        await office.reconciler.rows()
        (row,) = await rows(database, recordings)
        await office.app.recorder.settled([row.id])
        assert (await office.row(row.id)).state == "starting"
        go_on.set()
        await starting
        assert (await office.row(row.id)).state == "recording"


async def test_a_pass_changes_nothing_of_what_agrees(database: Database, tmp_path: Path) -> None:
    """A recording that runs runs on, its call and its conference too."""
    async with Office(database, tmp_path).open() as office:
        call = await office.call()
        await call.record_start("x")
        made = await office.control.create_conference("acme")
        await office.call_log.written()
        before = [await rows(database, each) for each in (recordings, calls)]
        told = await office.told()
        for _ in range(2):
            await office.reconciler.rows()
            await office.reconciler.files()
            await office.app.recorder.settled([call.recording.id] if call.recording else [])
        assert [await rows(database, each) for each in (recordings, calls)] == before
        assert await office.told() == told
        assert made in office.app.switchboard.conferences
        assert await rows(database, jobs) == []


# -- recordings that nobody ends


async def add(database: Database, **columns: Any) -> str:
    """Add a recording that is live."""
    async with database.write() as connection:
        return await add_recording(
            connection,
            **{
                "state": "recording",
                "node": "n2",
                "ended_at": None,
                "max_duration": 60,
                "sink": "app",
                **columns,
            },
        )


@pytest.mark.parametrize("state", ["starting", "recording", "stopping"])
async def test_rows_of_a_node_that_does_not_come_back(
    database: Database, tmp_path: Path, state: str
) -> None:
    """A minute after its longest duration a recording of another node has failed, with the cause,
    and not a moment earlier.
    """
    async with Office(database, tmp_path).open() as office:
        began = office.now - timedelta(seconds=60) - module.OVERDUE
        started = None if state == "starting" else began
        late = await add(database, state=state, requested_at=began, started_at=started)
        office.now += timedelta(milliseconds=1)
        younger = began + timedelta(seconds=1)
        other = await add(
            database,
            state=state,
            requested_at=younger,
            started_at=None if state == "starting" else younger,
        )
        await office.reconciler.rows()
        row = await office.row(late)
        assert (row.state, row.ended_at) == ("failed", office.now)
        assert "its process 'n2' has not come back" in row.cause
        assert (await office.row(other)).state == state
        told = await office.told(TENANT)
        await office.reconciler.rows()
        assert await office.told(TENANT) == told


async def test_what_ended_has_somebody_to_bring_it_home(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A row that stops and has no job, or one that is over, gets one."""
    async with Office(database, tmp_path).open() as office:
        lost = await add(database, state="stopping", ended_at=utc_now())
        await office.reconciler.rows()
        (job,) = await rows(database, jobs)
        assert (job.kind, job.subject_id, job.state) == ("ingest", lost, "waiting")
        async with database.write() as connection:
            await connection.execute(update(jobs).values(state="dead"))
        await office.reconciler.rows()
        (job,) = await rows(database, jobs)
        assert job.state == "waiting"
        caplog.clear()
        await office.reconciler.rows()
        assert "nobody was to bring it home" not in caplog.text


async def test_the_node_s_own_are_stopped_at_their_maximum(
    database: Database, tmp_path: Path
) -> None:
    """A recording that the PBX forgot to end is stopped, in the same pass."""
    async with Office(database, tmp_path).open() as office:
        call = await office.call()
        await call.record_start("x", max_duration=60)
        assert call.recording is not None
        recording_id = call.recording.id
        office.now += timedelta(seconds=70)
        await office.reconciler.rows()
        await eventually(lambda: _is(office, recording_id, "stopping"))
        assert (await office.row(recording_id)).end_reason == "max_duration"
        assert not office.pbx.live


# -- calls and conferences


async def test_calls_of_a_process_that_died(database: Database, tmp_path: Path) -> None:
    """What is not up any more is over, and their tenants are told; what is up goes on."""
    async with Office(database, tmp_path).open() as office:
        await office.call("up")
        for call_id, answered in (("gone", True), ("rang", False)):
            async with database.write() as connection:
                await call_rows.begin(
                    connection,
                    call_id=call_id,
                    tenant_id="acme",
                    node="n1",
                    direction=CallDirection.OUTBOUND,
                    caller="",
                    callee="",
                    metadata={},
                    at=office.now,
                )
                if answered:
                    await call_rows.answered(connection, call_id, office.now)
        office.now += timedelta(seconds=9)
        for _ in range(2):
            await office.reconciler.rows()
        gone = await office.call_row("gone", "acme")
        rang = await office.call_row("rang", "acme")
        up = await office.call_row("up")
        assert gone is not None
        assert rang is not None
        assert up is not None
        assert (gone.state, gone.ended_at, gone.end_reason) == (
            "completed",
            office.now,
            call_rows.LOST,
        )
        assert (rang.state, up.ended_at) == ("failed", None)
        assert await office.told("acme") == [("call.ended", "gone"), ("call.failed", "rang")]


async def test_a_call_whose_end_waits_to_be_written(database: Database, tmp_path: Path) -> None:
    """It is not taken for lost: its own end tells why and when."""
    async with Office(database, tmp_path).open() as office:
        await office.call("c")
        real = office.call_log._write
        go_on = asyncio.Event()

        async def slow(batch: Any) -> None:
            await go_on.wait()
            await real(batch)

        office.call_log._write = slow  # type: ignore[method-assign]  # a database that is slow
        office.pbx.end("c")
        await office.reconciler.rows()
        go_on.set()
        await office.call_log.written()
        row = await office.call_row("c")
        assert row is not None
        assert row.end_reason == "normal clearing"


async def test_a_conference_goes_on_after_a_restart(
    database: Database, tmp_path: Path, another: Callable[[], Database]
) -> None:
    """With who is still in it, of its tenant; who left meanwhile is noted; it can be ended."""
    two = Two(database, tmp_path, another)
    tasks = await start(two.first)
    for each in ("stays", "leaves"):
        call = await two.first.call(each)
        if each == "stays":
            conference = await two.first.app.switchboard.conference("c", tenant_id="acme")
        await conference.add(call)
    await two.first.call_log.written()
    await kill(two.first, tasks)
    two.first.pbx.up.discard("leaves")
    two.first.pbx.bridges[conference.id].discard("leaves")
    async with two.second.open() as office:
        office.now = utc_now()
        await office.reconciler.rows()
        resumed = office.app.get_conference(conference.id)
        assert resumed is not None
        assert [each.id for each in resumed.members] == ["stays"]
        assert (resumed.tenant_id, resumed.name) == ("acme", "c")
        await office.call_log.written()
        async with database.read() as connection:
            found = await conferences.participants_of(connection, "acme", conference.id)
        assert {each.call_id: each.left_at is None for each in found} == {
            "stays": True,
            "leaves": False,
        }
        assert len(found) == 2
        await office.reconciler.rows()
        await office.control.end_conference("acme", conference.id)
        await office.call_log.written()
        assert conference.id not in office.pbx.bridges
        kinds = [kind for kind, of in await office.told("acme") if of == conference.id]
        assert kinds[-1] == "conference.ended"
        assert kinds.count("conference.left") == 2
        told = await office.told("default")
        assert [kind for kind, of in told if of == conference.id] == []


async def test_a_conference_whose_bridge_is_gone(database: Database, tmp_path: Path) -> None:
    """It is over, with whoever was in it, and its tenant is told once."""
    async with Office(database, tmp_path).open() as office:
        async with database.write() as connection:
            await conferences.create(
                connection,
                conference_id="b",
                tenant_id="acme",
                node="n1",
                name="",
                at=office.now,
            )
            await conferences.joined(connection, "b", "c", office.now)
        for _ in range(2):
            await office.reconciler.rows()
        async with database.read() as connection:
            row = await conferences.get(connection, "acme", "b")
            (was_in,) = await conferences.participants_of(connection, "acme", "b")
        assert row is not None
        assert (row.state, row.end_reason) == ("ended", "its bridge is gone")
        assert was_in.left_at == office.now
        assert await office.told("acme") == [("conference.ended", "b")]


# -- files


async def available(office: Office, name: str, **options: Any) -> str:
    """Record something and bring it home; return its id."""
    call = office.app.get_session("call-1") or await office.call()
    await call.record_start(name, **options)
    assert call.recording is not None
    recording_id = call.recording.id
    await call.record_stop()
    assert await office.bring_home() == 1
    return recording_id


def left(office: Office) -> list[str]:
    """Return what is in the PBX's folder."""
    return sorted(path.name for path in office.pbx.folder.rglob("*") if path.is_file())


async def test_a_file_without_a_row_is_taken_in(database: Database, tmp_path: Path) -> None:
    """One of our names becomes a recording, once, and its file is freed; foreign ones stay."""
    async with Office(database, tmp_path).open() as office:
        own = new_id()
        office.write(f"voxtra-{own}")
        office.write("greeting")
        office.write("voxtra-manual")
        office.write(f"other-{own}")  # of another app that records into the same folder
        for _ in range(2):
            await office.reconciler.files()
        assert await office.bring_home() == 1
        row = await office.row(own)
        assert (row.state, row.source, row.tenant_id) == ("available", "recovered", "default")
        assert left(office) == ["greeting.wav", f"other-{own}.wav", "voxtra-manual.wav"]
        assert len(await rows(database, recordings)) == 1


async def test_two_sides_without_a_row(database: Database, tmp_path: Path) -> None:
    """They are one stereo recording; a side alone is one, too, with the other one silent."""
    async with Office(database, tmp_path).open() as office:
        both, half = new_id(), new_id()
        for name in (f"voxtra-{both}-in", f"voxtra-{both}-out", f"voxtra-{half}-out"):
            office.write(name)
        await office.reconciler.files()
        assert await office.bring_home() == 2
        assert ((await office.row(both)).state, (await office.row(both)).channels) == (
            "available",
            2,
        )
        assert (await office.row(half)).state == "available"
        assert left(office) == []


async def test_a_file_that_is_being_written(database: Database, tmp_path: Path) -> None:
    """What was written to in the last minute, or is live on the PBX, is left alone."""
    async with Office(database, tmp_path).open() as office:
        young, live = new_id(), new_id()
        office.write(f"voxtra-{young}", seconds_ago=module.QUIET.total_seconds() - 1)
        path = office.write(f"voxtra-{live}")
        office.pbx.live["another process's"] = _of(f"voxtra-{live}")
        await office.reconciler.files()
        assert await rows(database, recordings) == []
        office.now += timedelta(seconds=2)
        del office.pbx.live["another process's"]
        await office.reconciler.files()
        assert {row.id for row in await rows(database, recordings)} == {young, live}
        assert path.exists()


def _of(name: str) -> Any:
    return Recording("r", name, "", RecordingTarget.SNOOP, "", tracks=(Track(name),))


async def test_a_file_that_a_crash_left_after_the_commit(
    database: Database, tmp_path: Path
) -> None:
    """The audio is stored: the PBX's file goes in the next pass."""
    async with Office(database, tmp_path).open() as office:
        await available(office, "x")
        await available(office, "s", layout="stereo")
        office.write("x")
        office.write("s-in")  # a crash came between its two sides
        await office.reconciler.files()
        assert left(office) == []


@pytest.mark.parametrize("harm", ["gone", "shorter"])
async def test_the_only_copy_is_kept(
    database: Database, tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As long as the blob is not there in its length, the PBX's file stays."""
    async with Office(database, tmp_path).open() as office:
        row = await office.row(await available(office, "x"))
        office.write("x")
        blob = office.blobs.local_path(row.blob_key)
        assert blob is not None
        if harm == "gone":
            blob.unlink()
        else:
            os.truncate(blob, 100)
        await office.reconciler.files()
        assert left(office) == ["x.wav"]
        assert ("x on the PBX" if harm == "gone" else "has another size") in caplog.text


async def test_a_name_that_is_used_again(database: Database, tmp_path: Path) -> None:
    """The file of a recording that runs, or is not stored yet, is never freed for an older one of
    its name.
    """
    async with Office(database, tmp_path).open() as office:
        await available(office, "x")
        call = office.app.get_session("call-1")
        assert call is not None
        await call.record_start("x")
        assert call.recording is not None
        second = call.recording.id
        office.pbx.path("x").write_bytes(b"the PBX is writing it")
        await office.reconciler.files()
        assert left(office) == ["x.wav"]
        await call.record_stop()
        await office.reconciler.files()
        assert left(office) == ["x.wav"]
        assert await office.bring_home() == 1
        assert (await office.row(second)).state == "available"
        office.write("x")
        await office.reconciler.files()
        assert left(office) == []


async def test_a_failed_recording_s_file_stays(database: Database, tmp_path: Path) -> None:
    """It is all that there is of it, for whoever wants to look."""
    async with Office(database, tmp_path).open() as office:
        office.pbx.seconds = 0
        made = await available(office, "")
        assert (await office.row(made)).state == "failed"
        for _ in range(2):
            await office.reconciler.files()
        assert left(office) == [f"voxtra-{made}.wav"]
        assert len(await rows(database, recordings)) == 1


@pytest.mark.parametrize("forgotten", [True, False])
async def test_a_deleted_recording_does_not_come_back(
    database: Database, tmp_path: Path, forgotten: bool
) -> None:
    """A file of it that turns up on the PBX is deleted, and not taken in as a new recording."""
    async with Office(database, tmp_path).open() as office:
        made = await available(office, "")
        async with database.write() as connection:
            await tombstones.delete(
                connection, "default", made, actor="p", reason="asked", now=office.now
            )
            if forgotten:
                await tombstones.forget(connection, made)
        office.write(f"voxtra-{made}")
        await office.reconciler.files()
        assert left(office) == []
        assert len(await rows(database, recordings)) == 1


async def test_one_bad_file_keeps_no_other_from_its_turn(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What can't be looked at, or is a copy of what has a row, costs no more than itself."""
    async with Office(database, tmp_path).open() as office:
        first, second = sorted((new_id(), new_id()))
        for name in (f"a/voxtra-{first}", f"voxtra-{first}", f"voxtra-{second}"):
            office.write(name)
        office.write(f"voxtra-{'f' * 12}7{'0' * 19}")
        probe = office.pbx.probe_track

        async def moody(track: Any) -> Any:
            if track.name == f"voxtra-{first}":
                raise TelephonyConnectionError("not now")
            return await probe(track)

        office.pbx.probe_track = moody  # type: ignore[method-assign]  # a PBX that fails at times
        await office.reconciler.files()
        assert f"voxtra-{first} on the PBX: not now" in caplog.text
        office.pbx.probe_track = probe  # type: ignore[method-assign]
        await office.reconciler.files()
        names = {row.name for row in await rows(database, recordings)}
        assert names == {f"a/voxtra-{first}", f"voxtra-{first}", f"voxtra-{second}"}


async def test_a_pbx_that_can_not_list(database: Database, tmp_path: Path) -> None:
    """An adapter without a folder has no files to compare."""
    async with Office(database, tmp_path).open() as office:
        office.pbx.list_stored = (  # type: ignore[method-assign]  # what an adapter inherits
            lambda: BaseTelephonyAdapter.list_stored(office.pbx)
        )
        await office.reconciler.files()


# -- the passes


async def test_passes_go_on(
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A pass that fails is one that is made again."""
    monkeypatch.setattr(module, "EVERY", 0.02)
    async with Office(database, tmp_path).open() as office:
        task = asyncio.create_task(office.reconciler.run())
        try:
            with away(office.database, 2) as refused:
                await refused.wait()
                own = new_id()
                office.write(f"voxtra-{own}")
                await eventually(lambda: _known(database, own))
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    assert "could not be compared" in caplog.text


async def _known(database: Database, recording_id: str) -> bool:
    return any(row.id == recording_id for row in await rows(database, recordings))


async def test_two_processes_of_one_name(
    database: Database, tmp_path: Path, another: Callable[[], Database]
) -> None:
    """A node name in use twice ends no recording early and loses none: each change is made once."""
    two = Two(database, tmp_path, another)
    async with two.first.open() as first:
        call = await first.call()
        await call.record_start("x")
        assert call.recording is not None
        recording_id = call.recording.id
        second = two.second.app
        tasks = await start(two.second)
        await two.second.app.recorder.settled([recording_id])
        assert (await first.row(recording_id)).state == "recording"
        # Asterisk tells the newest of one application's name alone.
        await second.recorder.stop(recording_id)
        await eventually(lambda: _is(first, recording_id, "stopping"))
        first.pbx.listen(first.app.switchboard.on_event, first.app.recorder.resync)
        await first.app.recorder.resync(Gap(first.now, restarted=False))
        await eventually(lambda: call.recording is None)
        assert await first.bring_home() == 1
        told = [kind for kind, _ in await first.told() if kind.startswith("recording.")]
        assert told == ["recording.started", "recording.finished", "recording.available"]
        await kill(two.second, tasks)
