"""What follows a recording's end in the service: others do it, and the sinks are kept for them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.service.place import Office, rows
from tests.system.support import Collector, eventually
from voxtra import RecordingMetadata, RecordingSink
from voxtra.exceptions import RecordingFailed
from voxtra.service.aftermath import HandedOver
from voxtra.store.database import Database
from voxtra.store.schema import deliveries

ABOUT = RecordingMetadata(session_id="call-1", name="x", file_path="/x.wav", duration_seconds=1.0)


def kept(office: Office) -> int:
    """Return how many sinks are kept for single recordings."""
    aftermath = office.app._recording_aftermath
    assert isinstance(aftermath, HandedOver)
    return len(aftermath._sinks)


async def tell(office: Office, recording_id: str) -> bool:
    """Tell the sink of a recording, as the outbox does."""
    aftermath = office.app._recording_aftermath
    assert isinstance(aftermath, HandedOver)
    return await aftermath.tell(recording_id, ABOUT)


async def test_the_sink_of_a_single_recording(database: Database, tmp_path: Path) -> None:
    """It is told instead of the app's, once, and forgotten then."""
    own, of_app = Collector(), Collector()
    async with Office(database, tmp_path, sink=of_app).open() as office:
        call = await office.call()
        await call.record_start(sink=own)
        assert call.recording is not None
        recording_id = call.recording.id
        await call.record_stop()
        assert await office.bring_home() == 1
        (row,) = await rows(database, deliveries)
        assert (row.kind, row.recording_id, row.node) == ("sink", recording_id, "n1")
        assert await tell(office, recording_id)
        assert (len(own.received), len(of_app.received)) == (1, 0)
        assert kept(office) == 0


async def test_after_a_restart_the_app_s_own_is_told(database: Database, tmp_path: Path) -> None:
    """A sink that was an object of the process before is gone with it."""
    of_app = Collector()
    async with Office(database, tmp_path, sink=of_app).open() as office:
        assert await tell(office, "recording of another run")
    assert [each.name for each in of_app.received] == ["x"]


async def test_nobody_is_left_to_be_told(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without any sink it is no success: it is tried again, until somebody puts it right."""
    async with Office(database, tmp_path).open() as office:
        assert not await tell(office, "recording of another run")
    assert "recording x: its sink went with the process that had it" in caplog.text


class Failing(RecordingSink):
    """Fails in every way, then takes it."""

    deadline_seconds = 0.02

    def __init__(self) -> None:
        self.tries = 0

    async def on_recording_complete(self, metadata: RecordingMetadata) -> bool | None:
        """Raise, hang, refuse, cancel itself, be told."""
        self.tries += 1
        if self.tries == 1:
            raise ValueError("out of order")
        if self.tries == 2:
            await asyncio.Event().wait()
        if self.tries == 3:
            return False
        if self.tries == 4:
            raise asyncio.CancelledError
        return None


async def test_a_sink_that_fails(database: Database, tmp_path: Path) -> None:
    """One that raises, hangs, refuses or cancels itself was not told; it is kept for the next try,
    and nothing of it reaches who tells.
    """
    sink = Failing()
    async with Office(database, tmp_path).open() as office:
        call = await office.call()
        await call.record_start(sink=sink)
        assert call.recording is not None
        recording_id = call.recording.id
        told = [await tell(office, recording_id) for _ in range(5)]
        assert told == [False, False, False, False, True]
        assert kept(office) == 0


async def test_sinks_of_recordings_that_came_to_nothing_are_forgotten(
    database: Database, tmp_path: Path
) -> None:
    """What is cancelled, refused by the PBX or by the store is told to nobody: a process that runs
    for a year must not keep a sink for each.
    """
    async with Office(database, tmp_path).open() as office:
        call = await office.call()
        await call.record_start(sink=Collector())
        await call.record_cancel()
        office.pbx.refusal = "no"
        with pytest.raises(RecordingFailed):
            await call.record_start(sink=Collector())
        office.pbx.refusal = ""
        office.app.recorder.refusal = "the disk is full"
        with pytest.raises(RecordingFailed, match="the disk is full"):
            await call.record_start(sink=Collector())
        await eventually(lambda: kept(office) == 0)
    assert await rows(database, deliveries) == []
